"""Answers of a model to the suites, judged: a look during training, not the program's judge.

Programs run in worker processes with limits on time and memory and no other protection: they come
from a model trained on harmless code, on a machine that is thrown away.
"""

import collections
import io
import math
import multiprocessing
import re
import resource
import signal
import sys

import decode
import items
import stream

GEN_LENGTH = {"humaneval": 192, "humaneval_pro": 192, "mbpp": 256, "gsm8k": 192, "math500": 192}


class _Timeout(BaseException):
    pass


def _stop(*_):
    raise _Timeout


def _limit():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    sys.stdout = sys.stderr = io.StringIO()
    signal.signal(signal.SIGALRM, _stop)


def passes(program):
    signal.setitimer(signal.ITIMER_REAL, 3.0)
    try:
        exec(program, {"__name__": "builtins"})
        return True
    except BaseException:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def program(task, r, text):
    code = re.search(r"```python\n(.*?)```", text + "```", re.S)
    code = code[1] if code else ""
    if task == "humaneval":
        return r["prompt"] + "\n" + code + "\n" + r["test"] + f"\ncheck({r['entry_point']})\n"
    if task == "humaneval_pro":
        return code + "\n" + r["test_code"] + "\n"
    return code + "\n" + "\n".join(r["test_list"]) + "\n"


def answers_right(task, r, text):
    if task == "gsm8k":
        got = re.findall(r"answer is (-?\d+)", text)
        return bool(got) and got[-1] == r["answer"].split("#### ")[1]
    got = re.findall(r"\\boxed\{(.*)\}", text)
    return bool(got) and got[-1].replace(" ", "") == r["answer"].replace(" ", "")


def pool(n):
    return multiprocessing.get_context("fork").Pool(n, _limit, maxtasksperchild=400)


def run(net, tok, workers, tasks=items.TASKS, is_full=False, policy=None, n_max=None, batch=256, dtype=None,
        threshold=0.9, decoder=decode.decode):
    """{task: [(record, is right, text)]} and the decoder's Stats by task."""
    import torch

    out, stats = {}, {}
    end = {tok.token_to_id("<|endoftext|>"), tok.token_to_id("<|role_end|>")}
    mask_id = tok.token_to_id("<|mask|>")
    jobs = {}
    for task in tasks:
        records = stream.suite_records(task, is_full)[:n_max]
        prompts = [tok.encode(items.prompt(task, r)).ids for r in records]
        order = sorted(range(len(records)), key=lambda i: len(prompts[i]))
        texts = [None] * len(records)
        total = decode.Stats()
        for at in range(0, len(order), batch):
            part = order[at : at + batch]
            got, s = decoder(net, [prompts[i] for i in part], GEN_LENGTH[task], mask_id, end,
                                   threshold, policy, dtype or torch.bfloat16)
            for i, g in zip(part, got):
                texts[i] = tok.decode(g)
            for f in vars(total):
                setattr(total, f, getattr(total, f) + getattr(s, f))
        stats[task] = total
        if task in ("gsm8k", "math500"):
            out[task] = [(r, answers_right(task, r, t), t) for r, t in zip(records, texts)]
        else:
            jobs[task] = records, texts, workers.map_async(
                passes, [program(task, r, t) for r, t in zip(records, texts)], 16)
    for task, (records, texts, job) in jobs.items():
        out[task] = list(zip(records, job.get(300), texts))
    return out, stats


def by(result, key):
    cells = collections.defaultdict(lambda: [0, 0])
    for r, ok, _ in result:
        c = cells[r[key]]
        c[0] += ok
        c[1] += 1
    return {k: (c[0] / c[1], c[1]) for k, c in sorted(cells.items())}


def report(name, out, stats, details=False):
    line = [name]
    right = total = 0
    for task, result in out.items():
        n = len(result)
        k = sum(ok for _, ok, _ in result)
        right, total = right + k, total + n
        s = stats[task]
        line.append(f"{task} {k / n:.3f} (tpf {s.tokens / max(s.forwards, 1):.2f} U {s.unique / max(s.n_unique, 1):.1f})")
    p = right / total
    line.append(f"pooled {p:.3f} +- {1.96 * math.sqrt(p * (1 - p) / total):.3f}")
    print("  ".join(line), flush=True)
    if details:
        for task, result in out.items():
            text = " ".join(f"{k}:{v:.2f}/{n}" for k, (v, n) in by(result, "level").items())
            text += " | " + " ".join(f"{k}:{v:.2f}/{n}" for k, (v, n) in by(result, "subject").items())
            print("   ", task, text, flush=True)
    return p
