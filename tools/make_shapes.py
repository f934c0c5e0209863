#!/usr/bin/env python3
"""Write models/shapes/: the public models' shapes, without their weights.

    python3 tools/make_shapes.py
    python3 tools/make_shapes.py --check     # write nothing, say which files would change

Each shape is config.json, generation_config.json and a generated tokenizer.json, to be run with
`--load-format dummy`. models/shapes/README.md says what is taken from where. The files do not
depend on anything but this script and models/shapes/corpus.txt: running it again writes the same
bytes. Needs the Python standard library only.
"""

import json
import os
import re
import sys

SHAPES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "models", "shapes")

# ---- tokenizer ---------------------------------------------------------------------------

PRE_TOKENIZER = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
# The same for ASCII, where Python's re can express it.
PRE_TOKENIZER_ASCII = re.compile(
    r"'(?:[sdmtSDMT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]"
    r"| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    re.ASCII,
)

SPECIALS = [
    "<|startoftext|>",
    "<|endoftext|>",
    "[CLS]",
    "[gMASK]",
    "<|mask|>",
    "<role>",
    "</role>",
    "<|role_end|>",
]


def byte_chars():
    """The printable character that stands for each byte in byte-level BPE."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(other)}


def learn_merges(text, n_merges):
    """The usual greedy BPE training; of equally frequent pairs, the smallest comes first."""
    assert text.isascii()
    chars = byte_chars()
    counts = {}
    for piece in PRE_TOKENIZER_ASCII.findall(text):
        counts[piece] = counts.get(piece, 0) + 1
    words = [[chars[b] for b in piece.encode()] for piece in sorted(counts)]
    freqs = [counts[piece] for piece in sorted(counts)]
    pairs, where = {}, {}

    def count(i, sign):
        for pair in zip(words[i], words[i][1:]):
            pairs[pair] = pairs.get(pair, 0) + sign * freqs[i]
            where.setdefault(pair, set()).add(i)

    for i in range(len(words)):
        count(i, 1)
    merges = []
    while len(merges) < n_merges:
        n, best = min(((-n, pair) for pair, n in pairs.items()), default=(0, None))
        if n > -2:  # what occurs once is not worth a token
            break
        merges.append(best)
        for i in where.pop(best):
            count(i, -1)
            old, new, k = words[i], [], 0
            while k < len(old):
                step = 2 if tuple(old[k : k + 2]) == best else 1
                new.append("".join(old[k : k + step]))
                k += step
            words[i] = new
            count(i, 1)
    return merges


def tokenizer(merges, special_ids):
    """tokenizer.json as a dict. The special tokens are in the vocabulary, too: Hugging Face
    tokenizers would otherwise number them on behind it, whatever their "id" says."""
    chars = byte_chars()
    vocab = {chars[b]: b for b in range(256)}
    for left, right in merges:
        assert left + right not in vocab
        vocab[left + right] = len(vocab)
    assert min(special_ids) >= len(vocab)
    vocab |= dict(zip(SPECIALS, special_ids))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PRE_TOKENIZER}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": s, **flags} for s, i in zip(SPECIALS, special_ids)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }


# ---- configurations ----------------------------------------------------------------------


def llada_moe(**changes):
    config = {
        "architectures": ["LLaDAMoEModel"],
        "model_type": "llada",
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "expert_intermediate_size": 1024,
        "dense_intermediate_size": 8192,
        "shared_expert_intermediate_size": None,
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
        "rms_norm_eps": 1e-05,
        "hidden_act": "silu",
        "attention_bias": False,
        "clip_qkv": None,
        "attention_dropout": 0,
        "vocab_size": 157184,
        "tie_word_embeddings": False,
        "max_position_embeddings": 8192,
        "pad_token_id": 156892,
        "eos_token_id": 156892,
        "torch_dtype": "bfloat16",
    }
    config |= changes
    config["moe_layer_freq"] = [1] * config["num_hidden_layers"]
    return config


def llada2(**changes):
    config = {
        "architectures": ["LLaDA2MoeModelLM"],
        "model_type": "llada2_moe",
        "hidden_size": 2048,
        "intermediate_size": 5120,
        "num_hidden_layers": 20,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "num_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 8,
        "topk_group": 4,
        "score_function": "sigmoid",
        "moe_router_enable_expert_bias": True,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "router_dtype": "fp32",
        "rope_theta": 600000,
        "rope_scaling": None,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-06,
        "hidden_act": "silu",
        "use_bias": False,
        "use_qkv_bias": False,
        "norm_head": False,
        "tie_word_embeddings": False,
        "vocab_size": 157184,
        "pad_token_id": 156892,
        "max_position_embeddings": 32768,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
    }
    return config | changes


def generation(eos_id, gen_length, block_length, threshold, decoder="threshold", cache="dual", **more):
    """Decode defaults; what is not said, steps among it, is the program's own."""
    return {
        "eos_token_id": eos_id,
        "pad_token_id": eos_id,
        "decoder": decoder,
        "cache": cache,
        "gen_length": gen_length,
        "block_length": block_length,
        "threshold": threshold,
        **more,
        "temperature": 0.0,
    }


