#!/usr/bin/env python3
"""Write tests/vectors/decoder/tiny-f32.json: what the checkpoint of tests/vectors/model generates.

The forward pass is the f64 one of make_model_vectors.py, the loops are those of
make_decoder_vectors.py. Run from the repository root, no arguments; needs what the former needs.

A case is refused if a choice in it may hang on f32 rounding: a near tie of experts, of tokens, of a
confidence with the threshold, or of two confidences.
"""
import pathlib

import numpy as np
import safetensors.numpy

import make_decoder_vectors as loops
import make_model_vectors as models
import make_pick_vectors as picks

FOLDER = pathlib.Path('tests/vectors/model/tiny-f32')
MARGIN = 1e-4  # relative; f32 forwards agree within about 1e-6


class Tiny:
    def __init__(self, c):
        self.c = c
        self.n_forwards = 0
        self.m = models.Direct(models.CONFIG, safetensors.numpy.load_file(FOLDER / 'model.safetensors'))

    def forward(self, x, fresh, is_stored):
        rows = np.array(fresh)
        stored = [a.copy() for a in self.m.keys], [a.copy() for a in self.m.values]
        logits = self.m.forward(np.array(x)[rows], rows, len(x))['logits']
        if not is_stored:
            self.m.keys, self.m.values = stored
        masked = [i for i in fresh if x[i] == self.c['mask_id']]
        draw, self.n_forwards = self.n_forwards, self.n_forwards + 1
        self.check(draw, {i: logits[i - fresh[0]] for i in masked})
        return lambda pos: [float(v) for v in logits[pos - fresh[0]]]

    def check(self, draw, rows):
        mask, heat = self.c['mask_id'], self.c['temperature']
        for pos, row in rows.items():
            top = np.sort(np.delete(row, mask))
            assert abs(row[mask] - top[-1]) > MARGIN
            if heat:
                noise = [float(picks.noise(self.c['seed'], draw, pos, v)) for v in range(len(row))]
                top = np.sort(np.delete(row + heat * np.array(noise), mask))
            assert top[-1] - top[-2] > MARGIN
        confs = sorted(loops.propose(self.c, list(r), draw, i)[1] for i, r in rows.items())
        for a, b in zip(confs, confs[1:]):
            assert b - a > MARGIN * b, (a, b)
        for a in confs:
            assert abs(a - self.c['threshold']) > MARGIN * a


BASE = dict(mask_id=models.MASK_ID, eos_id=256, decoder='threshold', gen_length=32,
            block_length=16, steps=32, threshold=0.03, cache='none', prefix_look=5, after_look=7,
            cache_warmup=3, temperature=0.0, seed=0,
            eos_early_stop=True)
CASES = [
    dict(name='threshold'),
    dict(name='threshold, dual cache', cache='dual'),
    dict(name='low-confidence, 5 steps a block', decoder='low-confidence', steps=10),
    dict(name='low-confidence, dual cache', decoder='low-confidence', steps=16, cache='dual'),
    dict(name='threshold, prefix cache', cache='prefix'),
    dict(name='threshold, vicinity', cache='vicinity'),
    dict(name='low-confidence, vicinity', decoder='low-confidence', steps=16, cache='vicinity'),
    dict(name='threshold, sampled', temperature=1.0, seed=5, threshold=0.01),
    dict(name='low-confidence, dual cache, sampled', decoder='low-confidence', steps=16, cache='dual',
         temperature=0.7, seed=(1 << 53) - 1),
    dict(name='threshold, one block', block_length=32, threshold=0.038),
]


def try_prompts(case):
    """The first of some prompts under which nothing is near a tie."""
    for seed in range(100):
        r = models.splitmix64(np.arange(12, dtype=np.uint64) + np.uint64(5000 + 100 * seed))
        c = {**BASE, **case, 'prompt': [int(v) for v in r % np.uint64(256)]}
        try:
            loops.generate(c, Tiny(c))
            return c
        except AssertionError:
            pass
    raise SystemExit(f"no prompt without near ties: {case['name']}")


if __name__ == '__main__':
    loops.write('tiny-f32.json', [try_prompts(c) for c in CASES], Tiny)
