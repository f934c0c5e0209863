#!/usr/bin/env python3
"""Make the tiny LLaDA2.x checkpoints of tests/vectors/model/llada2 and the values to expect from them.

    python3 tools/make_llada2_vectors.py tests/vectors/model/llada2

Needs torch, transformers, tokenizers, safetensors and numpy; the program itself needs none of them.

Two independent witnesses must agree before anything is written:
  - class Glm4MoeForCausalLM of stock transformers, in f32, given the block-causal mask as an
    additive 4-D one (0 and -inf) and explicit positions. Its layers compute the same function;
    tensors go by other names there, and its query, key and value projections are three;
  - Direct, below: the formulas written out in numpy, in f64.

Excluded groups are to get -inf, which is what both do here; versions of transformers that fill in
0 choose otherwise where scores with the bias are below 0, as they are in `merged-f32`.

The weights are made as engine/weights.h defines dummy weights, so the C side can make them again.
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import safetensors
import safetensors.torch
import tokenizers
import torch
import transformers
from transformers.models.glm4_moe import modeling_glm4_moe

import make_model_vectors as base

BLOCK = 32  # of the mask
COMMON = {
    "architectures": ["LLaDA2MoeModelLM"],
    "model_type": "llada2_moe",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "moe_intermediate_size": 32,
    "num_shared_experts": 1,
    "score_function": "sigmoid",
    "moe_router_enable_expert_bias": True,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "router_dtype": "fp32",
    "rope_theta": 600000,
    "rope_scaling": None,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "use_bias": False,
    "use_qkv_bias": False,
    "norm_head": False,
    "tie_word_embeddings": False,
    "vocab_size": 288,
    "pad_token_id": 256,
    "max_position_embeddings": 256,
    "sliding_window": 4096,
}
# models/shapes/tiny-llada2
USUAL = COMMON | {
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "partial_rotary_factor": 0.5,
}
# What the published models have alike is apart: heads wider than hidden_size / heads, one head of
# keys, two dense layers before one with experts, one group of two, RoPE on all dims.
OTHER = COMMON | {
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "num_experts": 12,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 2,
    "n_group": 2,
    "topk_group": 1,
    "partial_rotary_factor": 1,
}
SHIFT = -1.5  # of the bias in OTHER: every score plus bias is below 0


def tensor_shapes(c):
    h, v, d = c["hidden_size"], c["vocab_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    yield "model.word_embeddings.weight", (v, h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (h,)
        yield p + "attention.query_key_value.weight", (q + 2 * kv, h)
        yield p + "attention.dense.weight", (h, q)
        yield p + "attention.query_layernorm.weight", (d,)
        yield p + "attention.key_layernorm.weight", (d,)
        yield p + "post_attention_layernorm.weight", (h,)
        if i < c["first_k_dense_replace"]:
            experts, f = [""], c["intermediate_size"]
        else:
            experts = [f"experts.{e}." for e in range(c["num_experts"])] + ["shared_experts."]
            f = c["moe_intermediate_size"]
            yield p + "mlp.gate.weight", (c["num_experts"], h)
            yield p + "mlp.gate.expert_bias", (c["num_experts"],)
        for e in experts:
            yield p + f"mlp.{e}gate_proj.weight", (f, h)
            yield p + f"mlp.{e}up_proj.weight", (f, h)
            yield p + f"mlp.{e}down_proj.weight", (h, f)
    yield "model.norm.weight", (h,)
    yield "lm_head.weight", (v, h)


def dummy(name, shape, seed):
    """f32 values before they are rounded."""
    if name.endswith("expert_bias"):
        u = base.uniform(name, shape[0], seed)
        return np.float32(0.2) * (np.float32(2) * u - np.float32(1))
    v = base.dummy(name, shape, seed)
    return v * np.float32(0.5) if name.endswith("mlp.gate.weight") else v  # gain 2, not 4: exact


# ---- the formulas, in f64 -----------------------------------------------------------------------


class Direct:
    def __init__(self, c, weights):
        self.c = c
        self.w = {k: v.astype(np.float64) for k, v in weights.items()}

    def norm(self, x, name):
        eps = self.c["rms_norm_eps"]
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.w[name]

    def rope(self, x):
        """x (n, heads, d): pairs (j, j + r/2) turn by position * theta^(-2j/r), the rest stay."""
        half = int(x.shape[-1] * self.c["partial_rotary_factor"]) // 2
        angle = np.arange(len(x))[:, None] * self.c["rope_theta"] ** (-np.arange(half) / half)
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        a, b, rest = np.split(x, [half, 2 * half], -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)

    def attention(self, i, x, out):
        p, n, d = f"model.layers.{i}.attention.", len(x), self.c["head_dim"]
        heads, kv = self.c["num_attention_heads"], self.c["num_key_value_heads"]
        y = x @ self.w[p + "query_key_value.weight"].T
        q, k, v = (t.reshape(n, -1, d) for t in np.split(y, [heads * d, (heads + kv) * d], -1))
        q, k = self.norm(q, p + "query_layernorm.weight"), self.norm(k, p + "key_layernorm.weight")
        out[f"q_norm{i}"], out[f"k_norm{i}"] = q.reshape(n, -1), k.reshape(n, -1)
        q, k = self.rope(q), self.rope(k)
        out[f"q_rope{i}"], out[f"k_rope{i}"] = q.reshape(n, -1), k.reshape(n, -1)
        y = np.zeros((n, heads, d))
        for h in range(heads):
            g = h // (heads // kv)
            s = q[:, h] @ k[:, g].T / math.sqrt(d)
            s[np.arange(n)[:, None] // BLOCK < np.arange(n) // BLOCK] = -np.inf
            s = np.exp(s - s.max(-1, keepdims=True))
            y[:, h] = s / s.sum(-1, keepdims=True) @ v[:, g]
        out[f"attention{i}"] = y.reshape(n, -1)
        return out[f"attention{i}"] @ self.w[p + "dense.weight"].T

    def expert(self, x, name):
        gate, up, down = (self.w[f"{name}{t}_proj.weight"] for t in ("gate", "up", "down"))
        g = x @ gate.T
        return (g / (1 + np.exp(-g)) * (x @ up.T)) @ down.T

    def choose(self, biased):
        """The experts of one token."""
        n, top = self.c["n_group"], self.c["num_experts_per_tok"]
        groups = biased.reshape(n, -1)
        score = np.sort(groups, -1)[:, -2:].sum(-1)
        kept = np.argsort(-score, kind="stable")
        if len(kept) > self.c["topk_group"]:
            self.check_gap(score[kept], self.c["topk_group"])
        allowed = np.full_like(groups, -np.inf)
        kept = kept[: self.c["topk_group"]]
        allowed[kept] = groups[kept]
        order = np.argsort(-allowed.ravel(), kind="stable")
        self.check_gap(allowed.ravel()[order], top)
        return np.sort(order[:top])

    def check_gap(self, ordered, n):
        gap = ordered[n - 1] - ordered[n]
        assert gap > 1e-5, f"a near tie ({gap}): take other tokens"

    def experts(self, i, x, out):
        p = f"model.layers.{i}.mlp."
        if i < self.c["first_k_dense_replace"]:
            return self.expert(x, p)
        scores = 1 / (1 + np.exp(-(x @ self.w[p + "gate.weight"].T)))
        biased = scores + self.w[p + "gate.expert_bias"]
        ids = np.stack([self.choose(b) for b in biased])
        w = np.take_along_axis(scores, ids, -1)
        w *= self.c["routed_scaling_factor"] / (w.sum(-1, keepdims=True) + 1e-20)
        y = self.expert(x, p + "shared_experts.")
        for t, k in np.ndindex(ids.shape):
            y[t] += w[t, k] * self.expert(x[t], p + f"experts.{ids[t, k]}.")
        out[f"scores{i}"], out[f"ids{i}"], out[f"weights{i}"] = scores, ids, w
        return y

    def forward(self, ids):
        x = self.w["model.word_embeddings.weight"][ids]
        out = {"embed": x}
        for i in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            out[f"norm_in{i}"] = self.norm(x, p + "input_layernorm.weight")
            out[f"o{i}"] = self.attention(i, out[f"norm_in{i}"], out)
            x = x + out[f"o{i}"]
            out[f"norm_ffn{i}"] = self.norm(x, p + "post_attention_layernorm.weight")
            out[f"ffn{i}"] = self.experts(i, out[f"norm_ffn{i}"], out)
            x = x + out[f"ffn{i}"]
            out[f"layer{i}"] = x
        out["norm_out"] = self.norm(x, "model.norm.weight")
        out["logits"] = out["norm_out"] @ self.w["lm_head.weight"].T
        return out


# ---- stock transformers -------------------------------------------------------------------------


def stock_tensors(c, weights):
    """The weights under the names of Glm4Moe."""
    names = {
        "word_embeddings": "embed_tokens",
        "attention.dense": "self_attn.o_proj",
        "attention.query_layernorm": "self_attn.q_norm",
        "attention.key_layernorm": "self_attn.k_norm",
        "gate.expert_bias": "gate.e_score_correction_bias",
    }
    d = c["head_dim"]
    cuts = [c["num_attention_heads"] * d, (c["num_attention_heads"] + c["num_key_value_heads"]) * d]
    out = {}
    for name, v in weights.items():
        if "query_key_value" in name:
            for part, rows in zip("qkv", np.split(v, cuts)):
                to = name.replace("attention.query_key_value", f"self_attn.{part}_proj")
                out[to] = torch.from_numpy(rows.copy())
            continue
        for a, b in names.items():
            name = name.replace(a, b)
        out[name] = torch.from_numpy(v)
    return out


def open_stock(c, weights):
    stock = {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "n_routed_experts": c["num_experts"],
        "n_shared_experts": c["num_shared_experts"],
        "use_qk_norm": True,
        "attention_bias": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(c["rope_theta"]),
            "partial_rotary_factor": float(c["partial_rotary_factor"]),
        },
    }
    same = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "moe_intermediate_size", "num_experts_per_tok",
            "first_k_dense_replace", "n_group", "topk_group", "norm_topk_prob",
            "routed_scaling_factor", "rms_norm_eps", "hidden_act", "vocab_size",
            "tie_word_embeddings", "max_position_embeddings", "pad_token_id"]  # fmt: skip
    stock.update({k: c[k] for k in same})
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp)
        file = path / "model.safetensors"
        safetensors.torch.save_file(stock_tensors(c, weights), file, {"format": "pt"})
        (path / "config.json").write_text(json.dumps(stock))
        model, info = transformers.Glm4MoeForCausalLM.from_pretrained(
            tmp, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    assert not any(info.values()), info
    kinds = [type(layer.mlp).__name__ for layer in model.model.layers]
    n = c["first_k_dense_replace"]
    assert kinds == ["Glm4MoeMLP"] * n + ["Glm4MoeMoE"] * (c["num_hidden_layers"] - n)
    assert model.model.layers[-1].mlp.gate.e_score_correction_bias.dtype == torch.float32
    return model.eval()


class Stages:
    """What the modules of a model put out, by name."""

    def __init__(self, model):
        self.out, self.handles, self.layer = {}, [], 0
        for i, layer in enumerate(model.model.layers):
            attn = layer.self_attn
            self.keep(layer.input_layernorm, f"norm_in{i}")
            self.keep(attn.q_norm, f"q_norm{i}")
            self.keep(attn.k_norm, f"k_norm{i}")
            self.handles.append(attn.register_forward_pre_hook(self.entering(i)))
            self.handles.append(attn.o_proj.register_forward_pre_hook(self.taking(f"attention{i}")))
            self.keep(attn.o_proj, f"o{i}")
            self.keep(layer.post_attention_layernorm, f"norm_ffn{i}")
            if hasattr(layer.mlp, "gate"):
                self.handles.append(layer.mlp.gate.register_forward_hook(self.routing(i)))
            self.keep(layer.mlp, f"ffn{i}")
            self.keep(layer, f"layer{i}")
        self.keep(model.model.embed_tokens, "embed")
        self.keep(model.model.norm, "norm_out")

    def put(self, name, t):
        t = t[0] if isinstance(t, tuple) else t
        self.out[name] = t[0].reshape(t.shape[1], -1).numpy()

    def keep(self, module, name):
        def hook(_module, _args, result):
            self.put(name, result)

        self.handles.append(module.register_forward_hook(hook))

    def taking(self, name):
        def hook(_module, args):
            self.put(name, args[0])

        return hook

    def entering(self, i):
        def hook(_module, _args):
            self.layer = i

        return hook

    def routing(self, i):
        def hook(_module, _args, result):
            logits, weights, ids = result
            order = torch.argsort(ids, -1)
            self.out[f"scores{i}"] = torch.sigmoid(logits.float()).numpy()
            self.out[f"ids{i}"] = torch.gather(ids, -1, order).numpy()
            self.out[f"weights{i}"] = torch.gather(weights, -1, order).numpy()

        return hook

    def turned(self, q, k):  # (1, heads, n, d)
        self.put(f"q_rope{self.layer}", q.transpose(1, 2))
        self.put(f"k_rope{self.layer}", k.transpose(1, 2))


def run_stock(model, ids):
    stages, n = Stages(model), len(ids)
    at = torch.arange(n) // BLOCK
    mask = torch.zeros(n, n).masked_fill(at[:, None] < at[None, :], float("-inf"))
    turn = modeling_glm4_moe.apply_rotary_pos_emb

    def watched(*args, **kwargs):
        q, k = turn(*args, **kwargs)
        stages.turned(q, k)
        return q, k

    modeling_glm4_moe.apply_rotary_pos_emb = watched
    try:
        with torch.no_grad():
            result = model(
                input_ids=torch.from_numpy(ids)[None],
                attention_mask=mask[None, None],
                position_ids=torch.arange(n)[None],
                use_cache=False,
            )
    finally:
        modeling_glm4_moe.apply_rotary_pos_emb = turn
    for h in stages.handles:
        h.remove()
    stages.out["logits"] = result.logits[0].numpy()
    return stages.out


# ---- files --------------------------------------------------------------------------------------


def merged(c, weights):
    """Routed experts of a layer and kind in one tensor (experts, out, in), as dFactory trains them."""
    out = {k: v for k, v in weights.items() if ".mlp.experts." not in k}
    for i in range(c["first_k_dense_replace"], c["num_hidden_layers"]):
        for t in ("gate", "up", "down"):
            p = f"model.layers.{i}.mlp.experts."
            each = [weights[f"{p}{e}.{t}_proj.weight"] for e in range(c["num_experts"])]
            out[f"{p}{t}_proj.weight"] = np.stack(each)
    return out


def write_checkpoint(folder, c, weights, dtype):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    base.write_tokenizer(folder / "tokenizer.json")
    tensors = {}
    for k, v in weights.items():  # the bias is f32 in every checkpoint
        t = torch.float32 if k.endswith("expert_bias") else dtype
        tensors[k] = torch.from_numpy(v).to(t).contiguous()
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def vectors_of(c, weights, lengths, stages):
    model, direct, out, lowest = open_stock(c, weights), Direct(c, weights), {}, math.inf
    for n in lengths:
        ids = base.canvas(n, 1)
        want, stock = direct.forward(ids), run_stock(model, ids)
        assert set(want) == set(stock), set(want) ^ set(stock)
        worst = base.compare(stock, want, f"L={n}")
        print(f"L={n}: transformers and the formulas agree within {worst:.1e} of the largest value")
        out[f"L{n}.tokens"] = ids
        for name in stock if stages else ["logits"]:
            out[f"L{n}.{name}"] = stock[name]
        last = c["num_hidden_layers"] - 1
        bias = weights[f"model.layers.{last}.mlp.gate.expert_bias"]
        lowest = min(lowest, (want[f"scores{last}"] + bias).max())
    return out, lowest


README = """\
Tiny LLaDA2.x checkpoints with random weights, and what the model computes from them.

