"""Threshold decoding in blocks with a dual cache, as the program's engine does it, in torch.

Used to look at a model while it is trained; the numbers of the model cards are the program's.
Sequences of a batch are padded at the end to the longest; padding is masked as keys.
"""

import torch
import torch.nn.functional as F

import model as M

BLOCK = 32


class Policy:
    """Which experts a forward may use."""

    def __init__(self, name="vanilla", k=None, n=None, seed=1):
        self.name, self.k, self.n = name, k, n
        self.rng = torch.Generator().manual_seed(seed)
        self.fixed = {}

    def allowed(self, layer, n_exp, device):
        if self.name in ("vanilla", "topk"):
            return None
        if self.name == "random":  # anew for every forward and layer
            keep = torch.randperm(n_exp, generator=self.rng)[: self.n]
        else:  # "ablate": the same n always
            if layer not in self.fixed:
                self.fixed[layer] = torch.randperm(n_exp, generator=self.rng)[: self.n]
            keep = self.fixed[layer]
        mask = torch.zeros(n_exp, dtype=torch.bool)
        mask[keep] = True
        return mask.to(device)


class Stats:
    def __init__(self):
        self.forwards = self.tokens = self.blocks = 0
        self.unique = 0.0
        self.n_unique = 0


def forward(net, ids, positions, key_mask, cache, policy, dtype, stats=None, fill=False, rows=None):
    """Logits of (batch, n) tokens. cache[layer] = (k, v) of the whole canvas: filled, or used
    with the rows (batch, n) of this call replaced."""
    s = net.shape
    b, n = ids.shape
    cos, sin = M.rope_tables(positions.flatten(), s.d_head)
    x = net.embed[ids].view(b * n, -1)
    top_k = policy.k or s.top_k
    for i, l in enumerate(net.layers):
        q, k, v = M.before_attention(x, cos, sin, l.ln1, l.wqkv, l.qn, l.kn, s.n_head, dtype)
        q, k, v = (t.view(b, n, s.n_head, s.d_head) for t in (q, k, v))
        if fill:
            cache[i] = (k.clone(), v.clone())
        else:
            where = rows[:, :, None, None].expand_as(k)
            k = cache[i][0].scatter(1, where, k)
            v = cache[i][1].scatter(1, where, v)
        a = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=key_mask[:, None, None]
        )
        a = a.transpose(1, 2).reshape(b * n, -1)
        allowed = policy.allowed(i, s.n_exp, ids.device)
        x, _, w = M.after_attention(x, a, l.wo, l.ln2, l.gate, l.w1, l.w2, s.n_exp, top_k, dtype, allowed)
        if stats is not None and not fill:
            stats.unique += (w.view(b, n, -1) > 0).any(1).sum().item()
            stats.n_unique += b
    x = M.norm(x, net.ln)
    return (x @ net.head.T).view(b, n, -1)


@torch.no_grad()
def decode(net, prompts, gen_length, mask_id, end_ids, threshold=0.9, policy=None, dtype=torch.bfloat16):
    """Generated ids of each prompt (lists), and Stats."""
    device, policy, stats = net.embed.device, policy or Policy(), Stats()
    n = len(prompts)
    p_len = torch.tensor([len(p) for p in prompts])
    longest = int(p_len.max()) + gen_length
    ids = torch.full((n, longest), mask_id)
    for i, p in enumerate(prompts):
        ids[i, : len(p)] = torch.tensor(p)
    ids, p_len = ids.to(device), p_len.to(device)
    grid = torch.arange(longest, device=device)[None]
    key_mask = grid < (p_len + gen_length)[:, None]
    done = torch.zeros(n, dtype=torch.bool, device=device)
    ends = torch.tensor(sorted(end_ids), device=device)
    for block in range(gen_length // BLOCK):
        live = (~done).nonzero()[:, 0]
        if not len(live):
            break
        rows = (p_len[live] + block * BLOCK)[:, None] + torch.arange(BLOCK, device=device)[None]
        cache, step = {}, 0
        while True:
            cur = ids[live].gather(1, rows)
            open_ = cur == mask_id
            if not open_.any():
                break
            if step == 0:
                full = forward(net, ids[live], grid.expand(len(live), -1), key_mask[live], cache, policy,
                               dtype, None, True)
                logits = full.gather(1, rows[:, :, None].expand(-1, -1, full.shape[-1]))
            else:
                logits = forward(net, cur, rows, key_mask[live], cache, policy, dtype, stats, False, rows)
            stats.forwards += int(open_.any(1).sum())
            step += 1
            logits = logits.float()
            logits[..., mask_id] = -1e30
            prob, best = F.softmax(logits, -1).max(-1)
            prob = prob.masked_fill(~open_, -1.0)
            limit = (prob.max(1).values - 1e-5).clamp(max=threshold)[:, None]
            take = open_ & (prob >= limit)
            stats.tokens += int(take.sum())
            full_ids = ids[live]
            full_ids.scatter_(1, rows, torch.where(take, best, cur))
            ids[live] = full_ids
        stats.blocks += len(live)
        cur = ids[live].gather(1, rows)
        done[live] = torch.isin(cur, ends).any(1)
    out = []
    for i in range(n):
        got = ids[i, p_len[i] : p_len[i] + gen_length].tolist()
        for j, t in enumerate(got):
            if t in end_ids or t == mask_id:
                got = got[:j]
                break
        out.append(got)
    return out, stats
