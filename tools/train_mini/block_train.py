#!/usr/bin/env python3
"""Train a mini model of LLaDA2.x's architecture (block_model.py) on shards of the stream.

    python3 block_train.py --shards DIR --out DIR --steps 13000 --batch-tokens 65536 --micro 2

As train.py, whose options these are, but for the batch. A row is 64 units of 32 tokens. A sequence
has its blocks as they end up in a row, all but the last one, and --copies masked copies of each
block that holds a part of its answer or the end token behind it. A copy is masked in one of two
ways: (R) a share t ~ U(0.02, 1) of what is generated, weighted 1 / max(t, 0.1); (C) all but a
stretch from the start, and perhaps a part of the rest, the nearest positions weighing most: the
order in which most tokens are committed; one in four begins at the block's start, the first step
of a block. Every token of an answer weighs the same on average, filling behind the first end token
a twentieth.

Experts are kept in balance by their biases: after each step, up by a small amount for those with
less than the mean load, down for the others (arXiv:2408.15664).
"""

import numpy
import torch
import torch.nn.functional as F

import block_model as B
import train
from block_model import BLOCK

UNITS = 64  # of a row
DECAY = train.DECAY
CLEAN, RANDOM, STRETCH = 0, 1, 2


def pack(sizes, n_row):
    """First fit, largest first: (row, unit) of each sequence; row -1 where there is no room."""
    room = [UNITS] * n_row
    row, unit = numpy.full(len(sizes), -1), numpy.zeros(len(sizes), numpy.int64)
    first = 0
    for i in numpy.argsort(-sizes, kind="stable").tolist():
        n = int(sizes[i])
        for r in range(first, n_row):
            if room[r] >= n:
                row[i], unit[i] = r, UNITS - room[r]
                room[r] -= n
                break
        while first < n_row and room[first] < 4:
            first += 1
    return row, unit


def ranges(n):
    """0 .. n[0], 0 .. n[1], and so on, and which of them each is of."""
    of = numpy.repeat(numpy.arange(len(n)), n)
    return numpy.arange(len(of)) - numpy.repeat(numpy.cumsum(n) - n, n), of


