#!/usr/bin/env python3
"""Check the block model: its layers, its training batches, its attention.

    python3 check_blocks.py

On the CPU in fp32, with a small model of random weights and random sequences. The layers are held
to Glm4MoeForCausalLM of transformers, which computes the same; a masked copy of a block in a batch,
to a step of the decoder on the keys and values of the blocks before it.
"""

import numpy
import torch
import torch.nn.functional as F

import block_decode
import block_model as B
import block_train
from check_batch import EOS, MASK, fake_pool
from decode import Policy

SHAPE = B.Shape(n_exp=16, d_ff=16, top_k=4, n_group=4, topk_group=2, n_layer=3, d_model=64, n_head=4, n_kv=2, d_head=16,
                d_dense=48)


def random_net():
    net = B.Mini(SHAPE)
    for l in net.moe_layers():
        l.bias.uniform_(-0.2, 0.2)
        with torch.no_grad():
            l.gate *= 4
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:
                p.uniform_(0.5, 1.5)
    return net


def glm_of(net):
    """Glm4MoeForCausalLM with the weights of net."""
    from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

    s = net.shape
    glm = Glm4MoeForCausalLM(Glm4MoeConfig(
        vocab_size=s.n_vocab, hidden_size=s.d_model, intermediate_size=s.d_dense, num_hidden_layers=s.n_layer,
        num_attention_heads=s.n_head, num_key_value_heads=s.n_kv, head_dim=s.d_head, moe_intermediate_size=s.d_ff,
        num_experts_per_tok=s.top_k, n_routed_experts=s.n_exp, n_shared_experts=1, n_group=s.n_group,
        topk_group=s.topk_group, norm_topk_prob=True, routed_scaling_factor=B.SCALE, first_k_dense_replace=1,
        use_qk_norm=True, attention_bias=False, rms_norm_eps=B.EPS, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": B.THETA, "partial_rotary_factor": B.PARTIAL},
        max_position_embeddings=1024, attn_implementation="eager", pad_token_id=0)).float().eval()
    t = {"model.embed_tokens.weight": net.embed, "model.norm.weight": net.ln, "lm_head.weight": net.head}
    for i, l in enumerate(net.layers):
        b = f"model.layers.{i}."
        q, k, v = l.wqkv.split([n * s.d_head for n in (s.n_head, s.n_kv, s.n_kv)])
        t |= {b + "self_attn.q_proj.weight": q, b + "self_attn.k_proj.weight": k, b + "self_attn.v_proj.weight": v,
              b + "self_attn.o_proj.weight": l.wo, b + "self_attn.q_norm.weight": l.qn,
              b + "self_attn.k_norm.weight": l.kn, b + "input_layernorm.weight": l.ln1,
              b + "post_attention_layernorm.weight": l.ln2}
        gate, up = l.w1.chunk(2)
        if l.is_dense:
            t |= {b + "mlp.gate_proj.weight": gate, b + "mlp.up_proj.weight": up, b + "mlp.down_proj.weight": l.w2}
            continue
        gate, up, down = (x.split(s.d_ff, d) for x, d in ((gate, 0), (up, 0), (l.w2, 1)))
        t |= {b + "mlp.gate.weight": l.gate, b + "mlp.gate.e_score_correction_bias": l.bias,
              b + "mlp.experts.gate_up_proj": torch.stack([torch.cat(x) for x in zip(gate[:-1], up[:-1])]),
              b + "mlp.experts.down_proj": torch.stack(down[:-1]),
              b + "mlp.shared_experts.gate_proj.weight": gate[-1], b + "mlp.shared_experts.up_proj.weight": up[-1],
              b + "mlp.shared_experts.down_proj.weight": down[-1]}
    glm.load_state_dict({k: v.detach().clone() for k, v in t.items()})
    return glm


def plain_forward(net, ids):
    """Logits of one sequence, without a cache."""
    x, _, _ = net.hidden(ids, torch.arange(len(ids)), B.attend_sequences([0, len(ids)]), torch.float32)
    return x @ net.head.T


def layers_are_glm4_moe(net):
    ids = torch.randint(0, 700, (96,))
    blocks = torch.arange(96) // B.BLOCK
    mask = torch.zeros(96, 96).masked_fill(blocks[None] > blocks[:, None], float("-inf"))
    want = glm_of(net)(input_ids=ids[None], attention_mask=mask[None, None], position_ids=torch.arange(96)[None]).logits[0]
    torch.testing.assert_close(plain_forward(net, ids), want, rtol=1e-4, atol=1e-4)


