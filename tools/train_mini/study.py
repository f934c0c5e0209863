#!/usr/bin/env python3
"""Do more experts buy throughput at equal accuracy? Trainings and evaluations of the study.

    python3 study.py train --shards DIR --out DIR --gpus 0,1,0,1 [--seeds 1,2,3] [--steps 2600]
    python3 study.py evaluate --program desbench --out DIR --cores 12-31 --records FILE
    python3 study.py table --records FILE [--steps 2600]

Two families of models, all with 8 experts a token, the rest as mini-e64:
  active   experts of width 32: 8, 16, 32, 64 of them. Every token multiplies with the same number
           of parameters, the model grows.
  total    width times number is 1024: the model stays one size, what a token uses of it shrinks.
Trained on code alone, the same number of steps each, in less than 120 s of a GPU.

`train` runs as many trainings at once as --gpus has entries. It may be called several times for one
folder, with other GPUs: a model is claimed by creating NAME.claim. `evaluate` runs the program on mini-humaneval_pro for each model that is there and each
threshold, one thread on a processor of its own, and appends a JSON line of what came out; models
that are not there yet are waited for.

`table` renders records as Markdown. Throughput at a given pass@1 is interpolated linearly between
thresholds for each training. Intervals are of 95 %, over trainings (Student's t). Means of two
shapes of the last row's number of trainings differ at 5 % if by more than it says: deviations
within shapes are pooled for that. With many pairs, some will by chance.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TASK = "mini-humaneval_pro"
THRESHOLDS = (0.7, 0.9, 0.96, 0.99)
SHAPES = [(64, 32), (8, 32), (32, 32), (16, 32), (8, 128), (64, 16), (16, 64)]


def names(seeds):
    return [(f"e{e}-w{w}-s{s}", e, w, s) for s in seeds for e, w in SHAPES]


def claim(folder, name):
    try:
        os.close(os.open(os.path.join(folder, name + ".claim"), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def train(o):
    def work(gpu):
        for name, e, w, seed in names(map(int, o.seeds.split(","))):
            if time.time() - begin > o.stop_after:
                return
            if not claim(o.out, name):
                continue
            args = [sys.executable, os.path.join(HERE, "train.py"), "--shards", o.shards, "--out", o.out,
                    "--name", name, "--n-exp", str(e), "--d-ff", str(w), "--seed", str(seed),
                    "--batch-tokens", "32768", "--steps", str(o.steps), "--min-shards", "350", "--max-shards", "350",
                    "--tasks", "humaneval,humaneval_pro,mbpp", "--save-every", "1e9", "--workers", "1"]
            subprocess.run(args, check=True, stdout=subprocess.DEVNULL,
                           env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": "2"})
            folder = os.path.join(o.out, name)
            subprocess.run([sys.executable, os.path.join(HERE, "export.py"), os.path.join(o.out, name + ".bf16.pt"),
                            folder + ".tmp"], check=True)
            os.rename(folder + ".tmp", folder)

    begin = time.time()
    os.makedirs(o.out, exist_ok=True)
    threads = [threading.Thread(target=work, args=(g,)) for g in o.gpus.split(",")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def cpu_name():
    with open("/proc/cpuinfo") as f:
        return next((x.split(":")[1].strip() for x in f if x.startswith("model name")), platform.machine())


def evaluate(o):
    a, b = map(int, o.cores.split("-"))
    done, lock, begin = set(), threading.Lock(), time.time()
    jobs = [(n, t) for n in names(map(int, o.seeds.split(","))) for t in THRESHOLDS]

    def take():
        """A job whose model is there, or None."""
        with lock:
            for job in jobs:
                if os.path.isdir(os.path.join(o.out, job[0][0])):
                    jobs.remove(job)
                    return job
        return None

    def work(core):
        while jobs and time.time() - begin < o.stop_after:
            job = take()
            if not job:
                time.sleep(1)
                continue
            (name, e, w, seed), threshold = job
            store = os.path.join(o.out, f"{name}-{threshold}.sqlite")
            command = [o.program, "run", "-m", os.path.join(o.out, name), "-t", TASK, "--threshold", str(threshold),
                       "--backend", "cpu", "--threads", "1", "-j", "1", "-q", "--progress", "never", "--json", "-o", store]
            got = subprocess.run(["taskset", "-c", str(core)] + command, capture_output=True, text=True)
            line = {"model": name, "n_exp": e, "d_ff": w, "seed": seed, "steps": o.steps, "threshold": threshold,
                    "exit": got.returncode, "cpu": cpu_name(), "load": os.getloadavg()[0],
                    "command": " ".join(["desbench"] + command[1:]).replace(o.out + "/", "")}
            try:
                line["run"] = json.loads(got.stdout)
            except ValueError:
                line["error"] = got.stderr[-2000:]
            with lock, open(o.records, "a") as f:
                f.write(json.dumps(line) + "\n")

    threads = [threading.Thread(target=work, args=(c,)) for c in range(a, b + 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


LEVELS = (0.1, 0.15, 0.2, 0.25, 0.35)
# 97.5 % points of Student's t for 1, 2, ... degrees of freedom
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
         2.120, 2.110, 2.101, 2.093, 2.086, 2.080)


def at_level(points, level):
    """Largest value at which lines between neighbouring (pass@1, value) reach the level, or None."""
    found = []
    for (p, v), (q, w) in zip(points, points[1:]):
        if p != q and min(p, q) <= level <= max(p, q):
            found.append(v + (w - v) * (level - p) / (q - p))
    return max(found, default=None)


def mean_of(values, digits):
    """Their mean and its interval over trainings, as text; "-" if a training has none."""
    if None in values:
        return "-"
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return f"{mean:.{digits}f}"
    half = T_975[n - 2] * statistics.stdev(values) / n**0.5
    return f"{mean:.{digits}f} ({max(0, mean - half):.{digits}f} to {mean + half:.{digits}f})"


def least_difference(shapes, digits):
    """By how much means of two shapes must differ, deviations within shapes pooled, as text."""
    shapes = [x for x in shapes if None not in x and len(x) > 1]
    free = sum(len(x) - 1 for x in shapes)
    if not 1 <= free <= len(T_975):
        return "-"
    pooled = (sum(statistics.variance(x) * (len(x) - 1) for x in shapes) / free) ** 0.5
    n = min(len(x) for x in shapes)
    return f"{T_975[free - 1] * pooled * (2 / n) ** 0.5:.{digits}f}"


def print_table(heads, runs, columns, digits):
    """A row a shape, columns[shape] a list of cells, each a list of one value a training."""
    print("| experts | width | trainings |", " | ".join(heads), "|")
    print("|" + " --- |" * (3 + len(heads)))
    for shape, cells in columns.items():
        print("|", " | ".join([*map(str, shape), str(len(runs[shape])), *(mean_of(c, digits) for c in cells)]), "|")
    print("| two differ by | | |", " | ".join(least_difference(x, digits) for x in zip(*columns.values())), "|\n")


def table(o):
    runs = {}
    with open(o.records) as f:
        for d in map(json.loads, f):
            if d["steps"] == o.steps:
                t = d["run"]["tasks"][0]
                runs.setdefault((d["n_exp"], d["d_ff"]), {}).setdefault(d["seed"], {})[d["threshold"]] = (
                    t["n_passed"] / t["n_samples"], t["tokens_before_eos_per_s"], t["tokens_before_eos_per_forward"])
    runs = {shape: list(seeds.values()) for shape, seeds in sorted(runs.items())}
    print_table([f"pass@1 at {t}" for t in THRESHOLDS], runs,
                {s: [[x[t][0] for x in trainings] for t in THRESHOLDS] for s, trainings in runs.items()}, 3)
    for name, i, digits in (("tok/s", 1, 0), ("tok/forward", 2, 2)):
        print_table([f"{name} at {x:.2f}" for x in LEVELS], runs,
                    {s: [[at_level([(y[t][0], y[t][i]) for t in sorted(y)], x) for y in trainings] for x in LEVELS]
                     for s, trainings in runs.items()}, digits)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="verb", required=True)
    t, e = sub.add_parser("train"), sub.add_parser("evaluate")
    for p in (t, e):
        p.add_argument("--out", required=True)
        p.add_argument("--seeds", default="1,2,3")
        p.add_argument("--steps", type=int, default=2600)
        p.add_argument("--stop-after", type=float, default=1e9)
    t.add_argument("--shards", required=True)
    t.add_argument("--gpus", default="0")
    e.add_argument("--program", required=True)
    e.add_argument("--cores", default="0-1")
    e.add_argument("--records", required=True)
    r = sub.add_parser("table")
    r.add_argument("--records", required=True)
    r.add_argument("--steps", type=int, default=2600)
    o = ap.parse_args()
    {"train": train, "evaluate": evaluate, "table": table}[o.verb](o)


if __name__ == "__main__":
    main()
