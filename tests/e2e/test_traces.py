"""Traces and fidelity by the command line: record, show, replay; against the model, against scores. Prints TAP.

Usage: test_traces.py PROGRAM [CASE...]
"""
import csv
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SHAPE, call, fails, main, need_model, ok, rows  # noqa: E402

DUMMY = ["-m", SHAPE, "--load-format", "dummy", "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64", "--block-length",
         "32", "-q"]
VOTE = "des-vote:m=3"


def listed(*args):
    return json.loads(ok(*args, "--json"))


def record(path, *args):
    return listed("trace", "record", *DUMMY, *args, "-o", path)


# ---- traces ----------------------------------------------------------------------------------


def what_is_recorded_is_what_show_says(tmp):
    path = tmp + "/a.trace"
    made, = record(path, "--cache", "dual")
    shown, = listed("trace", "show", path)
    assert made["file"] == path and made["bytes"] == os.path.getsize(path)
    for field in ("model", "selector", "n_sequences", "n_forwards", "n_layer", "n_exp", "n_top"):
        assert made[field] == shown[field], field
    assert made["n_sequences"] == 2 and shown["n_top"] == shown["n_exp"] == 8
    assert shown["task"] == "sample_gsm8k" and shown["cache"] == "dual" and shown["decoder"].startswith("threshold")
    assert 0 < shown["n_refresh"] < shown["n_forwards"] <= shown["n_tokens"]
    assert "experts of a layer" in ok("trace", "show", path)
    (n, cached), = rows_of_a_run(tmp, "sum(n_forwards), sum(n_forwards_cache)", "--cache", "dual")
    assert (n, cached) == (made["n_forwards"], shown["n_refresh"]), "a run of the same items makes as many"


def rows_of_a_run(tmp, columns, *args):
    ok("run", *DUMMY, *args, "-o", tmp, "--progress", "never")
    return rows(tmp, f"select {columns} from sample")


def a_replay_under_the_recorded_selector_runs_the_same_experts(tmp):
    for selector in ("vanilla", VOTE, "des-seq:k0=1", "random:m=3", "previous-step:m=3"):
        path = f"{tmp}/{selector.split(':')[0]}.trace"
        record(path, "--selector", selector)
        again = listed("trace", "replay", path)
        assert [r["layer"] for r in again] == [str(i) for i in range(len(again) - 1)] + ["all"]
        assert again[0]["selector"].startswith(selector.split(":")[0])
        for r in again:
            assert r["as_recorded"] == 1 and r["n_same"] == r["n_compared"] > 0, (selector, r)


def a_replay_counts_what_a_run_stores(tmp):
    path = tmp + "/a.trace"
    record(path)
    vanilla, vote = [r for r in listed("trace", "replay", path, "--selector", "vanilla", "--selector", VOTE)
                     if r["layer"] == "all"]
    (unique, layers), = rows_of_a_run(tmp, "sum(sum_unique) - sum(sum_unique_cache), sum(n_layer_forwards)"
                                           " - sum(n_layer_forwards * n_forwards_cache / n_forwards)")
    assert vanilla["mean_unique"] == vanilla["mean_natural"] and abs(vanilla["mean_unique"] - unique / layers) < 1e-12
    assert vote["mean_unique"] <= 3 < vanilla["mean_unique"] and vote["mean_natural"] == vanilla["mean_unique"]
    assert vote["as_recorded"] < 1 and 0 < vote["kept_mass"] < 1 and 0 < vote["rerouted"] < 1
    assert vanilla["rerouted"] == vanilla["lost_top1"] == 0 and abs(vanilla["kept_mass"] - 1) < 1e-6


def every_form_of_a_replay_says_the_same(tmp):
    path = tmp + "/a.trace"
    record(path)
    ask = ["trace", "replay", path, "--selector", VOTE]
    table = listed(*ask)
    lines = list(csv.DictReader(ok(*ask, "--format", "csv").splitlines()))
    assert [(r["layer"], float(r["mean_unique"])) for r in lines] == [(r["layer"], r["mean_unique"]) for r in table]
    assert ok(*ask, "--format", "markdown").count("\n| " + VOTE) == len(table)


def the_largest_scores_alone_are_smaller_and_replay_what_they_can(tmp):
    whole, top = tmp + "/whole.trace", tmp + "/top.trace"
    record(whole)
    made, = record(top, "--top", 4)
    assert made["n_top"] == 4 and made["bytes"] < os.path.getsize(whole)
    pair = [[r for r in listed("trace", "replay", f, "--selector", "vanilla", "--selector", "topk:k=1")
             if r["layer"] == "all"] for f in (whole, top)]
    assert [r["mean_unique"] for r in pair[0]] == [r["mean_unique"] for r in pair[1]]
    fails(2, ["des-vote", "the 4 largest"], "trace", "replay", top, "--selector", VOTE)


