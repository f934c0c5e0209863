"""The report of overlap between the stream and the suites, from the hashes that shards hold."""

import gzip
import hashlib
import os

import items
import stream


def hash64(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def suite_hashes():
    """SHA-256 of each full suite's text."""
    out = {}
    for task in items.TASKS:
        ext = "json" if task == "humaneval_pro" else "jsonl"
        with gzip.open(os.path.join(stream.MINI, f"{task}_full.{ext}.gz")) as f:
            out[task] = hashlib.sha256(f.read()).hexdigest()
    return out


def report(shards):
    """shards: for each, its number of items and {form: hashes}."""
    seen = {"exact": set(), "normal": set(), "skeleton": set()}
    n_items = 0
    for n, hashes in shards:
        n_items += n
        for k, s in seen.items():
            s.update(hashes[k])
    out = {"suites": suite_hashes(), "stream_items": n_items, "stream_forms": {k: len(s) for k, s in seen.items()}}
    for task, all_forms in stream.suite_forms().items():
        out[task] = {"items": len(all_forms)}
        for k in seen:
            out[task][k] = sum(any(hash64(x) in seen[k] for x in f[k]) for f in all_forms)
    return out
