"""End-to-end tests of what is measured beside the answers. Prints TAP. Usage: test_observe.py PROGRAM"""
import csv
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SOURCE, Skip, call, dry, fails, main, need_model, ok, rows  # noqa: E402

MODEL = os.path.join(SOURCE, "models", "mini-e64")
PARTS = {"embed", "norm", "qkv", "heads", "attention", "o", "route", "moe", "head", "forward"}
RUN = ["-t", "mini-gsm8k", "-L", "3", "--gen-length", "64", "--selector", "vanilla", "--selector", "topk:k=1"]
SAMPLES = "select selector, task_id, tokens_sha256 from sample_flat order by 1, 2"


def kernels(tmp, by="kernel", *more):
    return json.loads(ok("show", "last", "--by", by, "-o", tmp, "--json", *more))


def times_of_kernels_add_up_and_change_no_answer(tmp):
    plain, timed = os.path.join(tmp, "plain"), os.path.join(tmp, "timed")
    ok(*dry(plain, *RUN))
    ok(*dry(timed, *RUN, "--kernel-times", "1"))
    assert rows(plain, SAMPLES) == rows(timed, SAMPLES)
    assert rows(plain, "select count(*) from kernel") == [(0,)]
    n_layer, = rows(timed, "select distinct n_layer from cell")[0]
    cells = rows(timed, "select cell_key, sum(n_forwards), sum(total_ns) from sample group by 1")
    assert len(cells) == 2
    for key, n_forwards, total_ns in cells:
        of = "from kernel where cell_key = '%s' and " % key
        assert rows(timed, "select sum(calls) %s name = 'forward'" % of) == [(n_forwards,)]
        sums = dict(rows(timed, "select name, sum(sum_ns) %s layer = -1 group by 1" % of))
        assert set(sums) == PARTS and sum(sums.values()) == 2 * sums["forward"], sums
        for name in PARTS - {"embed", "head", "forward"}:
            by_layer = rows(timed, "select layer, sum(sum_ns), sum(calls), sum(sum_unique) %s layer >= 0 and name = '%s'"
                            " group by 1 order by 1" % (of, name))
            assert [r[0] for r in by_layer] == list(range(n_layer))
            assert sum(r[1] for r in by_layer) == sums[name]
            assert all(r[2] == n_forwards for r in by_layer)
            assert all((r[3] is None) == (name != "moe") for r in by_layer)
        # every forward was timed, so experts are those of the samples; what they took is in no time of a sample
        assert rows(timed, "select sum(sum_unique) %s layer = -1" % of) == rows(
            timed, "select sum(sum_unique) from sample where cell_key = '%s'" % key)
        assert total_ns < 20 * sums["forward"]
    bad = rows(timed, "select * from kernel where not (min_ns <= p50_ns and p50_ns <= p90_ns and p90_ns <= p99_ns"
               " and p99_ns <= max_ns and sum_ns between calls * min_ns and calls * max_ns)"
               " or calls <> (select sum(json_extract(value, '$[1]')) from json_each(histogram))")
    assert not bad, bad


def a_share_of_the_steps_is_timed(tmp):
    ok(*dry(tmp, *RUN, "--kernel-times", "3", "--seed", "5"))
    timed, = rows(tmp, "select sum(calls) from kernel where name = 'forward'")[0]
    steps, = rows(tmp, "select sum(n_forwards) from sample")[0]
    assert steps // 3 - 2 <= timed <= steps // 3 + 2, (timed, steps)


def tables_show_them(tmp):
    ok(*dry(tmp, *RUN, "--kernel-times", "1"))
    out = kernels(tmp)
    assert {r["part"] for r in out} == PARTS
    assert all(r["layer"] is None and r["p50_us"] <= r["p99_us"] for r in out)
    for r in out:
        assert (r["gb_per_s"] is not None) == (r["part"] == "moe")
        assert r["share_percent"] <= 100.001
    layers = kernels(tmp, "layer")
    assert {r["part"] for r in layers} == PARTS - {"embed", "head", "forward"}
    assert min(r["layer"] for r in layers) == 0
    text = ok("show", "last", "--by", "kernel", "-o", tmp)
    assert "attention" in text and "p99" in text


def a_run_without_them_says_what_would(tmp):
    ok(*dry(tmp, "-t", "mini-gsm8k", "-L", "1", "--gen-length", "64"))
    fails(3, ["--kernel-times"], "show", "last", "--by", "kernel", "-o", tmp)
    fails(3, ["energy"], "show", "last", "--by", "energy", "-o", tmp)
    fails(2, ["'--kernel-times'", "-1"], "run", "--kernel-times", "-1")


