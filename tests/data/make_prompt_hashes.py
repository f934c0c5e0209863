#!/usr/bin/env python3
"""Write prompt_hashes.json: what the prompts of some real items must be, byte for byte.

usage: make_prompt_hashes.py DATA_FOLDER > prompt_hashes.json

The templates are typed here a second time, from the harnesses that the forms are named after, so
that the program's table is held against something it did not make itself. A hash is SHA-256 over
each message's role, a NUL, its text and a NUL.
"""
import gzip
import hashlib
import json
import os
import sys

data = sys.argv[1]


def lines(name):
    path = os.path.join(data, name)
    with (gzip.open(path, "rt", encoding="utf-8") if name.endswith(".gz")
          else open(path, encoding="utf-8", newline="")) as f:
        return [json.loads(line) for line in f.read().split("\n") if line]


def array(name):
    with open(os.path.join(data, name), encoding="utf-8") as f:
        return json.load(f)


FENCE = "`" * 3
SHOTS = array("fewshot.json")


def shots(key, n):
    roles = {"HUMAN": "user", "BOT": "assistant"}
    return [(roles[t["role"]], t["text"]) for t in SHOTS[key]["turns"][:2 * n]]


def humaneval(r):
    return [("user", "Complete the following python code:\n" + r["prompt"])]


def humaneval_pro(r):
    return [("user", "\n".join([
        "You are an exceptionally intelligent coding assistant that consistently delivers accurate "
        "and reliable responses to user instructions.",
        "Write a solution of python file to the following problems, the solution of the second "
        "problem requires single or multiple calls to the first solution.",
        FENCE + "python",
        r["raw_problem"],
        r["new_problem"],
        FENCE,
        "Please put the two solutions within the Python code block provided below, and make sure "
        "that the block contains no other unrelated content:",
        FENCE + "python",
        FENCE,
        ""]))]


def mbpp_intro(text):
    return ("You are an expert Python programmer, and here is your task: %s Your code should pass "
            "these tests:\n\n" % text)


def mbpp_3shot(r):
    return shots("mbpp_opencompass_3shot", 3) + [
        ("user", mbpp_intro(r["text"]) + " " + "\n".join(r["test_list"]) + "  \n")]


def mbpp_dinfer(r):
    return [("user", mbpp_intro(r["prompt"]) + "\n".join(r["test_list"]) + "\n\n" + "\n".join([
        "Please enclose your code within delimiters as follows:",
        FENCE + "python",
        "# YOUR CODE HERE",
        FENCE,
        "",
        ""]))]


def gsm8k(r):
    return shots("gsm8k_opencompass_4shot", 4) + [
        ("user", "Question: " + r["question"] + "\nLet's think step by step\nAnswer:")]


def math500(r):
    return [("user", r["problem"] + "\nPlease reason step by step, and put your final answer "
             "within \\boxed{}.")]


def emit(task, form, records, key, build, ids):
    for record_id in ids:
        record, = [r for i, r in enumerate(records) if str(r[key] if key else i) == record_id]
        h, size, messages = hashlib.sha256(), 0, build(record)
        for role, text in messages:
            raw = text.encode("utf-8")
            h.update(role.encode() + b"\0" + raw + b"\0")
            size += len(raw)
        yield {"task": task, "form": form, "id": record_id, "messages": len(messages),
               "bytes": size, "sha256": h.hexdigest()}


rows = []
# ids with what may go wrong: non-ASCII text, quotes of the other kind, CRLF, set-up code
rows += emit("humaneval", "chat-oc", lines("HumanEval.jsonl.gz"), "task_id", humaneval,
             ["HumanEval/0", "HumanEval/74", "HumanEval/163"])
rows += emit("humaneval_pro", "chat-oc", array("humaneval_pro.json"), "id", humaneval_pro,
             ["0", "29", "163"])
rows += emit("mbpp", "chat-oc-3shot", lines("mbpp.jsonl"), "task_id", mbpp_3shot,
             ["11", "122", "367"])
rows += emit("mbpp_sanitized", "chat-dinfer", array("sanitized-mbpp.json"), "task_id", mbpp_dinfer,
             ["2", "82", "809"])
rows += emit("gsm8k", "chat-oc-4shot", lines("gsm8k_test.jsonl"), None, gsm8k, ["0", "7", "1318"])
rows += emit("math500", "chat-boxed", lines("math500.jsonl"), "unique_id", math500,
             ["test/precalculus/807.json", "test/intermediate_algebra/1994.json",
              "test/geometry/615.json"])
print("[\n" + ",\n".join(" " + json.dumps(r) for r in rows) + "\n]")
