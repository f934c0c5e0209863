#!/usr/bin/env python3
"""Write tests/vectors/pick.json: which token is proposed from a row of logits, and how sure.

An independent statement of the op `pick` (kernels/kernels.h) in decimal arithmetic of 50 digits.
Greedy, or sampled as LLaDA's generate.py does it (arXiv:2502.09992): the token with the largest
exp(logit) / (-ln u)^temperature, u uniform and a function of seed, draw, position and token
(kernels/gumbel.h). Run from the repository root, no arguments.

A case is refused if its choice may hang on f64 rounding.
"""
import decimal
import json
import pathlib
import struct

U64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
D = decimal.Decimal
decimal.getcontext().prec = 50


def splitmix64(state):
    """The value that splitmix64 (Steele, Lea, Flood 2014) gives in a state."""
    z = (state + GOLDEN) & U64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & U64
    return z ^ z >> 31


def uniform(seed, draw, position, token):
    """u in (0, 1) as (k + 1/2) / 2^52: exact."""
    key = splitmix64(splitmix64(splitmix64(seed) ^ draw) ^ position)
    return (D(splitmix64((key + token * GOLDEN) & U64) >> 12) + D("0.5")) / (1 << 52)


def noise(seed, draw, position, token):
    """Gumbel noise: a logit plus temperature times it is the logarithm of LLaDA's form."""
    return -(-uniform(seed, draw, position, token).ln()).ln()


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def logits(c, row):
    """Within -scale .. scale; of logits_seed, row and token."""
    bits = [splitmix64(splitmix64(c["logits_seed"] ^ row) ^ v) >> 40 for v in range(c["n_vocab"])]
    return [f32((b / (1 << 23) - 1) * c["scale"]) for b in bits]


def pick(c, row, position):
    l = logits(c, row)
    allowed = [v for v in range(len(l)) if v not in (c["mask_id"], c["banned_id"])]
    top = max(l)
    score = {v: D(l[v]) for v in allowed}
    if c["temperature"]:
        for v in allowed:
            score[v] += D(c["temperature"]) * noise(c["seed"], c["draw"], position, v)
    best = max(allowed, key=lambda v: (score[v], -v))
    if c["temperature"]:
        second = max(score[v] for v in allowed if v != best)
        assert score[best] - second > D("1e-9"), "a near tie: take another seed"
        # the form as upstream writes it
        u = {v: uniform(c["seed"], c["draw"], position, v) for v in allowed}
        form = {v: D(l[v]).exp() / (-u[v].ln()) ** D(c["temperature"]) for v in allowed}
        assert best == max(allowed, key=lambda v: form[v])
    prob = D(l[best]).exp() / sum(D(x).exp() for x in l)
    return [best, f"{prob:.12e}", l.index(top) == c["mask_id"]]


BASE = dict(logits_seed=1, n_vocab=300, scale=8.0, mask_id=299, banned_id=-1, temperature=1.0,
            seed=0, draw=0, positions=[0, 1, 2, 5, 64, 4095])
CASES = [
    dict(temperature=0.0),
    dict(temperature=0.0, banned_id=17, scale=1.0),
    dict(),
    dict(seed=1),
    dict(seed=(1 << 53) - 1, draw=1023),
    dict(draw=1),
    dict(temperature=0.3, logits_seed=2),
    dict(temperature=2.5, logits_seed=3, seed=77),
    dict(temperature=1.0, scale=1.0, mask_id=0, banned_id=299, logits_seed=4, seed=9),
    dict(temperature=0.7, scale=40.0, logits_seed=5, seed=12345678901),
    dict(temperature=1.0, scale=1.0, n_vocab=3, mask_id=1, logits_seed=6, seed=4),
    dict(temperature=100.0, logits_seed=7, seed=5, n_vocab=1009),
]

if __name__ == "__main__":
    out = []
    for case in CASES:
        c = {**BASE, **case}
        c["picks"] = [pick(c, row, p) for row, p in enumerate(c["positions"])]
        out.append(json.dumps(c))
    pathlib.Path("tests/vectors/pick.json").write_text("[\n" + ",\n".join(out) + "\n]\n")
