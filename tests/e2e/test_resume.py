"""Runs that are killed, interrupted or obstructed, then resumed: what is stored in the end must be what an
undisturbed run stores. Prints TAP. Usage: test_resume.py PROGRAM [CASE...]

DESBENCH_KILLS says how many times the case of random moments kills (12), DESBENCH_SEED what its moments follow from.
"""
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import PROGRAM, SHAPE, Skip, call, fails, main, need_sandbox, ok, rows  # noqa: E402

N_KILLS = int(os.environ.get("DESBENCH_KILLS", "12"))
SEED = int(os.environ.get("DESBENCH_SEED", "1"))
MATHS = "sample_gsm8k,sample_math500"
# one forward a block: as many samples as possible in little time
FAST = ["--model", SHAPE, "--load-format", "dummy", "-o", "runs", "--progress", "never", "--gen-length", "32",
        "--block-length", "32", "--decoder", "threshold", "--threshold", "0"]
ENV = {k: v for k, v in os.environ.items() if not k.startswith("DESBENCH_")}


def fast(*extra, tasks=MATHS):
    return ["run", *FAST, "-t", tasks, *map(str, extra)]


def start(folder, args, **kw):
    os.makedirs(folder, exist_ok=True)
    return subprocess.Popen([PROGRAM, *args], cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


def end(p, code, *words):
    out, err = p.communicate(timeout=120)
    err = err.decode()
    assert p.returncode == code, f"exit {p.returncode}, wanted {code}: {err}"
    assert all(w in err for w in words), f"{words} not in: {err}"
    assert "Sanitizer" not in err, err
    return out.decode(), err


def resume(folder, *args, code=0, words=()):
    return end(start(folder, ["resume", "-o", "runs", "--progress", "never", *args]), code, *words)


def db_rows(folder, sql):
    return rows(os.path.join(folder, "runs"), sql)


def n_samples(folder):
    try:
        return db_rows(folder, "select count(*) from sample")[0][0]
    except sqlite3.OperationalError:  # the file is being made
        return 0


def wait_for(folder, n, p, seconds=120):
    until = time.monotonic() + seconds
    while n_samples(folder) < n:
        assert time.monotonic() < until, f"fewer than {n} samples in {seconds} s"
        assert p.poll() is None, p.communicate()
        time.sleep(0.01)


def contents(folder):
    """All that a results file holds, but ids, times and places."""
    def columns(table, *but):
        return ", ".join(f"t.{c}" for _, c, *_ in db_rows(folder, f"pragma table_info({table})") if c not in but)
    item = "i.dataset_sha256, i.task_id, i.item_sha256, i.reference_sha256, i.subject, i.level"
    sample = columns("sample", "sample_id", "run_id", "item_id", "queue_ns", "first_block_ns", "total_ns", "telemetry")
    verdict = columns("verdict", "sample_id", "cpu_ns", "wall_ns", "max_rss_bytes")
    found = {
        "run": db_rows(folder, "select " + columns("run", "run_no", "run_id", "started", "finished", "command", "env_json")
                       + " from run t"),
        "dataset": sorted(db_rows(folder, "select * from dataset")),
        "cell": sorted(db_rows(folder, "select * from cell")),
        "item": sorted(db_rows(folder, f"select {item} from item i")),
        "sample": sorted(db_rows(folder, f"select {sample}, {item} from sample t join item i using (item_id)"), key=repr),
        "verdict": sorted(db_rows(folder, f"select s.cell_key, s.sample_idx, {verdict}, {item} from verdict t join sample "
                                          "s using (sample_id) join item i using (item_id)"), key=repr),
        "metric": sorted(db_rows(folder, "select " + columns("metric", "run_id") + " from metric t"), key=repr),
        "known by": db_rows(folder, "select task, selector, metric_name from task_summary order by 1, 2"),
    }
    telemetry = []
    for task in {c for c, in db_rows(folder, "select distinct task from cell")}:
        for line in ok("show", "last", task, "--json", "-o", "runs", cwd=folder).splitlines():
            one = json.loads(line)
            for forward in one["forwards"]:
                forward.pop("wall_ns")
            telemetry.append((one["task"], one["task_id"], one["selector"], one["seed"] if "seed" in one else 0,
                              repr(one["forwards"]), repr(one["tokens"])))
    found["telemetry"] = sorted(telemetry)
    return found


def same(a, b):
    for what in a:
        if a[what] != b[what]:
            pairs = [(x, y) for x, y in zip(a[what], b[what]) if x != y]
            raise AssertionError(f"{what}: {len(a[what])} and {len(b[what])} rows; first difference: {pairs[:1]}")


def tidy(folder):
    assert os.listdir(os.path.join(folder, "runs")) == ["results.sqlite"], os.listdir(os.path.join(folder, "runs"))
    assert db_rows(folder, "pragma integrity_check") == [("ok",)]
    assert db_rows(folder, "select status, validity from run") == [("done", "VALID")]


def reference(tmp, args):
    """(contents of an undisturbed run, its seconds)."""
    began = time.monotonic()
    end(start(tmp + "/whole", args), 0)
    return contents(tmp + "/whole"), time.monotonic() - began


def kill_at_random_moments(tmp, args, n_kills):
    """Legs of random length, each ended by SIGKILL, until one comes to the end; over again until the kills are done."""
    rng = random.Random(SEED)
    whole, whole_s = reference(tmp, args)
    began = time.monotonic()
    end(start(tmp + "/start", [*args, "-L", "1", "-n", "1"]), 0)
    start_s = time.monotonic() - began
    n_done, n_rounds, n_in_start, folder = 0, 0, 0, None
    while n_done < n_kills:
        folder = f"{tmp}/round{n_rounds}"
        n_rounds += 1
        n_left = n_kills - n_done
        begun = False
        while True:
            p = start(folder, ["resume", "-o", "runs", "--progress", "never"] if begun else args)
            if n_left == 0:
                end(p, 0)
                break
            before = n_samples(folder)
            # half of them early, when files are opened and locks are taken
            time.sleep(rng.uniform(0, 1.2 * start_s) + (rng.random() < 0.5) * rng.uniform(0, 3 * whole_s / n_left))
            if p.poll() is not None:
                end(p, 0)
                break
            p.send_signal(signal.SIGKILL)
            p.communicate()
            n_done += 1
            n_left -= 1
            n_in_start += n_samples(folder) == before
            try:
                begun = db_rows(folder, "select count(*) from run") == [(1,)]
            except sqlite3.OperationalError:
                pass
        same(whole, contents(folder))
        tidy(folder)
    print(f"# {n_done} kills in {n_rounds} runs of {len(whole['sample'])} samples, {n_in_start} before a new sample "
          f"was stored; an undisturbed run took {whole_s:.1f} s", flush=True)


# ---- cases ------------------------------------------------------------------------------------


def a_run_killed_at_random_moments_equals_an_undisturbed_one(tmp):
    kill_at_random_moments(tmp, fast("-n", "10", "--temperature", "1", "--selector", "vanilla", "--selector", "topk:k=1"),
                           N_KILLS)


def a_run_with_code_killed_at_random_moments_equals_an_undisturbed_one(tmp):
    need_sandbox()
    kill_at_random_moments(tmp, fast("-n", "6", "--temperature", "1", tasks="sample_humaneval,sample_gsm8k"),
                           max(N_KILLS // 4, 1))


def every_way_to_stop_leaves_a_run_that_can_go_on(tmp):
    args = fast("-n", "15", "--temperature", "1")
    whole, _ = reference(tmp, args)
    for i, sig in enumerate([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]):
        folder = f"{tmp}/{i}"
        p = start(folder, args)
        wait_for(folder, 5, p)
        p.send_signal(sig)
        end(p, 130, "interrupted", "desbench resume")
        assert db_rows(folder, "select status, validity from run") == [("interrupted", "INVALID: interrupted")]
        # other speeds are no other run; -b 3 finishes in another order
        p = start(folder, ["resume", "-o", "runs", "--progress", "never", "-b", str(i + 1)])
        wait_for(folder, n_samples(folder) + 3, p)
        p.send_signal(signal.SIGINT)
        p.wait(timeout=60)
        p.communicate()
        resume(folder, "-b", "3", "--threads", "1")
        same(whole, contents(folder))
        tidy(folder)


def what_is_measured_stays_as_it_was_begun(tmp):
    for more in (["--diagnose"], ["--kernel-times", "3"]):
        fails(2, [more[0], "does not belong to this verb"], "resume", "-o", tmp, *more)


def a_signal_while_a_model_is_loading_ends_in_order(tmp):
    args = fast("--override", "hidden_size=1024", "--override", "expert_intermediate_size=4096", "--threads", "1")
    for sig in (signal.SIGINT, signal.SIGTERM):
        p = start(tmp, args)
        for line in p.stderr:
            if b"loading" in line:
                break
        time.sleep(0.05)
        p.send_signal(sig)
        end(p, 130, "interrupted before the run began")
        assert db_rows(tmp, "select count(*) from run") == [(0,)]
        assert os.listdir(tmp + "/runs") == ["results.sqlite"]


def only_one_process_writes_a_run(tmp):
    p = start(tmp, fast("-n", "5000"))
    wait_for(tmp, 1, p)
    run_id = db_rows(tmp, "select run_id from run")[0][0]
    resume(tmp, run_id, code=3, words=[run_id, f"written by process {p.pid}"])
    n = n_samples(tmp)
    assert db_rows(tmp, "select status from run") == [("running",)]
    wait_for(tmp, n + 1, p)  # the other one was not disturbed
    # another run in the same file is nobody's business
    ok(*fast("-L", "1"), cwd=tmp)
    assert db_rows(tmp, "select status from run order by run_no") == [("running",), ("done",)]
    p.kill()
    p.communicate()
    p = start(tmp, ["resume", run_id, "-o", "runs", "--progress", "never"])
    wait_for(tmp, n_samples(tmp) + 1, p)
    p.send_signal(signal.SIGINT)
    end(p, 130)
    assert sorted(os.listdir(tmp + "/runs")) == ["results.sqlite"]
    assert [s for s, in db_rows(tmp, "select status from run order by run_no")] == ["interrupted", "done"]


def a_run_that_is_done_stays_as_it_is(tmp):
    ok(*fast("-L", "1"), cwd=tmp)
    before = contents(tmp)
    out, err = resume(tmp, words=["is done"])
    assert out == ""
    same(before, contents(tmp))
    # a process that is killed between a run's last word and the end of its lock leaves the lock's file
    (run_id,), = db_rows(tmp, "select run_id from run")
    open(f"{tmp}/runs/results.sqlite-{run_id}.lock", "w").close()
    resume(tmp, "last", words=["is done"])
    assert os.listdir(tmp + "/runs") == ["results.sqlite"], os.listdir(tmp + "/runs")


def what_cannot_be_resumed_is_named(tmp):
    fails(3, ["no results file", "none"], "resume", "-o", tmp + "/none")
    assert not os.path.exists(tmp + "/none")
    ok(*fast("-L", "1"), cwd=tmp)
    resume(tmp, "2099", code=3, words=["'2099'"])
    resume(tmp, "a", "b", code=2, words=["'b'"])
    resume(tmp, "--seed", "3", code=2, words=["--seed"])
    db = sqlite3.connect(tmp + "/runs/results.sqlite")
    config = db.execute("select config_json from run").fetchone()[0]
    for change, code, words in [
            (lambda c: c.update(wings={"value": 2}), 4, ["'wings'", "unknown"]),
            (lambda c: c.update(seed={"value": -2}), 2, ["--seed", "'-2'"]),
            (lambda c: c.update(seed={"value": None}), 2, ["'seed'"]),
            (lambda c: c.update(seed=3), 2, ["'seed'"]),
            (lambda c: c.pop("load-format"), 2, ["not made by `run`"])]:
        c = json.loads(config)
        change(c)
        db.execute("update run set status = 'running', config_json = ?", (json.dumps(c),))
        db.commit()
        resume(tmp, code=code, words=["cannot resume run", *words])
    db.execute("update run set config_json = ?", (config,))
    db.commit()
    db.close()
    resume(tmp)


def an_internal_verdict_is_tried_again(tmp):
    args = fast("-n", "2", "--temperature", "1")
    whole, _ = reference(tmp, args)
    shutil.copytree(tmp + "/whole", tmp + "/again")
    db = sqlite3.connect(tmp + "/again/runs/results.sqlite")
    db.execute("update verdict set verdict = 'internal', passed = 0, also_json = null where sample_id in (2, 7)")
    db.execute("update run set validity = 'INVALID: 2 internal verdicts'")
    db.commit()
    db.close()
    out, err = resume(tmp + "/again", "--json", words=["14 of 16 samples are there"])
    assert json.loads(out)["status"] == "done"
    same(whole, contents(tmp + "/again"))
    tidy(tmp + "/again")
    resumed = json.loads(db_rows(tmp + "/again", "select env_json from run")[0][0])["resumed"]
    assert len(resumed) == 1 and " resume " in resumed[0]["command"] and resumed[0]["env"]["kernel"], resumed


# ---- another experiment -----------------------------------------------------------------------


def make_checkpoint(folder, seed=1):
    """A checkpoint of the tiny shape with small random weights."""
    shutil.copytree(SHAPE, folder)
    with open(folder + "/config.json") as f:
        c = json.load(f)
    d, v, n_exp, ff = c["hidden_size"], c["vocab_size"], c["num_experts"], c["expert_intermediate_size"]
    n_head, n_kv = c["num_attention_heads"], c["num_key_value_heads"]
    d_head = d // n_head
    shapes = {"model.embed_tokens.weight": [v, d], "model.norm.weight": [d], "lm_head.weight": [v, d]}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + k: s for k, s in {
            "input_layernorm.weight": [d], "post_attention_layernorm.weight": [d],
            "self_attn.q_proj.weight": [n_head * d_head, d], "self_attn.k_proj.weight": [n_kv * d_head, d],
            "self_attn.v_proj.weight": [n_kv * d_head, d], "self_attn.o_proj.weight": [d, n_head * d_head],
            "self_attn.q_norm.weight": [d_head], "self_attn.k_norm.weight": [d_head],
            "mlp.gate.weight": [n_exp, d]}.items()}
        for e in range(n_exp):
            shapes |= {f"{layer}mlp.experts.{e}.{k}_proj.weight": [d, ff] if k == "down" else [ff, d]
                       for k in ("gate", "up", "down")}
    rng = random.Random(seed)
    header, data = {}, b""
    for name, shape in shapes.items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = b"\x80\x3f" * n if "norm" in name else b"".join(
            bytes((rng.randrange(256), rng.choice((0x3d, 0xbd)))) for _ in range(n))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def checkpoint_args(*extra):
    return ["run", "--model", "model", *FAST[4:], "-t", MATHS, *map(str, extra)]


def change_byte(path, at):
    with open(path, "r+b") as f:
        f.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        old = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes((old[0] ^ 1,)))


def another_experiment_is_refused_with_what_differs(tmp):
    make_checkpoint(tmp + "/model")
    os.makedirs(tmp + "/data")
    data = tmp + "/data/math500.jsonl"
    with open(data, "w") as f:
        for i in range(4):
            f.write(json.dumps({"problem": f"What is {i} + 1?", "solution": "x", "answer": str(i + 1),
                                "subject": "Algebra", "level": 1, "unique_id": f"test/{i}"}) + "\n")
    tasks = ["-t", "sample_gsm8k,math500", "--data-dir", "data", "--no-data-check"]
    args = [*checkpoint_args("-n", "50", "--temperature", "1"), *tasks]
    p = start(tmp, args)
    wait_for(tmp, 203, p)  # samples of both tasks
    p.kill()
    p.communicate()
    n = n_samples(tmp)
    db = sqlite3.connect(tmp + "/runs/results.sqlite")
    command, status = db.execute("select command, status from run").fetchone()
    assert status == "running"
    files = {"model/model.safetensors": (-1, "weights_sha256"), "data/math500.jsonl": (20, "dataset_sha256")}
    for name, (at, word) in files.items():
        change_byte(f"{tmp}/{name}", at)
        resume(tmp, code=4, words=["cannot resume run", word, " was '", "', is '"])
        change_byte(f"{tmp}/{name}", at)
    # another processor, as it were; these samples are of backend cpu with its best
    (mode,), = db_rows(tmp, "select distinct numeric_mode from cell")
    assert mode.startswith("invariant:"), mode
    if mode != "invariant:generic":
        resume(tmp, "--isa", "generic", code=4, words=["cannot resume run", f"'{mode}', is 'invariant:generic'"])
    for name, old, new, word in [("model/config.json", '"rope_theta": 50000', '"rope_theta": 50001', "config_sha256"),
                                 ("model/tokenizer.json", "{", "{ ", "tokenizer_sha256")]:
        with open(f"{tmp}/{name}") as f:
            text = f.read()
        assert old in text
        with open(f"{tmp}/{name}", "w") as f:
            f.write(text.replace(old, new, 1))
        resume(tmp, code=4, words=["cannot resume run", word])
        with open(f"{tmp}/{name}", "w") as f:
            f.write(text)
    for sql, back, word in [("update verdict set checker_version = 'checks-0' where sample_id = 1",
                             "update verdict set checker_version = (select checker_version from verdict where sample_id "
                             "= 2) where sample_id = 1", "grading"),
                            ("update cell set engine_results_version = -engine_results_version",
                             "update cell set engine_results_version = -engine_results_version",
                             "engine_results_version was -"),
                            ("update item set item_sha256 = 'f' || item_sha256 where task_id = '0'",
                             "update item set item_sha256 = substr(item_sha256, 2) where task_id = '0'", "item '0'")]:
        db.execute(sql)
        db.commit()
        resume(tmp, code=4, words=[word])
        db.execute(back)
        db.commit()
    db.close()
    assert n_samples(tmp) == n and db_rows(tmp, "select count(*) from run") == [(1,)]
    # a checkpoint that moved is the same one
    os.rename(tmp + "/model", tmp + "/moved")
    resume(tmp, code=3, words=["'model'"])
    p = start(tmp, ["resume", "-o", "runs", "-m", "moved", "--progress", "never"])
    wait_for(tmp, n + 3, p)
    p.send_signal(signal.SIGINT)
    end(p, 130)


def a_checkpoint_that_vanishes_leaves_a_run_that_can_go_on(tmp):
    make_checkpoint(tmp + "/model")
    args = checkpoint_args("-n", "10", "--temperature", "1")
    os.makedirs(tmp + "/whole")
    shutil.copytree(tmp + "/model", tmp + "/whole/model")
    whole, _ = reference(tmp, args)
    for how in ("delete", "cut"):
        folder = f"{tmp}/{how}"
        os.makedirs(folder)
        shutil.copytree(tmp + "/model", folder + "/model")
        p = start(folder, args)
        wait_for(folder, 3, p)
        if how == "delete":
            shutil.rmtree(folder + "/model")
        else:
            os.truncate(folder + "/model/model.safetensors", 100)
        out, err = p.communicate(timeout=120)
        # what is mapped stays readable when its name goes; a backend may also have made copies of it
        assert p.returncode in ((0,) if how == "delete" else (0, 3)), (how, p.returncode, err)
        if p.returncode == 3:
            assert b"finished samples are kept" in err, err
            resume(folder, code=2, words=["model.safetensors"])
            shutil.rmtree(folder + "/model")
            shutil.copytree(tmp + "/model", folder + "/model")
            resume(folder)
        same(whole, contents(folder))
        tidy(folder)


# ---- a machine that refuses -------------------------------------------------------------------


def a_full_disk_leaves_a_run_that_can_go_on(tmp):
    args = fast("-n", "25", "--temperature", "1")
    whole, _ = reference(tmp, args)
    for n_kib in (170, 250, 400):
        folder = f"{tmp}/{n_kib}"

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_kib * 1024, n_kib * 1024))
        end(start(folder, args, preexec_fn=limit), 3, "results.sqlite")
        resume(folder, code=0)
        same(whole, contents(folder))
        tidy(folder)


