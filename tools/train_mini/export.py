#!/usr/bin/env python3
"""Write a trained model (NAME.bf16.pt) in its family's Hugging Face layout.

    python3 export.py NAME.bf16.pt models/NAME

Tensor names, config.json and tokenizer.json are as in inclusionAI/LLaDA-MoE-7B-A1B, those of a
block model as in inclusionAI/LLaDA2.0-mini; shards of at most 16 MB; generation_config.json holds
the decode defaults. Needs torch for reading only.
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


def is_block_model(c):
    return "n_group" in c["shape"]


def ffn(prefix, gate, up, down):
    yield prefix + "gate_proj.weight", gate
    yield prefix + "up_proj.weight", up
    yield prefix + "down_proj.weight", down


def experts(w1, w2, width):
    """(gate, up, down) of each expert of a layer, in order."""
    gate, up = (x.split(width) for x in w1.chunk(2))
    return list(zip(gate, up, w2.split(width, 1)))


def block_tensors(c):
    """(name, tensor) in LLaDA2.0's names: bf16 all but the experts' biases."""
    s, net = c["shape"], c["net"]
    yield "model.word_embeddings.weight", net["embed"]
    for i in range(s["n_layer"]):
        a, b = f"layers.{i}.", f"model.layers.{i}."
        yield b + "input_layernorm.weight", net[a + "ln1"]
        yield b + "attention.query_key_value.weight", net[a + "wqkv"]
        yield b + "attention.query_layernorm.weight", net[a + "qn"]
        yield b + "attention.key_layernorm.weight", net[a + "kn"]
        yield b + "attention.dense.weight", net[a + "wo"]
        yield b + "post_attention_layernorm.weight", net[a + "ln2"]
        if i == 0:
            yield from ffn(b + "mlp.", *net[a + "w1"].chunk(2), net[a + "w2"])
            continue
        yield b + "mlp.gate.weight", net[a + "gate"]
        yield b + "mlp.gate.expert_bias", net[a + "bias"]
        *routed, shared = experts(net[a + "w1"], net[a + "w2"], s["d_ff"])
        for e, w in enumerate(routed):
            yield from ffn(b + f"mlp.experts.{e}.", *w)
        yield from ffn(b + "mlp.shared_experts.", *shared)
    yield "model.norm.weight", net["ln"]
    yield "lm_head.weight", net["head"]


def tensors(c):
    """(name, bf16 tensor) in LLaDA-MoE's names."""
    s, net = c["shape"], c["net"]
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
        for e, w in enumerate(experts(net[a + "w1"], net[a + "w2"], s["d_ff"])):
            yield from ffn(b + f"mlp.experts.{e}.", *w)
    yield "model.norm.weight", net["ln"]
    yield "lm_head.weight", net["head"]


DTYPES = {torch.bfloat16: ("BF16", torch.int16), torch.float32: ("F32", torch.int32)}


def bytes_of(t):
    return t.numel() * t.element_size()


def write_shard(path, named):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in named:
        n = bytes_of(t)
        head[name] = {"dtype": DTYPES[t.dtype][0], "shape": list(t.shape), "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, t in named:
            out.write(t.contiguous().view(DTYPES[t.dtype][1]).numpy().tobytes())


def config(c, eos):
    s = c["shape"]
    common = dict(
        hidden_size=s["d_model"],
        num_hidden_layers=s["n_layer"],
        num_attention_heads=s["n_head"],
        num_experts=s["n_exp"],
        num_experts_per_tok=s["top_k"],
        vocab_size=s["n_vocab"],
        max_position_embeddings=1024,
        pad_token_id=eos,
    )
    if is_block_model(c):
        return make_shapes.llada2(
            **common,
            intermediate_size=s["d_dense"],
            num_key_value_heads=s["n_kv"],
            head_dim=s["d_head"],
            moe_intermediate_size=s["d_ff"],
            n_group=s["n_group"],
            topk_group=s["topk_group"],
        )
    return make_shapes.llada_moe(
        **common,
        num_key_value_heads=s["n_head"],
        expert_intermediate_size=s["d_ff"],
        dense_intermediate_size=s["d_ff"] * s["n_exp"],
        eos_token_id=eos,
    )


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("folder")
    ap.add_argument("--threshold", type=float, default=0.95)
    o = ap.parse_args()
    c = torch.load(o.file, map_location="cpu", weights_only=True)
    os.makedirs(o.folder, exist_ok=True)
    shards, size = [[]], 0
    for name, t in block_tensors(c) if is_block_model(c) else tensors(c):
        n = bytes_of(t) + 160  # and its entry in the header
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
    total = sum(bytes_of(t) for named in shards for _, t in named)
    dump(o.folder, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}, 0)
    with open(os.path.join(HERE, "tokenizer.json")) as f:
        eos = json.load(f)["model"]["vocab"]["<|endoftext|>"]
    shutil.copy(os.path.join(HERE, "tokenizer.json"), os.path.join(o.folder, "tokenizer.json"))
    dump(o.folder, "config.json", config(c, eos))
    generation = make_shapes.generation2 if is_block_model(c) else make_shapes.generation
    dump(o.folder, "generation_config.json", generation(eos, 192, 32, o.threshold))


def dump(folder, name, value, indent=2):
    with open(os.path.join(folder, name), "w") as f:
        f.write(json.dumps(value, indent=indent) + "\n")


if __name__ == "__main__":
    main()
