#!/usr/bin/env python3
"""Write tests/vectors/decoder/tiny-f32.json and llada2.json: what checkpoints of tests/vectors/model
generate.

The forward pass of the former is the f64 one of make_model_vectors.py; of the latter it is stock
transformers' class Glm4MoeForCausalLM, f32, over all that a block sees and without any cache, which
must agree with the f64 formulas of make_llada2_vectors.py. The loops are those of
make_decoder_vectors.py. Run from the repository root, no arguments; needs what those two need.

A case is refused if a choice in it may hang on f32 rounding: a near tie of experts, of tokens, of a
confidence with the threshold, or of two confidences.
"""
import pathlib

import numpy as np
import safetensors.numpy

import make_decoder_vectors as loops
import make_llada2_vectors as llada2
import make_model_vectors as models
import make_pick_vectors as picks

FOLDER = pathlib.Path('tests/vectors/model/tiny-f32')
MARGIN = 5e-5  # relative; f32 forwards agree within about 1e-6


class Tiny:
    def __init__(self, c):
        self.c = c
        self.n_forwards = 0
        self.smooth_rows = {}
        self.m = models.Direct(models.CONFIG, safetensors.numpy.load_file(FOLDER / 'model.safetensors'))

    def forward(self, x, fresh, is_stored):
        rows = np.array(fresh)
        stored = [a.copy() for a in self.m.keys], [a.copy() for a in self.m.values]
        added = np.zeros((len(rows), models.CONFIG['hidden_size']))
        for i, row in self.smooth_rows.items():
            if x[i] == self.c['mask_id']:
                added[i - fresh[0]] = row
        logits = self.m.forward(np.array(x)[rows], rows, len(x), added)['logits']
        if not is_stored:
            self.m.keys, self.m.values = stored
        masked = [i for i in fresh if x[i] == self.c['mask_id']]
        draw, self.n_forwards = self.n_forwards, self.n_forwards + 1
        self.check(draw, {i: logits[i - fresh[0]] for i in masked})
        return lambda pos: [float(v) for v in logits[pos - fresh[0]]]

    def check(self, draw, rows):
        check(self.c, draw, rows)

    def smooth(self, share, rows):
        """Share of what is expected at positions, for the next forward: those of rows of logits."""
        self.smooth_rows = {}
        for i, row in rows.items():
            p = np.exp(np.array(row) - max(row))
            self.smooth_rows[i] = share * (p / p.sum()) @ self.m.w['model.embed_tokens.weight']


def check(c, draw, rows):
    """Nothing that rows of logits decide may hang on rounding."""
    mask, heat = c['mask_id'], c['temperature']
    for pos, row in rows.items():
        top = np.sort(np.delete(row, mask))
        assert abs(row[mask] - top[-1]) > MARGIN
        if 'top_p' in c:
            assert loops.sample(c, list(row), draw, pos)[2] > MARGIN
            continue
        if heat:
            noise = [float(picks.noise(c['seed'], draw, pos, v)) for v in range(len(row))]
            top = np.sort(np.delete(row + heat * np.array(noise), mask))
        assert top[-1] - top[-2] > MARGIN
    confs = sorted(loops.propose(c, list(r), draw, i)[1] for i, r in rows.items())
    for a, b in zip(confs, confs[1:]):
        assert b - a > MARGIN * b or a == b == 1, (a, b)  # alone left: exactly
    for a in confs:
        for bound in (c['threshold'], c.get('low_threshold', 0), c.get('edit_threshold', 0)):
            assert abs(a - bound) > MARGIN * a


class Stock:
    """usual-bf16 by stock transformers, whole and anew each time."""
    opened = None

    def __init__(self, c):
        self.c = c
        self.n_forwards = 0
        if not Stock.opened:
            shapes = dict(llada2.tensor_shapes(llada2.USUAL))
            weights = {n: models.to_bf16(llada2.dummy(n, s, 1)) for n, s in shapes.items()}
            Stock.opened = llada2.open_stock(llada2.USUAL, weights), llada2.Direct(llada2.USUAL, weights)

    def forward(self, x, fresh, is_stored):
        llada2.BLOCK = self.c['block_length']
        ids = np.array(x[:fresh[-1] + 1])
        stock, direct = Stock.opened
        logits = llada2.run_stock(stock, ids)['logits']
        want = direct.forward(ids)['logits']
        assert np.abs(logits - want).max() < 1e-4 * np.abs(want).max()
        own = [i for i in fresh if i >= len(self.c['prompt'])][-llada2.BLOCK:]
        seen = own if self.c['decoder'] == 'edit' else [i for i in own if x[i] == self.c['mask_id']]
        check(self.c, self.n_forwards, {i: logits[i] for i in seen})
        self.n_forwards += 1
        return lambda pos: [float(v) for v in logits[pos]]


