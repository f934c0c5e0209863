#!/usr/bin/env python3
"""Train a mini model on shards of the stream.

    python3 train.py --shards DIR --out DIR --n-exp 64 --d-ff 32 --steps 8000 --seed 1

Shards may still be being written (make_shards.py): training starts with --min-shards and takes
new ones in. A checkpoint is written every --save-every seconds; with --resume the run goes on
from it, so that a training may be spread over calls. --stop-after SECONDS ends a call early.

A sequence is masked in one of three ways, and the cross entropy there is weighted so that each
sequence counts the same: (0) a share t ~ U(0.02, 1) of all that is generated, 1 / max(t, 0.1);
(1) the same within one block of 32, what comes before clean, what comes after masked and not
scored, as in decoding; (2) all but a stretch from the start, and perhaps a part of the rest of its
block, the nearest positions weighing most: the order in which most tokens are committed. Filling
behind the first end token counts a twentieth. Half of the sequences are cut behind a block that
nothing but filling follows; decoding is of whole canvases.

More than half of the sequences are trained as decoding with a dual cache sees them: the pass that
fills the cache, with the whole block masked, and a step in that block, in way 1 or 2, on the keys
and values which that pass left of all other positions (model.Packing).

Matrices of the layers are trained by Muon (orthogonalised momentum, each expert by itself), the
rest by AdamW. With several processes (torchrun) each takes its share of the micro-batches.
"""

import argparse
import collections
import glob
import json
import os
import threading
import time

import numpy
import tokenizers
import torch
import torch.nn.functional as F

import evaluate
import items
import model as M
import stream

BLOCK = 32
DECAY = 0.85
PACED = 1000  # steps whose time sets the number of steps, with --seconds


class Pool:
    """All sequences of the shards read so far, on the device."""

    def __init__(self, folder, device, tasks=items.TASKS):
        self.folder, self.device, self.read = folder, device, set()
        self.kept = [items.TASKS.index(t) for t in tasks]
        self.tokens = torch.zeros(0, dtype=torch.int16, device=device)
        self.start = self.p_len = self.a_len = self.task = numpy.zeros(0, numpy.int64)
        self.fresh = []
        self.lock = threading.Lock()

    def poll(self, limit=10**9):
        """Read what is new, in the order of names."""
        for path in sorted(glob.glob(os.path.join(self.folder, "shard-?????.npz"))):
            if path in self.read or len(self.read) >= limit:
                continue
            self.read.add(path)
            with numpy.load(path) as z:
                got = z["tokens"].astype(numpy.int16), z["lens"].astype(numpy.int64), z["tasks"].astype(numpy.int64)
            with self.lock:
                self.fresh.append(got)

    def merge(self):
        """Add what was polled. By the trainer's thread."""
        with self.lock:
            fresh, self.fresh = self.fresh, []
        if not fresh:
            return
        base = len(self.tokens)
        tokens, lens, tasks = (numpy.concatenate(x) for x in zip(*fresh))
        self.tokens = torch.cat((self.tokens, torch.from_numpy(tokens).to(self.device)))
        total = lens.sum(1)
        start = base + numpy.concatenate(([0], numpy.cumsum(total)[:-1]))
        is_kept = numpy.isin(tasks, self.kept)
        start, lens, tasks = start[is_kept], lens[is_kept], tasks[is_kept]
        self.start = numpy.concatenate((self.start, start))
        self.p_len = numpy.concatenate((self.p_len, lens[:, 0]))
        self.a_len = numpy.concatenate((self.a_len, lens[:, 1]))
        self.task = numpy.concatenate((self.task, tasks))

    def watch(self, limit):
        def loop():
            while len(self.read) < limit:
                self.poll(limit)
                time.sleep(1.0)

        threading.Thread(target=loop, daemon=True).start()


GEN = numpy.array([evaluate.GEN_LENGTH[t] for t in items.TASKS])


def send(x, device):
    """An array to the device, without waiting for what runs there."""
    x = torch.from_numpy(x)
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x


