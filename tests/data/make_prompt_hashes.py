#!/usr/bin/env python3
"""Write prompt_hashes.json: what the prompts of some real items must be, byte for byte.

usage: make_prompt_hashes.py DATA_FOLDER > prompt_hashes.json

The templates and stops are typed here a second time, from the harnesses that the forms are named
after, so that the program's table is held against something it did not make itself. A hash is
SHA-256 over each message's role, a NUL, its text and a NUL, and then over what the prompt begins of
the answer, and a NUL.
"""
import gzip
import hashlib
import json
import os
import sys

data = sys.argv[1]
F3 = "`" * 3
PY = F3 + "python"


def lines(name):
    path = os.path.join(data, name)
    with (gzip.open(path, "rt", encoding="utf-8") if name.endswith(".gz")
          else open(path, encoding="utf-8", newline="")) as f:
        return [json.loads(line) for line in f.read().split("\n") if line]


def array(name):
    with open(os.path.join(data, name), encoding="utf-8") as f:
        return json.load(f)


FEWSHOT = array("fewshot.json")
MBPP = lines("mbpp.jsonl")
TRAIN = lines("gsm8k_train.jsonl")[:5]


class Prompt:
    """Messages as (role, text), and the part of the last one that belongs to the answer."""

    def __init__(self, messages, prefix=""):
        self.messages, self.prefix = messages, prefix


def ask(text):
    return Prompt([("user", text)])


def text_with(text, prefix):
    """Plain text that ends with the answer's beginning."""
    return Prompt([("user", text + prefix)], prefix)


def chat_with(messages, prefix):
    """A chat whose last turn is the answer's beginning."""
    return Prompt(messages + [("assistant", prefix)], prefix)


def turns(key, n):
    roles = {"HUMAN": "user", "BOT": "assistant"}
    return [(roles[t["role"]], t["text"]) for t in FEWSHOT[key]["turns"][:2 * n]]


def opencompass_text(key, n, item):
    """OpenCompass sends turns to base models joined by newlines."""
    return "\n".join([text for _, text in turns(key, n)] + item)


# ---- HumanEval -------------------------------------------------------------------------------

def he_oc(r):
    return ask("Complete the following python code:\n%s" % r["prompt"])


def he_simple(r):
    return ask("Read the following function signature and docstring, and fully implement the "
               "function described. Your response should only contain the code for this "
               "function.\n" + r["prompt"])


def he_lm_eval(r):
    user = "\n".join(["Write a solution to the following problem and make sure that it passes the "
                      "tests:", PY, r["prompt"], F3, ""])
    return chat_with([("user", user)],
                     "\n".join(["Here is the completed function:", PY, r["prompt"], ""]))


def he_evalplus(r):
    user = ("Please provide a self-contained Python script that solves the following problem in a "
            "markdown code block:\n" + F3 + "\n" + r["prompt"].strip() + "\n" + F3 + "\n")
    return chat_with([("user", user)],
                     "Below is a Python script with a self-contained function that solves the "
                     "problem and passes corresponding tests:\n" + PY + "\n")


PERSONA = ("You are an exceptionally intelligent coding assistant that consistently delivers "
           "accurate and reliable responses to user instructions.")


def wrapped(instruction, thought, prefix):
    return text_with(PERSONA + "\n@@ Instruction\n" + instruction + "\n\n@@ Response\n" + thought,
                     prefix)


def he_codeeval(r):
    p = r["prompt"].strip()
    return wrapped("Write a solution to the following problem:\n%s\n%s\n%s" % (PY, p, F3), "",
                   PY + "\n" + p)


# ---- HumanEval Pro ---------------------------------------------------------------------------

PAIR = ("Write a solution of python file to the following problems, the solution of the second "
        "problem requires single or multiple calls to the first solution.")


def pro_oc(r):
    return ask("\n".join([
        PERSONA, PAIR, PY, r["raw_problem"], r["new_problem"], F3,
        "Please put the two solutions within the Python code block provided below, and make sure "
        "that the block contains no other unrelated content:", PY, F3, ""]))


def pro_instruction(r, more=()):
    return "\n".join([PAIR, PY, r["raw_problem"].strip(), r["new_problem"].strip(), *more, F3])


def pro_api(r):
    return Prompt([("system", PERSONA),
                   ("user", "\n@@ Instruction\n" + pro_instruction(r) + "\n@@ Response\n")])


def pro_prefix(r):
    return PY + "\n" + r["raw_problem"].strip() + "\n"


def pro_complete(r):
    return wrapped(pro_instruction(r), "", pro_prefix(r))


