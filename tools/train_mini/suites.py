#!/usr/bin/env python3
"""Write tasks/mini/: the five mini suites, in the file formats of the real sets.

    python3 tools/train_mini/suites.py            # write
    python3 tools/train_mini/suites.py --check    # write nothing, say which files would change
    SUITES="gsm8k math500" python3 ...            # these only

A suite is 1000 items, each with a composition held out of training (reserve.py), no two with one
normal form; the quick set is the first 128, spread over depths like the whole. Skills are drawn
by a flatter law than in training, so that rare ones occur. Python's standard library only.
"""

import ast
import gzip
import hashlib
import io
import json
import os
import random
import resource
import sys

import code_items
import items

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tasks", "mini")
SEED = 20260
N_FULL, N_QUICK = 1000, 128
SKILL_EXPONENT = 0.8
# Items of each depth, in shares of the whole.
DEPTHS = {
    "humaneval": (3, 4, 3, 1, 1, 1),
    "humaneval_pro": (3, 4, 3, 1, 1, 0),
    "mbpp": (3, 4, 3, 1, 1, 1),
    "gsm8k": (3, 4, 3, 1, 1, 1),
    "math500": (3, 4, 3, 2, 1),
}
# Longer answers might not fit the generation budget of the task.
ANSWER_CHARS = {"humaneval": 380, "humaneval_pro": 400, "mbpp": 520, "gsm8k": 230, "math500": 330}


def mutants_fail(rng, choose, task, item):
    """Is a stub, and an answer with one line left out, caught by the item's tests, wherever it runs?"""
    record = item.record
    tests = {
        "humaneval": lambda: record["test"] + f"check({record['entry_point']})\n",
        "humaneval_pro": lambda: record["test_code"],
        "mbpp": lambda: "\n".join(record["test_list"]),
    }[task]()
    if not stubs_fail(tests):
        return False
    lines = item.code.rstrip("\n").split("\n")
    for i, line in enumerate(lines):
        name, _, expr = line.strip().partition(" = ")
        if len(name) != 1 or not expr or line.startswith("        "):
            continue
        for old in "nums text words table n rows a b x y z p q r items".split():
            if old in expr.replace("(", " ").replace(")", " ").replace("[", " ").replace(".", " ").split():
                mutant = lines[:i] + [line[: line.index("=") + 2] + old] + lines[i + 1 :]
                try:
                    code_items.run("\n".join(mutant) + "\n" + tests + "\ndef ok(): return 1\n", "ok", [()])
                    return False
                except (code_items.Rejected, AssertionError):
                    pass
                except Exception:  # a mutant may fail in any way
                    pass
                break
    return True


def stubs_fail(tests):
    """Do the tests ask for more than the first argument, or one value, given back?"""
    cases = [a.test for a in ast.walk(ast.parse(tests)) if isinstance(a, ast.Assert)]
    wanted = [ast.dump(c.comparators[0]) for c in cases]
    first = [ast.dump(c.left.args[0]) for c in cases]
    return len(set(wanted)) > 1 and wanted != first


def make(task):
    rng = random.Random(f"{SEED}:{task}")
    choose = code_items.make_chooser(SKILL_EXPONENT)
    shares = DEPTHS[task]
    seen, out = set(), []
    while len(out) < N_FULL:
        # The quick set is a prefix, so depths go round in a fixed order of the whole's shares.
        depth = schedule(shares)[len(out) % sum(shares)]
        item = items.draw(rng, choose, task, depth, "test")
        forms = items.forms(task, item)["normal"]
        if any(f in seen for f in forms) or len(item.answer) > ANSWER_CHARS[task]:
            continue
        if item.code and not mutants_fail(rng, choose, task, item):
            continue
        seen.update(forms)
        out.append(item)
    for i, item in enumerate(out):
        r = item.record
        if task == "humaneval":
            item.record = {"task_id": f"Mini/{i}"} | r
        elif task == "humaneval_pro":
            item.record = {"id": i} | r
        elif task == "mbpp":
            item.record = {"task_id": i + 1} | r
        elif task == "math500":
            item.record = r | {"unique_id": f"mini/{r['subject'].lower().replace(' ', '_')}/{i}.json"}
        if task != "math500":
            item.record["level"] = item.depth
            item.record["subject"] = items.rarity(item) or "word problem"
    return out


def schedule(shares):
    """Depths 1 .. n, each as often as its share, mixed evenly."""
    total = sum(shares)
    slots = [((k + 0.5) / n, d + 1) for d, n in enumerate(shares) for k in range(n)]
    return [d for _, d in sorted(slots)][:total]


def dump(task, records):
    if task == "humaneval_pro":
        return (json.dumps(records, indent=1, ensure_ascii=False) + "\n").encode()
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def compress(data):
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as f:
        f.write(data)
    return out.getvalue()


def files():
    """(name, bytes) of every file. The bytes behind gzip may differ between zlib builds."""
    for task in os.environ.get("SUITES", "").split() or items.TASKS:
        made = [i.record for i in make(task)]
        ext = "json" if task == "humaneval_pro" else "jsonl"
        yield f"{task}.{ext}", dump(task, made[:N_QUICK])
        yield f"{task}_full.{ext}.gz", compress(dump(task, made))


def main():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    is_check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not is_check:
        sys.exit(__doc__)
    os.makedirs(OUT, exist_ok=True)
    n_different = 0
    for name, data in files():
        path = os.path.join(OUT, name)
        try:
            with open(path, "rb") as f:
                old = f.read()
        except FileNotFoundError:
            old = None
        unpack = gzip.decompress if name.endswith(".gz") else bytes
        if old is not None and unpack(old) == unpack(data):
            continue
        n_different += 1
        if is_check:
            print(f"{path} is not what this script makes", file=sys.stderr)
            continue
        with open(path, "wb") as f:
            f.write(data)
        print(name, len(data), hashlib.sha256(data).hexdigest()[:12])
    sys.exit(1 if is_check and n_different else 0)


if __name__ == "__main__":
    main()
