"""The model of LLaDA2.x (inclusionAI/LLaDA2.0-mini): its forward pass, for training.

Per layer: RMSNorm, attention under a block-causal mask (fewer heads of keys and values than of
queries; q and k normed per head; RoPE by half rotation on the first part of a head), RMSNorm,
experts. Router: sigmoid scores in fp32; the groups whose two largest biased scores sum highest are
kept, of their experts the top_k largest biased scores are chosen, and weighted by their scores
without the bias, normalised to a sum of SCALE. A shared expert runs for every token. The first
layer has one dense SwiGLU in place of experts.

Training rows hold sequences twice, as in block diffusion (BD3-LM, arXiv:2503.09573): whole blocks
of 32 as they end up, and copies of the blocks with an answer's part, masked. A block sees itself
and what lies before it, as it ended up: what decoding's step sees on an exact block cache.

As in model.py, every expert is computed for every token, those not chosen with weight zero; the
shared expert is the last of them and has weight one.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from model import rotate

BLOCK = 32
TILE = 128  # of flex attention
EPS = 1e-6
THETA = 600000.0
SCALE = 2.5
PARTIAL = 0.5  # share of a head that is rotated


@dataclasses.dataclass
class Shape:
    n_exp: int = 64
    d_ff: int = 16
    top_k: int = 8
    n_group: int = 8
    topk_group: int = 4
    n_layer: int = 6
    d_model: int = 256
    n_head: int = 4
    n_kv: int = 2
    d_head: int = 64
    d_dense: int = 256
    n_vocab: int = 800


def norm(x, w):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w


def rope_tables(positions, d_head):
    """cos and sin, (n_tok, 1, rotated / 2)."""
    d = int(d_head * PARTIAL)
    f = THETA ** (-torch.arange(0, d, 2, device=positions.device, dtype=torch.float64) / d)
    a = positions[:, None].double() * f
    return a.cos().float()[:, None], a.sin().float()[:, None]


def rotate_part(x, cos, sin):
    n = 2 * cos.shape[-1]
    return torch.cat((rotate(x[..., :n], cos, sin), x[..., n:]), -1)


def before_attention(x, cos, sin, ln, wqkv, qn, kn, n_head, n_kv, dtype):
    """q (n_tok, n_head, d_head), k and v (n_tok, n_kv, d_head)."""
    a = norm(x, ln).to(dtype)
    qkv = (a @ wqkv.to(dtype).T).view(x.shape[0], n_head + 2 * n_kv, -1)
    q, k, v = qkv.split((n_head, n_kv, n_kv), 1)
    q = rotate_part(norm(q, qn), cos, sin).to(dtype)
    k = rotate_part(norm(k, kn), cos, sin).to(dtype)
    return q, k, v


def is_among(score, k):
    """Which of the last dimension are among its k largest; of equals, the first. By counting the
    larger ones: on a GPU, sorting so short rows takes longer."""
    n = score.shape[-1]
    i = torch.arange(n, device=score.device)
    a, b = score[..., None, :], score[..., :, None]  # is a before b?
    return ((a > b) | ((a == b) & (i[None, :] < i[:, None]))).sum(-1) < k


def route(m, gate, bias, s, top_k, allowed=None):
    """Scores (n_tok, n_exp) and weights, zero where an expert is not chosen. allowed (n_exp) or
    (n_tok, n_exp), bool: experts outside it are not chosen, and count for no group."""
    score = torch.sigmoid(m.float() @ gate.float().T)
    biased = (score + bias).detach()
    if allowed is not None:
        biased = biased.masked_fill(~allowed, float("-inf"))
    groups = biased.view(-1, s.n_group, s.n_exp // s.n_group)
    best = groups.amax(-1)
    # The second largest: the largest without the first of the largest.
    second = groups.masked_fill(is_among(groups, 1), float("-inf")).amax(-1)
    kept = is_among(best + second, s.topk_group)
    biased = groups.masked_fill(~kept[..., None], float("-inf")).view_as(biased)
    w = score * (is_among(biased, top_k) & (biased > float("-inf")))
    return score, SCALE * w / (w.sum(-1, keepdim=True) + 1e-20)


def swiglu(m, w1):
    """Two products, not one that is taken apart: the gradient would have to be put together."""
    gate, up = w1.chunk(2)
    return F.silu(m @ gate.T) * (m @ up.T)


def after_attention(x, attended, wo, ln, gate, bias, w1, w2, s, top_k, dtype, allowed=None):
    """x after a layer with experts, and its router's scores and weights."""
    x = x + attended.to(dtype) @ wo.to(dtype).T
    m = norm(x, ln)
    p, w = route(m, gate, bias, s, top_k, allowed)
    h = swiglu(m.to(dtype), w1.to(dtype))
    all_w = torch.cat((w, torch.ones_like(w[:, :1])), -1)
    h = (h.view(-1, s.n_exp + 1, s.d_ff) * all_w.to(dtype)[..., None]).flatten(-2)
    return x + h @ w2.to(dtype).T, p, w