Made by

    python3 tools/make_llada2_vectors.py tests/vectors/model/llada2

with numpy {numpy}, torch {torch}, transformers {transformers}, tokenizers {tokenizers}, safetensors {safetensors}.

- `usual-bf16/`: bf16 but for the routers' biases, experts one by one; the dummy weights of seed 1,
  so `--load-format dummy` must make the same bits.
- `merged-f32/`: f32, seed 2, experts of a layer merged in one tensor a kind. Other proportions: two
  dense layers, heads wider than hidden_size / heads, one head of keys, RoPE on all dims. The
  routers' biases are shifted by -1.5, so that every score plus bias is negative.
- `usual-bf16.safetensors`, for L = 5, 32, 33, 70: `L*.tokens`, `L*.embed` and, for each layer N from 0,
  `norm_inN`, `q_normN`, `k_normN`, `q_ropeN`, `k_ropeN` (heads side by side), `attentionN` (before
  the output projection), `oN`, `norm_ffnN`, `scoresN` (without bias), `idsN` (chosen experts,
  ascending), `weightsN` (beside them), `ffnN` (of all experts together), `layerN` (the residual
  stream after it), at last `norm_out` and `logits`. By Glm4MoeForCausalLM of transformers, f32, with
  a block-causal mask of 32.
