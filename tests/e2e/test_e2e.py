"""End-to-end tests of desbench by its command line. Prints TAP. Usage: test_e2e.py PROGRAM

The real data sets are looked for in $DESBENCH_DATA, else ../shared/data beside the source tree;
cases that need them are skipped where they are absent.
"""
import json
import os
import re
import shutil
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

PROGRAM = os.path.abspath(sys.argv[1])
SOURCE = os.environ["DESBENCH_SOURCE"]
DATA = os.environ.get("DESBENCH_DATA") or os.path.join(SOURCE, "..", "shared", "data")
HAS_DATA = os.path.isfile(os.path.join(DATA, "mbpp.jsonl"))
SHAPE = os.path.join(SOURCE, "models", "shapes", "tiny-llada-moe")
REAL = "humaneval,humaneval_pro,mbpp,gsm8k,math500"
SAMPLES = "sample_humaneval,sample_humaneval_pro,sample_mbpp,sample_gsm8k,sample_math500"


class Skip(Exception):
    pass


def call(*args, stdin=None, env=None, cwd=None, before=None):
    """(exit code, stdout, stderr) of desbench ARGS; before runs in the child."""
    full = {k: v for k, v in os.environ.items() if not k.startswith("DESBENCH_")}
    full["XDG_DATA_HOME"] = "/nonexistent"  # where data sets may be
    full.update(env or {})
    p = subprocess.run([PROGRAM, *map(str, args)], input=stdin, capture_output=True, env=full, cwd=cwd, timeout=500,
                       preexec_fn=before)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def ok(*args, **kw):
    code, out, err = call(*args, **kw)
    assert code == 0, f"exit {code}: {err}"
    return out


def fails(code, words, *args, **kw):
    """It must exit with code, print nothing on stdout and every word in one line of stderr."""
    got, out, err = call(*args, **kw)
    assert got == code, f"exit {got}, wanted {code}: {err}"
    assert out == "", f"stdout: {out[:200]}"
    assert all(w in err for w in words), f"{words} not in: {err}"
    assert "Sanitizer" not in err, err


def dry(folder, *extra):
    return ["run", "--model", SHAPE, "--load-format", "dummy", "-o", folder, "--progress", "never", *extra]


def rows(folder, sql):
    db = sqlite3.connect(os.path.join(folder, "results.sqlite"))
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def need_sandbox():
    """Code is judged only where programs can be isolated; the judge's own tests skip there too."""
    report = json.loads(call("doctor", "--json")[1])
    if report["sandbox_level"] == "none":
        missing = [c["details"] for c in report["checks"] if c["area"] == "sandbox" and c["state"] == "missing"]
        raise Skip(f"no sandbox on this machine: {missing[0]}")


def need_model(name="mini-e64"):
    if not os.path.isfile(os.path.join(SOURCE, "models", name, "model.safetensors.index.json")):
        raise Skip(f"no weights of the bundled model {name}")


def need_data():
    if not HAS_DATA:
        raise Skip(f"no data sets in {DATA}")


# ---- cases: each a function whose name is a sentence -----------------------------------------


def version_and_help_print_on_stdout(tmp):
    assert re.match(r"desbench \d+\.\d+\.\d+ \(", ok("--version"))
    assert "Exit codes" in ok("--help")
    for verb in ["run", "show", "ls", "validate", "grade", "extract", "doctor", "sandbox"]:
        text = ok(verb, "--help")
        assert text.startswith(f"Usage: desbench {verb}") and "--help" in text, text


def wrong_usage_exits_2_and_names_the_word(tmp):
    fails(2, ["unknown verb 'fly'"], "fly")
    fails(2, ["'--limt'", "--limit"], "run", "--limt", "2")
    fails(2, ["'humanevil'"], "run", "-t", "humanevil")
    fails(2, ["'x'"], *dry(tmp, "-E", "x"))
    fails(2, ["named twice"], *dry(tmp, "-t", "sample_gsm8k,sample_gsm8k"))
    fails(2, ["empty entry"], *dry(tmp, "-t", "sample_gsm8k,"))
    fails(2, ["no-such-form"], *dry(tmp, "--prompt-form", "no-such-form"))
    fails(2, ["no-such-selector"], *dry(tmp, "--selector", "no-such-selector"))
    fails(2, ["no-such-decoder"], *dry(tmp, "--decoder", "no-such-decoder"))
    fails(2, ["no-such-cache"], *dry(tmp, "--cache", "no-such-cache"))
    fails(2, ["33"], *dry(tmp, "--gen-length", "33", "--block-length", "32"))
    fails(2, ["TASK"], "grade")
    fails(2, ["humaneval"], "grade", "humaneval", stdin=b"")
    fails(2, ["'extra'"], "doctor", "extra")
    fails(2, ["'check'", "'exec'"], "sandbox", "try")
    fails(2, ["'check'", "'exec'"], "sandbox", "exec")


def missing_things_exit_3_and_say_what_to_do(tmp):
    fails(3, ["--data-dir", "HumanEval.jsonl.gz"], *dry(tmp, "-t", "humaneval"))
    fails(3, ["does not exist"], *dry(tmp, "-t", "humaneval", "--data-dir", tmp + "/none"))
    fails(3, [tmp, "HumanEval.jsonl.gz"], *dry(tmp, "-t", "humaneval", "--data-dir", tmp))
    fails(3, ["no-such-model"], "run", "--model", "no-such-model", "-o", tmp)
    fails(3, ["safetensors"], "run", "--model", SHAPE, "-o", tmp, "-t", "sample_gsm8k")
    fails(3, ["results.sqlite"], "ls", "runs", "-o", tmp + "/none")
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    fails(3, ["'2099'"], "show", "2099", "-o", tmp)
    fails(3, ["sample_mbpp"], "show", "last", "sample_mbpp", "-o", tmp)


