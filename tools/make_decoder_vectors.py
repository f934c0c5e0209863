#!/usr/bin/env python3
"""Write tests/vectors/decoder/*.json: which token a decoder commits at which step.

An independent statement of the decoding loops and cache policies, over the made-up model of
tests/engine/fake_model.c, whose logits are hashes. Run from the repository root, no arguments.
tools/make_generation_vectors.py runs the same loops over a checkpoint.

Sources: low-confidence remasking, arXiv:2502.09992; threshold, hierarchy and credit, dInfer
(arXiv:2510.08666); factor, prefix and dual cache, Fast-dLLM (arXiv:2505.22618); vicinity refresh,
dInfer; block diffusion and its cache, LLaDA2.0; edit, LLaDA2.1.
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


def grid(c):
    """The blocks' length where they lie on its multiples, else 0."""
    return c['block_length'] if c.get('mask_block') or c['decoder'] in ('block-diffusion', 'edit') else 0


def layout(c):
    """Where the first block begins, and the length of the canvas."""
    n, b = len(c['prompt']), grid(c)
    if not b:
        return n, n + c['gen_length']
    return n // b * b, -(-(n + c['gen_length']) // b) * b


class Fake:
    """The model of tests/engine/fake_model.c for one canvas."""

    def __init__(self, c):
        self.c = c
        self.keys = [0] * layout(c)[1]
        self.ids = [0] * layout(c)[1]

    def seen(self, values, pos):
        """Hash of what position pos sees of values."""
        b = self.c['block_length'] if self.c.get('mask_block') else len(values)
        return fold(self.c['seed'], values[:(pos // b + 1) * b])

    def forward(self, x, fresh, is_stored):
        """Run positions `fresh` of canvas x among the stored keys of the others; return a function
        from position to logits. is_stored: later forwards find the keys of this one."""
        ids = [x[i] if i in fresh else token for i, token in enumerate(self.ids)]
        if not self.c.get('mask_block'):
            ids = x
        keys = [mix(self.seen(ids, i), i) if i in fresh else key for i, key in enumerate(self.keys)]
        if is_stored:
            self.keys, self.ids = keys, ids
        return lambda pos: self.logits(self.seen(keys, pos), pos)

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


def sample(c, row, draw, pos):
    """What LLaDA2.x draws, and at what probability: of the softmax of row / temperature that top-k
    and top-p leave, by an exponential race. Also how far from a tie it was, relatively."""
    n, margin = len(row), 1.0
    weight = {v: math.exp((row[v] - max(row)) / c['temperature']) for v in range(n)}
    if 0 < c['top_k'] < n:
        ranked = sorted(row, reverse=True)
        weight = {v: w for v, w in weight.items() if row[v] >= ranked[c['top_k'] - 1]}
        margin = ranked[c['top_k'] - 1] - ranked[c['top_k']]
    total, before, left = sum(weight.values()), 0.0, {}
    for v in sorted(weight, key=lambda v: (-row[v], v)):
        if left and c['top_p'] < 1:
            margin = min(margin, abs(before / total - c['top_p']))
            if before / total > c['top_p']:
                margin = min(margin, min(row[t] for t in left) - row[v])
                break
        left[v] = weight[v]
        before += weight[v]
    race = {}
    for v, w in left.items():
        u = float(make_pick_vectors.uniform(c['seed'], draw, pos, v))
        race[v] = -math.log(u) * before / w
    race.pop(c['mask_id'], None)
    if not race:
        return max((v for v in range(n) if v != c['mask_id']), key=lambda v: (row[v], -v)), 0.0, margin
    first, *others = sorted(race.values())
    margin = min([margin] + [o / first - 1 for o in others[:1]])
    token = min(race, key=race.get)
    return token, f32(left[token] / before), margin


def propose(c, row, draw, pos):
    """(token, confidence, mask is best): the mask never wins; ties to the lower id. With a
    temperature the choice, not the confidence, is of the logits with noise; but see sample()."""
    if c.get('temperature') and 'top_p' in c:
        return (*sample(c, row, draw, pos)[:2], row.index(max(row)) == c['mask_id'])

    def score(v):
        return row[v] + c['temperature'] * float(make_pick_vectors.noise(c['seed'], draw, pos, v))
    allowed = [v for v in range(len(row)) if v != c['mask_id']]
    token = max(allowed, key=lambda v: (score(v) if c.get('temperature') else row[v], -v))
    top = max(row)
    conf = f32(math.exp(row[token] - top) / sum(math.exp(x - top) for x in row))
    return token, conf, row.index(top) == c['mask_id']


def far(c, conf, bound):
    """A case must not hang on the last bit of exp()."""
    assert abs(conf - bound) > 1e-6 or bound == 1, (c, conf, bound)
    return bound


def choose(c, cand, step, n_start, steps_per_block):
    """Positions to commit, from {position: proposal} of the masked ones."""
    ranked = sorted(cand, key=lambda i: (-cand[i][1], i))
    conf = {i: cand[i][1] for i in cand}
    if c['decoder'] == 'low-confidence':
        return ranked[:n_start // steps_per_block + (step < n_start % steps_per_block)]
    if c['decoder'] == 'factor':
        for m, i in enumerate(ranked):
            if m and conf[i] < far(c, conf[i], 1 - c['factor'] / (m + 2)):
                break
        return ranked[:m + 1 if m in (0, len(ranked) - 1) else m]
    if c['decoder'] == 'hierarchy':
        runs = []
        for i in sorted(cand):
            if runs and runs[-1][-1] == i - 1:
                runs[-1].append(i)
            else:
                runs.append([i])
        tops = [i for run in runs for i in run
                if conf[i] == max(conf[j] for j in run) and conf[i] > far(c, conf[i], f32(c['low_threshold']))]
        sure = [i for i in cand if conf[i] > far(c, conf[i], f32(c['threshold']))]
        return sorted({ranked[0], *tops, *sure})
    if c['decoder'] in ('block-diffusion', 'edit'):
        n, k = c['block_length'], c['steps'] if c['decoder'] == 'block-diffusion' else c['block_length']
        want = n // k + (step < n % k) if c['decoder'] == 'block-diffusion' else 1
        sure = [i for i in ranked if conf[i] > far(c, conf[i], f32(c['threshold']))]
        return sure if len(sure) >= max(want, 1) else ranked[:max(want, 1)]
    ranked_free = [i for i in ranked if not cand[i][2]]
    if not ranked_free:
        return ranked[:1]
    best = cand[ranked_free[0]][1]
    thr = min(max(f32(best - f32(1e-5)), -1000.0), f32(c['threshold']))
    for i in ranked_free:
        far(c, conf[i], thr)
    return [i for i in ranked_free if conf[i] >= thr]


def plan(c, block, step, n_forwards, n, n_final):
    """What goes through the model, and whether it fills the cache that later steps read."""
    start, end = block[0], block[-1] + 1
    n = end if c.get('mask_block') else n
    whole = range(n)
    if c['cache'] == 'none' or (c['cache'] == 'vicinity' and n_forwards < c['cache_warmup']):
        return whole, False
    if c['cache'] == 'block':
        return range(n_final, end), n_final < start
    if step == 0 or (c['cache'] == 'vicinity' and n_forwards == c['cache_warmup']):
        return whole, True
    if c['cache'] == 'prefix':
        return range(start, n), False
    if c['cache'] == 'dual':
        return block, False
    return range(max(0, start - c['prefix_look']), min(n, end + c['after_look'])), False


def raise_rows(c, rows, credit):
    """Credit of earlier forwards fades, each row's best token gets some; logits rise by it. credit:
    position to {token: value}, changed."""
    out = {}
    for i, row in rows.items():
        mine = credit.setdefault(i, {})
        for v in mine:
            mine[v] = f32(mine[v] * c['credit_decay'])
        token, p, _ = propose({**c, 'temperature': 0}, row, 0, i)
        mine[token] = f32(mine.get(token, 0.0) + f32(p ** c['credit_boost']))
        out[i] = [f32(l + f32(c['credit_alpha'] * math.log1p(mine[v]))) if v in mine else l
                  for v, l in enumerate(row)]
    return out


def ends(c):
    """Tokens that end an answer."""
    return c['eos_id'], c.get('role_end_id', c['eos_id'])


def is_over(c, x, block):
    """Is no mask left before the first EOS of the answer's part of a block?"""
    for i in block:
        if i >= len(c['prompt']) and x[i] in (c['mask_id'], *ends(c)):
            return x[i] != c['mask_id']
    return False


def denoise(c, model, x, block, n_done, n_final, log):
    """Complete a block; returns from where on keys are not of the last tokens, and whether the
    answer is over. log(forward, {position: token}) hears of what changes."""
    prompt, size, step, post, credit = len(c['prompt']), len(block), 0, 0, {}
    own = [i for i in block if i >= prompt]
    while True:
        masked = [i for i in own if x[i] == c['mask_id']]
        if not masked:
            post += 1
            if c['decoder'] != 'edit' or post > c['max_post_steps']:
                return block[0], False
        fresh, is_refresh = plan(c, block, step, n_done + step, len(x), n_final)
        logits = model.forward(x, fresh, is_refresh or c['cache'] == 'block')
        rows = {i: logits(i) for i in masked}
        if c['decoder'] == 'credit':
            rows = raise_rows(c, rows, credit)
        cand = {i: propose(c, rows[i], n_done + step, i) for i in masked}
        now = c
        if c.get('smoothing'):
            now = {**c, 'threshold': max(1 - c['smoothing_decay'] * (n_done + step), c['threshold'])}
        chosen = choose(now, cand, step, len(own), c['steps'] * size // c['gen_length']) if masked else []
        change = {i: cand[i][0] for i in chosen}
        edits = {}
        if c['decoder'] == 'edit':
            for i in own:
                if x[i] != c['mask_id']:
                    token, conf, _ = propose(c, logits(i), n_done + step, i)
                    if token != x[i] and conf > far(c, conf, f32(c['edit_threshold'])):
                        edits[i] = token
        for i, token in {**change, **edits}.items():
            x[i] = token
        if c.get('smoothing'):
            share = min(c['smoothing_init'] + c['smoothing_growth'] * (n_done + step), c['smoothing'])
            model.smooth(share, {i: logits(i) for i in masked if i not in change})
        log([len(fresh), len(chosen), int(is_refresh)] + ([len(edits)] if c['decoder'] == 'edit' else []),
            {**change, **edits})
        n_final = block[0]
        step += 1
        if not masked and not edits:
            return block[-1] + 1, False
        if c['decoder'] == 'block-diffusion' and c['eos_early_stop'] and is_over(c, x, block):
            return n_final, True


def generate(c, model):
    prompt, gen, size = c['prompt'], c['gen_length'], c['block_length']
    first, n = layout(c)
    x, when, forwards = prompt + [c['mask_id']] * (n - len(prompt)), [-1] * (n - len(prompt)), []

    def log(forward, change):
        for i in change:
            when[i - len(prompt)] = len(forwards)
        forwards.append(forward)

    n_final = 0
    for start in range(first, n, size):
        block = range(start, start + size)
        n_final, is_cut = denoise(c, model, x, block, len(forwards), n_final, log)
        if is_cut or (c['eos_early_stop'] and any(x[i] in ends(c) for i in block if i >= len(prompt))):
            x[start:] = [c['eos_id'] if t == c['mask_id'] and i >= len(prompt) or i >= start + size else t
                         for i, t in enumerate(x[start:], start)]
            break
    return x[len(prompt):][:gen], when[:gen], forwards


BASE = dict(n_vocab=12, mask_id=11, eos_id=10, seed=1, scale=8.0, levels=0, is_twin=False,
            mask_every=0, eos_from=1000, prompt=[1, 2, 3, 4, 5], gen_length=24, block_length=8,
            steps=24, threshold=0.5, cache='none', prefix_look=3, after_look=2, cache_warmup=4,
            eos_early_stop=True)
CAUSAL = dict(mask_block=8, cache='block')
MORE = {'credit': dict(credit_alpha=0.7, credit_decay=0.8, credit_boost=0.2, threshold=0.6),
        'edit': dict(edit_threshold=0.4, max_post_steps=16)}
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
        dict(name='block-causal', mask_block=8, seed=5),
        dict(CAUSAL, name='block cache', seed=5),
        dict(CAUSAL, name='block cache, smaller blocks than trained with', block_length=4, seed=5),
        dict(name='block-causal, dual cache', mask_block=8, cache='dual', seed=5),
        dict(name='block-causal, prefix cache', mask_block=8, cache='prefix', seed=5),
        dict(name='block-causal, vicinity', mask_block=8, cache='vicinity', seed=5),
    ],
    'factor': [
        dict(name='plain', factor=1.0),
        dict(name='sharp', factor=1.0, scale=24.0, seed=6),
        dict(name='generous', factor=2.5, seed=2),
        dict(name='one at a time', factor=0.0, seed=2),
        dict(name='everything at once', factor=100.0, seed=2),
        dict(name='rows tie', factor=1.5, is_twin=True, seed=3),
        dict(name='all prefer the mask', factor=1.5, mask_every=1),
        dict(name='early stop', factor=1.5, eos_from=16),
        dict(name='dual cache', factor=1.5, cache='dual', seed=5),
        dict(CAUSAL, name='block cache', factor=1.5, seed=5),
    ],
    'hierarchy': [
        dict(name='plain', threshold=0.6, low_threshold=0.4),
        dict(name='sharp', threshold=0.92, low_threshold=0.62, scale=24.0, seed=6),
        dict(name='nothing reaches either', threshold=1.0, low_threshold=1.0, seed=2),
        dict(name='every run gives its best', threshold=1.0, low_threshold=0.0, seed=2),
        dict(name='everything reaches it', threshold=0.0, low_threshold=0.0, seed=2),
        dict(name='rows tie', threshold=0.6, low_threshold=0.3, is_twin=True, seed=3),
        dict(name='all prefer the mask', threshold=0.3, low_threshold=0.1, mask_every=1),
        dict(name='early stop', threshold=0.6, low_threshold=0.4, eos_from=16),
        dict(name='dual cache', threshold=0.6, low_threshold=0.4, cache='dual', seed=5),
        dict(CAUSAL, name='block cache', threshold=0.6, low_threshold=0.4, seed=5),
    ],
    'credit': [
        dict(name='plain'),
        dict(name='two forwards', threshold=0.0, mask_every=2, seed=2),
        dict(name='no credit', credit_alpha=0.0),
        dict(name='much credit', credit_alpha=10.0, seed=2),
        dict(name='no decay', credit_decay=1.0, seed=6),
        dict(name='none of the old', credit_decay=0.0, seed=6),
        dict(name='a boost of one', credit_boost=1.0, seed=6),
        dict(name='rows tie', is_twin=True, seed=3),
        dict(name='tokens tie', levels=3, seed=4),
        dict(name='some prefer the mask', mask_every=3, threshold=0.4, seed=9),
        dict(name='all prefer the mask', mask_every=1),
        dict(name='early stop', eos_from=16),
        dict(name='EOS, but no early stop', eos_from=11, eos_early_stop=False),
        dict(name='EOS in the last block', eos_from=28, seed=12),
        dict(name='one at a time', threshold=1.0, seed=2),
        dict(name='no boost', credit_boost=0.0, seed=6),
        dict(name='no prompt', prompt=[], seed=9),
        dict(name='one block', block_length=24, seed=7),
        dict(name='dual cache', cache='dual', seed=5),
        dict(name='prefix cache', cache='prefix', seed=5),
        dict(name='vicinity', cache='vicinity', seed=5),
        dict(name='vicinity, warm-up into the second block', cache='vicinity', cache_warmup=6, threshold=0.9),
        dict(CAUSAL, name='block cache', seed=5),
        dict(CAUSAL, name='block cache, a prompt of one block and a token', prompt=[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
    'block-diffusion': [
        dict(CAUSAL, name='one position a step', steps=8, threshold=1.0),
        dict(CAUSAL, name='plain', steps=8),
        dict(CAUSAL, name='no cache', steps=8, cache='none'),
        dict(CAUSAL, name='steps do not divide the block', steps=3, threshold=0.7),
        dict(CAUSAL, name='one step a block', steps=1, threshold=0.7),
        dict(CAUSAL, name='more steps than positions', steps=20, seed=7),
        dict(CAUSAL, name='everything is above', steps=8, threshold=0.0, seed=2),
        dict(CAUSAL, name='rows tie', steps=8, is_twin=True, seed=3),
        dict(CAUSAL, name='tokens tie', steps=8, levels=3, seed=4),
        dict(CAUSAL, name='the mask is preferred everywhere', steps=8, mask_every=1, seed=8),
        dict(CAUSAL, name='no prompt', steps=8, prompt=[]),
        dict(CAUSAL, name='a prompt of one block', steps=8, prompt=[1, 2, 3, 4, 5, 6, 7, 8]),
        dict(CAUSAL, name='a prompt of one block and a token', steps=8, prompt=[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        dict(CAUSAL, name='a prompt of two blocks but a token', steps=8, prompt=[3] * 15),
        dict(CAUSAL, name='EOS and a mask in the prompt', steps=8, prompt=[1, 10, 11, 4, 10]),
        dict(CAUSAL, name='stop within the first block', steps=8, eos_from=6, scale=24.0),
        dict(CAUSAL, name='stop within the second block', steps=8, eos_from=11, scale=24.0),
        dict(CAUSAL, name='EOS before masks waits for them', steps=8, eos_from=14, seed=21),
        dict(CAUSAL, name='EOS, but no early stop', steps=8, eos_from=11, eos_early_stop=False),
        dict(CAUSAL, name='EOS behind the answer', steps=8, eos_from=30, seed=12),
        dict(CAUSAL, name='smaller blocks than trained with', steps=4, block_length=4, seed=5),
        dict(CAUSAL, name='larger blocks than trained with', steps=12, block_length=12, seed=5),
        dict(name='every position sees every other', steps=8, seed=5),
        dict(name='every position sees every other, dual cache', steps=8, cache='dual', seed=5),
        dict(CAUSAL, name='dual cache', steps=8, cache='dual', seed=5),
    ],
    'edit': [
        dict(CAUSAL, name='plain'),
        dict(CAUSAL, name='no cache', cache='none'),
        dict(CAUSAL, name='never edits', edit_threshold=1.0, seed=2),
        dict(CAUSAL, name='always edits', edit_threshold=0.0, seed=2),
        dict(CAUSAL, name='always edits, a few forwards', edit_threshold=0.0, max_post_steps=3, seed=2),
        dict(CAUSAL, name='no forward without masks', max_post_steps=0, seed=2),
        dict(CAUSAL, name='quality', threshold=0.7, edit_threshold=0.5, scale=12.0, seed=6),
        dict(CAUSAL, name='speed', threshold=0.5, edit_threshold=0.0, max_post_steps=16, seed=6),
        dict(CAUSAL, name='rows tie', is_twin=True, seed=3),
        dict(CAUSAL, name='tokens tie', levels=3, seed=4),
        dict(CAUSAL, name='the mask is preferred everywhere', mask_every=1, threshold=0.3, seed=8),
        dict(CAUSAL, name='no prompt', prompt=[]),
        dict(CAUSAL, name='a prompt of one block', prompt=[1, 2, 3, 4, 5, 6, 7, 8]),
        dict(CAUSAL, name='EOS and a mask in the prompt', prompt=[1, 10, 11, 4, 10]),
        dict(CAUSAL, name='early stop after the block', eos_from=11, scale=24.0),
        dict(CAUSAL, name='EOS, but no early stop', eos_from=11, eos_early_stop=False),
        dict(name='every position sees every other', seed=5),
        dict(CAUSAL, name='dual cache', cache='dual', seed=5),
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
        write(decoder + '.json', [{**BASE, **MORE.get(decoder, {}), 'decoder': decoder, **c} for c in cases],
              Fake)
