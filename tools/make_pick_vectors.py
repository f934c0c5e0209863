#!/usr/bin/env python3
"""Write tests/vectors/pick.json: which token is proposed from a row of logits, and how sure.

An independent statement of the op `pick` (kernels/kernels.h) in decimal arithmetic of 50 digits.
Greedy, or sampled as LLaDA's generate.py does it (arXiv:2502.09992): the token with the largest
exp(logit) / (-ln u)^temperature, u uniform and a function of seed, draw, position and token
(kernels/gumbel.h). Or sampled as LLaDA2.x does it (kernels/filter.h): of the softmax of logits /
temperature that top-k and top-p leave, by an exponential race of the same uniform numbers, which is
how torch.multinomial() draws one. Run from the repository root, no arguments.

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
    if "n_levels" in c:
        bits = [b * c["n_levels"] >> 24 << 20 for b in bits]
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


def sample(c, row, position):
    """The same under top_k and top_p, 0 and 1: all."""
    l = logits(c, row)
    top = max(l)
    prob = {v: (D(x) / D(c["temperature"])).exp() for v, x in enumerate(l)}
    if c["top_k"]:
        least = sorted(l)[-min(c["top_k"], len(l))]
        prob = {v: p for v, p in prob.items() if l[v] >= least}
    total = sum(prob.values())
    prob = {v: p / total for v, p in prob.items()}
    if c["top_p"] < 1:
        before, left = D(0), {}
        for v in sorted(prob, key=lambda v: (-l[v], v)):
            assert not left or abs(before - D(c["top_p"])) > D("1e-9"), "a near cut"
            if left and before > D(c["top_p"]):
                break
            left[v] = prob[v]
            before += prob[v]
        prob = {v: p / before for v, p in left.items()}
    race = {v: -uniform(c["seed"], c["draw"], position, v).ln() / p for v, p in prob.items()
            if v not in (c["mask_id"], c["banned_id"])}
    if not race:
        best = min((v for v in range(len(l)) if v not in (c["mask_id"], c["banned_id"])),
                   key=lambda v: (-l[v], v))
        return [best, f"{D(0):.12e}", l.index(top) == c["mask_id"]]
    first, *others = sorted(race.values())
    assert not others or others[0] > first * (1 + D("1e-9")), "a near tie: take another seed"
    best = min(race, key=lambda v: race[v])
    return [best, f"{prob[best]:.12e}", l.index(top) == c["mask_id"]]


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
    dict(top_k=0, top_p=1.0, seed=21),
    dict(top_k=5, top_p=1.0, seed=22),
    dict(top_k=0, top_p=0.5, seed=23, temperature=0.7),
    dict(top_k=40, top_p=0.9, seed=24, temperature=1.5, logits_seed=8),
    dict(top_k=1, top_p=1.0, seed=25, logits_seed=9),
    dict(top_k=0, top_p=0.0, seed=26, logits_seed=10),
    dict(top_k=2000, top_p=0.999, seed=27, logits_seed=11, n_vocab=1009, temperature=3.0),
    dict(top_k=1, top_p=1.0, seed=28, logits_seed=6, n_vocab=3, mask_id=1, scale=1.0),
    dict(top_k=2, top_p=0.6, seed=29, logits_seed=6, n_vocab=3, mask_id=1, banned_id=0, scale=1.0),
    # 4 different logits, so that top-k and top-p cut through equals
    dict(top_k=100, top_p=1.0, seed=30, n_levels=4, scale=1.0),
    dict(top_k=0, top_p=0.65, seed=31, n_levels=4, scale=1.0, draw=3),
    dict(top_k=100, top_p=0.35, seed=32, n_levels=4, scale=1.0, temperature=0.8),
]

if __name__ == "__main__":
    out = []
    for case in CASES:
        c = {**BASE, **case}
        how = sample if "top_p" in c else pick
        c["picks"] = [how(c, row, p) for row, p in enumerate(c["positions"])]
        out.append(json.dumps(c))
    pathlib.Path("tests/vectors/pick.json").write_text("[\n" + ",\n".join(out) + "\n]\n")