def an_item_or_place_that_cannot_be_used_is_named(tmp):
    fails(2, ["'nope'"], *dry(tmp, "-t", "sample_gsm8k,sample_humaneval_pro", "-E", "0,nope"))
    fails(2, ["item '0'", "8192"], *dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "8192"))
    fails(2, ["--model", "--dry-run"], "run", "--model", "--dry-run", "-o", tmp)
    fails(2, ["--jobs", "256"], *dry(tmp, "--jobs", "300"))
    assert os.listdir(tmp) == []
    with open(tmp + "/file", "w"):
        pass
    fails(3, [tmp + "/file"], *dry(tmp + "/file/runs", "-t", "sample_gsm8k", "-L", "1"))
    fails(3, ["/proc/none"], *dry("/proc/none/runs", "-t", "sample_gsm8k", "-L", "1"))
    assert os.listdir(tmp) == ["file"]


def output_may_be_relative_and_a_task_without_items_is_left_out(tmp):
    need_sandbox()
    code, out, err = call(*dry("a/b", "-t", "sample_gsm8k,sample_humaneval", "-E", "Sample/1", "--gen-length", "64"),
                          cwd=tmp)
    assert code == 0 and "'sample_gsm8k' is left out" in err, (code, err)
    assert rows(tmp + "/a/b", "select distinct task from cell") == [("sample_humaneval",)]
    ok("ls", "runs", "-o", "a/b", cwd=tmp)
    ok(*dry("c.sqlite", "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"), cwd=tmp)
    assert os.path.isfile(tmp + "/c.sqlite")


def a_full_disk_ends_the_run_with_whole_samples(tmp):
    """A file size limit stands for a full disk."""
    for n_blocks in (60, 400):
        folder = f"{tmp}/{n_blocks}"

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_blocks * 1024, n_blocks * 1024))
        code, out, err = call(*dry(folder, "-t", "sample_gsm8k", "--gen-length", "64", "-n", "400"), before=limit)
        assert code == 3 and out == "" and "results.sqlite" in err, (n_blocks, code, err)
        assert "Sanitizer" not in err, err
        if n_blocks == 400:
            assert "samples are kept" in err, err
            n = rows(folder, "select count(*) from sample")[0][0]
            assert 0 < n < 1600 and rows(folder, "select count(*) from verdict") == [(n,)]
            assert rows(folder, "pragma integrity_check") == [("ok",)]
            assert json.loads(ok("ls", "runs", "-o", folder, "--json"))[0]["samples"] == n


