#!/usr/bin/env python3
"""Make the tiny LLaDA-MoE checkpoints of tests/vectors/model and the values to expect from them.

    python3 tools/make_model_vectors.py tests/vectors/model

Needs torch, transformers, tokenizers, safetensors and numpy; the program itself needs none of them.

Two independent witnesses must agree before anything is written:
  - class Qwen3MoeForCausalLM of stock transformers, in f32, given an all-zero additive mask
    (it is causal by default). Its tensor names are those of LLaDA-MoE; with norm_topk_prob
    false and head_dim = hidden_size / heads it computes the same function;
  - direct(), below: the formulas written out in numpy, in f64.

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

CONFIG = {
    "architectures": ["LLaDAMoEModelLM"],
    "model_type": "llada",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "expert_intermediate_size": 32,
    "dense_intermediate_size": 128,
    "shared_expert_intermediate_size": None,
    "moe_layer_freq": [1, 1],
    "moe_router_score_function": "softmax",
    "moe_router_enable_expert_bias": False,
    "norm_topk_prob": None,
    "routed_scaling_factor": 1,
    "router_num_group": None,
    "router_topk_group": None,
    "qk_layernorm": True,
    "rope_theta": 50000,
    "partial_rotary_factor": 1,
    "rope_scaling": None,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "attention_bias": False,
    "clip_qkv": None,
    "attention_dropout": 0.0,
    "vocab_size": 288,
    "tie_word_embeddings": False,
    "max_position_embeddings": 256,
    "pad_token_id": 256,
    "eos_token_id": 256,
    "initializer_range": 0.02,
    "use_cache": False,
}
SPECIALS = ["<|endoftext|>", "<|mask|>", "<role>", "</role>", "<|role_end|>"]  # 256 ...
MASK_ID = 257
LENGTHS = (5, 32, 33, 70)
BLOCK = (32, 64)  # rows of the partial forwards

# The pre-tokenizer regex of the Ling family, as its tokenizer.json files have it.
REGEX = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


# ---- weights, as engine/weights.h has them ------------------------------------------------------

M64 = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15


def splitmix64(x):
    """First values of the splitmix64 streams with states x (uint64 array)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(STEP)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & M64
    return h


def to_bf16(v):
    """Round f32 to bf16, nearest even, kept as f32."""
    bits = v.view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def draws(name, n, seed):
    stream = int(splitmix64(np.array([seed], np.uint64))[0]) ^ fnv1a(name.encode())
    with np.errstate(over="ignore"):
        return splitmix64(np.uint64(stream) + np.arange(n, dtype=np.uint64) * np.uint64(STEP))


def uniform(name, n, seed):
    """f32 in [0, 1)."""
    z = draws(name, n, seed) >> np.uint64(40)
    return z.astype(np.float32) * np.float32(2.0**-24)