def exact_numbers_of_experts(tmp):
    out = json.loads(ok("bench", "forward", "--unique", "2,5,8", "--tokens", "16", "--repeats", "1", "--json"))
    assert [r["unique_experts"] for r in out["results"]] == [2, 5, 8], out["results"]
    assert out["results"][0]["bytes"] < out["results"][1]["bytes"] < out["results"][2]["bytes"]
    out = json.loads(ok("bench", "decode", "--unique", "6", "--decoder", "low-confidence", "--selector", "des-vote:m=6", "--gen-length", "16",
                        "--block-length", "16", "--steps", "4", "--repeats", "1", "--json"))
    assert out["results"][0]["unique_experts"] == 6, out["results"]
    fails(2, ["9", "of 8 experts"], "bench", "forward", "--unique", "9")
    fails(2, ["'--unique'"], "bench", "ops", "--unique", "8")
    fails(2, ["'--threshold'", "one value"], "bench", "decode", "--threshold", "0.5,0.6")


def table(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def the_report_draws_parts_of_forwards(tmp):
    need_model()
    ok("run", "-m", MODEL, "-t", "mini-gsm8k", "-L", "2", "--selector", "vanilla", "--selector", "topk:k=2", "--cache",
       "dual", "--kernel-times", "1", "-o", tmp)
    ok("report", tmp, "-o", tmp + "/report")
    drawn = {(r["policy"], int(r["max_tok"]), r["part"]): r for r in table(tmp + "/report/kernels.csv")}
    stored = rows(tmp, "select selector, max_tok, name, calls, sum_ns * 1e-6 / calls, 1.0 * sum_tok / calls,"
                  " 1.0 * sum_unique / calls from kernel join cell using (cell_key) where layer = -1")
    assert {s[:3] for s in stored} == set(drawn) and len({s[1] for s in stored}) >= 2
    for s in stored:
        r = drawn[s[:3]]
        assert int(r["n_forwards"]) == s[3] and abs(float(r["ms"]) - s[4]) < 1e-6 * s[4]
        assert abs(float(r["mean_tok"]) - s[5]) < 1e-3
        assert r["unique_experts"] == "" if s[6] is None else abs(float(r["unique_experts"]) - s[6]) < 1e-3
    assert not os.path.exists(tmp + "/report/energy.csv")


def the_claim_about_latency_asks_them(tmp):
    need_model()
    ok("run", "-m", MODEL, "-t", "mini-gsm8k", "-L", "2", "--cache", "dual", "--kernel-times", "1", "-o", tmp)
    db = sqlite3.connect(tmp + "/results.sqlite")  # as if it were that model on that GPU
    db.execute("update cell set model = 'LLaDA-MoE-made-up'")
    db.execute("update run set env_json = json_set(env_json, '$.gpus', json('[{\"name\": \"NVIDIA B200\"}]'))")
    n_layer, = db.execute("select distinct n_moe_layer from cell").fetchone()
    assert n_layer % 2 == 0
    for ms, verdict in [(1.6, "supported"), (5, "refuted")]:
        db.execute("update kernel set sum_ns = cast(calls * ? * (0.98 + 0.04 * (layer % 2)) as integer)"
                   " where name = 'moe' and layer >= 0", (ms * 1e6 / n_layer,))
        db.commit()
        ok("report", tmp, "-o", tmp + "/report", "--claims")
        [r] = [r for r in table(tmp + "/report/claims.csv") if r["id"] == "8"]
        assert r["verdict"] == verdict and abs(float(r["value"]) - ms) < 1e-3, r
    db.close()


def fake_gpu(how=""):
    lib = os.environ.get("DESBENCH_FAKE_NVML")
    if not lib:
        raise Skip("DESBENCH_FAKE_NVML is not set")
    return {"DESBENCH_NVML": lib, "DESBENCH_NVML_UUID": "GPU-fake", "FAKE_NVML": how}


def energy_run(tmp, env, *more):
    """A run of some seconds."""
    need_model()
    args = ["run", "-m", MODEL, "-t", "mini-gsm8k", "-L", "3", "--backend", "ref", "-o", tmp, *more]
    code, out, err = call(*args, env=env)
    assert code == 0, err
    return err


def energy_is_that_of_windows_of_a_second(tmp):
    energy_run(tmp, fake_gpu())
    windows = rows(tmp, "select wall_ns, n_committed, energy_mj, sm_clock_mhz, mem_clock_mhz, temp_c, throttle_bits, device"
                   " from power")
    assert windows, "a run of the reference takes seconds"
    for wall_ns, n, mj, sm, mem, temp, bits, device in windows:
        assert wall_ns >= 1e9 and n > 0
        assert abs(mj * 1e6 / wall_ns - 250) < 5, (mj, wall_ns)  # 250 W
        assert (sm, mem, temp, bits, device) == (1980, 2619, 45, 0x24, "GPU-fake")
    row, = json.loads(ok("show", "last", "--by", "energy", "-o", tmp, "--json"))
    n = sum(w[1] for w in windows)
    assert abs(row["joules"] - sum(w[2] for w in windows) / 1e3) < 1e-6
    assert abs(row["joules_per_committed"] - row["joules"] / n) < 1e-9
    passed, positions = rows(tmp, "select sum(passed), sum(n_committed) from sample join verdict using (sample_id)")[0]
    if passed:
        assert abs(row["joules_per_right"] - row["joules"] / n * positions / passed) < 1e-6
    assert row["throttled"] == "power cap, software thermal", row
    ok("report", tmp, "-o", tmp + "/report")
    [r] = table(tmp + "/report/energy.csv")
    assert abs(float(r["joules_per_committed"]) - row["joules_per_committed"]) < 1e-6
    assert not os.path.exists(tmp + "/report/kernels.csv")


def what_has_no_counter_has_no_energy(tmp):
    energy_run(tmp, fake_gpu("noenergy"))
    assert rows(tmp, "select count(*), count(energy_mj), count(temp_c) from power")[0][1] == 0
    row, = json.loads(ok("show", "last", "--by", "energy", "-o", tmp, "--json"))
    assert row["joules"] is None and row["joules_per_right"] is None and row["temp_c"] == 45


def a_library_that_fails_is_said_and_stops_nothing(tmp):
    err = energy_run(tmp, fake_gpu("noinit"), "-L", "1")
    assert rows(tmp, "select count(*) from power") == [(0,)]
    assert "Driver Not Loaded" in err, err


def forwards_that_run_twice_measure_no_energy(tmp):
    energy_run(tmp, fake_gpu(), "--kernel-times", "8", "-L", "4")
    assert rows(tmp, "select count(*) from power") == [(0,)]


def a_lost_device_ends_a_run_that_can_be_resumed(tmp):
    program = os.environ.get("DESBENCH_LOST")
    if not program:
        raise Skip("DESBENCH_LOST is not set")
    whole, lost = os.path.join(tmp, "whole"), os.path.join(tmp, "lost")
    ok(*dry(whole, *RUN, "--kernel-times", "1"))
    n_forwards, = rows(whole, "select sum(n_forwards) from sample")[0]
    args = dry(lost, *RUN, "--kernel-times", "1")
    env = {k: v for k, v in os.environ.items() if not k.startswith("DESBENCH_")}
    env["LOST_AT"] = str(n_forwards // 2)
    p = subprocess.run([program, *args], capture_output=True, env=env, timeout=300)
    err = p.stderr.decode()
    assert p.returncode == 3 and "lost" in err and "`desbench resume`" in err, (p.returncode, err)
    kept = rows(lost, SAMPLES)
    assert 0 < len(kept) < 6 and set(kept) <= set(rows(whole, SAMPLES)), kept
    assert rows(lost, "select status, validity from run") == [("failed", "INVALID: failed")]
    timed, = rows(lost, "select sum(calls) from kernel where name = 'forward'")[0]
    assert 0 < timed < n_forwards
    ok("resume", "-o", lost)
    assert rows(lost, SAMPLES) == rows(whole, SAMPLES)
    assert rows(lost, "select status, validity from run") == [("done", "VALID")]
    again, = rows(lost, "select sum(calls) from kernel where name = 'forward'")[0]
    assert again > timed


def ranges_are_told_to_a_profiler(tmp):
    lib, log = os.environ.get("DESBENCH_FAKE_NVTX"), os.path.join(tmp, "ranges")
    if not lib:
        raise Skip("built without NVTX")
    need_model()
    env = {"NVTX_INJECTION64_PATH": lib, "FAKE_NVTX": log}
    args = ["run", "-m", MODEL, "-t", "mini-gsm8k", "-L", "1", "--backend", "cpu", "-o", tmp, "--kernel-times", "2"]
    code, _, err = call(*args, env=env)
    assert code == 0, err
    stack, seen = [], {}
    for line in open(log):
        if line.startswith("<"):
            stack.pop()
            continue
        name, number = line[2:].rsplit(" ", 1)
        stack.append(name)
        seen.setdefault(tuple(stack), []).append(int(number))
    assert not stack
    n_forwards, n_layer = rows(tmp, "select n_forwards, n_layer from sample join cell using (cell_key)")[0]
    timed, = rows(tmp, "select coalesce(sum(calls), 0) from kernel where name = 'forward'")[0]
    assert seen[("load",)] == [0]
    assert len(seen[("block", "step", "forward")]) == n_forwards
    assert seen[("block", "step", "forward", "layer")] == list(range(n_layer)) * n_forwards
    assert len(seen.get(("block", "step", "timed forward"), [])) == timed
    blocks = sorted(set(seen[("block",)]))
    assert blocks == list(range(len(blocks)))


if __name__ == "__main__":
    main(globals())
