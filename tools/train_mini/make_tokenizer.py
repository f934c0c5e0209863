#!/usr/bin/env python3
"""Write tools/train_mini/tokenizer.json: byte-level BPE learned from a slice of the stream.

The layout, the pre-tokenizer and the special tokens are those of models/shapes (make_shapes.py);
digits stay single. Python's standard library only.
"""

import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import code_items
import items
import make_shapes
import stream

N_VOCAB = 800
PER_TASK = 600


def main():
    text = []
    choose = code_items.make_chooser(stream.SKILL_EXPONENT)
    for task in items.TASKS:
        rng = random.Random(f"tokenizer:{task}")
        for _ in range(PER_TASK):
            item = items.draw(rng, choose, task, stream.draw_depth(rng, task), "train")
            shown = items.prompt(task, item.record) + item.answer
            for special in make_shapes.SPECIALS:
                shown = shown.replace(special, "\n")
            text.append(shown)
    n = N_VOCAB - 256 - len(make_shapes.SPECIALS)
    merges = make_shapes.learn_merges("\n".join(text), n)
    assert len(merges) == n
    out = make_shapes.tokenizer(merges, range(256 + n, N_VOCAB))
    with open(os.path.join(HERE, "tokenizer.json"), "w") as f:
        f.write(json.dumps(out, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
