#!/usr/bin/env python3
"""Check training batches against the decoder: a step on a dual cache has the same logits in both.

    python3 check_batch.py

On the CPU in fp32, with a small model of random weights and random sequences.
"""

import types

import numpy
import torch

import decode
import model as M
import train

EOS, MASK = 793, 794


def fake_pool(rng, n):
    p, a = rng.integers(20, 90, n), rng.integers(3, 150, n)
    start = numpy.concatenate(([0], numpy.cumsum(p + a)[:-1]))
    return types.SimpleNamespace(
        device=torch.device("cpu"),
        tokens=torch.from_numpy(rng.integers(0, 700, int((p + a).sum())).astype(numpy.int16)),
        start=start, p_len=p, a_len=a, task=rng.integers(0, len(train.GEN), n))


def main():
    torch.manual_seed(1)
    rng = numpy.random.default_rng(1)
    pool = fake_pool(rng, 300)
    net = M.Mini(M.Shape(n_exp=8, d_ff=16, top_k=2, n_layer=2, d_model=128, n_head=2))
    n_tok, n_dual = 6144, 8
    gen = torch.Generator().manual_seed(1)
    for _ in range(4):
        ids, target, weight, pos, packing = train.make_batch(pool, rng, gen, n_tok, n_dual, EOS, MASK)
        n = n_tok - n_dual * train.BLOCK
        assert len(ids) == len(target) == len(weight) == len(pos) == n_tok
        assert (weight[ids != MASK] == 0).all(), "a position that can be seen is scored"
        assert (ids[ids != MASK] == target[ids != MASK]).all()
        assert int((weight[n:].view(n_dual, -1).sum(1) > 0).sum()) == n_dual
        with torch.no_grad():
            x, _ = net.hidden(ids, pos, M.attend_ranges(packing), torch.float32)
            logits = x @ net.head.T
        for i in range(n_dual):
            a, b = packing.starts[i], packing.starts[i + 1]
            later = slice(n + i * train.BLOCK, n + (i + 1) * train.BLOCK)
            rows = pos[later][None]
            block = ids[a:b][rows[0]]
            assert (block == MASK).all() and (ids[a:b][rows[0, -1] + 1 :] == MASK).all()
            cache, length = {}, int(b - a)
            seen = torch.ones(1, length, dtype=torch.bool)
            policy = decode.Policy()
            with torch.no_grad():
                full = decode.forward(net, ids[a:b][None], torch.arange(length)[None], seen, cache, policy,
                                      torch.float32, fill=True)
                step = decode.forward(net, ids[later][None], rows, seen, cache, policy, torch.float32, rows=rows)
            torch.testing.assert_close(logits[a:b], full[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(logits[later], step[0], rtol=1e-4, atol=1e-4)
            assert (target[later] == target[a:b][rows[0]]).all()
    print("training batches and decoding agree")


if __name__ == "__main__":
    main()
