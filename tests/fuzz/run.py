#!/usr/bin/env python3
"""Fuzz targets: run them, keep their corpora small, write down what was run.

  run.py fuzz [--build DIR] [--runs N] [--seconds S] [--record FILE] [--also=-ARG] TARGET...
      Start from the packed corpus and the seeds, run libFuzzer, add a line to the record, and
      leave the minimised corpus packed. A finding stops the target; its input is named.
  run.py merge [--build DIR] TARGET...    minimise and pack again, without a run
  run.py unpack TARGET DIR                the inputs of a pack as files
  run.py pack DIR TARGET                  and back
  run.py seeds TARGET DIR                 write the seeds, which come from seeds.py

A pack, corpus/TARGET.pack, holds one input after the other: length (4 bytes, little-endian), then
bytes. replay.c reads it in the ordinary test run. DIR is a build with -Dfuzz=enabled:

  CC=clang meson setup build-fuzz -Dfuzz=enabled -Db_sanitize=address,undefined -Db_lundef=false
  ninja -C build-fuzz

Most of a run goes into noting the operands of comparisons and weighing inputs by rare features.
-Dc_args=-fno-sanitize-coverage=trace-cmp leaves the former out of a build, --also=-entropic=0 the
latter of a run: two to four times the executions, for long runs from a corpus that has the words.
"""
import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import time

import seeds

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# Longest input by target; the rest have DEFAULT_LEN. Short ones keep a run quick.
DEFAULT_LEN = 512
MAX_LEN = {"baseline": 4096, "math": 160, "config": 2048, "jsonl": 1024, "tokenizer": 2048, "completion": 768}


def pack_path(target):
    return os.path.join(HERE, "corpus", target + ".pack")


def read_pack(path):
    """The inputs of a pack; none if there is no such file."""
    inputs = []
    if not os.path.exists(path):
        return inputs
    with open(path, "rb") as f:
        while head := f.read(4):
            (size,) = struct.unpack("<I", head)
            data = f.read(size)
            if len(data) != size:
                sys.exit(f"'{path}' ends within its input {len(inputs)}")
            inputs.append(data)
    return inputs


def write_files(inputs, folder):
    os.makedirs(folder, exist_ok=True)
    for data in inputs:
        with open(os.path.join(folder, hashlib.sha1(data).hexdigest()), "wb") as f:
            f.write(data)


def read_files(folder):
    inputs = []
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as f:
            inputs.append(f.read())
    return sorted(inputs, key=lambda x: (len(x), x))


def write_pack(inputs, path):
    with open(path + ".tmp", "wb") as f:
        for data in inputs:
            f.write(struct.pack("<I", len(data)) + data)
    os.replace(path + ".tmp", path)


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def compiler_of(build):
    with open(os.path.join(build, "compile_commands.json")) as f:
        command = json.load(f)[0]["command"]
    return output_of(command.split()[0], "--version").splitlines()[0]


def options_of(build):
    with open(os.path.join(build, "meson-info", "intro-buildoptions.json")) as f:
        options = {o["name"]: o["value"] for o in json.load(f)}
    return {k: options[k] for k in ("buildtype", "b_sanitize", "optimization", "c_args")}


def binary(build, target):
    path = os.path.join(build, "tests", "fuzz", "fuzz_" + target)
    if not os.path.exists(path):
        sys.exit(f"no '{path}': set the build up with -Dfuzz=enabled")
    return path