def a_damaged_blob_is_named_with_its_sample(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64"))
    for change in ["telemetry = zeroblob(40)", "telemetry = substr(telemetry, 1, length(telemetry) - 9)",
                   "telemetry = cast(substr(telemetry, 1, 30) || x'ff' || substr(telemetry, 32) as blob)",
                   "tokens = x'010203'"]:
        db = sqlite3.connect(tmp + "/results.sqlite")
        db.execute("create table kept as select * from sample where sample_id = 2")
        db.execute(f"update sample set {change} where sample_id = 2")
        db.commit()
        for args in (["--json"], []):
            code, out, err = call("show", "last", "sample_gsm8k", "1", "-o", tmp, *args)
            assert code == 2 and out == "" and "sample 2" in err and "results.sqlite" in err, (change, code, err)
            ok("show", "last", "sample_gsm8k", "0", "-o", tmp, *args)
        db.execute("update sample set (telemetry, tokens) = (select telemetry, tokens from kept) where sample_id = 2")
        db.execute("drop table kept")
        db.commit()
        db.close()
    ok("show", "last", "-o", tmp)


def outside_text_cannot_drive_the_terminal(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.execute("update sample set raw_output = ?", ("\x1b]0;owned\x07é",))
    db.execute("update verdict set details = ?", ("\x1b[2Jgone",))
    db.execute("update item set task_id = ?", ("\x1b[1m7",))
    db.commit()
    db.close()
    for args in (["last"], ["last", "sample_gsm8k"]):
        out = ok("show", *args, "-o", tmp)
        assert "\x1b" not in out and "\x07" not in out
    assert "\\x1b[2Jgone" in out and "\\x1b]0;owned\\x07é" in out
    assert json.loads(ok("show", "last", "sample_gsm8k", "-o", tmp, "--json"))["output"] == "\x1b]0;owned\x07é"


def token_counts_add_up(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k,sample_math500", "--gen-length", "64", "--temperature", "1", "-n", "2"))
    for total, before, after, stop in rows(tmp, "select n_gen_positions, n_tokens_before_eos, n_tokens_after_stop,"
                                                " stop_reason from sample"):
        assert total == before + (stop == "eos") + after, (total, before, after, stop)


def other_scores_stand_beside_the_default_one(tmp):
    out = json.loads(ok(*dry(tmp, "-t", "sample_gsm8k,sample_math500", "-L", "2", "-n", "3", "--gen-length", "64",
                             "--json")))
    gsm, math = out["tasks"]
    assert set(gsm["also"]) == {x for x, in rows(tmp, "select distinct e.key from verdict v, json_each(v.also_json) e")
                                } | {"pass@3"}
    assert {"strict", "flexible"} <= {w for name in gsm["also"] for w in name.split("-")} | set(gsm["also"]), gsm["also"]
    assert list(math["also"]) == ["pass@3"]
    assert all(0 <= v <= 1 for t in out["tasks"] for v in t["also"].values())
    assert gsm["value"] <= gsm["also"]["pass@3"]
    metrics = rows(tmp, "select metric, n from metric where task = 'sample_gsm8k' order by rowid")
    assert metrics[0] == ("accuracy", 6) and ("pass@3", 2) in metrics
    text = ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    assert "other scores:" in text and "pass@" not in text.split("other scores:")[1].splitlines()[0]


def dry_run_speaks_json(tmp):
    out = json.loads(ok(*dry(tmp, "--dry-run", "--json", "-t", "sample_gsm8k,sample_mbpp", "-L", "2", "-n", "3",
                             "--gen-length", "64")))
    assert [c["task"] for c in out["cells"]] == ["sample_gsm8k", "sample_mbpp"]
    assert out["n_samples"] == 12 and out["max_canvas"] == out["max_prompt"] + 64
    assert os.listdir(tmp) == []


def a_plan_counts_memory_and_refuses_what_does_not_fit(tmp):
    small, large = (json.loads(ok(*dry(tmp, "--dry-run", "--json", "-t", "sample_gsm8k", "-b", n)))["memory"]
                    for n in (1, 4))
    for m in (small, large):
        assert m["total_bytes"] == m["weights_bytes"] + m["caches_bytes"] + m["workspace_bytes"] < m["available_bytes"], m
    assert large["caches_bytes"] == 4 * small["caches_bytes"] and large["weights_bytes"] == small["weights_bytes"]
    assert "GB are available" in ok(*dry(tmp, "--dry-run", "-t", "sample_gsm8k"))
    huge = dry(tmp, "-t", "sample_gsm8k", "--override", "expert_intermediate_size=262144", "--override",
               "hidden_size=4096", "--override", "num_experts=256")
    for extra in (["--dry-run"], []):
        code, out, err = call(*huge, *extra)
        assert code == 3 and re.search(r"needs \d{12,} bytes( of GPU memory)? \(weights \d{12,}, .*\d+ are available", err), (code, err)
    # without weights a plan is still one
    assert json.loads(ok("run", "-m", SHAPE, "-t", "sample_gsm8k", "--dry-run", "--json"))["memory"] is None


def signals_that_were_ignored_at_the_start_stay_ignored(tmp):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    p = subprocess.Popen([PROGRAM, *dry(tmp, "-t", "sample_gsm8k", "--gen-length", "256", "-n", "500", "--json")],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore)
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        n = samples_after(tmp, 1)
        p.send_signal(sig)
        if sig != signal.SIGTERM:
            samples_after(tmp, n + 3)
            assert p.poll() is None, f"{sig} ended it"
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and json.loads(out)["status"] == "interrupted", (p.returncode, err)


def samples_after(folder, n):
    """Samples stored, once there are n."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            found = rows(folder, "select count(*) from sample")[0][0]
            if found >= n:
                return found
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not {n} samples in a minute")


def signals_end_a_run_in_order(tmp):
    need_sandbox()
    for i, sig in enumerate([signal.SIGTERM, signal.SIGHUP]):
        folder = f"{tmp}/{i}"
        p = subprocess.Popen([PROGRAM, *dry(folder, "-t", "sample_humaneval,sample_gsm8k", "--gen-length", "256", "-n",
                                            "500", "--json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if rows(folder, "select count(*) from sample")[0][0]:
                    break
            except sqlite3.OperationalError:
                pass
            time.sleep(0.05)
        p.send_signal(sig)
        p.send_signal(sig)  # twice: what is being judged is dropped
        out, err = p.communicate(timeout=60)
        assert p.returncode == 130 and b"Sanitizer" not in err, (sig, p.returncode, err)
        assert json.loads(out)["status"] == "interrupted"
        assert rows(folder, "select status, validity from run") == [("interrupted", "INVALID: interrupted")]


def a_judge_that_dies_ends_the_run_with_exit_7(tmp):
    need_sandbox()
    p = subprocess.Popen([PROGRAM, *dry(tmp, "-t", "sample_humaneval", "--gen-length", "256", "-n", "500")],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if rows(tmp, "select count(*) from sample")[0][0]:
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
        supervisor = int(f.read().split()[0])
    os.kill(supervisor, signal.SIGKILL)
    out, err = p.communicate(timeout=120)
    if p.returncode == 0:  # noise that never holds code never asks the judge
        raise Skip("no answer needed the judge")
    assert p.returncode == 7 and b"supervisor" in err and b"samples are kept" in err, (p.returncode, err)
    assert rows(tmp, "select status, validity from run") == [("failed", "INVALID: failed")]


def runs_begun_together_have_ids_of_their_own(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    ps = [subprocess.Popen([PROGRAM, *dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64")],
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for p in ps:
        assert p.wait(timeout=120) == 0, p.stderr.read()
        p.stderr.close()
    assert rows(tmp, "select count(distinct run_id) from run") == [(5,)]


def a_file_without_runs_lists_none(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    db = sqlite3.connect(tmp + "/results.sqlite")
    for table in ("verdict", "sample", "metric", "run"):
        db.execute(f"delete from {table}")
    db.commit()
    db.close()
    assert json.loads(ok("ls", "runs", "-o", tmp, "--json")) == []
    assert len(ok("ls", "runs", "-o", tmp).splitlines()) == 1
    fails(3, ["no runs"], "show", "last", "-o", tmp)


def bench_refuses_options_that_it_does_not_read(tmp):
    fails(2, ["'--threshold'", "'low-confidence'"], "bench", "decode", "--decoder", "low-confidence", "--threshold",
          "0.5")
    fails(2, ["'--after-look'", "'dual'"], "bench", "decode", "--cache", "dual", "--after-look", "2")
    for option, value in [("decoder", "threshold"), ("cache", "dual"), ("steps", "4"), ("block-length", "8"),
                          ("gen-length", "8"), ("threshold", "0.5"), ("prefix-look", "2")]:
        fails(2, [f"'--{option}'", "`bench forward`"], "bench", "forward", f"--{option}", value)
        fails(2, [f"'--{option}'", "`bench ops`"], "bench", "ops", f"--{option}", value)
    fails(2, ["'--selector'"], "bench", "ops", "--selector", "vanilla")
    fails(2, ["--tokens 1", "second of two steps"], "bench", "forward", "--tokens", "1")


def bench_measures_the_machine_and_keeps_every_sample(tmp):
    for what, names in (("forward", {"forward"}), ("decode", {"decode"}),
                        ("ops", {"matmul", "router", "route", "moe", "attention", "rope", "add", "rms_norm", "head",
                                 "embed", "pick"} | {f"route, {p}" for p in (
                                     "des-seq", "des-vote", "dmoe", "xshare", "oracle-mass")})):
        r = json.loads(ok("bench", what, "--backend", "cpu", "--repeats", "2", "--tokens", "8", "--threads", "2", "--json",
                          "-q"))
        assert r["bench"] == what and r["backend"] == "cpu" and r["backend_details"].endswith(", 2 threads"), r
        assert len(r["read_bytes_per_s"]) == 2 and all(v > 0 for v in r["read_bytes_per_s"])
        assert "generic" in r["flops_per_s"] and {x["name"] for x in r["results"]} == names
        for x in r["results"]:
            assert len(x["samples_ns"]) == 2 and 0 < x["min_ns"] <= x["median_ns"] <= x["max_ns"], x
            assert what == "ops" or (x["bytes"] > 0 and x["flops"] > 0 and x["floor_ns"] > 0), x
    fails(2, ["'backward'"], "bench", "backward")
    for what in ("moe", "route"):
        fails(2, ["'cpu'", "'cuda'"], "bench", what, "--backend", "cpu")
    fails(2, ["'--threads'", "`bench moe`"], "bench", "moe", "--threads", "2")
    fails(2, ["'mmx'"], "bench", "forward", "--isa", "mmx")
    fails(2, ["'ref'", "'avx2'"], "bench", "forward", "--isa", "avx2", "--backend", "ref")
    fails(2, ["'turbo'"], "bench", "forward", "--numeric", "turbo")
    for verb in (["bench", "forward"], ["bench", "ops"], ["run", "--dry-run"], ["run"]):
        fails(2, ["'cpu'", "numeric mode 'fast'"], *verb, "--load-format", "dummy", "--backend", "cpu", "--numeric", "fast")
    assert "generic, 1 thread" in ok("bench", "forward", "--isa", "generic", "--threads", "1", "--repeats", "1")


def quiet_is_quiet_and_progress_says_how_long(tmp):
    code, out, err = call(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64", "--progress", "always",
                               "-q"))
    assert code == 0 and all("warning: " in line for line in err.splitlines()), err
    code, out, err = call(*dry(tmp, "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64", "--progress", "always"))
    assert re.search(r"\r2/2  0:\d\d  eta 0:00  ", err), err


def unusable_results_files_are_refused_untouched(tmp):
    path = tmp + "/x.sqlite"
    with open(path, "wb") as f:
        f.write(b"this is not a database" * 100)
    before = open(path, "rb").read()
    fails(2, [path], *dry(path, "-t", "sample_gsm8k", "-L", "1"))
    assert open(path, "rb").read() == before
    os.remove(path)
    sqlite3.connect(path).execute("create table t(x)").connection.close()
    fails(2, [path], *dry(path, "-t", "sample_gsm8k", "-L", "1"))


def a_data_file_with_other_bytes_is_refused(tmp):
    need_data()
    with open(os.path.join(DATA, "math500.jsonl"), "rb") as f:
        text = f.read()
    with open(tmp + "/math500.jsonl", "wb") as f:
        f.write(text.replace(b'"answer": "27"', b'"answer": "28"', 1) if b'"answer": "27"' in text else text + b"\n")
    fails(4, ["math500.jsonl", "35dc41080a36"], *dry(tmp, "-t", "math500", "--data-dir", tmp))


def dry_run_prints_the_plan_and_stores_nothing(tmp):
    out = ok(*dry(tmp, "--dry-run", "-t", SAMPLES, "--selector", "vanilla", "--selector", "topk:k=1"))
    assert "sample_mbpp" in out and "topk:k=1" in out and "longest prompt" in out
    assert os.listdir(tmp) == []


def show_config_names_the_source_of_each_value(tmp):
    out = ok("run", "--show-config", "--seed", "9", env={"DESBENCH_LIMIT": "4"})
    assert re.search(r"^seed\s+= 9\s+# command line$", out, re.M), out
    assert re.search(r"^limit\s+= 4\s+# environment$", out, re.M), out
    got = json.loads(ok("run", "--show-config", "--json", "--seed", "9"))
    assert got["seed"] == {"value": 9, "source": "command line"}


def a_plan_file_gives_settings_and_the_command_line_wins(tmp):
    path = tmp + "/p.yaml"
    with open(path, "w") as f:
        f.write("tasks: [sample_gsm8k, sample_math500]\nlimit: 2\ngen-length: 64\nselector:\n- vanilla\n- topk:k=1\n"
                f"output: {tmp}/runs\nmodel: {SHAPE}\nload-format: dummy\nprogress: never\n")
    for args in ([path], ["-C", path], [f"--config={path}"]):
        plan = json.loads(ok("run", *args, "--dry-run", "--json", "-L", "1"))
        assert [(c["task"], c["selector"], c["n_items"]) for c in plan["cells"]] == [
            (t, s, 1) for t in ("sample_gsm8k", "sample_math500") for s in ("vanilla", "topk:k=1")], plan
    out = ok("run", "--show-config", env={"DESBENCH_CONFIG": path, "DESBENCH_GEN_LENGTH": "32"})
    assert f"limit          = 2  # {path}:2\n" in out and "gen-length     = 32  # environment\n" in out, out
    ok("run", path)
    assert rows(tmp + "/runs", "select count(*) from sample") == [(8,)]
    config = json.loads(rows(tmp + "/runs", "select config_json from run")[0][0])
    assert config["selector"] == {"value": ["vanilla", "topk:k=1"], "source": "plan file", "origin": path + ":4"}
    assert config["config"] == {"value": path, "source": "command line"}
    fails(2, ["two plans"], "run", path, "-C", path)
    fails(3, ["'no-such-plan'"], "run", "no-such-plan")
    with open(path, "a") as f:
        f.write("limits: 4\n")
    fails(2, [path + ":11:1", "'limits'", "'limit'"], "run", path)


def bundled_plans_are_found_by_name(tmp):
    need_model()
    # those of one run and the bundled models; test_sweep.py has all
    for name in ("quick.yaml", "mini-ci.yaml"):
        for word in (name, name.removesuffix(".yaml")):
            assert json.loads(ok("run", word, "--dry-run", "--json", cwd=tmp))["n_samples"] > 0, name


def dummy_weights_run_samples_without_data_or_model_and_are_labelled(tmp):
    need_sandbox()
    out = ok("run", "--load-format", "dummy", "-o", tmp, "--gen-length", "64", "--progress", "never")
    assert "DUMMY WEIGHTS" in out
    assert all(t in out for t in SAMPLES.split(","))
    assert rows(tmp, "select count(*) from sample")[0][0] == 20
    assert rows(tmp, "select status, validity from run") == [("done", "VALID")]


def json_of_run_has_one_entry_a_task_and_selector(tmp):
    out = json.loads(ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64", "--json", "--selector",
                             "vanilla", "--selector", "topk:k=1")))
    assert [(t["task"], t["selector"]) for t in out["tasks"]] == [("sample_gsm8k", "vanilla"),
                                                                  ("sample_gsm8k", "topk:k=1")]
    for t in out["tasks"]:
        assert 0 <= t["ci_low"] <= t["value"] <= t["ci_high"] <= 1
        assert t["n_samples"] == 2 and t["n_forwards"] > 0 and t["n_gen_positions"] == 128
    full, one = out["tasks"]
    assert one["mean_unique_experts"] < full["mean_unique_experts"] <= full["n_experts"]


def real_prompts_go_from_data_to_verdict_and_repeat_exactly(tmp):
    need_sandbox()
    need_data()
    tokens = []
    for i in range(2):
        folder = f"{tmp}/{i}"
        out = ok(*dry(folder, "-t", REAL, "-L", "2", "--data-dir", DATA, "--gen-length", "64"))
        assert all(t in out for t in REAL.split(","))
        tokens.append(rows(folder, "select task_id, seed, tokens_sha256, prompt_sha256 from sample s join item using "
                                   "(item_id) order by sample_id"))
        verdicts = rows(folder, "select verdict from verdict")
        assert len(verdicts) == 10 and ("internal",) not in verdicts, verdicts
        assert all(n > 0 for n, in rows(folder, "select n_prompt from sample"))
    assert tokens[0] == tokens[1] and len(tokens[0]) == 10
    shown = ok("show", "last", "humaneval", "HumanEval/0", "-o", f"{tmp}/0")
    for words in ["has_close_elements", "--- denoising steps", "--- experts by layer", "--- verdict: "]:
        assert words in shown, f"{words} not in {shown}"
    one = json.loads(ok("show", "last", "humaneval", "HumanEval/0", "-o", f"{tmp}/0", "--json"))
    assert len(one["tokens"]) == 64 == one["n_gen_positions"]
    assert sum(f["n_committed"] for f in one["forwards"]) == 64
    assert all(0 < u for f in one["forwards"] for u in f["unique_experts"])


def answers_do_not_depend_on_the_batch_or_the_threads(tmp):
    need_sandbox()
    got = []
    for i, extra in enumerate((["-b", "1"], ["-b", "3"], ["-b", "8", "--threads", "1"])):
        ok(*dry(f"{tmp}/{i}", "-t", SAMPLES, "--gen-length", "64", *extra))
        got.append(sorted(rows(f"{tmp}/{i}", "select task_id, tokens_sha256 from sample s join item using (item_id)")))
    assert got[0] == got[1] == got[2]


def every_decoder_and_cache_commits_every_position(tmp):
    for decoder in ["low-confidence", "threshold", "factor", "hierarchy", "credit", "block-diffusion", "edit"]:
        for cache in ["none", "prefix", "dual", "vicinity"] if decoder == "threshold" else ["none", "dual"]:
            folder = f"{tmp}/{decoder}-{cache}"
            ok(*dry(folder, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64", "--block-length", "32", "--decoder",
                    decoder, "--cache", cache))
            one = json.loads(ok("show", "last", "sample_gsm8k", "-o", folder, "--json").splitlines()[0])
            done = sum(f["n_committed"] for f in one["forwards"])
            # on a grid of blocks, the last one may reach beyond the answer
            on_grid = decoder in ("block-diffusion", "edit")
            assert done == 64 or (on_grid and 64 < done < 96) or one["stop_reason"] == "eos", (decoder, done)
            assert any(f["cache_refresh"] for f in one["forwards"]) == (cache != "none")


def the_cache_of_finished_blocks_changes_no_token(tmp):
    ok("run", "--model", os.path.join(SOURCE, "models", "shapes", "tiny-llada2"), "--load-format", "dummy", "-o", tmp,
       "--progress", "never", "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64", "--threshold", "0.05",
       "--decoder", "block-diffusion,edit,threshold", "--cache", "none,block")
    got = rows(tmp, "select decoder, task_id, group_concat(distinct tokens_sha256), count(*) from sample "
                    "join cell using (cell_key) join item using (item_id) group by 1, 2")
    assert len(got) == 6 and all("," not in h and n == 2 for _, _, h, n in got), got
    fails(2, ["'block'", "block-causal"], *dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--cache", "block"))


def sampling_repeats_for_a_seed_and_differs_for_another(tmp):
    got = []
    for i, seed in enumerate((1, 1, 2)):
        ok(*dry(f"{tmp}/{i}", "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64", "--temperature", "1", "--seed", seed,
                "-n", "2"))
        got.append([h for h, in rows(f"{tmp}/{i}", "select tokens_sha256 from sample order by sample_idx")])
    assert got[0] == got[1] != got[2]
    assert got[0][0] != got[0][1]


def an_interrupted_run_keeps_whole_samples_and_exits_130(tmp):
    need_sandbox()
    p = subprocess.Popen([PROGRAM, *dry(tmp, "-t", SAMPLES, "--gen-length", "256", "-n", "50")], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if rows(tmp, "select count(*) from sample")[0][0] >= 2:
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130, f"exit {p.returncode}: {err}"
    assert b"interrupted" in err
    n = rows(tmp, "select count(*) from sample")[0][0]
    assert 2 <= n < 1000 and rows(tmp, "select count(*) from verdict")[0][0] == n
    assert rows(tmp, "select status from run") == [("interrupted",)]


def a_killed_run_leaves_only_whole_samples(tmp):
    need_sandbox()
    p = subprocess.Popen([PROGRAM, *dry(tmp, "-t", SAMPLES, "--gen-length", "256", "-n", "50")], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if rows(tmp, "select count(*) from sample")[0][0] >= 3:
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    p.kill()
    p.communicate()
    assert rows(tmp, "pragma integrity_check") == [("ok",)]
    n = rows(tmp, "select count(*) from sample")[0][0]
    assert n >= 3 and rows(tmp, "select count(*) from verdict")[0][0] == n
    assert json.loads(ok("ls", "runs", "-o", tmp, "--json"))[0]["samples"] == n


def bundled_references_all_pass_and_their_mutants_do_not(tmp):
    need_sandbox()
    out = ok("validate", "-t", SAMPLES, "--progress", "never")
    assert len(re.findall(r"^sample_\w+\s+4/4 ", out, re.M)) == 5, out
    assert out.count(" 16/16 stubs fail, ") == 3 and "tests too weak" not in out, out
    out = ok("validate", "-t", SAMPLES, "--mutants", "0", "--progress", "never")
    assert out.count(" 16/16 stubs fail  (") == 3 and "killed" not in out, out
    out = ok("validate", "-t", SAMPLES, "--mutants", "-1", "--progress", "never")
    assert len(out.splitlines()) == 5 and "stubs" not in out and "rejected" not in out, out


def survivors_are_named_and_weak_tests_too(tmp):
    """Tests that look at nothing but the type: stubs die, no changed operator does."""
    need_sandbox()
    item = {"task_id": "Weak/0", "prompt": "def half(x):\n    \"\"\"x / 2\"\"\"\n", "entry_point": "half",
            "canonical_solution": "    if x < 0:\n        return -(-x / 2)\n    return x / 2\n",
            "test": "def check(f):\n    assert type(f(3.0)) is float and f(2) != f\n"}
    with open(os.path.join(tmp, "HumanEval.jsonl"), "w") as f:
        f.write(json.dumps(item) + "\n")
    subprocess.run(["gzip", os.path.join(tmp, "HumanEval.jsonl")], check=True)
    args = ["validate", "-t", "humaneval", "--data-dir", tmp, "--no-data-check", "--progress", "never"]
    code, out, err = call(*args, "--json")
    got = json.loads(out)[0]
    # the argument is a float as well: a stub that passes is a failed check
    assert code == 1 and got["n_ok"] == 1 and got["mutants"]["stub"] == {
        "n": 4, "killed": 3, "timeout": 0, "let_through": 0}, (code, got)
    assert "Weak/0: mutant return-argument passes the tests" in err, err
    live = [(s["kind"], s["mutant"]) for s in got["survivors"]]
    assert ("stub", "return-argument") in live, live
    # "return None" of the last line dies, so the item is not too weak
    n = got["mutants"]["operator"]
    assert n["killed"] + len(live) - 1 == n["n"] and n["killed"] >= 1 and got["too_weak"] == [], got
    # a test of nothing at all kills none of many
    item["test"] = "def check(f):\n    assert callable(f)\n"
    os.remove(os.path.join(tmp, "HumanEval.jsonl.gz"))
    with open(os.path.join(tmp, "HumanEval.jsonl"), "w") as f:
        f.write(json.dumps(item) + "\n")
    subprocess.run(["gzip", os.path.join(tmp, "HumanEval.jsonl")], check=True)
    code, out, err = call(*args, "-v")
    assert code == 1 and " 0/4 stubs fail, 0/" in out and "tests too weak: Weak/0" in out, out
    assert re.search(r"debug: .*Weak/0: mutant negate, line \d+: condition negated passes", err), err


def every_reference_of_the_real_sets_passes(tmp):
    need_sandbox()
    need_data()
    got = {t["task"]: (t["n_ok"], t["n_items"]) for t in
           json.loads(ok("validate", "--data-dir", DATA, "--mutants", "-1", "--json", "--progress", "never"))}
    assert got == {"humaneval": (164, 164), "humaneval_pro": (164, 164), "mbpp_all": (974, 974),
                   "mbpp_sanitized": (427, 427), "gsm8k": (1319, 1319), "math500": (500, 500)}, got


def mutants_of_real_references_fail(tmp):
    need_sandbox()
    need_data()
    for t in json.loads(ok("validate", "--data-dir", DATA, "-t", "humaneval,humaneval_pro,mbpp_all,mbpp_sanitized",
                           "-L", "8", "--mutants", "2", "--json", "--progress", "never")):
        m = t["mutants"]
        assert m["stub"]["n"] == m["stub"]["killed"] == 32, t
        assert m["operator"]["n"] >= 8 and m["operator"]["broken"] == 0 and m["operator"]["killed"] >= 0.7 * m["operator"]["n"], t
    for name in ["humaneval_pro/32", "humaneval_pro/33", "mbpp_all/404", "mbpp_all/698", "mbpp_all/847",
                 "mbpp_sanitized/404"]:
        task, item = name.split("/")
        t = json.loads(ok("validate", "--data-dir", DATA, "-t", task, "-E", item, "--mutants", "0", "--json"))[0]
        assert t["mutants"]["stub"] == {"n": 4, "killed": 3, "timeout": 0, "let_through": 1}, t


def wrong_answers_are_rejected_and_rewritten_ones_accepted(tmp):
    need_data()
    got = {t["task"]: t["mutants"] for t in
           json.loads(ok("validate", "--data-dir", DATA, "-t", "gsm8k,math500", "--json"))}
    assert got == {"gsm8k": {"wrong": {"n": 9218, "rejected": 9218}, "rewrite": {"n": 7914, "accepted": 7914}},
                   "math500": {"wrong": {"n": 2532, "rejected": 2532}, "rewrite": {"n": 1447, "accepted": 1447}}}, got


def grade_answers_line_by_line_in_order(tmp):
    pairs = [("0.5", "\\frac{1}{2}", True), ("0.333", "\\frac{1}{3}", False), ("x", "42", False)]
    text = "".join(json.dumps({"pred": p, "gold": g}) + "\n" for p, g, _ in pairs)
    out = ok("grade", "math500", stdin=text.encode())
    assert [json.loads(x)["equal"] for x in out.splitlines()] == [e for _, _, e in pairs]
    assert json.loads(ok("grade", "gsm8k", stdin=b'{"pred": "1,234", "gold": "1234"}')) == {"equal": True}
    code, out, err = call("grade", "gsm8k", stdin=b'{"pred": "1", "gold": "1"}\n{"pred": 3}\n')
    assert code == 2 and out.count("\n") == 1 and "line 2" in err and "'pred'" in err, (code, out, err)
    fails(2, ["line 1"], "grade", "gsm8k", stdin=b"{nonsense\n")


def grade_math500_judges_the_recorded_pairs(tmp):
    """math_pairs.jsonl: verdicts by hand; no grader may differ on a `must`."""
    path = os.path.join(DATA, "..", "spec", "math_pairs.jsonl")
    if not os.path.isfile(path):
        raise Skip(f"no file {path}")
    with open(path, encoding="utf-8") as f:
        pairs = [json.loads(line) for line in f]
    text = "".join(json.dumps({"pred": p["pred"], "gold": p["gold"]}) + "\n" for p in pairs)
    got = [json.loads(x)["equal"] for x in ok("grade", "math500", stdin=text.encode()).splitlines()]
    assert len(got) == len(pairs) == 205
    wrong = [p for p, e in zip(pairs, got) if e != p["expected"]]
    assert not [p for p in wrong if p["level"] == "must"], wrong
    assert len(wrong) <= 5, wrong


def extract_finds_answers_and_code(tmp):
    lines = [{"output": "so \\boxed{42}."}, {"output": "no idea, sorry"}]
    out = ok("extract", "math500", stdin="\n".join(map(json.dumps, lines)).encode())
    assert [json.loads(x)["extracted"] for x in out.splitlines()] == ["42", None]
    need_data()
    line = {"output": "Sure:\n```python\ndef f(): pass\n```\n", "problem": "HumanEval/0"}
    out = json.loads(ok("extract", "humaneval", "--data-dir", DATA, stdin=json.dumps(line).encode()))
    assert out["extracted"].strip() == "def f(): pass"
    fails(2, ["HumanEval/999"], "extract", "humaneval", "--data-dir", DATA,
          stdin=b'{"output": "x", "problem": "HumanEval/999"}')
    fails(2, ["'problem'"], "extract", "humaneval", "--data-dir", DATA, stdin=b'{"output": "x"}')


def a_gpu_that_is_not_there_ends_the_run_and_the_plan_with_3(tmp):
    args = dry(tmp, "-t", "sample_gsm8k", "--backend", "cuda")
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # on a machine that has one
    if "cuda" not in [b["backend"] for b in json.loads(ok("ls", "backends", "--json"))]:
        return fails(2, ["backend 'cuda' is not part of this build"], *args)
    for extra in ([], ["--dry-run"]):
        fails(3, ["'cuda'", "no NVIDIA "], *args, *extra, env=hidden)
    here = {b["backend"]: b["here"] for b in json.loads(ok("ls", "backends", "--json", env=hidden))}
    assert "no NVIDIA " in here["cuda"] and "(default)" in here["cpu"], here


def lists_and_doctor_speak_json(tmp):
    for what in ["tasks", "models", "selectors", "decoders", "caches", "backends"]:
        assert json.loads(ok("ls", what, "--json")), what
    assert {"vanilla", "topk"} <= {s["selector"] for s in json.loads(ok("ls", "selectors", "--json"))}
    shapes = {m["model"]: m for m in json.loads(ok("ls", "models", "--json"))}
    assert shapes["llada-moe-7b-a1b"]["params (10^9)"] == 7.3569, shapes
    code, out, _ = call("doctor", "--json")
    report = json.loads(out)
    assert code == (0 if report["ok"] else 3)
    states = {c["what"]: c["state"] for c in report["checks"] if c["area"] == "sandbox"}
    assert (report["sandbox_level"] in ("full", "user")) == report["ok"] == ("missing" not in states.values()), report
    fails(2, ["'things'"], "ls", "things")


def the_sandbox_is_shown_and_holds_one_program(tmp):
    code, out, _ = call("sandbox", "check", "--json")
    report = json.loads(out)
    assert code == (3 if report["sandbox_level"] == "none" else 0), out
    assert {"seccomp", "net namespace", "cgroup memory"} <= {l["name"] for l in report["layers"]}
    need_sandbox()
    program, tests = os.path.join(tmp, "p.py"), os.path.join(tmp, "t.py")
    with open(program, "w") as f:
        f.write("def add(a, b):\n    print('seen')\n    return a + b\n")
    with open(tests, "w") as f:
        f.write("assert add(2, 3) == 5\n")
    said = json.loads(ok("sandbox", "exec", program, tests, "--entry-point", "add", "--json"))
    assert said["verdict"] == "pass" and said["judge_mode"] == "two-process" and said["stdout_tail"] == "seen\n", said
    assert 0 < said["cpu_ns"] < said["limits"]["cpu_ns"] and said["sandbox_level"] in ("user", "full"), said
    said = json.loads(ok("sandbox", "exec", program, tests, "--one-process", "--sandbox-level", "user", "--json"))
    assert said["judge_mode"] == "one-process" and said["sandbox_level"] == "user", said
    with open(program, "w") as f:
        f.write("import os\nos._exit(0)\n")
    code, out, _ = call("sandbox", "exec", program)
    assert code == 1 and "forged" in out, out
    with open(program, "w") as f:
        f.write("raise ValueError('why')\n")
    code, out, _ = call("sandbox", "exec", program)
    assert code == 1 and "fail: ValueError: why (code, line 1)" in out and "Traceback" in out, out
    fails(3, ["no-such-file"], "sandbox", "exec", "no-such-file")


def a_full_disk_or_closed_output_is_an_error(tmp):
    with open("/dev/full", "wb") as full:
        p = subprocess.run([PROGRAM, "ls", "tasks"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 3 and b"cannot write" in p.stderr, (p.returncode, p.stderr)
    for fd, args, words in ((1, ["ls", "tasks"], b"cannot write"), (0, ["grade", "gsm8k"], b"cannot read")):
        p = subprocess.run([PROGRAM, *args], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(fd))
        assert p.returncode == 3 and words in p.stderr, (fd, p.returncode, p.stderr)


def an_installed_program_finds_its_own_files(tmp):
    meson = shutil.which("meson")
    if not meson:
        raise Skip("no meson in PATH")
    subprocess.run([meson, "install", "-C", os.environ["DESBENCH_BUILD"], "--destdir", tmp, "--no-rebuild", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    found = [os.path.join(d, "desbench") for d, _, files in os.walk(tmp) if "desbench" in files]
    assert len(found) == 1, found
    p = subprocess.run([found[0], "ls", "models", "--json"], capture_output=True, check=True)
    assert "tiny-llada-moe" in {m["model"] for m in json.loads(p.stdout)}
    p = subprocess.run([found[0], "run", "--dry-run"], capture_output=True, check=True)
    assert b"mini-mbpp" in p.stdout


def main(names):
    """Run the cases among a module's names: the functions of one argument, tmp."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what programs inherit; nohup has it ignored
    only = sys.argv[2:]
    cases = [f for f in list(names.values()) if getattr(f, "__code__", None)
             and f.__code__.co_varnames[:1] == ("tmp",) and f.__code__.co_argcount == 1
             and f.__module__ == names["__name__"] and (not only or f.__name__ in only)]
    print(f"1..{len(cases)}", flush=True)
    n_failed = 0
    for i, f in enumerate(cases, 1):
        with tempfile.TemporaryDirectory(prefix="desbench-e2e-") as tmp:
            try:
                f(tmp)
                line = f"ok {i} - {f.__name__}"
            except Skip as e:
                line = f"ok {i} - {f.__name__} # SKIP {e}"
            except Exception:
                n_failed += 1
                line = f"not ok {i} - {f.__name__}"
                for text in traceback.format_exc().splitlines():
                    print(f"# {text}")
        print(line, flush=True)
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main(globals())
