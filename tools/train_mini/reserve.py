"""Which compositions are held out of training.

Every item is a sequence of parts (skills, combinators, forms, story events). A pair of neighbours
is reserved if a hash of it says so, about one in eight; one depth is reserved whole. Training
items hold no reserved pair and have no reserved depth. Suite items hold at least one reserved
pair or have the reserved depth. So a suite item shares its parts with training, not their
composition, whatever names and constants it has.
"""

import functools
import hashlib

SEED = "desbench-mini-1"
ONE_IN = 8
MAX_DEPTH = {"humaneval": 6, "humaneval_pro": 6, "mbpp": 6, "gsm8k": 6, "math500": 5}
RESERVED_DEPTH = {"humaneval": 5, "humaneval_pro": 5, "mbpp": 5, "gsm8k": 5, "math500": 4}


@functools.lru_cache(maxsize=None)
def pair_is_reserved(a, b):
    h = hashlib.sha256(f"{SEED}:{a}>{b}".encode()).digest()
    return int.from_bytes(h[:8], "big") % ONE_IN == 0


def n_reserved(parts):
    return sum(pair_is_reserved(a, b) for a, b in zip(parts, parts[1:]))


def split_of(task, parts, depth):
    """'train', 'test', or None: a plain single part is nobody's test."""
    if n_reserved(parts) or depth == RESERVED_DEPTH[task]:
        return "test" if len(parts) > 1 else None
    return "train"