def after_attention_dense(x, attended, wo, ln, w1, w2, dtype):
    x = x + attended.to(dtype) @ wo.to(dtype).T
    return x + swiglu(norm(x, ln).to(dtype), w1.to(dtype)) @ w2.to(dtype).T


def train_after(x, attended, wo, ln, gate, bias, w1, w2, s, dtype):
    """x, the load balancing loss, and each expert's share of the slots."""
    x, p, w = after_attention(x, attended, wo, ln, gate, bias, w1, w2, s, s.top_k, dtype)
    load = (w.detach() > 0).float().mean(0) / s.top_k
    return x, s.n_exp * (load * (p / p.sum(-1, keepdim=True)).mean(0)).sum(), load


class Layer(nn.Module):
    def __init__(self, s, is_dense):
        super().__init__()
        d, self.is_dense = s.d_model, is_dense
        wide = s.d_dense if is_dense else (s.n_exp + 1) * s.d_ff
        self.ln1 = nn.Parameter(torch.ones(d))
        self.ln2 = nn.Parameter(torch.ones(d))
        self.qn = nn.Parameter(torch.ones(s.d_head))
        self.kn = nn.Parameter(torch.ones(s.d_head))
        self.wqkv = nn.Parameter(torch.randn((s.n_head + 2 * s.n_kv) * s.d_head, d) * d**-0.5)
        self.wo = nn.Parameter(torch.randn(d, s.n_head * s.d_head) * (2 * s.n_layer * d) ** -0.5)
        self.w1 = nn.Parameter(torch.randn(2 * wide, d) * d**-0.5)
        self.w2 = nn.Parameter(torch.randn(d, wide) * (2 * s.n_layer * (wide if is_dense else s.d_ff)) ** -0.5)
        if not is_dense:
            self.gate = nn.Parameter(torch.randn(s.n_exp, d) * d**-0.5)
            self.register_buffer("bias", torch.zeros(s.n_exp))


