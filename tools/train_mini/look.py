#!/usr/bin/env python3
"""Evaluate a trained model (NAME.bf16.pt) under the policies of the acceptance bars.

    python3 look.py FILE [--quick] [--texts FILE]
"""

import argparse
import json
import os

import tokenizers
import torch

import block_decode
import block_model
import decode
import evaluate
import model
import stream
from decode import Policy


def load(path, device="cpu"):
    """The model, and how it decodes."""
    c = torch.load(path, map_location=device, weights_only=True)
    M, decoder = (block_model, block_decode.decode) if "n_group" in c["shape"] else (model, decode.decode)
    net = M.Mini(M.Shape(**c["shape"])).to(device)
    net.load_state_dict({k: v.float() for k, v in c["net"].items()})
    return net, decoder


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
    net, decoder = load(o.file, device)
    tok = tokenizers.Tokenizer.from_file(os.path.join(stream.HERE, "tokenizer.json"))

    def run(**changes):
        return evaluate.run(net, tok, workers, decoder=decoder, **{"threshold": o.threshold} | changes)

    out, stats = run(is_full=not o.quick, n_max=o.n_max)
    evaluate.report(f"vanilla {o.threshold}", out, stats, True)
    if o.texts:
        with open(o.texts, "w") as f:
            for task, result in out.items():
                for i, (r, ok, text) in enumerate(result):
                    f.write(json.dumps({"task": task, "i": i, "level": r["level"], "subject": r["subject"], "ok": bool(ok), "text": text}) + "\n")
    for threshold in (0.9, 0.95, 0.98, 0.99):
        evaluate.report(f"vanilla {threshold}", *run(n_max=min(128, o.n_max or 128), threshold=threshold))
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
        evaluate.report(name, *run(policy=p, n_max=n_max))
    workers.terminate()


if __name__ == "__main__":
    main()