def pro_cot(r):
    return wrapped(pro_instruction(r), "Let's think step by step.\n", pro_prefix(r))


def pro_1shot(r):
    return wrapped(pro_instruction(r, ["", r["test_code"].split("\n")[1]]), "", pro_prefix(r))


# ---- MBPP ------------------------------------------------------------------------------------

EXPERT = "You are an expert Python programmer, and here is your task:"
EXAMPLES = [r for r in MBPP if r["task_id"] in (2, 3, 4)]


def mbpp_text(r):
    return r["text"] if "text" in r else r["prompt"]


def mbpp_intro(r):
    return "%s %s Your code should pass these tests:\n\n" % (EXPERT, mbpp_text(r))


def mbpp_oc_item(r):
    return mbpp_intro(r) + " " + "\n".join(r["test_list"]) + "  \n"


def mbpp_oc(r):
    return Prompt(turns("mbpp_opencompass_3shot", 3) + [("user", mbpp_oc_item(r))])


def mbpp_oc_base(r):
    return text_with(opencompass_text("mbpp_opencompass_3shot", 3, [mbpp_oc_item(r), ""]),
                     "[BEGIN]\n")


def mbpp_dinfer(r):
    return ask(mbpp_intro(r) + "\n".join(r["test_list"]) + "\n\n" + "\n".join([
        "Please enclose your code within delimiters as follows:", PY, "# YOUR CODE HERE", F3, "",
        ""]))


def mbpp_lm_eval_question(r):
    return mbpp_intro(r) + "%s\n%s\n%s\n" % tuple(r["test_list"][:3])


def mbpp_lm_eval(r):
    shots = [mbpp_lm_eval_question(e) + "[BEGIN]\n" + e["code"] + "\n[DONE]" for e in EXAMPLES]
    return text_with("\n\n".join(shots + [mbpp_lm_eval_question(r)]), "[BEGIN]\n")


def mbpp_instruct_question(r):
    return (EXPERT + "\n" + r["text"] + "\nYour code should pass these tests:\n"
            + "\n".join(r["test_list"][:3]))


def mbpp_instruct(r):
    messages = []
    for e in EXAMPLES:
        messages += [("user", mbpp_instruct_question(e)),
                     ("assistant", "\n" + PY + "\n" + e["code"] + "\n" + F3)]
    return chat_with(messages + [("user", mbpp_instruct_question(r))], "\n" + PY + "\n")


def mdblock_question(r):
    return (EXPERT + "\n" + r["prompt"] + "\nYour code should pass these tests:\n\n"
            + "\n".join(r["test_list"]) + "\n")


def mdblock_3shot(r):
    return Prompt(turns("mbpp_opencompass_mdblock_3shot", 3) + [("user", mdblock_question(r))])


def mdblock_0shot(r):
    return ask(mdblock_question(r) + " You should submit your final solution in the following "
               "format: " + PY + "\n\n" + F3)


def mbpp_bigcode(r):
    return text_with("", '"""\n' + r["text"] + "\n" + r["test_list"][0] + '\n"""\n')


def deepseek_problem(r):
    return (">>> Problem:\n" + r["text"].strip() + "\n>>> Test Cases:\n"
            + "\n".join(r["test_list"]) + "\n")


def mbpp_deepseek(r):
    examples = []
    for i, e in enumerate(EXAMPLES, 1):
        code = e["code"].replace("\r", "").replace("\t", "    ")
        examples.append("- Example %d:\n%s\n>>> Code:\n%s\n%s\n%s"
                        % (i, deepseek_problem(e), PY, code, F3))
    return ask("Please refer the given examples and generate a python function for my problem.\n"
               "Examples are listed as follows:\n" + "\n\n".join(examples)
               + "\n\nHere is my problem:\n" + deepseek_problem(r))


# ---- GSM8K -----------------------------------------------------------------------------------

def gsm8k_oc_question(r):
    return "Question: " + r["question"] + "\nLet's think step by step\nAnswer:"


def gsm8k_moe_question(r):
    return "Question: " + r["question"] + "\nPlease reason step by step\nAnswer:"


def gsm8k_oc(r):
    return Prompt(turns("gsm8k_opencompass_4shot", 4) + [("user", gsm8k_oc_question(r))])


def gsm8k_oc_0shot(r):
    return ask(gsm8k_oc_question(r))


def gsm8k_dinfer(question, is_one_turn):
    def build(r):
        shots = FEWSHOT["gsm8k_dinfer_4shot"]["shots"][:4]
        if is_one_turn:
            return ask("\n\n".join([question(s) + " " + s["answer"] for s in shots]
                                   + [question(r)]))
        messages = []
        for s in shots:
            messages += [("user", question(s)), ("assistant", s["answer"])]
        return Prompt(messages + [("user", question(r))])
    return build