def make_batch(pool, rng, gen, n_tok, n_dual, eos, mask):
    """A packed batch: ids, targets, weights, positions (n_tok) and what model.attend_*() takes.

    The last n_dual * BLOCK rows are blocks of the first n_dual sequences as a later step sees them.
    """
    device, n_pack = pool.device, n_tok - n_dual * BLOCK
    pick = rng.integers(0, len(pool.start), 2 + n_pack // 200)
    p, a = pool.p_len[pick], pool.a_len[pick]
    g = GEN[pool.task[pick]]
    least = (a + BLOCK) // BLOCK * BLOCK  # whole blocks with the answer and its end
    g = numpy.where(rng.random(len(g)) < 0.5, numpy.minimum(g, least + BLOCK * rng.integers(0, 2, len(g))), g)
    ends = numpy.cumsum(p + g)
    n = int((ends <= n_pack).sum())
    assert n >= n_dual, "sequences are too long for this many blocks"
    pick, p, a, g = pick[:n], p[:n], a[:n], g[:n]
    is_dual = numpy.arange(n) < n_dual
    block = rng.integers(0, (a + 1 + BLOCK - 1) // BLOCK)  # holds part of the answer
    mode = numpy.where(is_dual, rng.choice([1, 2], n, p=(0.4, 0.6)), rng.choice(3, n, p=(0.6, 0.15, 0.25)))
    t = 0.02 + 0.98 * rng.random(n)
    cut = rng.integers(0, a + 1)
    first = numpy.where(mode == 1, p + block * BLOCK, numpy.where(mode == 2, p + cut, p))
    last = numpy.where(mode == 1, first + BLOCK, numpy.where(mode == 2, p + (cut // BLOCK + 1) * BLOCK, p + g))
    t = numpy.where(mode == 2, numpy.where(rng.random(n) < 0.5, 1.0, 0.4 + 0.6 * t), t)
    scale = numpy.where(mode == 2, 1 / (1 - DECAY), last - first)
    cols = numpy.stack([pool.start[pick], p, a, p + g, first, last, mode])
    # The step on a dual cache scores what the mode says; the pass that fills it, all of the block.
    n_filled = int(ends[n_dual - 1]) if n_dual else 0
    later, later_t, later_scale = cols[:, :n_dual].copy(), t[:n_dual].copy(), scale[:n_dual].copy()
    cols[4, :n_dual] = cols[5, :n_dual] - BLOCK
    cols[6, :n_dual] = 2
    t[:n_dual], scale[:n_dual] = 1.0, 2 / (1 - DECAY)
    rest = n_pack - int(ends[n - 1])
    if rest:  # one sequence of nothing
        cols = numpy.concatenate([cols, [[0], [0], [0], [rest], [rest], [rest], [0]]], 1)
        t, scale = numpy.append(t, 1.0), numpy.append(scale, 1.0)
    total = send(cols[3], device)
    begin = torch.cumsum(total, 0) - total
    row = torch.repeat_interleave(torch.arange(len(total), device=device), total, output_size=n_pack)
    pos = torch.arange(n_pack, device=device) - begin[row]
    cols = send(numpy.concatenate([cols, later], 1), device)
    t = send(numpy.append(t, later_t).astype(numpy.float32), device)
    scale = send(numpy.append(scale, later_scale).astype(numpy.float32), device)
    begin_later = cols[5, len(total):] - BLOCK
    pos_later = (begin_later[:, None] + torch.arange(BLOCK, device=device)).flatten()
    rows_later = (begin[:n_dual] + begin_later)[:, None] + torch.arange(BLOCK, device=device)
    row = torch.cat((row, len(total) + torch.arange(n_dual, device=device).repeat_interleave(BLOCK)))
    pos = torch.cat((pos, pos_later))
    start, p, a, _, first, last, mode = cols
    known = pos < (p + a)[row]
    target = torch.where(known, pool.tokens[(start[row] + pos) * known].long(), eos)
    is_open = (pos >= first[row]) & (pos < last[row])
    hit = is_open & (torch.rand(n_tok, device=device, generator=gen) < t[row])
    after = (pos >= last[row]) & (last > first)[row]
    ids = torch.where(hit | after, mask, target)
    near = (mode == 2)[row]
    # Of a stretch that begins at `first` the nearest position is always masked.
    front = near & (pos == first[row])
    hit, ids = hit | front, torch.where(front, mask, ids)
    depth = (pos - first[row]).clamp(min=0).float()
    weight = hit * torch.where(near, DECAY**depth, 1 / t[row].clamp(min=0.1)) / scale[row]
    weight = torch.where(pos > (p + a)[row], weight * 0.05, weight)
    starts = torch.cat((begin, begin.new_tensor([n_pack]))).int()
    return ids, target, weight, pos, M.Packing(starts, n_dual, n_filled, rows_later.flatten())


def orthogonal(g):
    """About the nearest matrix with singular values 1, of each of a batch (Newton-Schulz)."""
    x = g.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if is_tall else x).float()


def by_rows(d_row):
    """How to take a matrix apart into matrices of so many rows, and how to put it together."""
    return lambda g: g.view(-1, d_row, g.shape[1]), lambda g: g.flatten(0, 1)


def by_columns(d_col):
    """The same by columns."""
    return (lambda g: g.view(g.shape[0], -1, d_col).transpose(0, 1), lambda g: g.transpose(0, 1).flatten(1))


def muon_groups(net):
    """(a matrix of all layers, how to take it apart, how to put it together) of each kind."""
    s = net.shape
    split = {"wqkv": by_rows(s.d_model), "wo": by_rows(s.d_model), "w1": by_rows(s.d_ff), "w2": by_columns(s.d_ff)}
    return [([getattr(l, n) for l in net.layers], *f) for n, f in split.items()]


class Muon:
    """Momentum 0.95 (Nesterov), orthogonalised, scaled to the size of an Adam step."""

    def __init__(self, groups):
        # The same matrix of all layers together: one stack of small matrices for each kind.
        self.groups = groups
        self.params = [p for ps, _, _ in self.groups for p in ps]
        self.momentum = [torch.zeros_like(torch.stack(list(ps))) for ps, _, _ in self.groups]

    @torch.no_grad()
    def step(self, lr, decay=0.05):
        for (ps, cut, glue), m in zip(self.groups, self.momentum):
            g = torch.stack([p.grad for p in ps])
            m.lerp_(g, 0.05)
            g = torch.stack([cut(x) for x in g.lerp(m, 0.95)])
            u = orthogonal(g) * (0.2 * max(g.shape[-2:]) ** 0.5)
            for p, x in zip(ps, u):
                p.mul_(1 - lr * decay).sub_(glue(x), alpha=lr)
                p.grad = None


class Trainer:
    model = M

    def __init__(self, o, device):
        torch.manual_seed(o.seed)
        self.o, self.device = o, device
        self.shape = self.shape_of(o)
        self.net = self.model.Mini(self.shape).to(device)
        self.dtype = torch.bfloat16
        if device.type == "cuda":
            self.compile()
        self.muon = Muon(self.muon_groups())
        taken = {id(p) for p in self.muon.params}
        decay = [p for p in self.net.parameters() if p.dim() > 1 and id(p) not in taken]
        plain = [p for p in self.net.parameters() if p.dim() == 1]
        self.opt = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
            lr=o.lr, betas=(0.9, 0.98), eps=1e-8, fused=device.type == "cuda",
        )
        self.step = 0
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        mine = range(self.rank, o.micro, self.world)
        self.rng = {i: numpy.random.default_rng([o.seed, i]) for i in mine}
        self.gen = {i: torch.Generator(device=device).manual_seed(1000 * o.seed + i) for i in mine}
        self.tok = tokenizers.Tokenizer.from_file(os.path.join(stream.HERE, "tokenizer.json"))
        self.eos = self.tok.token_to_id("<|endoftext|>")
        self.mask = self.tok.token_to_id("<|mask|>")

    @staticmethod
    def shape_of(o):
        return M.Shape(n_exp=o.n_exp, d_ff=o.d_ff, n_layer=o.n_layer, d_model=o.d_model, n_head=o.d_model // 64,
                       top_k=min(8, o.n_exp) if not o.top_k else o.top_k)

    def compile(self):
        self.net.before = torch.compile(M.before_attention, dynamic=False)
        self.net.after = torch.compile(M.train_after, dynamic=False)

    def muon_groups(self):
        return muon_groups(self.net)

    def lr(self):
        o = self.o
        if self.step < o.warmup:
            return o.lr * (self.step + 1) / o.warmup
        return o.lr * max(0.0, (o.steps - self.step) / (o.steps - o.warmup))

    def micro_step(self, pool, i):
        """Loss and balance of one micro-batch; gradients are added up."""
        ids, target, weight, pos, packing = make_batch(
            pool, self.rng[i], self.gen[i], self.o.batch_tokens, self.o.batch_tokens // 512, self.eos, self.mask)
        attend = M.attend_varlen(packing, 720) if self.device.type == "cuda" else M.attend_ranges(packing)
        x, aux = self.net.hidden(ids, pos, attend, self.dtype)
        # Only scored positions go through the head; a fixed number of rows, the rest of weight 0.
        n_rows = self.o.batch_tokens // 3
        rows = torch.topk(weight, n_rows, sorted=False).indices
        w = weight[rows]
        logits = x.index_select(0, rows).to(self.dtype) @ self.net.head.to(self.dtype).T
        loss = (F.cross_entropy(logits.float(), target[rows], reduction="none") * w).sum() / w.sum()
        ((loss + self.o.balance * aux) / self.o.micro).backward()
        return torch.stack((loss.detach(), aux.detach()))

    def train_step(self, pool):
        out = sum(self.micro_step(pool, i) for i in self.rng) / len(self.rng)
        params = list(self.net.parameters())
        if self.world > 1:
            self.add_up([p.grad for p in params])
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        for group in self.opt.param_groups:
            group["lr"] = self.lr() / 2
        self.muon.step(self.lr())
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        self.step += 1
        return out

    @staticmethod
    def add_up(tensors):
        """Sum over the processes, in place."""
        flat = torch.cat([t.flatten() for t in tensors])
        torch.distributed.all_reduce(flat)
        for t, part in zip(tensors, flat.split([t.numel() for t in tensors])):
            t.copy_(part.view_as(t))

    def exported(self):
        """The state as it is exported: parameters in bf16, what no gradient trains as it is."""
        is_param = {k for k, _ in self.net.named_parameters()}
        return {k: v.bfloat16() if k in is_param else v for k, v in self.net.state_dict().items()}

    def save_weights(self, path):
        torch.save({"shape": vars(self.shape), "net": self.exported()}, path + ".tmp")
        os.rename(path + ".tmp", path)

    def save(self, path):
        torch.save({"net": self.net.state_dict(), "opt": self.opt.state_dict(), "muon": self.muon.momentum,
                    "step": self.step, "steps": self.o.steps,
                    "rng": {i: r.bit_generator.state for i, r in self.rng.items()},
                    "gen": {i: g.get_state() for i, g in self.gen.items()}}, path + ".tmp")
        os.rename(path + ".tmp", path)

    def load(self, path, is_start=False):
        c = torch.load(path, map_location=self.device, weights_only=False)
        self.net.load_state_dict(c["net"])
        self.opt.load_state_dict(c["opt"])
        for m, old in zip(self.muon.momentum, c["muon"]):
            m.copy_(old)
        if is_start:
            return
        self.step, self.o.steps, self.o.seconds = c["step"], c["steps"], 0
        for i, state in c["rng"].items():
            self.rng[i].bit_generator.state = state
            self.gen[i].set_state(c["gen"][i].cpu())

    def notes(self):
        """More to say in the log."""
        return ""

    def rounded(self):
        """The net with weights as they are exported."""
        net = self.model.Mini(self.shape).to(self.device)
        net.load_state_dict({k: v.float() for k, v in self.exported().items()})
        return net


def options():
    ap = argparse.ArgumentParser()
    add = ap.add_argument
    add("--shards", required=True)
    add("--out", required=True)
    add("--name", default="mini")
    add("--n-exp", type=int, default=64)
    add("--d-ff", type=int, default=32)
    add("--top-k", type=int, default=0)
    add("--n-layer", type=int, default=6)
    add("--d-model", type=int, default=256)
    add("--steps", type=int, default=8000)
    add("--batch-tokens", type=int, default=65536)
    add("--micro", type=int, default=1, help="micro-batches of --batch-tokens in a step")
    add("--lr", type=float, default=6e-3)
    add("--warmup", type=int, default=200)
    add("--balance", type=float, default=0.01)
    add("--seed", type=int, default=1)
    add("--min-shards", type=int, default=20)
    add("--max-shards", type=int, default=700)
    add("--tasks", default=",".join(items.TASKS), help="train on items of these tasks only")
    add("--save-every", type=float, default=120)
    add("--stop-after", type=float, default=1e9)
    add("--seconds", type=float, default=0, help="as many steps as end by then, by the pace of the last so many")
    add("--resume", action="store_true")
    add("--start", help="checkpoint of another training, whose weights and momenta are the first of this one")
    add("--eval-every", type=int, default=0, help="look at 128 items of each suite every so many steps")
    add("--workers", type=int, default=6)
    return ap


def main(o=None, trainer=Trainer):
    o = o or options().parse_args()
    os.makedirs(o.out, exist_ok=True)
    begin = time.time()
    workers = evaluate.pool(o.workers)  # before the device is touched: they are forks
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device(f"cuda:{rank}" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        torch.distributed.init_process_group("nccl", device_id=device)
        o.name += f".rank{rank}" if rank else ""
    torch.backends.cuda.matmul.allow_tf32 = False
    t = trainer(o, device)
    checkpoint, weights = os.path.join(o.out, f"{o.name}.pt"), os.path.join(o.out, f"{o.name}.bf16.pt")
    if o.start:
        t.load(o.start, True)
    if o.resume and os.path.exists(checkpoint):
        t.load(checkpoint)
    pool = Pool(o.shards, device, o.tasks.split(","))
    while len(pool.read) < o.min_shards:
        pool.poll(o.max_shards)
        time.sleep(0.5)
    pool.merge()
    pool.watch(o.max_shards)
    log = open(os.path.join(o.out, f"{o.name}.log"), "a")

    def note(text):
        print(f"[{o.name}] {text}", flush=True)
        print(text, file=log, flush=True)

    note(json.dumps(vars(o)))
    note(f"torch {torch.__version__} {torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'} "
         f"parameters {sum(p.numel() for p in t.net.parameters())} waited {time.time() - begin:.0f} s")
    saved = last = time.time()
    last_step, sums, paced = t.step, [], collections.deque(maxlen=5)
    while t.step < o.steps and time.time() - begin < o.stop_after:
        sums.append(t.train_step(pool))
        if t.step % 250 == 0 or t.step in (1, 20, 60):
            loss, aux = torch.stack(sums).mean(0).tolist()
            now = time.time()
            note(f"step {t.step} loss {loss:.4f} balance {aux:.3f} lr {t.lr():.2e} "
                 f"{(t.step - last_step) * o.batch_tokens * o.micro / (now - last) / 1e6:.2f} M tok/s items {len(pool.start)} "
                 f"{now - begin:.0f} s of {o.steps} steps{t.notes()}")
            last, last_step, sums = now, t.step, []
            pool.merge()
        if o.seconds and t.step % (PACED // 4) == 0:
            if device.type == "cuda":
                torch.cuda.synchronize()
            paced.append((t.step, time.time()))
            if len(paced) == paced.maxlen:
                pace = (paced[-1][1] - paced[0][1]) / PACED
                steps = t.step + int((o.seconds - (time.time() - begin)) / pace)
                steps = torch.tensor(max(steps, t.step), device=device)
                if world > 1:
                    torch.distributed.broadcast(steps, 0)
                o.steps = int(steps)
        if o.eval_every and t.step % o.eval_every == 0 and t.step < o.steps:
            net = t.rounded()
            evaluate.report(f"step {t.step}", *evaluate.run(net, t.tok, workers, n_max=128))
            last = time.time()
        if time.time() - saved > o.save_every:
            t.save(checkpoint)
            t.save_weights(weights)
            saved = time.time()
    t.save(checkpoint)
    if world > 1:
        torch.distributed.destroy_process_group()
    t.save_weights(weights)
    note(f"end step {t.step} {time.time() - begin:.0f} s")
    workers.terminate()


if __name__ == "__main__":
    main()