def dummy(name, shape, seed):
    """f32 values before they are rounded."""
    if len(shape) == 1:
        return np.float32(0.5) + uniform(name, shape[0], seed)
    z = draws(name, math.prod(shape), seed)
    u = sum(((z >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.int64) for s in (0, 16, 32, 48))
    gain = 4 if name.endswith("mlp.gate.weight") else 1
    scale = np.float32(gain * math.sqrt(3.0 / shape[1]) / 65536)
    return ((u - 131070).astype(np.float32) * scale).reshape(shape)


def tensor_shapes(c):
    h, v, d = c["hidden_size"], c["vocab_size"], c["hidden_size"] // c["num_attention_heads"]
    kv, f = c["num_key_value_heads"] * d, c["expert_intermediate_size"]
    yield "model.embed_tokens.weight", (v, h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (h,)
        yield p + "self_attn.q_proj.weight", (h, h)
        yield p + "self_attn.k_proj.weight", (kv, h)
        yield p + "self_attn.v_proj.weight", (kv, h)
        yield p + "self_attn.o_proj.weight", (h, h)
        yield p + "self_attn.q_norm.weight", (d,)
        yield p + "self_attn.k_norm.weight", (d,)
        yield p + "post_attention_layernorm.weight", (h,)
        yield p + "mlp.gate.weight", (c["num_experts"], h)
        for e in range(c["num_experts"]):
            yield p + f"mlp.experts.{e}.gate_proj.weight", (f, h)
            yield p + f"mlp.experts.{e}.up_proj.weight", (f, h)
            yield p + f"mlp.experts.{e}.down_proj.weight", (h, f)
    yield "model.norm.weight", (h,)
    yield "lm_head.weight", (v, h)


# ---- the formulas, in f64 -----------------------------------------------------------------------


class Direct:
    """One canvas: keys and values of the last forward of each position are kept."""

    def __init__(self, c, weights):
        self.c = c
        self.w = {k: v.astype(np.float64) for k, v in weights.items()}
        n, h = c["max_position_embeddings"], c["hidden_size"]
        self.keys = [np.zeros((n, h)) for _ in range(c["num_hidden_layers"])]
        self.values = [np.zeros((n, h)) for _ in range(c["num_hidden_layers"])]

    def norm(self, x, name):
        eps = self.c["rms_norm_eps"]
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.w[name]

    def rope(self, x, positions):
        """x (n, heads, d): pairs (j, j + d/2) turn by position * theta^(-2j/d)."""
        half = x.shape[-1] // 2
        angle = positions[:, None] * self.c["rope_theta"] ** (-np.arange(half) / half)
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, layer, x, positions, n_kv):
        p, n = f"model.layers.{layer}.self_attn.", len(positions)
        heads = self.c["num_attention_heads"]
        q, k, v = (x @ self.w[p + f"{t}_proj.weight"].T for t in "qkv")
        q = self.rope(self.norm(q.reshape(n, heads, -1), p + "q_norm.weight"), positions)
        k = self.rope(self.norm(k.reshape(n, heads, -1), p + "k_norm.weight"), positions)
        self.keys[layer][positions] = k.reshape(n, -1)
        self.values[layer][positions] = v
        k = self.keys[layer][:n_kv].reshape(n_kv, heads, -1)
        v = self.values[layer][:n_kv].reshape(n_kv, heads, -1)
        s = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        y = np.einsum("hqk,khd->qhd", s, v).reshape(n, -1)
        return y @ self.w[p + "o_proj.weight"].T

    def experts(self, layer, x):
        p, top_k = f"model.layers.{layer}.mlp.", self.c["num_experts_per_tok"]
        z = x @ self.w[p + "gate.weight"].T
        scores = np.exp(z - z.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        order = np.argsort(-scores, -1, kind="stable")
        gap = np.take_along_axis(scores, order[:, top_k - 1 : top_k + 1], -1)
        gap = 1 - gap[:, 1] / gap[:, 0]
        assert gap.min() > 1e-4, f"a near tie of experts ({gap.min()}): take other tokens"
        ids = np.sort(order[:, :top_k], -1)
        y = np.zeros_like(x)
        for t, e in np.ndindex(ids.shape):
            w = [self.w[p + f"experts.{ids[t, e]}.{m}_proj.weight"] for m in ("gate", "up", "down")]
            g = w[0] @ x[t]
            y[t] += scores[t, ids[t, e]] * (w[2] @ (g / (1 + np.exp(-g)) * (w[1] @ x[t])))
        return y, scores, ids

    def forward(self, ids, positions, n_kv, added=0):
        """added: to the embeddings."""
        x = self.w["model.embed_tokens.weight"][ids] + added
        out = {"embed": x}
        for i in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            x = x + self.attention(i, self.norm(x, p + "input_layernorm.weight"), positions, n_kv)
            y, out[f"scores{i}"], out[f"ids{i}"] = self.experts(
                i, self.norm(x, p + "post_attention_layernorm.weight")
            )
            x = x + y
            out[f"layer{i}"] = x
        out["logits"] = self.norm(x, "model.norm.weight") @ self.w["lm_head.weight"].T
        return out


# ---- stock transformers -------------------------------------------------------------------------


def open_stock(folder):
    """Qwen3MoeForCausalLM on the weights of a folder."""
    c = CONFIG
    stock = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "head_dim": c["hidden_size"] // c["num_attention_heads"],
        "moe_intermediate_size": c["expert_intermediate_size"],
        "intermediate_size": c["dense_intermediate_size"],
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(c["rope_theta"])},
    }
    same = ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "num_experts", "num_experts_per_tok", "rms_norm_eps", "hidden_act", "attention_bias",
            "vocab_size", "tie_word_embeddings", "max_position_embeddings"]  # fmt: skip
    stock.update({k: c[k] for k in same})
    with tempfile.TemporaryDirectory() as tmp:
        for f in folder.glob("model*"):
            shutil.copy(f, tmp)
        (pathlib.Path(tmp) / "config.json").write_text(json.dumps(stock))
        model, info = transformers.Qwen3MoeForCausalLM.from_pretrained(
            tmp, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    assert not any(info.values()), info
    assert type(model.model.layers[0].mlp).__name__ == "Qwen3MoeSparseMoeBlock"
    return model.eval()


def run_stock(model, ids):
    out, handles = {}, []

    def keep(name, pick):
        def hook(_module, _args, result):
            out[name] = pick(result)

        return hook

    def hidden(result):
        return (result[0] if isinstance(result, tuple) else result)[0].numpy()

    for i, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(keep(f"layer{i}", hidden)))
        handles.append(
            layer.mlp.gate.register_forward_hook(
                keep(f"scores{i}", lambda r: torch.softmax(r[0].float(), -1).numpy())
            )
        )
        handles.append(
            layer.mlp.gate.register_forward_hook(
                keep(f"ids{i}", lambda r: np.sort(r[2].numpy(), -1))
            )
        )
    handles.append(
        model.model.embed_tokens.register_forward_hook(keep("embed", lambda r: r[0].numpy()))
    )
    n = len(ids)
    with torch.no_grad():
        result = model(
            input_ids=torch.from_numpy(ids)[None],
            attention_mask=torch.zeros(1, 1, n, n),
            position_ids=torch.arange(n)[None],
            use_cache=False,
        )
    out["logits"] = result.logits[0].numpy()
    for h in handles:
        h.remove()
    return out


