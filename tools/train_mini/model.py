"""The model: LLaDA-MoE's forward pass (inclusionAI/LLaDA-MoE-7B-A1B), for training.

Per layer: RMSNorm, attention of every position to every other of its sequence (q and k normed per
head, RoPE by half rotation), RMSNorm, experts: softmax over all in fp32, the top_k largest with
their probabilities as they are (not renormalised), SwiGLU each.

The experts of a layer lie in two matrices, and every expert is computed for every token, those
not chosen with weight zero. For experts this narrow that is faster on a GPU than gathering the
tokens of each: two dense products instead of 2 * n_exp small ones. It is the same function.

Sequences lie one after the other in (n_tok, ...) tensors.
"""

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-5
THETA = 50000.0


@dataclasses.dataclass
class Shape:
    n_exp: int = 64
    d_ff: int = 32
    top_k: int = 8
    n_layer: int = 6
    d_model: int = 256
    n_head: int = 4
    n_vocab: int = 800

    @property
    def d_head(self):
        return self.d_model // self.n_head


def norm(x, w):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w


def rope_tables(positions, d_head):
    """cos and sin, (n_tok, 1, d_head / 2)."""
    f = THETA ** (-torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float64) / d_head)
    a = positions[:, None].double() * f
    return a.cos().float()[:, None], a.sin().float()[:, None]


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def before_attention(x, cos, sin, ln, wqkv, qn, kn, n_head, dtype):
    """q, k, v, each (n_tok, n_head, d_head)."""
    a = norm(x, ln).to(dtype)
    q, k, v = (a @ wqkv.to(dtype).T).view(x.shape[0], 3, n_head, -1).unbind(1)
    q = rotate(norm(q, qn), cos, sin).to(dtype)
    k = rotate(norm(k, kn), cos, sin).to(dtype)
    return q, k, v


def route(m, gate, top_k, allowed=None):
    """Probabilities (n_tok, n_exp) and the same with all but the top_k largest set to zero.
    allowed (n_exp) or (n_tok, n_exp), bool: experts outside it are not chosen."""
    p = F.softmax(m.float() @ gate.float().T, -1)
    score = p if allowed is None else p.masked_fill(~allowed, -1.0)
    kth = score.topk(top_k, -1, sorted=False)
    w = torch.zeros_like(p).scatter(-1, kth.indices, p.gather(-1, kth.indices))
    return p, w


def after_attention(x, attended, wo, ln, gate, w1, w2, n_exp, top_k, dtype, allowed=None):
    """x after the layer, and its router's probabilities and weights."""
    x = x + attended.to(dtype) @ wo.to(dtype).T
    m = norm(x, ln)
    p, w = route(m, gate, top_k, allowed)
    g, u = (m.to(dtype) @ w1.to(dtype).T).chunk(2, -1)
    h = F.silu(g) * u
    h = (h.view(*h.shape[:-1], n_exp, -1) * w.to(dtype)[..., None]).flatten(-2)
    return x + h @ w2.to(dtype).T, p, w


def balance(p, w, n_exp, top_k):
    """Load balancing: n_exp times the sum of mean probability and share of the slots."""
    load = (w > 0).float().mean(0) / top_k
    return n_exp * (load * p.mean(0)).sum()


def train_after(x, attended, wo, ln, gate, w1, w2, n_exp, top_k, dtype):
    x, p, w = after_attention(x, attended, wo, ln, gate, w1, w2, n_exp, top_k, dtype)
    return x, balance(p, w, n_exp, top_k)


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        d, wide = s.d_model, s.n_exp * s.d_ff
        self.ln1 = nn.Parameter(torch.ones(d))
        self.ln2 = nn.Parameter(torch.ones(d))
        self.qn = nn.Parameter(torch.ones(s.d_head))
        self.kn = nn.Parameter(torch.ones(s.d_head))
        self.wqkv = nn.Parameter(torch.randn(3 * d, d) * d**-0.5)
        self.wo = nn.Parameter(torch.randn(d, d) * (2 * s.n_layer * d) ** -0.5)
        self.gate = nn.Parameter(torch.randn(s.n_exp, d) * d**-0.5)
        self.w1 = nn.Parameter(torch.randn(2 * wide, d) * d**-0.5)
        # Probabilities of about 1 / n_exp scale an expert's output: make up for it at the start.
        std = s.n_exp / s.top_k**0.5 * (2 * s.n_layer * s.d_ff) ** -0.5
        self.w2 = nn.Parameter(torch.randn(d, wide) * min(std, 0.5))