def plan(pool, rng, n_row, copies):
    """What is in each unit of a batch: arrays of n_row * UNITS."""
    n_unit = n_row * UNITS
    pick = rng.integers(0, len(pool.start), n_unit // 4)
    p, a = pool.p_len[pick], pool.a_len[pick]
    n_clean = (p + a) // BLOCK  # blocks before the one with the first end token
    n_copied = n_clean - p // BLOCK + 1
    size = n_clean + copies * n_copied
    n = int((numpy.cumsum(size) <= n_unit * 0.985).sum())
    pick, p, a, n_clean, n_copied, size = (x[:n] for x in (pick, p, a, n_clean, n_copied, size))
    row, unit = pack(size, n_row)
    is_in = row >= 0
    p, a, n_clean, n_copied = (x[is_in] for x in (p, a, n_clean, n_copied))
    start, base = pool.start[pick[is_in]], (row * UNITS + unit)[is_in]
    clean, clean_of = ranges(n_clean)
    copy, copy_of = ranges(copies * n_copied)
    block = p[copy_of] // BLOCK + copy // copies
    of, block = numpy.concatenate((clean_of, copy_of)), numpy.concatenate((clean, block))
    at = numpy.concatenate((base[clean_of] + clean, base[copy_of] + n_clean[copy_of] + copy))
    kind = numpy.concatenate((numpy.full(len(clean), CLEAN), rng.choice((RANDOM, STRETCH), len(copy), p=(0.35, 0.65))))
    first_open = numpy.maximum(p[of], block * BLOCK)
    n_real = numpy.minimum((p + a)[of] + 1, (block + 1) * BLOCK) - first_open  # with the first end token
    t = 0.02 + 0.98 * rng.random(len(of))
    cut = first_open + rng.integers(0, numpy.maximum(n_real, 1)) * (rng.random(len(of)) < 0.75)
    is_stretch = kind == STRETCH
    t = numpy.where(is_stretch, numpy.where(rng.random(len(of)) < 0.5, 1.0, 0.4 + 0.6 * t), t)
    scale = numpy.where(is_stretch, (1 - DECAY) * numpy.maximum(n_real, 8), 1.0)
    whole = numpy.zeros((7, n_unit), numpy.int64)  # a unit of nothing is all zeros
    whole[0, at] = start[of] + block * BLOCK
    whole[1, at] = block * BLOCK
    whole[2, at] = (p + a)[of]
    whole[3, at] = numpy.where(kind == CLEAN, 1 << 20, numpy.where(is_stretch, cut, first_open))
    whole[4, at] = is_stretch
    whole[5, at] = unit[is_in][of]
    whole[6, at] = unit[is_in][of] + block
    real = numpy.zeros((2, n_unit), numpy.float32)
    real[0, at], real[1, at] = t, scale
    return whole, real


def make_batch(pool, rng, gen, n_row, copies, eos, mask):
    """ids, targets, weights, positions (n_row * UNITS * BLOCK), and for attention first and last
    (n_row, UNITS), what each unit sees (block_model.sees)."""
    device = pool.device
    whole, real = plan(pool, rng, n_row, copies)
    whole, real = train.send(whole, device), train.send(real, device)
    within = torch.arange(BLOCK, device=device)
    source = whole[0][:, None] + within
    start, end, first_open, is_stretch = (x[:, None] for x in whole[1:5])
    t, scale = (x[:, None] for x in real)
    pos = start + within
    target = torch.where(pos < end, pool.tokens[source * (pos < end)].long(), eos)
    is_open = (pos >= first_open) & (end > 0)
    hit = is_open & (torch.rand(pos.shape, device=device, generator=gen) < t)
    # Of a stretch the nearest position is always masked.
    hit |= (pos == first_open) & (is_stretch > 0)
    ids = torch.where(hit, mask, target)
    depth = (pos - first_open).clamp(min=0).float()
    weight = hit * scale * torch.where(is_stretch > 0, DECAY**depth, 1 / t.clamp(min=0.1))
    weight = torch.where(pos > end, weight * 0.05, weight)
    seen = whole[5:7].view(2, n_row, UNITS)
    return ids.flatten(), target.flatten(), weight.flatten(), pos.flatten(), seen[0], seen[1]


def loss_of(x, head, target, w, dtype):
    logits = (x.to(dtype) @ head.to(dtype).T).float()
    return (F.cross_entropy(logits, target, reduction="none") * w).sum() / w.sum()


class Trainer(train.Trainer):
    model = B

    def __init__(self, o, device):
        self.loss_of, self.flex, self.graph = loss_of, None, None
        super().__init__(o, device)

    @staticmethod
    def shape_of(o):
        return B.Shape(n_exp=o.n_exp, d_ff=o.d_ff, n_layer=o.n_layer, d_model=o.d_model, d_dense=o.d_dense)

    def compile(self):
        from torch.nn.attention.flex_attention import flex_attention

        self.net.before = torch.compile(B.before_attention, dynamic=False)
        self.net.after = torch.compile(B.train_after, dynamic=False)
        self.net.after_dense = torch.compile(B.after_attention_dense, dynamic=False)
        self.loss_of = torch.compile(loss_of, dynamic=False)
        self.flex = None if self.o.plain_attention else torch.compile(flex_attention, dynamic=False)

    def muon_groups(self):
        s, layers, moe = self.shape, list(self.net.layers), self.net.moe_layers()
        dense = [l for l in layers if l.is_dense]
        return [
            ([l.wqkv for l in layers], *train.by_rows(s.n_kv * s.d_head)),
            ([l.wo for l in layers], *train.by_rows(s.d_model)),
            ([l.w1 for l in moe], *train.by_rows(s.d_ff)),
            ([l.w2 for l in moe], *train.by_columns(s.d_ff)),
            ([l.w1 for l in dense], *train.by_rows(s.d_dense)),
            ([l.w2 for l in dense], *train.by_columns(s.d_dense)),
        ]

    def forward_backward(self, ids, target, weight, pos, first, last):
        """Loss, balance and loads of a batch; gradients are added up."""
        o = self.o
        attend = B.attend_flex(first, last, self.flex) if self.flex else B.attend_plain(first, last)
        x, aux, loads = self.net.hidden(ids, pos, attend, self.dtype)
        # Only scored positions go through the head; a fixed number of rows, the rest of weight 0.
        rows = torch.topk(weight, len(ids) // 3, sorted=False).indices
        loss = self.loss_of(x.index_select(0, rows), self.net.head, target[rows], weight[rows], self.dtype)
        ((loss + o.balance * aux) / o.micro).backward()
        return torch.stack((loss.detach(), aux.detach())), loads

    def capture(self, batch):
        """Make a CUDA graph of forward_backward(): its kernels are many and short, and take the
        host longer to launch than the device to run."""
        params = list(self.net.parameters())

        def forget():
            """Gradients that are not there are written by a step, others added to."""
            grads = [p.grad for p in params]
            for p in params:
                p.grad = None
            return grads

        forget()
        self.inputs = [x.clone() for x in batch]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.forward_backward(*self.inputs)
                want = forget()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = self.forward_backward(*self.inputs)
        self.grads = forget()
        for _ in range(2):
            self.graph.replay()
        off = [((g - w).norm() / w.norm().clamp(min=1e-12)).item() for g, w in zip(self.grads, want)]
        assert max(off) < 0.05, f"the graph's gradients are not those of a step: {off}"

    def replay(self, batch):
        if self.graph is None:
            self.capture(batch)
        for mine, x in zip(self.inputs, batch):
            mine.copy_(x)
        self.graph.replay()
        for p, g in zip(self.net.parameters(), self.grads):
            p.grad = g
        return self.outputs[0].clone(), self.outputs[1]

    def micro_step(self, pool, i):
        o = self.o
        n_row = o.batch_tokens // (UNITS * BLOCK)
        batch = make_batch(pool, self.rng[i], self.gen[i], n_row, o.copies, self.eos, self.mask)
        is_graph = self.device.type == "cuda" and not o.no_graph and len(self.rng) == 1
        out, loads = (self.replay if is_graph else lambda b: self.forward_backward(*b))(batch)
        self.loads = self.loads + loads
        return out

    def train_step(self, pool):
        self.loads = torch.zeros(self.shape.n_layer - 1, self.shape.n_exp, device=self.device)
        out = super().train_step(pool)
        if self.world > 1:
            self.add_up([self.loads])
        rate = self.o.bias_rate * self.lr() / self.o.lr
        for l, load in zip(self.net.moe_layers(), self.loads):
            l.bias += rate * torch.sign(load.mean() - load)
        return out

    def notes(self):
        load = self.loads.mean(1, keepdim=True)
        bias = torch.stack([l.bias for l in self.net.moe_layers()])
        return (f" busiest {(self.loads / load).amax(1).mean().item():.2f} idlest {(self.loads / load).amin(1).mean().item():.2f}"
                f" bias {bias.min().item():.3f} {bias.max().item():.3f}")


def options():
    ap = train.options()
    ap.add_argument("--d-dense", type=int, default=256)
    ap.add_argument("--copies", type=int, default=2, help="masked copies of a block")
    ap.add_argument("--bias-rate", type=float, default=2e-3, help="of the experts' biases, at the peak of --lr")
    ap.add_argument("--plain-attention", action="store_true", help="by a dense mask, without flex attention")
    ap.add_argument("--no-graph", action="store_true", help="launch kernels one by one")
    ap.set_defaults(d_ff=16, balance=0.001)
    return ap


if __name__ == "__main__":
    train.main(options().parse_args(), Trainer)
