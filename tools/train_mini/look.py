#!/usr/bin/env python3
"""Evaluate a trained model (NAME.bf16.pt) under the policies of the acceptance bars.

    python3 look.py FILE [--quick] [--texts FILE]
"""

import argparse
import json
import os

import tokenizers
import torch

import evaluate
import model as M
import stream
from decode import Policy


def load(path, device="cpu"):
    c = torch.load(path, map_location=device, weights_only=True)
    net = M.Mini(M.Shape(**c["shape"])).to(device)
    net.load_state_dict({k: v.float() for k, v in c["net"].items()})
    return net


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--n-max", type=int, default=None)
    ap.add_argument("--texts")
    ap.add_argument("--workers", type=int, default=12)
    ap.add_argument("--threshold", type=float, default=0.9)
    ap.add_argument("--only-vanilla", action="store_true")
    o = ap.parse_args()
    workers = evaluate.pool(o.workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = load(o.file, device)
    tok = tokenizers.Tokenizer.from_file(os.path.join(stream.HERE, "tokenizer.json"))
    out, stats = evaluate.run(net, tok, workers, is_full=not o.quick, n_max=o.n_max, threshold=o.threshold)
    evaluate.report(f"vanilla {o.threshold}", out, stats, True)
    if o.texts:
        with open(o.texts, "w") as f:
            for task, result in out.items():
                for i, (r, ok, text) in enumerate(result):
                    f.write(json.dumps({"task": task, "i": i, "level": r["level"], "subject": r["subject"], "ok": bool(ok), "text": text}) + "\n")
    for threshold in (0.9, 0.95, 0.98, 0.99):
        evaluate.report(f"vanilla {threshold}", *evaluate.run(net, tok, workers, n_max=min(128, o.n_max or 128), threshold=threshold))
    if o.only_vanilla:
        workers.terminate()
        return
    n_exp, n_max = net.shape.n_exp, min(128, o.n_max or 128)
    policies = [Policy("vanilla")] + [Policy("topk", k=k) for k in (4, 2, 1)]
    if n_exp > 16:
        policies += [Policy("random", n=n_exp * 3 // 8), Policy("random", n=n_exp // 2)]
    policies += [Policy("ablate", n=n_exp * 3 // 4, seed=s) for s in (1, 2)]
    for p in policies:
        name = p.name + (f" k={p.k}" if p.k else "") + (f" n={p.n}" if p.n else "")
        evaluate.report(name, *evaluate.run(net, tok, workers, policy=p, n_max=n_max, threshold=o.threshold))
    workers.terminate()


if __name__ == "__main__":
    main()