def generation2(eos_id, gen_length, block_length, threshold, decoder="block-diffusion", **more):
    """The same for LLaDA2.x."""
    return generation(eos_id, gen_length, block_length, threshold, decoder, "block", **more)


def shapes(corpus):
    merges = learn_merges(corpus, 2000)
    real = tokenizer(merges, range(156891, 156891 + len(SPECIALS)))
    tiny = tokenizer(merges[: 288 - 256 - len(SPECIALS)], range(288 - len(SPECIALS), 288))
    tiny_eos = tiny["model"]["vocab"]["<|endoftext|>"]
    flash = {
        "hidden_size": 4096,
        "intermediate_size": 9216,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "moe_intermediate_size": 1024,
    }
    edit = generation2(156892, 2048, 32, 0.95, "edit", edit_threshold=0.9, max_post_steps=16)
    return {
        "llada-moe-7b-a1b": (llada_moe(), generation(156892, 1024, 64, 0.8), real),
        "llada2.0-mini": (llada2(), generation2(156892, 2048, 32, 0.95), real),
        "llada2.0-flash": (llada2(**flash), generation2(156892, 2048, 32, 0.95), real),
        "llada2.1-mini": (llada2(sliding_window=4096), edit, real),
        "llada2.1-flash": (llada2(sliding_window=4096, **flash), edit, real),
        "tiny-llada-moe": (
            llada_moe(
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                num_experts=8,
                num_experts_per_tok=2,
                expert_intermediate_size=32,
                dense_intermediate_size=96,
                vocab_size=288,
                max_position_embeddings=8192,
                pad_token_id=tiny_eos,
                eos_token_id=tiny_eos,
            ),
            generation(tiny_eos, 64, 16, 0.8),
            tiny,
        ),
        "tiny-llada2": (
            llada2(
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
                num_experts=16,
                num_experts_per_tok=4,
                moe_intermediate_size=32,
                n_group=4,
                topk_group=2,
                vocab_size=288,
                max_position_embeddings=8192,
                pad_token_id=tiny_eos,
            ),
            generation2(tiny_eos, 64, 32, 0.95),
            tiny,
        ),
    }


# ---- files -------------------------------------------------------------------------------


def files(corpus):
    """(path within models/shapes, bytes) of every file."""
    for name, (config, decode, tokens) in shapes(corpus).items():
        for file, value, indent in (
            ("config.json", config, 2),
            ("generation_config.json", decode, 2),
            ("tokenizer.json", tokens, 0),
        ):
            text = json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
            yield os.path.join(name, file), text.encode()


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    n_different = 0
    for path, data in files(read(os.path.join(SHAPES, "corpus.txt")).decode("ascii")):
        path = os.path.join(SHAPES, path)
        if read(path) == data:
            continue
        n_different += 1
        if sys.argv[1:]:
            print(f"{path} is not what this script makes", file=sys.stderr)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    if sys.argv[1:] and n_different:
        sys.exit(1)


if __name__ == "__main__":
    main()
