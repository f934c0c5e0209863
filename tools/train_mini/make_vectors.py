#!/usr/bin/env python3
"""Write tests/vectors/mini/: what the trainer's code computes from the shipped weights, in fp32.

    python3 tools/train_mini/make_vectors.py tests/vectors/mini

Reads the exported models/NAME, not a checkpoint of the training. Needs torch, tokenizers and
safetensors.
"""

import json
import os
import sys

import safetensors.torch
import tokenizers
import torch

import block_model as B
import items
import model as M
import stream

ROOT = os.path.dirname(os.path.dirname(stream.HERE))
NAMES = ("mini-e64", "mini-e16", "mini2-e64")
N_PROMPTS = 8


def experts(t, prefix, numbers, name, dim):
    return torch.cat([t[f"{prefix}{e}.{name}_proj.weight"] for e in numbers], dim)


def load_plain(t):
    n_exp, d_model = t["model.layers.0.mlp.gate.weight"].shape
    d_ff = t["model.layers.0.mlp.experts.0.up_proj.weight"].shape[0]
    n_layer = len([k for k in t if k.endswith("mlp.gate.weight")])
    net = M.Mini(M.Shape(n_exp=n_exp, d_ff=d_ff, n_layer=n_layer, d_model=d_model, n_head=d_model // 64,
                         n_vocab=len(t["lm_head.weight"])))
    state = {"embed": t["model.embed_tokens.weight"], "ln": t["model.norm.weight"], "head": t["lm_head.weight"]}
    for i in range(n_layer):
        a, b = f"layers.{i}.", f"model.layers.{i}."
        of = t, b + "mlp.experts.", range(n_exp)
        state |= {
            a + "ln1": t[b + "input_layernorm.weight"],
            a + "ln2": t[b + "post_attention_layernorm.weight"],
            a + "qn": t[b + "self_attn.q_norm.weight"],
            a + "kn": t[b + "self_attn.k_norm.weight"],
            a + "wqkv": torch.cat([t[f"{b}self_attn.{x}_proj.weight"] for x in "qkv"]),
            a + "wo": t[b + "self_attn.o_proj.weight"],
            a + "gate": t[b + "mlp.gate.weight"],
            a + "w1": torch.cat((experts(*of, "gate", 0), experts(*of, "up", 0))),
            a + "w2": experts(*of, "down", 1),
        }
    net.load_state_dict(state)
    return net


def load_block(t, c):
    s = B.Shape(n_exp=c["num_experts"], d_ff=c["moe_intermediate_size"], top_k=c["num_experts_per_tok"],
                n_group=c["n_group"], topk_group=c["topk_group"], n_layer=c["num_hidden_layers"],
                d_model=c["hidden_size"], n_head=c["num_attention_heads"], n_kv=c["num_key_value_heads"],
                d_head=c["head_dim"], d_dense=c["intermediate_size"], n_vocab=c["vocab_size"])
    net = B.Mini(s)
    state = {"embed": t["model.word_embeddings.weight"], "ln": t["model.norm.weight"], "head": t["lm_head.weight"]}
    for i in range(s.n_layer):
        a, b = f"layers.{i}.", f"model.layers.{i}."
        state |= {
            a + "ln1": t[b + "input_layernorm.weight"],
            a + "ln2": t[b + "post_attention_layernorm.weight"],
            a + "qn": t[b + "attention.query_layernorm.weight"],
            a + "kn": t[b + "attention.key_layernorm.weight"],
            a + "wqkv": t[b + "attention.query_key_value.weight"],
            a + "wo": t[b + "attention.dense.weight"],
        }
        of = t, b + "mlp", [""]
        if i > 0:
            of = t, b + "mlp.", [*(f"experts.{e}" for e in range(s.n_exp)), "shared_experts"]
            state |= {a + "gate": t[b + "mlp.gate.weight"], a + "bias": t[b + "mlp.gate.expert_bias"]}
        state |= {a + "w1": torch.cat((experts(*of, "gate", 0), experts(*of, "up", 0))), a + "w2": experts(*of, "down", 1)}
    net.load_state_dict(state)
    return net


def load(folder):
    """The trainer's model from an exported folder."""
    t = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            t |= {k: v.float() for k, v in safetensors.torch.load_file(os.path.join(folder, file)).items()}
    with open(os.path.join(folder, "config.json")) as f:
        c = json.load(f)
    return load_block(t, c) if "n_group" in c else load_plain(t)


def hidden(net, ids, starts):
    """Before the head, of sequences that lie one after the other."""
    pos = torch.cat([torch.arange(b - a) for a, b in zip(starts, starts[1:])])
    if isinstance(net, B.Mini):
        return net.hidden(ids, pos, B.attend_sequences(starts), torch.float32)[0]
    packing = M.Packing(torch.tensor(starts, dtype=torch.int32), 0, 0, None)
    return net.hidden(ids, pos, M.attend_ranges(packing), torch.float32)[0]


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    tok = tokenizers.Tokenizer.from_file(os.path.join(stream.HERE, "tokenizer.json"))
    mask = tok.token_to_id("<|mask|>")
    prompts = [tok.encode(items.prompt("gsm8k", r)).ids for r in stream.suite_records("gsm8k", False)]
    prompts = sorted(prompts, key=len)[:N_PROMPTS]
    code = tok.encode(items.prompt("mbpp", stream.suite_records("mbpp", False)[0])).ids
    batch = [prompts[0][-38:] + [mask] * 32, code[20:30] + [mask] * 13]
    for name in NAMES:
        net = load(os.path.join(ROOT, "models", name))
        ids = torch.tensor(sum(batch, []))
        starts = [0, len(batch[0]), len(ids)]
        with torch.no_grad():
            logits = hidden(net, ids, starts) @ net.head.T
        tensors = {}
        for i, x in enumerate(batch):
            tensors[f"batch{i}.tokens"] = torch.tensor(x, dtype=torch.float32)
            tensors[f"batch{i}.logits"] = logits[starts[i] : starts[i + 1]].contiguous()
        for i, x in enumerate(prompts):
            tensors[f"prompt{i}"] = torch.tensor(x, dtype=torch.float32)
        safetensors.torch.save_file(tensors, os.path.join(out, name + ".safetensors"))
        print(name, "largest logit", logits.abs().max().item(), "prompts of", [len(x) for x in prompts])


if __name__ == "__main__":
    main()