class Mini(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.shape = s
        self.embed = nn.Parameter(torch.randn(s.n_vocab, s.d_model))
        self.layers = nn.ModuleList(Layer(s, i == 0) for i in range(s.n_layer))
        self.ln = nn.Parameter(torch.ones(s.d_model))
        self.head = nn.Parameter(torch.randn(s.n_vocab, s.d_model) * s.d_model**-0.5)
        self.before, self.after, self.after_dense = before_attention, train_after, after_attention_dense

    def moe_layers(self):
        return [l for l in self.layers if not l.is_dense]

    def hidden(self, ids, positions, attend, dtype):
        """(n_tok, d_model) before the head, the mean balancing loss of the layers with experts, and
        their loads (n_layer_with_experts, n_exp)."""
        s = self.shape
        cos, sin = rope_tables(positions, s.d_head)
        # As a product: the gradient of a gather adds up rows of one token one after the other.
        x = (F.one_hot(ids, s.n_vocab).to(dtype) @ self.embed.to(dtype)).float()
        aux, loads = 0.0, []
        for l in self.layers:
            q, k, v = self.before(x, cos, sin, l.ln1, l.wqkv, l.qn, l.kn, s.n_head, s.n_kv, dtype)
            a = attend(q, k, v).flatten(1)
            if l.is_dense:
                x = self.after_dense(x, a, l.wo, l.ln2, l.w1, l.w2, dtype)
                continue
            x, b, load = self.after(x, a, l.wo, l.ln2, l.gate, l.bias, l.w1, l.w2, s, dtype)
            aux = aux + b / (s.n_layer - 1)
            loads.append(load)
        return norm(x, self.ln), aux, torch.stack(loads)


def sees(first, last):
    """(n_row, n_unit, n_unit) bool: which unit sees which. A unit is 32 tokens of a row; unit i
    sees itself and units first[i] .. last[i] of its row, the latter excluded; both (n_row, n_unit)."""
    i = torch.arange(first.shape[1], device=first.device)
    return (i[:, None] == i) | ((i >= first[..., None]) & (i < last[..., None]))


def attend_plain(first, last):
    """Attention by a dense mask: for the CPU, and where flex attention is not to be had."""
    mask = sees(first, last).repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)[:, None]
    n_row = len(first)

    def attend(q, k, v):
        q, k, v = (t.view(n_row, -1, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True).transpose(1, 2).flatten(0, 1)

    return attend


def attend_sequences(starts):
    """Attention within sequences that lie one after the other, from starts[i] to starts[i + 1], each
    under the block-causal mask: decoding without a cache."""

    def attend(q, k, v):
        out = []
        for a, b in zip(starts, starts[1:]):
            blocks = torch.arange(b - a, device=q.device) // BLOCK
            part = (t[a:b].transpose(0, 1)[None] for t in (q, k, v))
            mask = blocks[None] <= blocks[:, None]
            out.append(F.scaled_dot_product_attention(*part, mask, enable_gqa=True)[0].transpose(0, 1))
        return torch.cat(out)

    return attend


def tiles_of(is_any):
    """Numbers and indices of the tiles marked, as a BlockMask has them."""
    n = is_any.sum(-1, dtype=torch.int32)
    order = torch.argsort(is_any.to(torch.int8), dim=-1, descending=True, stable=True).to(torch.int32)
    return n[:, None], order[:, None]


def block_mask(first, last):
    """The BlockMask of flex attention, from what each unit sees."""
    from torch.nn.attention.flex_attention import BlockMask

    per = TILE // BLOCK
    seen = sees(first, last)
    n_row, n_tile = len(first), first.shape[1] // per
    seen = seen.view(n_row, n_tile, per, n_tile, per)
    is_full = seen.all(4).all(2)
    is_part = seen.any(4).any(2) & ~is_full
    first, last = first.int().contiguous(), last.int().contiguous()

    def mask_mod(b, h, q, k):
        i, j = q // BLOCK, k // BLOCK
        return (i == j) | ((j >= first[b, i]) & (j < last[b, i]))

    n_tok = n_tile * TILE
    return BlockMask.from_kv_blocks(*tiles_of(is_part), *tiles_of(is_full), BLOCK_SIZE=TILE, mask_mod=mask_mod,
                                    seq_lengths=(n_tok, n_tok))


def attend_flex(first, last, flex):
    """The same by flex attention, on a GPU; flex: flex_attention, compiled."""
    mask, n_row = block_mask(first, last), len(first)

    def attend(q, k, v):
        q, k, v = (t.view(n_row, -1, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        return flex(q, k, v, block_mask=mask, enable_gqa=True).transpose(1, 2).flatten(0, 1)

    return attend
