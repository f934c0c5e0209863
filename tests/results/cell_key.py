#!/usr/bin/env python3
"""The cell key of tests/results/fixture.h's a_cell("vanilla"), computed apart from cell.c."""
import hashlib
import struct

TEXTS = [
    "desbench cell 2", "humaneval", "d" * 64, "chat-oc", "8" * 64, "safetensors", "2" * 64,
    "3" * 64, "4" * 64, "5" * 64, "vanilla", "threshold:threshold=0.95", "dual", "ref",
    "invariant", "", "", "256", "32", "1", struct.pack(">d", 0.0).hex(),
]
h = hashlib.sha256()
for text in TEXTS:
    h.update(struct.pack("<Q", len(text)) + text.encode())
print(h.hexdigest())