class Mini(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.shape = s
        self.embed = nn.Parameter(torch.randn(s.n_vocab, s.d_model))
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.n_layer))
        self.ln = nn.Parameter(torch.ones(s.d_model))
        self.head = nn.Parameter(torch.randn(s.n_vocab, s.d_model) * s.d_model**-0.5)
        self.before, self.after = before_attention, train_after

    def hidden(self, ids, positions, attend, dtype):
        """(n_tok, d_model) before the head, and the mean balancing loss of the layers."""
        s = self.shape
        cos, sin = rope_tables(positions, s.d_head)
        # As a product: the gradient of a gather adds up rows of one token one after the other.
        x = (F.one_hot(ids, s.n_vocab).to(dtype) @ self.embed.to(dtype)).float()
        aux = 0.0
        for l in self.layers:
            q, k, v = self.before(x, cos, sin, l.ln1, l.wqkv, l.qn, l.kn, s.n_head, dtype)
            a = attend(q, k, v).flatten(1)
            x, b = self.after(x, a, l.wo, l.ln2, l.gate, l.w1, l.w2, s.n_exp, s.top_k, dtype)
            aux = aux + b / s.n_layer
        return norm(x, self.ln), aux


class Packing(NamedTuple):
    """Where sequences lie in a batch, and the steps on dual caches that follow them.

    Sequence i is rows starts[i] .. starts[i + 1]. Behind them all lie blocks of the first n_dual
    sequences, which end before row n_filled: a block attends to the keys and values of its
    sequence as that left them, with its own in the rows `rows`. That is a denoising step on a dual
    cache, its sequence being the pass that filled the cache.
    """

    starts: torch.Tensor  # (n_seq + 1) int32
    n_dual: int
    n_filled: int
    rows: torch.Tensor  # (n_dual * length of a block) int64


def attend_packed(packing, attend):
    """attend(q, k, v, starts_q, starts_k) of every sequence, then of the blocks behind them."""

    def run(q, k, v):
        starts, n_dual, n_filled, rows = packing
        if not n_dual:
            return attend(q, k, v, starts, starts)
        n = len(q) - len(rows)
        out = attend(q[:n], k[:n], v[:n], starts, starts)
        k, v = (t[:n_filled].index_copy(0, rows, t[n:]) for t in (k, v))
        blocks = torch.arange(n_dual + 1, device=q.device, dtype=torch.int32) * (len(rows) // n_dual)
        return torch.cat((out, attend(q[n:], k, v, blocks, starts[: n_dual + 1])))

    return run


def attend_ranges(packing):
    """Attention within each range of tokens, one at a time: for the CPU and short checks."""

    def attend(q, k, v, starts_q, starts_k):
        out = []
        at, of = starts_q.tolist(), starts_k.tolist()
        for a, b, c, d in zip(at, at[1:], of, of[1:]):
            part = (t.transpose(0, 1)[None] for t in (q[a:b], k[c:d], v[c:d]))
            out.append(F.scaled_dot_product_attention(*part)[0].transpose(0, 1))
        return torch.cat(out)

    return attend_packed(packing, attend)


def attend_varlen(packing, longest):
    """The same by one kernel each, on the GPU."""
    from torch.nn.attention.varlen import varlen_attn

    return attend_packed(packing, lambda q, k, v, a, b: varlen_attn(q, k, v, a, b, longest, longest))
