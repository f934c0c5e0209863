#!/usr/bin/env python3
"""Count what the experts' kernel reads from a GPU's memory, by the hardware's counter.

Nsight Compute (ncu) runs `desbench bench moe` and reads dram__bytes_read.sum of the kernel's first
launches, caches flushed before each; the counter is held against U times the bytes of an expert.

    ncu_experts.py [--program desbench] [--model llada-moe-7b-a1b] [--launches 2] TOKENS:U ...

Prints one JSON object. Needs the right to read performance counters.
"""
import argparse
import csv
import io
import json
import shutil
import subprocess
import sys

KERNELS = "regex:experts_kernel|wide_kernel"


def count(args, n_tok, unique):
    """(kernel, bytes read of each launch) of a layer of so many tokens and experts."""
    command = ["ncu", "--clock-control", "none", "-k", KERNELS, "-c", str(args.launches), "--kill", "yes", "--csv",
               "--print-units", "base", "--metrics", "dram__bytes_read.sum", args.program, "bench", "moe",
               "-m", args.model, "--tokens", str(n_tok), "--unique", str(unique), "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    rows = [r for r in csv.DictReader(io.StringIO("\n".join(lines))) if r.get("Metric Name") == "dram__bytes_read.sum"]
    if len(rows) != args.launches:
        sys.exit(f"ncu_experts: {n_tok}:{unique}: {len(rows)} launches counted\n{done.stdout}{done.stderr}")
    read = [int(float(r["Metric Value"].replace(",", ""))) for r in rows]
    return rows[0]["Kernel Name"].split("(")[0], read


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("points", nargs="+", metavar="TOKENS:U")
    p.add_argument("--program", default="desbench")
    p.add_argument("--model", default="llada-moe-7b-a1b")
    p.add_argument("--launches", type=int, default=2)
    p.add_argument("--expert-bytes", type=int, help="of the model, in bf16 [LLaDA-MoE's]")
    args = p.parse_args()
    if args.expert_bytes is None:
        if args.model != "llada-moe-7b-a1b":
            p.error(f"--model {args.model}: --expert-bytes must say how large an expert is")
        args.expert_bytes = 3 * 2048 * 1024 * 2
    if not shutil.which("ncu"):
        p.error("there is no Nsight Compute (ncu) on the path")
    launches = []
    for point in args.points:
        n_tok, unique = (int(v) for v in point.split(":"))
        kernel, read = count(args, n_tok, unique)
        must = unique * args.expert_bytes
        launches.append({"n_tok": n_tok, "n_active": unique, "kernel": kernel, "expert_bytes": must,
                         "dram_bytes_read": read, "over": [round(v / must - 1, 5) for v in read]})
    version = subprocess.run([args.program, "--version"], capture_output=True, text=True).stdout.splitlines()
    device = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                            capture_output=True, text=True).stdout.strip()
    print(json.dumps({"what": "dram__bytes_read.sum of a launch of the experts' kernel, against U x bytes of an expert",
                      "program": version[0] if version else "?", "device": device, "model": args.model,
                      "launches": launches}, indent=1))


if __name__ == "__main__":
    main()