def batches_are_steps_of_decoding(net, pool, rng, gen, n_row=4, copies=2):
    ids, target, weight, pos, first, last = block_train.make_batch(pool, rng, gen, n_row, copies, EOS, MASK)
    n_unit = n_row * block_train.UNITS
    assert (weight[ids != MASK] == 0).all(), "a position that can be seen is scored"
    assert (ids[ids != MASK] == target[ids != MASK]).all()
    x, _, loads = net.hidden(ids, pos, B.attend_plain(first, last), torch.float32)
    assert torch.allclose(loads.sum(1), torch.ones(len(loads)))
    logits = (x @ net.head.T).view(n_unit, B.BLOCK, -1)
    ids, target, weight, pos = (t.view(n_unit, B.BLOCK) for t in (ids, target, weight, pos))
    first, last = first.flatten().tolist(), last.flatten().tolist()
    n_copy = n_clean = n_nothing = 0
    for u in range(n_unit):
        row = u // block_train.UNITS * block_train.UNITS
        if u - row == last[u] and (ids[u] != MASK).all():  # as it ended up
            n_clean += 1
            assert not (target[u] == EOS).any()
        elif (weight[u] > 0).any():
            n_copy += 1
        else:
            n_nothing += 1
            continue
        if u % 5:
            continue
        clean = ids[row + first[u] : row + last[u]].flatten()
        assert pos[u].tolist() == list(range(len(clean), len(clean) + B.BLOCK))
        assert pos[row + first[u] : row + last[u]].flatten().tolist() == list(range(len(clean)))
        assert not (clean == MASK).any()
        n = len(clean) + B.BLOCK
        cache, grid = block_decode.empty_cache(net, 1, n, torch.float32), torch.arange(n)[None]
        seen = grid // B.BLOCK <= grid[0, :, None] // B.BLOCK
        for at in range(0, len(clean), B.BLOCK):
            rows = slice(at, at + B.BLOCK)
            block_decode.forward(net, clean[None, rows], grid[:, rows], seen[None, rows], cache, Policy(), torch.float32, True)
        step = block_decode.forward(net, ids[u][None], grid[:, -B.BLOCK :], seen[None, -B.BLOCK :], cache, Policy(), torch.float32)
        torch.testing.assert_close(logits[u], step[0], rtol=1e-4, atol=1e-4)
    print("copies", n_copy, "as they end up", n_clean, "of nothing", n_nothing, "scored",
          round((weight > 0).float().mean().item(), 3))
    assert n_copy > n_unit / 4 and n_nothing < n_unit / 8


def flex_attention_is_the_same(pool, rng, gen):
    from torch.nn.attention.flex_attention import flex_attention

    *_, first, last = block_train.make_batch(pool, rng, gen, 2, 2, EOS, MASK)
    n = 2 * block_train.UNITS * B.BLOCK
    q, k, v = torch.randn(n, 4, 16), torch.randn(n, 2, 16), torch.randn(n, 2, 16)
    torch.testing.assert_close(B.attend_flex(first, last, flex_attention)(q, k, v), B.attend_plain(first, last)(q, k, v))
    # What the tiles leave out must not be seen, and what they call full must be seen whole.
    mask, n_tile = B.block_mask(first, last).to_dense()[:, 0].bool(), n // 2 // B.TILE
    seen = B.sees(first, last).view(2, n_tile, 4, n_tile, 4)
    assert (mask == seen.any(4).any(2)).all()


def decoding_is_that_of_one_at_a_time(net):
    prompts = [torch.randint(0, 700, (n,)).tolist() for n in (40, 32, 5, 95, 64)]
    ends = {EOS}
    want = [block_decode.decode(net, [p], 64, MASK, ends, 0.05, dtype=torch.float32) for p in prompts]
    got = block_decode.decode(net, prompts, 64, MASK, ends, 0.05, dtype=torch.float32)
    assert got[0] == [w[0][0] for w in want]
    assert got[1].forwards == sum(w[1].forwards for w in want)
    # And without a cache: after any step, the canvas so far in one pass gives the same next step.
    for p, (out, _) in zip(prompts, want):
        at = (len(p) // B.BLOCK + 1) * B.BLOCK
        if len(p) + len(out[0]) < at:
            continue
        canvas = torch.tensor((p + out[0])[:at] + [MASK] * B.BLOCK)
        logits = plain_forward(net, canvas)[at:]
        logits[:, MASK] = -1e30
        prob, best = F.softmax(logits, -1).max(-1)
        if len(out[0]) > at - len(p) + int(prob.argmax()):
            assert out[0][at - len(p) + int(prob.argmax())] == int(best[prob.argmax()])


@torch.no_grad()
def main():
    torch.manual_seed(1)
    rng, gen = numpy.random.default_rng(1), torch.Generator().manual_seed(1)
    pool, net = fake_pool(rng, 300), random_net()
    layers_are_glm4_moe(net)
    for _ in range(2):
        batches_are_steps_of_decoding(net, pool, rng, gen)
    flex_attention_is_the_same(pool, rng, gen)
    decoding_is_that_of_one_at_a_time(net)
    print("layers, batches, attention and decoding agree")


if __name__ == "__main__":
    main()
