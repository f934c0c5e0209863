"""Block diffusion with an exact block cache, as the program's engine does it, in torch.

The decoder of LLaDA2.0 (its generate()): in each block, positions whose proposal is more probable
than the threshold are committed, or else the most probable one; a finished block passes once more,
as it ended up, and its keys and values are kept. Used to look at a model; the numbers of the model
cards are the program's.
"""

import torch
import torch.nn.functional as F

import block_model as B
from block_model import BLOCK
from decode import Policy, Stats


def forward(net, ids, positions, mask, cache, policy, dtype, keep=False, stats=None):
    """Logits of (batch, n) tokens at positions. mask (batch, n, longest): which keys each sees;
    cache[layer] = (k, v) of (batch, longest), here with the rows of this call replaced, for good
    with keep."""
    s = net.shape
    b, n = ids.shape
    cos, sin = B.rope_tables(positions.flatten(), s.d_head)
    x = net.embed[ids].view(b * n, -1)
    for i, l in enumerate(net.layers):
        q, k, v = B.before_attention(x, cos, sin, l.ln1, l.wqkv, l.qn, l.kn, s.n_head, s.n_kv, dtype)
        q, k, v = (t.view(b, n, -1, s.d_head) for t in (q, k, v))
        where = positions[:, :, None, None].expand_as(k)
        k, v = cache[i][0].scatter(1, where, k), cache[i][1].scatter(1, where, v)
        if keep:
            cache[i] = k, v
        a = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask[:, None], enable_gqa=True)
        a = a.transpose(1, 2).reshape(b * n, -1)
        if l.is_dense:
            x = B.after_attention_dense(x, a, l.wo, l.ln2, l.w1, l.w2, dtype)
            continue
        allowed = policy.allowed(i, s.n_exp, ids.device)
        x, _, w = B.after_attention(x, a, l.wo, l.ln2, l.gate, l.bias, l.w1, l.w2, s, policy.k or s.top_k, dtype, allowed)
        if stats is not None:
            stats.unique += (w.view(b, n, -1) > 0).any(1).sum().item()
            stats.n_unique += b
    return (B.norm(x, net.ln) @ net.head.T).view(b, n, -1)


def empty_cache(net, n, longest, dtype):
    s = net.shape
    zeros = torch.zeros(2, n, longest, s.n_kv, s.d_head, dtype=dtype, device=net.embed.device)
    return [tuple(zeros.clone()) for _ in range(s.n_layer)]


@torch.no_grad()
def decode(net, prompts, gen_length, mask_id, end_ids, threshold=0.95, policy=None, dtype=torch.bfloat16):
    """Generated ids of each prompt (lists), and Stats. Prompts need not have the same length: each
    is at its own block, and all are at their n-th block at a time."""
    device, policy, stats = net.embed.device, policy or Policy(), Stats()
    n = len(prompts)
    p_len = torch.tensor([len(p) for p in prompts])
    n_block = (p_len + gen_length + BLOCK - 1) // BLOCK
    longest = int(n_block.max()) * BLOCK
    ids = torch.full((n, longest), mask_id)
    for i, p in enumerate(prompts):
        ids[i, : len(p)] = torch.tensor(p)
    ids, p_len, n_block = ids.to(device), p_len.to(device), n_block.to(device)
    grid = torch.arange(longest, device=device)[None].expand(n, -1)
    ends = torch.tensor(sorted(end_ids), device=device)
    cache = empty_cache(net, n, longest, dtype)
    # The whole blocks of the prompts; what else is stored here is replaced before it is seen.
    blocks = grid // BLOCK
    n_prompt = int(p_len.max()) // BLOCK * BLOCK
    if n_prompt:
        mask = blocks[:, None, :] <= blocks[:, :n_prompt, None]
        forward(net, ids[:, :n_prompt], grid[:, :n_prompt], mask, cache, policy, dtype, True)
    within = torch.arange(BLOCK, device=device)
    done = torch.zeros(n, dtype=torch.bool, device=device)
    for at in range(int(n_block.max())):
        block = p_len // BLOCK + at
        live = (~done & (block < n_block)).nonzero()[:, 0]
        if not len(live):
            break
        rows = block[live][:, None] * BLOCK + within
        mask = (blocks[live] <= block[live][:, None])[:, None].expand(-1, BLOCK, -1)
        mine = [(k[live], v[live]) for k, v in cache]
        while True:
            cur = ids[live].gather(1, rows)
            is_open = cur == mask_id
            if not is_open.any():
                break
            logits = forward(net, cur, rows, mask, mine, policy, dtype, False, stats).float()
            stats.forwards += int(is_open.any(1).sum())
            logits[..., mask_id] = -1e30
            prob, best = F.softmax(logits, -1).max(-1)
            prob = prob.masked_fill(~is_open, -1.0)
            take = is_open & (prob > threshold)
            first = F.one_hot(prob.argmax(1), BLOCK).bool()
            take = torch.where(take.any(1, keepdim=True), take, first & is_open)
            stats.tokens += int(take.sum())
            part = ids[live]
            part.scatter_(1, rows, torch.where(take, best, cur))
            ids[live] = part
        stats.blocks += len(live)
        cur = ids[live].gather(1, rows)
        forward(net, cur, rows, mask, mine, policy, dtype, True)
        for (k, v), (k_new, v_new) in zip(cache, mine):
            k[live], v[live] = k_new, v_new
        done[live] = (torch.isin(cur, ends) & (rows >= p_len[live][:, None])).any(1)
    out = []
    for i in range(n):
        got = ids[i, p_len[i] : p_len[i] + gen_length].tolist()
        for j, t in enumerate(got):
            if t in end_ids or t == mask_id:
                got = got[:j]
                break
        out.append(got)
    return out, stats