def gsm8k_lm_eval(r):
    def question(e):
        return "Question: " + e["question"] + "\nAnswer:"
    return ask("\n\n".join([question(e) + " " + e["answer"] for e in TRAIN] + [question(r)]))


COT = FEWSHOT["gsm8k_cot_lm_eval_8shot"]["shots"][:8]


def gsm8k_cot(r):
    return ask("".join("Q: %s\nA: %s\n\n" % (s["question"], s["target"]) for s in COT)
               + "Q: %s\nA:" % r["question"])


def gsm8k_cot_0shot(r):
    return ask("Q: " + r["question"] + "\nA: Let's think step by step.")


# lm-eval's gsm8k-cot-llama.yaml has the same eight, with these last sentences.
LLAMA_NUMBERS = ["6", "5", "39", "8", "9", "29", "33", "8"]


def gsm8k_llama(r):
    def question(e):
        return ("Given the following problem, reason and give a final answer to the problem.\n"
                "Problem: " + e["question"] + "\nYour response should end with \"The final answer "
                "is [answer]\" where [answer] is the response to the problem.\n")
    messages = []
    for s, n in zip(COT, LLAMA_NUMBERS):
        old = "The answer is %s." % n
        assert s["target"].endswith(old)
        messages += [("user", question(s)),
                     ("assistant", s["target"][:-len(old)] + "The final answer is " + n)]
    return Prompt(messages + [("user", question(r))])


# ---- MATH500 ---------------------------------------------------------------------------------

def math_boxed(r):
    return ask(r["problem"] + "\nPlease reason step by step, and put your final answer within "
               "\\boxed{}.")


def math_simple(r):
    return ask("Solve the following math problem step by step. The last line of your response "
               "should be of the form Answer: $ANSWER (without quotes) where $ANSWER is the answer "
               "to the problem.\n\n" + r["problem"] + "\n\nRemember to put your answer on its own "
               'line after "Answer:", and you do not need to use a \\boxed command.')


def math_minerva(r):
    shots = FEWSHOT["minerva_math_lm_eval_4shot"]["shots"][:4]
    return ask("\n\n".join(["Problem:\n%s\n\nSolution: %s" % (s["problem"], s["solution"])
                            for s in shots] + ["Problem:\n%s\n\nSolution:" % r["problem"]]))


def math_oc_base(r):
    return ask(opencompass_text("math_opencompass_4shot", 4,
                                ["Problem:\n" + r["problem"] + "\nSolution:\n"]))


def math_complete(r):
    return ask("Problem: " + r["problem"] + "\nAnswer:")


# ---- the forms -------------------------------------------------------------------------------

LM_EVAL_PYTHON = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
BIGCODE = ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n" + F3, "<file_sep>"]
CODEEVAL = ["<|endoftext|>", "<|endofmask|>", "</s>", "<|EOT|>", F3]
EVALPLUS = ["<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(",
            "\n" + F3 + "\n"]
BIGCODE_MBPP = ["\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n" + F3]
LLAMA = ["<|eot_id|>", "<|start_header_id|>user<|end_header_id|>", "Q:", "</s>", "<|im_end|>"]

FULL_MBPP_FORMS = {
    "chat-oc-3shot": (mbpp_oc, 3, []),
    "chat-dinfer": (mbpp_dinfer, 0, []),
    "chat-lm-eval-3shot": (mbpp_instruct, 3, []),
    "chat-deepseek-3shot": (mbpp_deepseek, 3, []),
    "complete-oc-3shot": (mbpp_oc_base, 3, ["[DONE]"]),
    "complete-lm-eval-3shot": (mbpp_lm_eval, 3, ["[DONE]"]),
    "complete-bigcode": (mbpp_bigcode, 0, BIGCODE_MBPP),
}
SANITIZED_MBPP_FORMS = {
    "chat-dinfer": (mbpp_dinfer, 0, []),
    "chat-oc-3shot": (mbpp_oc, 3, []),
    "chat-mdblock-3shot": (mdblock_3shot, 3, []),
    "chat-mdblock-0shot": (mdblock_0shot, 0, []),
    "complete-oc-3shot": (mbpp_oc_base, 3, ["[DONE]"]),
}

