#!/usr/bin/env python3
"""tools/trace_hook.py on a small random Qwen3-MoE: what it writes replays as the model routed. TAP; skipped without torch and
transformers. Usage: test_trace_hook.py DESBENCH"""
import csv
import io
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
except ImportError as e:
    print(f"1..0 # SKIP {e}")
    sys.exit(0)
from trace_hook import RouterTrace

torch.manual_seed(0)
torch.set_num_threads(1)
config = Qwen3MoeConfig(vocab_size=64, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
                        num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_experts=16, num_experts_per_tok=4,
                        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])
model = Qwen3MoeForCausalLM(config).eval()
for layer in model.model.layers:
    torch.nn.init.normal_(layer.mlp.gate.weight)


def rows(*args):
    out = subprocess.run([sys.argv[1], "trace", *args, "--format", "csv"], capture_output=True, text=True)
    return out, list(csv.DictReader(io.StringIO(out.stdout)))


print("1..4")
n = 0
with tempfile.TemporaryDirectory() as folder:
    for top in None, 8:
        path = os.path.join(folder, f"{top}.trace")
        with torch.no_grad(), RouterTrace(path, model, top_k=4, renorm=True, top=top):
            model(torch.randint(0, 64, (2, 10)))
            model.generate(torch.randint(0, 64, (1, 5)), max_new_tokens=3, do_sample=False)
        out, got = rows("replay", path, "--selector", "vanilla")
        total = next((r for r in got if r["layer"] == "all"), {})
        n += 1
        good = total.get("n_compared") == "10" and total.get("n_same") == "10" # 2 + 3 forwards of 2 layers
        print(f"{'ok' if good else 'not ok'} {n} - the model's own experts again, top={top} {out.stderr}")
        out, _ = rows("replay", path, "--selector", "des-seq:k0=2")
        n += 1
        good = (out.returncode == 0) == (top is None) and ("des-seq" in out.stderr) == (top is not None)
        print(f"{'ok' if good else 'not ok'} {n} - a coreset needs all scores, top={top}")
