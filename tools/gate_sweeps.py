#!/usr/bin/env python3
"""Hold a sweep against another of the same plan, policy by policy, as `desbench gate` does.

For a backend or a build that is to answer as another does. That every policy passes needs no
correction for their number (each has to pass by itself), so each is a gate of its own, unlike the
gate of a whole run, which asks whether any of its budgets fails.

    desbench sweep mini-quick --backend cpu -o base
    desbench sweep mini-quick --backend cuda -o new
    tools/gate_sweeps.py base new

BASE may also be a folder of files of `desbench baseline export`, one a model and policy.

Prints a line a model and policy (of each model the last run of the sweep), and what all come to.
Exit code: 0 if none fails, 1 if one does, 2 if runs cannot be compared.
"""
import argparse
import collections
import json
import pathlib
import sqlite3
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def stop(message):
    print(f"gate_sweeps: {message}", file=sys.stderr)
    sys.exit(2)


def read_runs(results):
    """{(model, selector): run, as `gate` takes it} of results; the last run of each model."""
    path = pathlib.Path(results)
    path = path / "results.sqlite" if path.is_dir() else path
    if not path.exists():
        stop(f"no results '{path}'")
    ret, last = {}, {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        for run, model in db.execute(
            "SELECT r.run_id, c.model FROM run r JOIN run_cell USING (run_id)"
            " JOIN cell c USING (cell_key) GROUP BY 1, 2 ORDER BY r.run_no"
        ):
            last[model] = run
        for model, run in last.items():
            for (selector,) in db.execute(
                "SELECT DISTINCT c.selector FROM run_cell JOIN cell c USING (cell_key)"
                " WHERE run_id = ? AND model = ?",
                (run, model),
            ):
                ret[model, selector] = f"{results}:{run}@{selector}"
    return ret


def read_base(base):
    """The same of results, or of baseline files."""
    files = sorted(pathlib.Path(base).glob("*.json"))
    if not files:
        return read_runs(base)
    ret = {}
    for path in files:
        try:
            cell = json.loads(path.read_text())["tasks"][0]["cell"]
            ret[cell["model"], cell["selector"]] = str(path)
        except (ValueError, LookupError, TypeError):
            stop(f"'{path}' is no baseline file")
    return ret


def gate(args, base, new):
    """What `desbench gate` says of two runs."""
    command = [args.program, "gate", "--json", "--flips", "0", "--margin", args.margin]
    command += ["--undecided", "pass", "--baseline", base, new]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        print(done.stderr.strip(), file=sys.stderr)
        return None
    return json.loads(done.stdout)["comparisons"][0]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="results of the sweep that is held against, or baseline files")
    parser.add_argument("new", help="results of the other")
    parser.add_argument("--margin", default="2pt", help="loss that is tolerated [2pt]")
    parser.add_argument("--program", default=str(ROOT / "build" / "desbench"))
    args = parser.parse_args()
    base, new = read_base(args.base), read_runs(args.new)
    outcomes, total = collections.Counter(), collections.Counter()

    print(f"{'model':12} {'policy':28} {'items':>5} {'same tokens':>11} {'lost':>4} {'gained':>6}"
          f" {'at most':>7}  gate")
    models = {model for model, _ in new} & {model for model, _ in base}
    for model, selector in sorted(key for key in set(base) ^ set(new) if key[0] in models):
        print(f"{model:12} {selector[:28]:28} in one of the two only")
        outcomes["not comparable"] += 1
    for model, selector in sorted(set(base) & set(new)):
        found = gate(args, base[model, selector], new[model, selector])
        if not found:
            outcomes["not comparable"] += 1
            continue
        all_items = found["all"]
        outcomes[found["outcome"]] += 1
        for key in ("n", "same_tokens", "lost", "gained"):
            total[key] += all_items[key]
        print(f"{model:12} {selector[:28]:28} {all_items['n']:5} {all_items['same_tokens']:11}"
              f" {all_items['lost']:4} {all_items['gained']:6}"
              f" {100 * all_items['loss_high_95']:7.2f}  {found['outcome']}", flush=True)
    print(f"{'all':12} {'':28} {total['n']:5} {total['same_tokens']:11} {total['lost']:4}"
          f" {total['gained']:6} {'':7}  "
          + ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items())))
    if outcomes["not comparable"] or not total["n"]:
        sys.exit(2)
    sys.exit(1 if outcomes["fail"] else 0)


if __name__ == "__main__":
    main()