def misuse_of_traces_is_told(tmp):
    path = tmp + "/a.trace"
    fails(2, ["--output"], "trace", "record", *DUMMY)
    record(path)
    fails(2, ["exists", "--force"], "trace", "record", *DUMMY, "-o", path)
    record(path, "--force")
    fails(2, ["one selector"], "trace", "record", *DUMMY, "-o", tmp + "/b", "--selector", "vanilla", "--selector", VOTE)
    fails(2, ["'b'", "--output"], "trace", "record", "b", *DUMMY)
    fails(2, ["name of a trace"], "trace", "replay")
    fails(2, ["--limit", "show"], "trace", "show", path, "-L", "1")
    fails(2, ["no-such"], "trace", "replay", path, "--selector", "no-such")
    fails(2, ["fly"], "trace", "fly")
    assert not os.path.exists(tmp + "/b")
    missing = call("trace", "show", tmp + "/none")
    assert missing[0] == 3 and "none" in missing[2], missing


def experts_are_timed_on_recorded_routing(tmp):
    need_model("mini-e64")
    path = tmp + "/mini.trace"
    ok("trace", "record", "-m", "mini-e64", "--backend", "cpu", "-t", "mini-gsm8k", "-L", "2", "-q", "-o", path)
    all_layers = listed("trace", "replay", path)[-1]
    bench = ["bench", "moe", "--trace", path, "--backend", "cpu", "--threads", "1", "--repeats", "2"]
    r = json.loads(ok(*bench, "--json"))
    assert r["bench"] == "moe" and r["model"] == "mini-e64" and r["backend"] == "cpu", r
    n_taken = [int(x["shape"].split(", ")[2].split()[0]) for x in r["results"]]
    assert sum(n_taken) == all_layers["n_layer_forwards"], "all of a trace this short"
    mean = sum(n * x["unique_experts"] for n, x in zip(n_taken, r["results"])) / sum(n_taken)
    assert abs(mean - all_layers["mean_unique"]) < 1e-9, (mean, all_layers)
    for n, x in zip(n_taken, r["results"]):
        first, last = (int(v) for v in x["shape"].split(", ")[1].split(" of")[0].split(" to "))
        assert x["name"] == "experts" and first <= x["unique_experts"] <= last, x
        assert x["shape"].startswith("32 tokens, ") and len(x["samples_ns"]) == 2 * n, x
        assert min(x["samples_ns"]) > 0 and 0 < x["floor_ns"], x
        assert abs(x["bytes"] / x["unique_experts"] - 3 * 2 * 128 * 64) < 1e-6, "of a bf16 expert"
    # under another selector; of some layers; at the widths of another model of as many experts
    voted = json.loads(ok(*bench, "--selector", "des-vote:m=16", "--limit", "3", "--json"))["results"]
    assert [x["unique_experts"] for x in voted] == [16] and "13 to 16 of 64 experts, 3 recorded" in voted[0]["shape"]
    assert "mini2-e64, cpu" in ok(*bench, "--limit", "1", "-m", "mini2-e64")
    # what does not fit
    fails(2, [path, "64", "'mini-e16'", "16"], *bench, "-m", "mini-e16")
    fails(3, ["none.trace"], "bench", "moe", "--trace", tmp + "/none.trace")
    fails(2, ["'--tokens'"], *bench, "--tokens", "8")
    fails(2, ["one selector"], *bench, "--selector", "vanilla", "--selector", "topk:k=2")
    fails(2, ["512", "600"], *bench, "--limit", "600")
    fails(2, ["'--trace'", "`bench ops`"], "bench", "ops", "--trace", path)
    fails(2, ["'--limit'", "`bench forward`"], "bench", "forward", "--limit", "3")
    record(tmp + "/tiny.trace", "--override", "num_experts=6")
    fails(2, ["tiny.trace", "6 experts", "has 8"], "bench", "moe", "--backend", "cpu", "--trace", tmp + "/tiny.trace")


def a_damaged_trace_is_refused(tmp):
    path = tmp + "/a.trace"
    record(path)
    with open(path, "rb") as f:
        whole = f.read()
    for name, text in (("cut", whole[:-1]), ("changed", whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:]),
                       ("longer", whole + b"x"), ("other", b"NOTATRACE" + whole[9:]), ("empty", b"")):
        with open(tmp + "/" + name, "wb") as f:
            f.write(text)
        for verb in ("show", "replay"):
            fails(2, ["/" + name], "trace", verb, tmp + "/" + name)


def a_trace_that_cannot_be_written_is_told(tmp):
    code, out, err = call("trace", "record", *DUMMY, "-o", tmp + "/no/folder.trace")
    assert code == 3 and "folder.trace" in err and not out, (code, err)
    os.mkfifo(tmp + "/pipe")
    code, out, err = call("trace", "record", *DUMMY, "-o", tmp + "/pipe", "--force")
    assert code == 3 and "pipe" in err and not out and not os.path.isfile(tmp + "/pipe"), (code, err)
    assert os.listdir(tmp) == ["pipe"]