def in_own_mounts(fstype, data, flags, then=None):
    """For preexec_fn: a mount of its own on ./runs, which nobody else sees."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source, target, kind, bits, text):
        if libc.mount(source, target, kind, bits, text) != 0:
            os._exit(77)

    def act():
        if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
            os._exit(77)
        mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
        if fstype:
            mount(b"tmpfs", b"runs", fstype, 0, data)
        else:
            mount(b"runs", b"runs", None, 4096, None)  # MS_BIND
            mount(b"none", b"runs", None, 4096 | 32 | flags, None)  # MS_REMOUNT
    return act


def a_read_only_folder_or_a_full_file_system_is_told(tmp):
    args = fast("-n", "25", "--temperature", "1")
    whole, _ = reference(tmp, args)
    folder = tmp + "/a"
    p = start(folder, args)
    wait_for(folder, 5, p)
    p.kill()
    p.communicate()
    ro = in_own_mounts(None, None, 1)
    for words in (["resume", "-o", "runs", "--progress", "never"], args):
        p = start(folder, words, preexec_fn=ro)
        out, err = p.communicate(timeout=120)
        if p.returncode == 77:
            raise Skip("no mount namespaces here")
        assert p.returncode == 3 and b"read-only" in err.lower() and b"runs" in err, (p.returncode, err)
    resume(folder)
    same(whole, contents(folder))
    tidy(folder)
    # a small file system fills up, is made larger, and the run goes on
    folder = tmp + "/b"
    os.makedirs(folder + "/runs")
    p = subprocess.Popen(["sh", "-c", '"$@"; first=$?; ls runs >&2; mount -o remount,size=64m runs || exit 77; '
                          f'"$1" resume -o runs --progress never && cp -r runs kept && exit "$first"', "sh", PROGRAM, *args],
                         cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         preexec_fn=in_own_mounts(b"tmpfs", b"size=400k", 0))
    out, err = p.communicate(timeout=120)
    if p.returncode == 77:
        raise Skip("no file systems of one's own here")
    assert p.returncode == 3 and b"results.sqlite" in err, (p.returncode, err)
    os.rmdir(folder + "/runs")
    os.rename(folder + "/kept", folder + "/runs")
    same(whole, contents(folder))
    tidy(folder)


def a_locked_results_file_ends_the_run_but_loses_nothing(tmp):
    args = fast("-n", "25", "--temperature", "1")
    whole, _ = reference(tmp, args)
    folder = tmp + "/a"
    p = start(folder, args)
    wait_for(folder, 5, p)
    db = sqlite3.connect(folder + "/runs/results.sqlite", timeout=60, isolation_level=None)
    db.execute("begin immediate")
    n = n_samples(folder)
    for line in p.stderr:
        if b"stopped early" in line:
            break
    db.execute("rollback")
    db.close()
    end(p, 3, "locked")
    assert n_samples(folder) == n
    assert db_rows(folder, "select status, validity from run") == [("failed", "INVALID: failed")]
    resume(folder)
    same(whole, contents(folder))
    tidy(folder)


def too_little_memory_is_told_and_leaves_a_run_that_can_go_on(tmp):
    args = fast("-n", "3", "--temperature", "1", "--threads", "1")
    p = start(tmp, ["--version"])
    if b"sanitize=none" not in p.communicate()[0]:
        raise Skip("a sanitizer needs more address space than there is")
    whole, _ = reference(tmp, args)

    def limited(kib):
        return lambda: resource.setrlimit(resource.RLIMIT_AS, (kib << 10, kib << 10))
    low, high = 1 << 10, 1 << 20  # where the libraries do not fit, and where all does
    while high - low > 64:
        middle = (low + high) // 2
        p = start(tmp, ["--version"], preexec_fn=limited(middle))
        p.communicate()
        low, high = (low, middle) if p.returncode == 0 else (middle, high)
    n_failed, n_resumed = 0, 0
    for kib in range(high + 64, high + 20000, 190):
        folder = f"{tmp}/{kib}"
        p = start(folder, args, preexec_fn=limited(kib))
        out, err = p.communicate(timeout=120)
        assert p.returncode in (0, 3) and b"error: " in err or p.returncode == 0, (kib, p.returncode, err)
        if p.returncode == 0:
            break
        n_failed += 1
        if os.path.exists(folder + "/runs/results.sqlite") and db_rows(folder, "select count(*) from sqlite_schema") != [
                (0,)] and db_rows(folder, "select count(*) from run") == [(1,)]:
            n_resumed += 1
            resume(folder)
            same(whole, contents(folder))
            tidy(folder)
    print(f"# {n_failed} runs ran out of memory, {n_resumed} of them after they had begun", flush=True)
    assert n_failed > 0 and p.returncode == 0


if __name__ == "__main__":
    main(globals())