def compare(stock, direct, what):
    worst = 0.0
    for name in stock:
        if name.startswith("ids"):
            assert (stock[name] == direct[name]).all(), f"{what} {name}: other experts"
            continue
        scale = np.abs(direct[name]).max()
        worst = max(worst, np.abs(stock[name] - direct[name]).max() / scale)
    assert worst < 1e-5, f"{what}: transformers and the formulas differ by {worst}"
    return worst


# ---- files --------------------------------------------------------------------------------------


def write_tokenizer(path):
    """A byte-level vocabulary without merges, and the special tokens."""
    symbols = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocab = {s: i for i, s in enumerate(sorted(symbols))}
    t = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    t.normalizer = tokenizers.normalizers.NFC()
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(REGEX), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    t.decoder = tokenizers.decoders.ByteLevel()
    t.add_special_tokens([tokenizers.AddedToken(s, normalized=False) for s in SPECIALS])
    assert t.token_to_id("<|mask|>") == MASK_ID
    t.save(str(path), pretty=False)


def write_checkpoint(folder, weights, dtype, n_shards):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    write_tokenizer(folder / "tokenizer.json")
    tensors = {k: torch.from_numpy(v).to(dtype).contiguous() for k, v in weights.items()}
    if n_shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names, weight_map = list(tensors), {}
    for i in range(n_shards):
        part = names[i * len(names) // n_shards : (i + 1) * len(names) // n_shards]
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        safetensors.torch.save_file({k: tensors[k] for k in part}, folder / file, {"format": "pt"})
        weight_map.update({k: file for k in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    text = json.dumps(index, indent=0) + "\n"
    (folder / "model.safetensors.index.json").write_text(text)


def canvas(length, seed):
    """Bytes, and masks from about the middle on; two different canvases for two seeds."""
    r = splitmix64(np.arange(length, dtype=np.uint64) + np.uint64(1000 * seed + length))
    ids = (r % np.uint64(256)).astype(np.int64)
    masks = (np.arange(length) >= length // 2) & ((r >> np.uint64(32)) % np.uint64(4) > 0)
    return np.where(masks, MASK_ID, ids)


def full_vectors(model, c, weights, lengths, stages):
    out = {}
    for n in lengths:
        ids = canvas(n, 1)
        direct = Direct(c, weights).forward(ids, np.arange(n), n)
        stock = run_stock(model, ids)
        worst = compare(stock, direct, f"L={n}")
        print(f"L={n}: transformers and the formulas agree within {worst:.1e} of the largest value")
        out[f"L{n}.tokens"] = ids
        for name in stock if stages else ["logits"]:
            out[f"L{n}.{name}"] = stock[name]
    return out


def partial_vectors(c, weights):
    """Forwards of one block over the keys and values that earlier forwards left."""
    n, (begin, end) = max(LENGTHS), BLOCK
    d, out, rows = Direct(c, weights), {}, np.arange(begin, end)
    d.forward(canvas(n, 1), np.arange(n), n)
    for i, n_kv in enumerate((n, n, end)):
        ids = canvas(n, 2 + i)[begin:end]
        out[f"partial{i}.tokens"] = ids
        out[f"partial{i}.logits"] = d.forward(ids, rows, n_kv)["logits"]
    return out


def write_vectors(path, vectors):
    """All f32, token and expert ids too: they are small integers."""
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in vectors.items()}
    safetensors.torch.save_file(tensors, path)


README = """\
Tiny LLaDA-MoE checkpoints with random weights, and what the model computes from them.

Made by

    python3 tools/make_model_vectors.py tests/vectors/model

with numpy {numpy}, torch {torch}, transformers {transformers}, tokenizers {tokenizers}, safetensors {safetensors}.

- `tiny-bf16/`: two shards, bf16; the dummy weights of seed 1, so `--load-format dummy` must make
  the same bits. `tiny-f32/`: one file, f32, seed 2, not rounded.
- `tiny-bf16.safetensors`, for L = 5, 32, 33, 70: `L*.tokens`, `L*.embed`, `L*.layer0/1` (the
  residual stream after each layer), `L*.scores0/1` (router probabilities), `L*.ids0/1` (chosen
  experts, ascending), `L*.logits`; by Qwen3MoeForCausalLM of transformers, f32, without a mask.
- In the same file `partial0/1/2`: after a full forward of `L70.tokens`, positions 32 to 63 run alone
  with other tokens over the keys and values kept for the rest; in turn, each over what
  the one before left. The last sees only positions 0 to 63. By the formulas in f64.
- `tiny-f32.safetensors`: `L*.tokens` and `L*.logits` for L = 5 and 33.

All tensors are f32. The script stops unless transformers and its own f64 formulas agree within
1e-5 of the largest value of each tensor, and in every choice of experts.
"""


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    raw = {name: dummy(name, shape, 1) for name, shape in tensor_shapes(CONFIG)}
    bf16 = {k: to_bf16(v) for k, v in raw.items()}
    f32 = {name: dummy(name, shape, 2) for name, shape in tensor_shapes(CONFIG)}
    write_checkpoint(root / "tiny-bf16", bf16, torch.bfloat16, 2)
    write_checkpoint(root / "tiny-f32", f32, torch.float32, 1)

    vectors = full_vectors(open_stock(root / "tiny-bf16"), CONFIG, bf16, LENGTHS, True)
    vectors.update(partial_vectors(CONFIG, bf16))
    write_vectors(root / "tiny-bf16.safetensors", vectors)
    vectors = full_vectors(open_stock(root / "tiny-f32"), CONFIG, f32, (5, 33), False)
    write_vectors(root / "tiny-f32.safetensors", vectors)
    modules = (np, torch, transformers, tokenizers, safetensors)
    versions = {m.__name__: m.__version__ for m in modules}
    (root / "README.md").write_text(README.format(**versions))
    for f in root.rglob("*.safetensors"):
        f.chmod(0o644)


if __name__ == "__main__":
    main()
