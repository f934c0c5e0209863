#!/usr/bin/env python3
"""Write tests/vectors/decoder/*.json: which token a decoder commits at which step.

An independent statement of two decoding loops and four cache policies, over the made-up model of
tests/engine/fake_model.c, whose logits are hashes. Run from the repository root, no arguments.
tools/make_generation_vectors.py runs the same loops over a checkpoint.

Sources: low-confidence remasking, arXiv:2502.09992; threshold, dInfer (arXiv:2510.08666);
prefix and dual cache, Fast-dLLM (arXiv:2505.22618); vicinity refresh, dInfer.
"""
import json
import math
import pathlib
import struct

import make_pick_vectors

U64 = (1 << 64) - 1


def mix(h, x):  # one step of splitmix64 from the state h ^ x
    z = ((h ^ x) + 0x9E3779B97F4A7C15) & U64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & U64
    return z ^ z >> 31


def f32(x):
    return struct.unpack('f', struct.pack('f', x))[0]


def fold(seed, values):
    for v in values:
        seed = mix(seed, v)
    return seed


class Fake:
    """The model of tests/engine/fake_model.c for one canvas."""

    def __init__(self, c):
        self.c = c
        self.keys = [0] * (len(c['prompt']) + c['gen_length'])

    def forward(self, x, fresh, is_stored):
        """Run positions `fresh` of canvas x among the stored keys of the others; return a function
        from position to logits. is_stored: later forwards find the keys of this one."""
        ctx = fold(self.c['seed'], x)
        keys = [mix(ctx, i) if i in fresh else key for i, key in enumerate(self.keys)]
        seen = fold(self.c['seed'], keys)
        if is_stored:
            self.keys = keys
        return lambda pos: self.logits(seen, pos)

    def logits(self, seen, pos):
        c = self.c
        at = mix(seen, pos // 2 if c['is_twin'] else pos)
        bits = [mix(at, v) >> 40 for v in range(c['n_vocab'])]
        if c['levels']:
            bits = [(b * c['levels'] >> 24) * ((1 << 24) // c['levels']) for b in bits]
        row = [f32(b / (1 << 24) * c['scale']) for b in bits]
        if c['mask_every'] and mix(c['seed'], pos) % c['mask_every'] == 0:
            row[c['mask_id']] = c['scale']
        row[c['eos_id']] = c['scale'] if pos >= c['eos_from'] else 0.0
        return row


def propose(c, row, draw, pos):
    """(token, confidence, mask is best): the mask never wins; ties to the lower id. With a
    temperature the choice, not the confidence, is of the logits with noise."""
    def score(v):
        return row[v] + c['temperature'] * float(make_pick_vectors.noise(c['seed'], draw, pos, v))
    allowed = [v for v in range(len(row)) if v != c['mask_id']]
    token = max(allowed, key=lambda v: (score(v) if c.get('temperature') else row[v], -v))
    top = max(row)
    conf = f32(math.exp(row[token] - top) / sum(math.exp(x - top) for x in row))
    return token, conf, row.index(top) == c['mask_id']


def choose(c, cand, step, n_start, steps_per_block):
    """Positions to commit, from {position: proposal} of the masked ones."""
    ranked = sorted(cand, key=lambda i: (-cand[i][1], i))
    if c['decoder'] == 'low-confidence':
        return ranked[:n_start // steps_per_block + (step < n_start % steps_per_block)]
    ranked_free = [i for i in ranked if not cand[i][2]]
    if not ranked_free:
        return ranked[:1]
    best = cand[ranked_free[0]][1]
    thr = min(max(f32(best - f32(1e-5)), -1000.0), f32(c['threshold']))
    for i in ranked_free:  # a case must not hang on the last bit of exp()
        assert abs(cand[i][1] - thr) > 1e-6 or thr == 1, (c, cand[i])
    return [i for i in ranked_free if cand[i][1] >= thr]


def plan(c, block, step, n_forwards, n):
    """What goes through the model, and whether it fills the cache that later steps read."""
    whole, start, end = range(n), block[0], block[-1] + 1
    if c['cache'] == 'none' or (c['cache'] == 'vicinity' and n_forwards < c['cache_warmup']):
        return whole, False
    if step == 0 or (c['cache'] == 'vicinity' and n_forwards == c['cache_warmup']):
        return whole, True
    if c['cache'] == 'prefix':
        return range(start, n), False
    if c['cache'] == 'dual':
        return block, False
    return range(max(0, start - c['prefix_look']), min(n, end + c['after_look'])), False


def generate(c, model):
    prompt, gen, size = c['prompt'], c['gen_length'], c['block_length']
    x, when, forwards = prompt + [c['mask_id']] * gen, [-1] * gen, []
    for start in range(len(prompt), len(x), size):
        block, step = range(start, start + size), 0
        while any(x[i] == c['mask_id'] for i in block):
            fresh, is_stored = plan(c, block, step, len(forwards), len(x))
            logits = model.forward(x, fresh, is_stored)
            cand = {i: propose(c, logits(i), len(forwards), i) for i in block if x[i] == c['mask_id']}
            chosen = choose(c, cand, step, size, c['steps'] * size // gen)
            for i in chosen:
                x[i] = cand[i][0]
                when[i - len(prompt)] = len(forwards)
            forwards.append([len(fresh), len(chosen), int(is_stored)])
            step += 1
        if c['eos_early_stop'] and any(x[i] == c['eos_id'] for i in block):
            x[start + size:] = [c['eos_id']] * (len(x) - start - size)
            break
    return x[len(prompt):], when, forwards


BASE = dict(n_vocab=12, mask_id=11, eos_id=10, seed=1, scale=8.0, levels=0, is_twin=False,
            mask_every=0, eos_from=1000, prompt=[1, 2, 3, 4, 5], gen_length=24, block_length=8,
            steps=24, threshold=0.5, cache='none', prefix_look=3, after_look=2, cache_warmup=4,
            eos_early_stop=True)
CASES = {
    'low-confidence': [
        dict(name='one position a step'),
        dict(name='steps do not divide the block', steps=9),
        dict(name='one step a block', steps=3),
        dict(name='more steps than positions', steps=36, seed=7),
        dict(name='rows tie', is_twin=True, steps=9, seed=3),
        dict(name='tokens tie', levels=3, steps=12, seed=4),
        dict(name='the mask is preferred everywhere', mask_every=1, steps=6),
        dict(name='stop after the first block', eos_from=11, steps=12),
        dict(name='EOS, but no early stop', eos_from=11, steps=12, eos_early_stop=False),
        dict(name='EOS in the last block', eos_from=28, steps=12, seed=12),
        dict(name='dual cache', cache='dual', steps=12, seed=5),
        dict(name='prefix cache', cache='prefix', steps=12, seed=5),
        dict(name='prefix cache, no prompt', cache='prefix', steps=12, prompt=[]),
        dict(name='vicinity', cache='vicinity', steps=12, seed=5),
        dict(name='vicinity, warm-up into the second block', cache='vicinity', steps=12,
             cache_warmup=6),
        dict(name='vicinity, warm-up to the end of a block', cache='vicinity', steps=12,
             cache_warmup=8),
        dict(name='vicinity, warm-up over all', cache='vicinity', steps=12, cache_warmup=100),
        dict(name='no prompt', prompt=[], steps=12),
    ],
    'threshold': [
        dict(name='plain'),
        dict(name='nothing reaches it', threshold=1.0, seed=2),
        dict(name='everything reaches it', threshold=0.0, seed=2),
        dict(name='rows tie', is_twin=True, seed=3),
        dict(name='tokens tie', levels=3, seed=4),
        dict(name='some prefer the mask', mask_every=3, threshold=0.4, seed=9),
        dict(name='all prefer the mask', mask_every=1),
        dict(name='sharp', scale=24.0, threshold=0.9, seed=6),
        dict(name='stop after the first block', eos_from=11, threshold=0.3),
        dict(name='EOS, but no early stop', eos_from=11, threshold=0.3, eos_early_stop=False),
        dict(name='EOS in the last block', eos_from=28, seed=12),
        dict(name='dual cache', cache='dual', seed=5),
        dict(name='dual cache, one block', cache='dual', block_length=24, threshold=0.6),
        dict(name='prefix cache', cache='prefix', seed=5),
        dict(name='prefix cache, one block', cache='prefix', block_length=24, threshold=0.6),
        dict(name='prefix cache, early stop', cache='prefix', eos_from=16, threshold=0.3),
        dict(name='vicinity', cache='vicinity', seed=5),
        dict(name='vicinity, no warm-up', cache='vicinity', seed=5, cache_warmup=0),
        dict(name='vicinity, no neighbours', cache='vicinity', prefix_look=0, after_look=0),
        dict(name='vicinity, wider than the canvas', cache='vicinity', prefix_look=99,
             after_look=99),
        dict(name='vicinity, one block', cache='vicinity', block_length=24, threshold=0.6),
    ],
}

def write(name, cases, make_model):
    out = []
    for c in cases:
        c['tokens'], c['commit_step'], c['forwards'] = generate(c, make_model(c))
        out.append(json.dumps(c))
    path = pathlib.Path('tests/vectors/decoder') / name
    path.write_text('[\n' + ',\n'.join(out) + '\n]\n')


if __name__ == '__main__':
    for decoder, cases in CASES.items():
        write(decoder + '.json', [{**BASE, 'decoder': decoder, **c} for c in cases], Fake)
