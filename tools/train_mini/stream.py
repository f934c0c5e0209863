"""The training stream: items without reserved compositions, tokenised.

A shard is a seed: its items depend on it and the code here alone. Skills follow Zipf's law with
SKILL_EXPONENT; depths and tasks have fixed shares. An item that has a normal form in common with
a suite is left out (there are a few: two skills may have the same code), and what is left is
checked again by overlap.py.
"""

import functools
import gzip
import json
import os
import random
import resource

import code_items
import items
import reserve

HERE = os.path.dirname(os.path.abspath(__file__))
MINI = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tasks", "mini")
SEED = "stream-1"
SKILL_EXPONENT = 1.1
TASK_SHARES = {"humaneval": 4, "humaneval_pro": 6, "mbpp": 3, "gsm8k": 8, "math500": 7}
DEPTH_SHARES = {
    "humaneval": (3, 4, 3, 2, 0, 1),
    "humaneval_pro": (3, 4, 3, 1, 0, 0),
    "mbpp": (3, 4, 3, 2, 0, 1),
    "gsm8k": (2, 3, 3, 3, 0, 2),
    "math500": (3, 3, 3, 0, 2),
}
SHARD_ITEMS = 2000


def draw_depth(rng, task):
    shares = DEPTH_SHARES[task]
    return rng.choices(range(1, len(shares) + 1), shares)[0]


def suite_records(task, is_full=True):
    ext = "json" if task == "humaneval_pro" else "jsonl"
    if is_full:
        with gzip.open(os.path.join(MINI, f"{task}_full.{ext}.gz"), "rt") as f:
            text = f.read()
    else:
        with open(os.path.join(MINI, f"{task}.{ext}")) as f:
            text = f.read()
    return json.loads(text) if ext == "json" else [json.loads(x) for x in text.splitlines()]


def record_code(task, r):
    """The reference program of a suite's record; None if it is no code task."""
    if task == "humaneval":
        return r["prompt"] + r["canonical_solution"]
    if task == "humaneval_pro":
        return r["raw_problem"] + r["raw_solution"] + r["new_problem"] + r["new_solution"]
    return r.get("code")


def answer_code(task, r):
    """The same as answers of the stream write it: no docstring, imports in front."""
    if task == "mbpp":
        return r["code"]
    if task == "humaneval":
        pieces = [(r["prompt"], r["canonical_solution"])]
    elif task == "humaneval_pro":
        pieces = [(r["raw_problem"], r["raw_solution"]), (r["new_problem"], r["new_solution"])]
    else:
        return None
    code = ""
    for problem, solution in pieces:
        head = next(x for x in problem.split("\n") if x.startswith("def "))
        body = [x for x in solution.split("\n") if not x.startswith("    import ")]
        code += "\n".join([head, *body])
    return code_items.imports_of(code) + code


def suite_forms():
    """Per task and record, the forms of items.forms()."""
    out = {}
    for task in items.TASKS:
        out[task] = [
            items.forms(task, code_items.Item(r, None, None, None, answer_code(task, r)))
            for r in suite_records(task)
        ]
    return out


@functools.cache
def held_out():
    """Normal forms of all that is in a suite. Takes seconds, so it is kept: call it before forking."""
    return frozenset(x for forms in suite_forms().values() for f in forms for x in f["normal"])


def limit_memory():
    """References may ask for a lot of it before they are rejected."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


def shard(seed, n_items=SHARD_ITEMS, task=None):
    """Yield (task, item) of one shard of the stream."""
    rng = random.Random(f"{SEED}:{seed}")
    choose = code_items.make_chooser(SKILL_EXPONENT)
    n = 0
    while n < n_items:
        t = task or rng.choices(list(TASK_SHARES), TASK_SHARES.values())[0]
        item = items.draw(rng, choose, t, draw_depth(rng, t), "train")
        if any(f in held_out() for f in items.forms(t, item)["normal"]):
            continue
        assert reserve.n_reserved(item.parts) == 0
        n += 1
        yield t, item
