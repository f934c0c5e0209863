#!/usr/bin/env python3
"""Write the training stream as shards: tokens, lengths, and hashes of its normal forms.

    python3 make_shards.py DIR N_SHARDS N_WORKERS

A shard is DIR/shard-NNNNN.npz, written whole or not at all; those that are there are kept. At the
end overlap with the suites is counted over the whole stream and written to DIR/overlap.json.
"""

import json
import multiprocessing
import os
import sys

import numpy
import tokenizers

import evaluate
import items
import make_report
import stream
from make_report import hash64


def make(job):
    path, seed = job
    if os.path.exists(path):
        return
    tok = tokenizers.Tokenizer.from_file(os.path.join(stream.HERE, "tokenizer.json"))
    tokens, lens, tasks = [], [], []
    hashes = {"exact": set(), "normal": set(), "skeleton": set()}
    for task, item in stream.shard(seed):
        p = tok.encode(items.prompt(task, item.record)).ids
        a = tok.encode(item.answer).ids
        if len(a) + 1 > evaluate.GEN_LENGTH[task] or len(p) > 450:
            continue
        tokens += p + a
        lens.append((len(p), len(a)))
        tasks.append(items.TASKS.index(task))
        for kind, texts in items.forms(task, item).items():
            hashes[kind].update(map(hash64, texts))
    temporary = f"{path}.{os.getpid()}.tmp.npz"
    numpy.savez(
        temporary,
        tokens=numpy.array(tokens, numpy.uint16),
        lens=numpy.array(lens, numpy.int32),
        tasks=numpy.array(tasks, numpy.uint8),
        **{k: numpy.array(sorted(v), numpy.uint64) for k, v in hashes.items()},
    )
    os.rename(temporary, path)


def overlap(folder, n_shards):
    def shards():
        for i in range(n_shards):
            with numpy.load(os.path.join(folder, f"shard-{i:05d}.npz")) as z:
                yield len(z["tasks"]), {k: z[k].tolist() for k in ("exact", "normal", "skeleton")}

    return make_report.report(shards())


def main():
    folder, n_shards, n_workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.makedirs(folder, exist_ok=True)
    jobs = [(os.path.join(folder, f"shard-{i:05d}.npz"), i) for i in range(n_shards)]
    stream.held_out()
    with multiprocessing.Pool(n_workers, stream.limit_memory) as p:
        for _ in p.imap_unordered(make, jobs):
            pass
    report = overlap(folder, n_shards)
    with open(os.path.join(folder, "overlap.json"), "w") as f:
        json.dump(report, f, indent=1)
    print("overlap", json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
