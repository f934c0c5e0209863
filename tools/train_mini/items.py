"""All five tasks: drawing an item, its prompt as the program renders it, its normal forms."""

import ast
import re

import code_items
import math_items
import word_items
from library import BY_NAME

TASKS = ("humaneval", "humaneval_pro", "mbpp", "gsm8k", "math500")

# The prompt forms of tasks/prompt.c that the suites name as their default.
FORMS = {
    "humaneval": "Complete the following python code:\n{prompt}",
    "humaneval_pro": (
        "You are an exceptionally intelligent coding assistant that consistently delivers accurate "
        "and reliable responses to user instructions.\n"
        "Write a solution of python file to the following problems, the solution of the second "
        "problem requires single or multiple calls to the first solution.\n"
        "```python\n{raw_problem}\n{new_problem}\n```\n"
        "Please put the two solutions within the Python code block provided below, and make sure "
        "that the block contains no other unrelated content:\n```python\n```\n"
    ),
    "mbpp": (
        "You are an expert Python programmer, and here is your task: {text} Your code should pass "
        "these tests:\n\n{test_list}\n\nPlease enclose your code within delimiters as follows:\n"
        "```python\n# YOUR CODE HERE\n```\n\n"
    ),
    "gsm8k": "Question: {question}\nLet's think step by step\nAnswer:",
    "math500": "{problem}\nPlease reason step by step, and put your final answer within \\boxed{}.",
}
CHAT = (
    "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>",
    "<|role_end|><role>ASSISTANT</role>",
)


def prompt(task, record):
    """The text that the program feeds: prompt form and chat template."""
    text = FORMS[task]
    for key, value in record.items():
        if "{" + key + "}" in text:
            text = text.replace("{" + key + "}", "\n".join(value) if isinstance(value, list) else value)
    return CHAT[0] + text + CHAT[1]


def draw(rng, choose, task, depth, split):
    if task == "gsm8k":
        return word_items.draw_item(rng, depth, split)
    if task == "math500":
        return math_items.draw_item(rng, depth, split)
    return code_items.draw_item(rng, choose, task, depth, split)


def rarity(item):
    """'common', 'medium' or 'rare' by the rarest library skill of the item; None without any."""
    ranks = [BY_NAME[p].rank for p in item.parts if p in BY_NAME]
    if not ranks:
        return None
    return "common" if max(ranks) < 100 else "medium" if max(ranks) < 250 else "rare"


# ---- normal forms ----------------------------------------------------------------------------


class _Names(ast.NodeTransformer):
    """Names by order of appearance; constants by type, too, if asked for."""

    KEEP = set(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__) | {
        "math", "functools", "itertools"
    }

    def __init__(self, is_skeleton):
        self.seen, self.is_skeleton = {}, is_skeleton

    def _name(self, n):
        return n if n in self.KEEP else self.seen.setdefault(n, f"n{len(self.seen)}")

    def visit_FunctionDef(self, node):
        node.name, node.returns = self._name(node.name), None
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_Name(self, node):
        node.id = self._name(node.id)
        return node

    def visit_Constant(self, node):
        return ast.Constant(type(node.value).__name__) if self.is_skeleton else node


def tree(code, is_skeleton=False):
    return ast.dump(_Names(is_skeleton).visit(ast.parse(code)))


_PEOPLE = re.compile(r"\b(" + "|".join(word_items.PEOPLE) + r")\b")
_THINGS = re.compile(r"\b(" + "|".join(word_items.THINGS) + r")\b")
_CALLS = re.compile(r"\b(" + "|".join(code_items.VERBS) + r")_(" + "|".join(code_items.NOUNS) + r")\b")
_LET = re.compile(r"(?:Let|Suppose that) \$([a-z])\$")


def plain_text(text, is_skeleton=False):
    """Text without its names: people, things, functions, letters of quantities."""
    text = _CALLS.sub("F", _THINGS.sub("T", _PEOPLE.sub("P", text)))
    letters = {x: f"v{i}" for i, x in enumerate(_LET.findall(text))}
    if letters:
        text = re.sub(r"(?<![A-Za-z\\])(" + "|".join(letters) + r")(?![A-Za-z])", lambda m: letters[m[1]], text)
    if is_skeleton:
        text = re.sub(r"'[a-z]'", "C", re.sub(r"\d+", "N", text))
    return " ".join(text.lower().split())


def description(task, record):
    """The words of a record that pose the problem, without examples and tests."""
    if task == "humaneval":
        return record["prompt"].split('"""')[1].split(">>>")[0]
    if task == "humaneval_pro":
        return record["raw_problem"].split('"""')[1].split(">>>")[0] + record["new_problem"].split("\n")[0]
    return record[{"mbpp": "text", "gsm8k": "question", "math500": "problem"}[task]]


def forms(task, item):
    """What overlap is counted on: {'exact', 'normal', 'skeleton'} -> text."""
    text = description(task, item.record)
    if item.code is None:
        return {
            "exact": [prompt(task, item.record)],
            "normal": [plain_text(text)],
            "skeleton": [plain_text(text, True)],
        }
    return {
        "exact": [prompt(task, item.record), item.code.strip()],
        "normal": [tree(item.code), plain_text(text)],
        "skeleton": [tree(item.code, True)],
    }