# ---- fidelity --------------------------------------------------------------------------------


def the_models_own_routing_differs_in_nothing(tmp):
    table = listed("fidelity", *DUMMY, "--selector", "vanilla", "--selector", VOTE)
    for r in table:
        if r["selector"] == "vanilla":
            assert r["output_error"] == 0
            assert r["kl"] in (0, None) and r["flips"] in (0, None) and r["same_token"] in (1, None), r
    mean = {r["selector"].split(":")[0]: r for r in table if r["by"] == "all"}
    assert mean["des-vote"]["kl"] > 0 and mean["des-vote"]["output_error"] > 0
    assert mean["des-vote"]["mean_unique"] < mean["vanilla"]["mean_unique"]
    assert mean["des-vote"]["n_positions"] == mean["vanilla"]["n_positions"] > 0


def classes_of_fidelity_add_up(tmp):
    ask = ["fidelity", *DUMMY, "-t", "sample_gsm8k,sample_math500", "--selector", VOTE]
    table = listed(*ask)
    by = {}
    for r in table:
        by.setdefault(r["by"], []).append(r)
    whole, = by["all"]
    assert [r["value"] for r in by["task"]] == ["sample_gsm8k", "sample_math500"]
    assert len(by["masked"]) == 4 and len(by["layer"]) > 1
    for part in ("task", "masked"):
        assert sum(r["n_positions"] for r in by[part]) == whole["n_positions"]
        kl = sum(r["kl"] * r["n_positions"] for r in by[part] if r["n_positions"])
        assert abs(kl / whole["n_positions"] - whole["kl"]) < 1e-9
    assert abs(sum(r["output_error"] for r in by["layer"]) / len(by["layer"]) - whole["output_error"]) < 1e-9
    assert whole["kl_ci_low"] < whole["kl"] < whole["kl_ci_high"]
    assert whole["kl_median"] <= whole["kl_p90"] <= whole["kl_p99"] <= whole["kl_max"]
    assert listed(*ask) == table, "the same twice"


def misuse_of_fidelity_is_told(tmp):
    fails(2, ["--threshold", "0.8,0.9"], "fidelity", *DUMMY, "--threshold", "0.8,0.9")
    fails(2, ["no-such"], "fidelity", *DUMMY, "--selector", "no-such")
    fails(2, ["twice"], "fidelity", *DUMMY, "--selector", VOTE, "--selector", VOTE)
    code, _, err = call("fidelity", *DUMMY, "--selector", VOTE, "--results", tmp + "/none")
    assert code == 3 and "none" in err, (code, err)
    assert "loading" not in err, err  # told before the work, not after


ASK = ["-m", "mini-e16", "-t", "mini-gsm8k", "-q"]
SCORED = [*ASK, "--selector", "topk:k=1,2,4,6", "--selector", "des-vote:m=4"]


def correlation(*args):
    row, = [r for r in listed("fidelity", *SCORED, "-L", "1", *args) if r["by"].startswith("rank")]
    return row


def scores_are_of_the_same_settings_and_items(tmp):
    need_model("mini-e16")
    run = ["run", *SCORED, "-o", tmp, "--progress", "never", "-b", "8"]
    ok(*run, "-L", "6")
    found = correlation("--results", tmp)
    assert found["value"] == "5" and found["n_items"] == 6 and -1 <= found["kl"] < 0
    assert found["kl"] == -1 or found["kl_ci_low"] < found["kl"] < found["kl_ci_high"]
    # what neither has these settings nor these items changes nothing
    ok(*run, "-L", "6", "--cache", "none")
    ok(*run, "-L", "6", "--threshold", "0.5")
    ok(*run, "-L", "6", "--block-length", "16")
    ok("run", *ASK, "-L", "2", "--selector", "topk:k=1,3", "-o", tmp, "--progress", "never")
    assert correlation("--results", tmp) == found
    text = ok("fidelity", *SCORED, "-L", "1", "--results", tmp)
    assert "5 of 5 selectors" in text and "the same 6 items" in text and "15 stored cells" in text, text[-600:]
    # other settings have scores of their own, or none
    other = correlation("--results", tmp, "--threshold", "0.5")
    assert other["value"] == "5" and other["kl"] != found["kl"]
    none = correlation("--results", tmp, "--threshold", "0.6")
    assert none["value"] == "0" and none["n_items"] == 0 and none["kl"] is None
    # a selector that has no answers to the items that the others have is left out
    ok("run", *ASK, "--selector", "topk:k=5", "-L", "3", "-o", tmp, "--progress", "never")
    more = correlation("--results", tmp, "--selector", "topk:k=5")
    assert more["value"] == "5" and more["n_items"] == 6, more


if __name__ == "__main__":
    main(globals())