# task: records, the id's key (None: number of the line), ids, forms. The ids have what may go
# wrong: non-ASCII text, quotes of the other kind, CRLF, set-up code, more tests than three, white
# space around texts, LaTeX braces.
TASKS = {
    "humaneval": (
        lines("HumanEval.jsonl.gz"), "task_id", ["HumanEval/0", "HumanEval/74", "HumanEval/163"], {
            "chat-oc": (he_oc, 0, []),
            "chat-simple-evals": (he_simple, 0, []),
            "chat-lm-eval": (he_lm_eval, 0, LM_EVAL_PYTHON + [F3]),
            "chat-evalplus": (he_evalplus, 0, EVALPLUS),
            "complete": (lambda r: ask(r["prompt"]), 0, LM_EVAL_PYTHON),
            "complete-bigcode": (lambda r: ask(r["prompt"].strip()), 0, BIGCODE),
            "complete-bigcode-unstripped": (lambda r: ask(r["prompt"]), 0, BIGCODE),
            "complete-codeeval-pro": (he_codeeval, 0, CODEEVAL),
        }),
    "humaneval_pro": (
        array("humaneval_pro.json"), "id", ["0", "29", "163"], {
            "chat-oc": (pro_oc, 0, []),
            "chat-codeeval-pro": (pro_api, 0, []),
            "complete": (pro_complete, 0, CODEEVAL),
            "complete-cot": (pro_cot, 0, CODEEVAL),
            "complete-1shot": (pro_1shot, 0, CODEEVAL),
        }),
    "mbpp": (MBPP, "task_id", ["11", "122", "367"], FULL_MBPP_FORMS),
    "mbpp_all": (MBPP, "task_id", ["1", "645", "974"], FULL_MBPP_FORMS),
    "mbpp_sanitized": (array("sanitized-mbpp.json"), "task_id", ["2", "82", "809"],
                       SANITIZED_MBPP_FORMS),
    "mbpp_sanitized_test": (array("sanitized-mbpp.json"), "task_id", ["11", "307", "479"],
                            SANITIZED_MBPP_FORMS),
    "gsm8k": (
        lines("gsm8k_test.jsonl"), None, ["0", "7", "1318"], {
            "chat-oc-4shot": (gsm8k_oc, 4, []),
            "chat-oc-0shot": (gsm8k_oc_0shot, 0, []),
            "chat-dinfer-moe-4shot": (gsm8k_dinfer(gsm8k_moe_question, False), 4, []),
            "chat-dinfer-moe-4shot-1turn": (gsm8k_dinfer(gsm8k_moe_question, True), 4, []),
            "chat-dinfer-llada-4shot": (gsm8k_dinfer(gsm8k_oc_question, False), 4, []),
            "chat-dinfer-llada-4shot-1turn": (gsm8k_dinfer(gsm8k_oc_question, True), 4, []),
            "chat-cot-llama-8shot": (gsm8k_llama, 8, LLAMA),
            "complete-lm-eval-5shot": (gsm8k_lm_eval, 5, ["Question:", "</s>", "<|im_end|>"]),
            "complete-cot-8shot": (gsm8k_cot, 8, ["Q:", "</s>", "<|im_end|>"]),
            "complete-cot-0shot": (gsm8k_cot_0shot, 0, ["Q:", "</s>", "<|im_end|>"]),
        }),
    "math500": (
        lines("math500.jsonl"), "unique_id",
        ["test/precalculus/807.json", "test/intermediate_algebra/1994.json",
         "test/geometry/615.json"], {
             "chat-boxed": (math_boxed, 0, []),
             "chat-simple-evals": (math_simple, 0, []),
             "complete-minerva-4shot": (math_minerva, 4, ["Problem:"]),
             "complete-oc-4shot": (math_oc_base, 4, ["Problem:"]),
             "complete": (math_complete, 0, ["Problem:"]),
         }),
}

forms = []
for task, (records, key, ids, by_name) in TASKS.items():
    for name, (build, n_shots, stops) in by_name.items():
        rows = []
        for record_id in ids:
            record, = [r for i, r in enumerate(records) if str(r[key] if key else i) == record_id]
            prompt = build(record)
            h, size = hashlib.sha256(), 0
            for role, text in prompt.messages:
                raw = text.encode("utf-8")
                h.update(role.encode() + b"\0" + raw + b"\0")
                size += len(raw)
            h.update(prompt.prefix.encode("utf-8") + b"\0")
            rows.append({"id": record_id, "messages": len(prompt.messages), "bytes": size,
                         "sha256": h.hexdigest()})
        head = json.dumps({"task": task, "form": name, "shots": n_shots, "stops": stops})
        forms.append(" " + head[:-1] + ', "items": [\n  '
                     + ",\n  ".join(json.dumps(r) for r in rows) + "]}")
print("[\n" + ",\n".join(forms) + "\n]")
