#!/usr/bin/env python3
"""Time a layer of experts in PyTorch, as `desbench bench moe` times its own.

What is timed is what a careful program makes of torch alone: router product, softmax, top-k, a
stable sort of the slots by expert, the rows gathered in that order, one grouped product for gate
and up, silu(gate) * up, one for down, and the weighted sum over a token's experts. Layers of
different random bf16 weights take turns inside one CUDA graph. As in `bench moe`, tokens go to
exactly so many experts, the busiest some times the mean: these ids are made up beforehand, and what
the router says is computed and not used.

Prints one JSON object a line: shape, tokens, active experts, and microseconds of a layer in each
of the samples.

    peer_grouped_mm.py [--experts 64] [--d-ff 1024] [--d-model 2048] [--top-k 8] [--skew 0.7]
                       [--layers 4] [--samples 9] TOKENS:ACTIVE ...
"""
import argparse
import json
import statistics

import torch
import torch.nn.functional as F

REPLAYS = 4


def make_ids(n_tok, args, n_active, gen):
    """Slots (n_tok, top_k) on exactly n_active experts."""
    active = torch.randperm(args.experts, generator=gen)[:n_active]
    popular = torch.arange(1, n_active + 1, dtype=torch.float64) ** -args.skew
    while True:
        slots = torch.multinomial(popular.expand(n_tok, -1), args.top_k, generator=gen)
        missing = [i for i in range(n_active) if i not in set(slots.unique().tolist())]
        count = torch.bincount(slots.flatten(), minlength=n_active)
        for i in missing:  # whom nobody chose takes a slot of who has several
            row, k = max(
                ((r, k) for r in range(n_tok) for k in range(args.top_k)),
                key=lambda at: int(count[slots[at]]),
            )
            count[slots[row, k]] -= 1
            slots[row, k] = i
            count[i] += 1
        if int((count > 0).sum()) == n_active:
            return active[slots]


class Layer:
    """Weights, and where tokens go."""

    def __init__(self, n_tok, n_active, args, gen):
        e, ff, d = args.experts, args.d_ff, args.d_model
        dev = {"device": "cuda", "dtype": torch.bfloat16}
        self.gate_up = torch.empty(e, 2 * ff, d, **dev).normal_(std=d**-0.5)
        self.down = torch.empty(e, d, ff, **dev).normal_(std=ff**-0.5)
        self.router = torch.empty(e, d, **dev).normal_(std=d**-0.5)
        self.ids = make_ids(n_tok, args, n_active, gen).cuda()

    def __call__(self, x, top_k):
        e = self.gate_up.shape[0]
        probs = F.softmax((x @ self.router.T).float(), dim=-1)
        weights, _ = torch.topk(probs, top_k, dim=-1)
        flat = self.ids.flatten()
        _, order = torch.sort(flat, stable=True)
        count = torch.histc(flat.float(), bins=e, min=0, max=e - 1)
        ends = torch.cumsum(count, 0).to(torch.int32)
        rows = x[order // top_k]
        gate, up = torch._grouped_mm(rows, self.gate_up.transpose(-2, -1), offs=ends).chunk(2, -1)
        out = torch._grouped_mm(F.silu(gate) * up, self.down.transpose(-2, -1), offs=ends)
        back = torch.empty_like(order)
        back[order] = torch.arange(order.numel(), device=order.device)
        out = out[back].view(x.shape[0], top_k, -1)
        return (out * weights.to(out.dtype).unsqueeze(-1)).sum(1)


def time_layers(layers, x, args):
    """Microseconds of a layer, a sample each."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for layer in layers:
            layer(x, args.top_k)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for layer in layers:
            layer(x, args.top_k)
    for _ in range(2):
        graph.replay()
    ret = []
    for _ in range(args.samples):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        ret.append(start.elapsed_time(end) * 1000 / (REPLAYS * len(layers)))
    return ret


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--experts", type=int, default=64)
    p.add_argument("--d-ff", type=int, default=1024)
    p.add_argument("--d-model", type=int, default=2048)
    p.add_argument("--top-k", type=int, default=8)
    p.add_argument("--skew", type=float, default=0.7)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--samples", type=int, default=9)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("point", nargs="+", help="TOKENS:ACTIVE")
    args = p.parse_args()

    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed)
    layers = [Layer(args.top_k, args.top_k, args, gen) for _ in range(args.layers)]
    for point in args.point:
        n_tok, n_active = (int(v) for v in point.split(":"))
        if not args.top_k <= n_active <= min(args.experts, n_tok * args.top_k):
            p.error(f"{point}: {args.top_k} <= active <= min(experts, tokens * top_k)")
        for layer in layers:
            layer.ids = make_ids(n_tok, args, n_active, gen).cuda()
        x = torch.randn(n_tok, args.d_model, device="cuda", dtype=torch.bfloat16)
        us = time_layers(layers, x, args)
        print(
            json.dumps(
                {
                    "peer": "torch grouped_mm",
                    "torch": torch.__version__,
                    "device": torch.cuda.get_device_name(),
                    "n_exp": args.experts,
                    "d_ff": args.d_ff,
                    "d_model": args.d_model,
                    "top_k": args.top_k,
                    "n_tok": n_tok,
                    "n_active": n_active,
                    "skew": args.skew,
                    "layer_us": [round(v, 2) for v in us],
                    "median_us": round(statistics.median(us), 2),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
