#!/usr/bin/env python3
"""Are prompts of the training stream the program's own bytes?

    python3 tools/train_mini/check_render.py PROGRAM

Runs the program for a few items of each mini suite on the tiny shape with random weights, reads
the prompts it stored, and compares them with items.prompt(). Exit code 1: they differ; 77: the
program cannot judge here.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile

import items
import stream

N = 3


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "r.sqlite")
        names = ",".join(f"mini-{t}" for t in items.TASKS)
        p = subprocess.run([program, "run", "-m", "tiny-llada-moe", "--load-format", "dummy", "-t", names, "-L", str(N),
                        "--gen-length", "32", "-o", path, "--progress", "never"],
                       check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if p.returncode == 3:
            sys.exit(77)
        rows = sqlite3.connect(path).execute("select prompt from sample").fetchall()
    got = sorted(r[0] for r in rows)
    want = sorted(items.prompt(t, r) for t in items.TASKS for r in stream.suite_records(t, False)[:N])
    if got != want:
        sys.exit(f"{len(set(want) - set(got))} of {len(want)} prompts differ from the program's")


if __name__ == "__main__":
    main()