BASE = dict(mask_id=models.MASK_ID, eos_id=256, decoder='threshold', gen_length=32,
            block_length=16, steps=32, threshold=0.03, cache='none', prefix_look=5, after_look=7,
            cache_warmup=3, temperature=0.0, seed=0,
            eos_early_stop=True)
CREDIT = dict(credit_alpha=0.7, credit_decay=0.8, credit_boost=0.2)
SMOOTH = dict(smoothing=0.3, smoothing_init=0.15, smoothing_growth=0.02, smoothing_decay=0.3)
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
    dict(SMOOTH, name='threshold, smoothing'),
    dict(SMOOTH, name='threshold, smoothing, dual cache', cache='dual'),
    dict(SMOOTH, name='threshold, smoothing, prefix cache', cache='prefix', smoothing=1.0, smoothing_growth=0.2),
    dict(SMOOTH, name='low-confidence, smoothing', decoder='low-confidence', steps=10),
    dict(SMOOTH, name='hierarchy, smoothing, vicinity', decoder='hierarchy', cache='vicinity', low_threshold=0.02),
    dict(SMOOTH, name='credit, smoothing', decoder='credit', **CREDIT),
    dict(SMOOTH, name='credit, smoothing, dual cache', decoder='credit', cache='dual', smoothing_decay=0.15, **CREDIT),
    dict(SMOOTH, name='threshold, smoothing of less than it begins with', smoothing=0.1),
    dict(SMOOTH, name='threshold, smoothing, always the same share', smoothing_growth=0.0, smoothing_decay=1.0),
    dict(SMOOTH, name='threshold, smoothing, a threshold that stays at one', smoothing_decay=0.0, block_length=8),
    dict(SMOOTH, name='factor, smoothing, prefix cache', decoder='factor', cache='prefix', factor=3.0),
]


LLADA2 = dict(BASE, mask_block=32, gen_length=32, block_length=32, steps=32, cache='block', threshold=0.05,
              n_prompt=12)
SAMPLE = dict(temperature=1.0, seed=11, top_k=0, top_p=1.0, role_end_id=260)
LLADA2_CASES = [
    dict(decoder='block-diffusion', name='block-diffusion'),
    dict(decoder='block-diffusion', name='block-diffusion, a prompt of one', n_prompt=1),
    dict(decoder='block-diffusion', name='block-diffusion, a prompt of 31', n_prompt=31),
    dict(decoder='block-diffusion', name='block-diffusion, a prompt of 32', n_prompt=32),
    dict(decoder='block-diffusion', name='block-diffusion, a prompt of 33', n_prompt=33),
    dict(decoder='block-diffusion', name='block-diffusion, 7 steps', steps=7, n_prompt=20),
    dict(decoder='block-diffusion', name='block-diffusion, blocks of 16', block_length=16, steps=16),
    dict(decoder='edit', name='edit', edit_threshold=0.07, max_post_steps=16),
    dict(decoder='edit', name='edit, a prompt of 33', edit_threshold=0.07, max_post_steps=16, n_prompt=33),
    dict(decoder='edit', name='edit, cut short', edit_threshold=0.05, max_post_steps=2, n_prompt=40),
    dict(decoder='threshold', name='threshold', n_prompt=33),
    dict(SAMPLE, decoder='block-diffusion', name='block-diffusion, sampled', threshold=0.015),
    dict(SAMPLE, decoder='block-diffusion', name='block-diffusion, sampled of five', temperature=0.8, top_k=5,
         threshold=0.3, seed=(1 << 53) - 1, n_prompt=31),
    dict(SAMPLE, decoder='block-diffusion', name='block-diffusion, sampled by top-p', temperature=0.6, top_p=0.5,
         threshold=0.1, n_prompt=40),
    dict(SAMPLE, decoder='block-diffusion', name='block-diffusion, sampled by both, 7 steps', temperature=1.3,
         top_k=20, top_p=0.7, threshold=0.15, steps=7),
    dict(SAMPLE, decoder='edit', name='edit, sampled', temperature=0.5, top_k=4, top_p=0.9, threshold=0.4,
         edit_threshold=0.6, max_post_steps=4),
]


def try_prompts(case, base=BASE, model=Tiny):
    """The first of some prompts under which nothing is near a tie."""
    n = {**base, **case}.get('n_prompt', 12)
    for seed in range(400):
        r = models.splitmix64(np.arange(n, dtype=np.uint64) + np.uint64(5000 + 100 * seed))
        c = {**base, **case, 'prompt': [int(v) for v in r % np.uint64(256)]}
        try:
            loops.generate(c, model(c))
            return c
        except AssertionError:
            pass
    raise SystemExit(f"no prompt without near ties: {case['name']}")


if __name__ == '__main__':
    loops.write('tiny-f32.json', [try_prompts(c) for c in CASES], Tiny)
    loops.write('llada2.json', [try_prompts(c, LLADA2, Stock) for c in LLADA2_CASES], Stock)