def environment():
    """Sanitizers that keep little freed memory, which is most of their time."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "quarantine_size_mb=4:thread_local_quarantine_size_kb=64:detect_stack_use_after_return=0:malloc_context_size=2"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return env


def minimise(build, target, folder):
    """The packed corpus: as few inputs of the folder as reach what all of them reach,
    and what was ever found."""
    small = folder + ".small"
    shutil.rmtree(small, ignore_errors=True)
    os.makedirs(small)
    subprocess.run([binary(build, target), "-merge=1", "-rss_limit_mb=2048", "-timeout=25", small, folder],
                   env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    write_files(seeds.FINDINGS.get(target, []), small)
    inputs = read_files(small)
    write_pack(inputs, pack_path(target))
    shutil.rmtree(small)
    return inputs


def fill(target, folder):
    write_files(read_pack(pack_path(target)), folder)
    write_files(seeds.of(target), folder)


def fuzz(args, target):
    work = os.path.join(args.build, "fuzz-work", target)
    corpus, artifacts = os.path.join(work, "corpus"), os.path.join(work, "findings") + os.sep
    os.makedirs(artifacts, exist_ok=True)
    fill(target, corpus)
    words = os.path.join(HERE, "dict", target + ".dict")
    command = [binary(args.build, target), f"-runs={args.runs}", f"-max_total_time={args.seconds}",
               f"-max_len={MAX_LEN.get(target, DEFAULT_LEN)}", "-timeout=10", "-rss_limit_mb=2048",
               f"-artifact_prefix={artifacts}", "-print_final_stats=1",
               *args.also]
    if os.path.exists(words):
        command.append("-dict=" + words)
    before = set(os.listdir(artifacts))
    started = datetime.datetime.now(datetime.timezone.utc)
    t0 = time.monotonic()
    commit = output_of("git", "rev-parse", "HEAD")
    run = subprocess.run(["nice", "-n", "19", *command, corpus], env=environment(), capture_output=True,
                         text=True, errors="replace")
    seconds = time.monotonic() - t0
    findings = sorted(set(os.listdir(artifacts)) - before)
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)", run.stderr, re.M))
    last = re.findall(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", run.stderr, re.M)
    if run.returncode or not last:
        sys.stderr.write(run.stderr[-4000:])
    kept = minimise(args.build, target, corpus) if not findings and run.returncode == 0 else None
    record = {
        "target": target,
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit,
        "is_tree_clean": output_of("git", "status", "--porcelain", "--", "*.c", "*.h") == "",
        "command": " ".join([os.path.basename(command[0]), *(a for a in command[1:] if ROOT not in a and
                                                             args.build not in a)]),
        "is_dictionary_used": os.path.exists(words),
        "executions": int(stats.get("number_of_executed_units", last[-1][0] if last else 0)),
        "seconds": round(seconds, 1),
        "edges": int(last[-1][1]) if last else None,
        "features": int(last[-1][2]) if last else None,
        "peak_rss_mb": int(stats.get("peak_rss_mb", 0)),
        "corpus_inputs": len(kept) if kept is not None else None,
        "corpus_bytes": sum(map(len, kept)) if kept is not None else None,
        "exit_status": run.returncode,
        "findings": findings,
        "compiler": compiler_of(args.build),
        "build": options_of(args.build),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
    }
    with open(args.record, "a") as f:
        f.write(json.dumps(record) + "\n")
    print(f"{target}: {record['executions']} executions in {seconds:.0f} s, {record['edges']} edges, "
          f"{record['features']} features, findings: {', '.join(findings) or 'none'}", flush=True)
    return not findings and run.returncode == 0


def main():
    today = datetime.date.today().isoformat()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="verb", required=True)
    for verb in ("fuzz", "merge"):
        q = sub.add_parser(verb)
        q.add_argument("--build", default=os.path.join(ROOT, "build-fuzz"))
        q.add_argument("targets", nargs="+", choices=seeds.TARGETS)
        if verb == "fuzz":
            q.add_argument("--runs", type=int, default=10_000_000)
            q.add_argument("--seconds", type=int, default=0, help="0: no limit")
            q.add_argument("--also", action="append", default=[], metavar="=-ARG", help="more for libFuzzer")
            q.add_argument("--record", default=os.path.join(ROOT, "docs", "measurements", f"fuzz-{today}.jsonl"))
    q = sub.add_parser("unpack")
    q.add_argument("target", choices=seeds.TARGETS)
    q.add_argument("folder")
    q = sub.add_parser("pack")
    q.add_argument("folder")
    q.add_argument("target", choices=seeds.TARGETS)
    q = sub.add_parser("seeds")
    q.add_argument("target", choices=seeds.TARGETS)
    q.add_argument("folder")
    args = p.parse_args()
    if args.verb == "fuzz":
        os.makedirs(os.path.dirname(os.path.abspath(args.record)), exist_ok=True)
        done = [fuzz(args, t) for t in args.targets]
        sys.exit(0 if all(done) else 1)
    if args.verb == "merge":
        for t in args.targets:
            folder = os.path.join(args.build, "fuzz-work", t, "corpus")
            fill(t, folder)
            kept = minimise(args.build, t, folder)
            print(f"{t}: {len(kept)} inputs, {sum(map(len, kept))} bytes")
    elif args.verb == "unpack":
        write_files(read_pack(pack_path(args.target)), args.folder)
    elif args.verb == "pack":
        write_pack(read_files(args.folder), pack_path(args.target))
    else:
        write_files(seeds.of(args.target), args.folder)


if __name__ == "__main__":
    main()