- `merged-f32.safetensors`: the same for L = 5, 33 and 70, `tokens` and `logits` alone.

All tensors are f32. The script stops unless transformers and its own f64 formulas agree within
1e-5 of the largest value of each tensor, and in every choice of experts.
"""


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    bf16 = {n: base.to_bf16(dummy(n, shape, 1)) for n, shape in tensor_shapes(USUAL)}
    f32 = {n: dummy(n, shape, 2) for n, shape in tensor_shapes(OTHER)}
    for name in f32:
        if name.endswith("expert_bias"):
            f32[name] = f32[name] + np.float32(SHIFT)
    write_checkpoint(root / "usual-bf16", USUAL, bf16, torch.bfloat16)
    write_checkpoint(root / "merged-f32", OTHER, merged(OTHER, f32), torch.float32)
    vectors, _ = vectors_of(USUAL, bf16, base.LENGTHS, True)
    base.write_vectors(root / "usual-bf16.safetensors", vectors)
    vectors, highest = vectors_of(OTHER, f32, (5, 33, 70), False)
    assert highest < 0
    base.write_vectors(root / "merged-f32.safetensors", vectors)
    modules = (np, torch, transformers, tokenizers, safetensors)
    versions = {m.__name__: m.__version__ for m in modules}
    (root / "README.md").write_text(README.format(**versions))
    for f in root.rglob("*.safetensors"):
        f.chmod(0o644)


if __name__ == "__main__":
    main()
