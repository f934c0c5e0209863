#!/usr/bin/env python3
"""Write a trained model (NAME.bf16.pt) in LLaDA-MoE's Hugging Face layout.

    python3 export.py NAME.bf16.pt models/NAME

Tensor names, config.json and tokenizer.json are as in inclusionAI/LLaDA-MoE-7B-A1B; shards of at
most 16 MB; generation_config.json holds the decode defaults. Needs torch for reading only.
"""

import argparse
import json
import os
import shutil
import struct
import sys

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import make_shapes

SHARD_BYTES = 16 * 10**6


def tensors(c):
    """(name, bf16 tensor) in the layout's names."""
    s, net = c["shape"], c["net"]
    f, n_exp = s["d_ff"], s["n_exp"]
    yield "model.embed_tokens.weight", net["embed"]
    for i in range(s["n_layer"]):
        a, b = f"layers.{i}.", f"model.layers.{i}."
        yield b + "input_layernorm.weight", net[a + "ln1"]
        for name, w in zip("qkv", net[a + "wqkv"].chunk(3)):
            yield b + f"self_attn.{name}_proj.weight", w
        yield b + "self_attn.o_proj.weight", net[a + "wo"]
        yield b + "self_attn.q_norm.weight", net[a + "qn"]
        yield b + "self_attn.k_norm.weight", net[a + "kn"]
        yield b + "post_attention_layernorm.weight", net[a + "ln2"]
        yield b + "mlp.gate.weight", net[a + "gate"]
        gate, up = net[a + "w1"].chunk(2)
        down = net[a + "w2"]
        for e in range(n_exp):
            at = slice(e * f, (e + 1) * f)
            yield b + f"mlp.experts.{e}.gate_proj.weight", gate[at]
            yield b + f"mlp.experts.{e}.up_proj.weight", up[at]
            yield b + f"mlp.experts.{e}.down_proj.weight", down[:, at]
    yield "model.norm.weight", net["ln"]
    yield "lm_head.weight", net["head"]


def data_of(t):
    return t.contiguous().view(torch.int16).numpy().tobytes()


def write_shard(path, named):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in named:
        n = t.numel() * 2
        head[name] = {"dtype": "BF16", "shape": list(t.shape), "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, t in named:
            out.write(data_of(t))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("folder")
    ap.add_argument("--threshold", type=float, default=0.9)
    ap.add_argument("--cache", default="dual")
    o = ap.parse_args()
    c = torch.load(o.file, map_location="cpu", weights_only=True)
    s = c["shape"]
    os.makedirs(o.folder, exist_ok=True)
    shards, size = [[]], 0
    for name, t in tensors(c):
        n = t.numel() * 2 + 160  # and its entry in the header
        if size + n > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, t))
        size += n
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    index = {}
    for file, named in zip(names, shards):
        write_shard(os.path.join(o.folder, file), named)
        index |= {name: file for name, _ in named}
    total = sum(t.numel() * 2 for named in shards for _, t in named)
    dump(o.folder, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}, 0)
    with open(os.path.join(HERE, "tokenizer.json")) as f:
        eos = json.load(f)["model"]["vocab"]["<|endoftext|>"]
    shutil.copy(os.path.join(HERE, "tokenizer.json"), os.path.join(o.folder, "tokenizer.json"))
    dump(o.folder, "config.json", make_shapes.llada_moe(
        hidden_size=s["d_model"],
        num_hidden_layers=s["n_layer"],
        num_attention_heads=s["n_head"],
        num_key_value_heads=s["n_head"],
        num_experts=s["n_exp"],
        num_experts_per_tok=s["top_k"],
        expert_intermediate_size=s["d_ff"],
        dense_intermediate_size=s["d_ff"] * s["n_exp"],
        vocab_size=s["n_vocab"],
        max_position_embeddings=1024,
        pad_token_id=eos,
        eos_token_id=eos,
    ))
    dump(o.folder, "generation_config.json", make_shapes.generation(eos, 192, 32, o.threshold) | {"cache": o.cache})


def dump(folder, name, value, indent=2):
    with open(os.path.join(folder, name), "w") as f:
        f.write(json.dumps(value, indent=indent) + "\n")


if __name__ == "__main__":
    main()
