"""End-to-end tests of tables over stored results. Prints TAP. Usage: test_tables.py PROGRAM"""
import csv
import io
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import call, dry, fails, main, need_model, need_sandbox, ok, rows  # noqa: E402

TWO = ["-t", "sample_math500,mini-math500", "-L", "4", "--gen-length", "64", "--selector", "vanilla",
       "--selector", "topk:k=1"]


def scores_by_class_are_those_of_the_samples(tmp):
    ok(*dry(tmp, *TWO))
    out = json.loads(ok("show", "last", "--by", "subject", "-o", tmp, "--json"))
    sums = rows(tmp, "select task, selector, subject, count(*), sum(passed), sum(n_forwards) from sample_flat group by 1, 2, 3")
    found = {(r["task"], r["selector"], r["subject"]): r for r in out if r["task"] != "all"}
    assert set(found) == {s[:3] for s in sums}
    for task, selector, subject, n, n_passed, n_forwards in sums:
        r = found[task, selector, subject]
        assert (r["n_items"], r["n_samples"], r["n_passed"]) == (n, n, n_passed)
        assert r["score"] == n_passed / n and r["ci_low"] <= r["score"] <= r["ci_high"]
        assert 0 < r["mean_unique_experts"] <= 8 and r["tok_per_forward"] <= 32
    pooled = [r for r in out if r["task"] == "all"]
    both = {s[1:3] for s in sums if s[0] == "sample_math500"} & {s[1:3] for s in sums if s[0] == "mini-math500"}
    assert {(r["selector"], r["subject"]) for r in pooled} == both
    for r in pooled:
        assert r["n_items"] == sum(s[3] for s in sums if s[1:3] == (r["selector"], r["subject"]))


def a_tasks_own_word_for_its_levels_leaves_out_tasks_that_do_not_use_it(tmp):
    ok(*dry(tmp, *TWO))
    assert {r["task"] for r in json.loads(ok("show", "last", "--by", "depth", "-o", tmp, "--json"))} == {"mini-math500"}
    level = json.loads(ok("show", "last", "--by", "level", "-o", tmp, "--json"))
    assert {"sample_math500", "mini-math500"} <= {r["task"] for r in level}
    stop = json.loads(ok("show", "last", "--by", "stop_reason", "-o", tmp, "--json"))
    assert {r["stop_reason"] for r in stop} <= {"eos", "length"}


def every_form_says_the_same(tmp):
    ok(*dry(tmp, *TWO))
    ask = ["show", "last", "--by", "level", "-o", tmp, "--format"]
    table = json.loads(ok(*ask, "json"))
    lines = list(csv.DictReader(io.StringIO(ok(*ask, "csv"))))
    assert list(lines[0]) == list(table[0])
    assert [float(r["score"]) for r in lines] == [r["score"] for r in table]
    text, markdown = ok(*ask, "text").splitlines(), ok(*ask, "markdown").splitlines()
    assert len(text) == len(table) + 1 and len(markdown) == len(table) + 2
    assert markdown[1].startswith("| --- |") and markdown[0].count("|") == markdown[2].count("|")
    assert text[1].split()[:2] == [c.strip() for c in markdown[2].split("|")[1:3]]


def what_is_no_class_or_no_table_is_refused(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    fails(2, ["'colour'", "stop_reason"], "show", "last", "--by", "colour", "-o", tmp)
    fails(2, ["'depth'"], "show", "last", "--by", "depth", "-o", tmp)
    fails(2, ["--by", "'sample_gsm8k'"], "show", "last", "sample_gsm8k", "--by", "level", "-o", tmp)
    fails(2, ["'csv'", "--by"], "show", "last", "--format", "csv", "-o", tmp)
    fails(2, ["xml"], "show", "last", "--format", "xml", "-o", tmp)


def records_of_bench_are_shown_as_they_were_measured(tmp):
    made = json.loads(ok("bench", "forward", "--backend", "cpu", "--repeats", "3", "--tokens", "8", "--threads", "1",
                         "--json", "-q"))
    path = os.path.join(tmp, "here.json")
    with open(path, "w") as f:
        json.dump(made, f)
    show = ["bench", "show", path]
    (row,), (line,) = json.loads(ok(*show, "--json")), csv.DictReader(io.StringIO(ok(*show, "--format", "csv")))
    result = made["results"][0]
    for r in row, line:
        assert r["record"] == "here" and r["commit"] == made["commit"] and r["shape"] == result["shape"], r
        for key, ns in ("median_us", "median_ns"), ("min_us", "min_ns"), ("floor_us", "floor_ns"):
            assert abs(float(r[key]) - result[ns] / 1000) <= 1e-9 * result[ns], (key, r, result)
    text = ok(*show)
    assert "--repeats 3" in text and made["date"] in text and f"{row['median_us']:.1f}" in text, text
    twice = ok(*show, path, "--format", "markdown")
    assert twice.count("## here") == 2 and twice.count("| forward |") == 2 and twice.startswith("# "), twice
    for key, value, words in [("results", 7, ["'results'"]), ("bench", None, ["bench ... --json"]),
                              ("model", 3, ["'model'"]), ("date", "x" * 40, ["'date'"]), ("flops_per_s", {"avx2": "x"}, ["'flops_per_s'", "'avx2'"]),
                              ("results", [{**result, "samples_ns": []}], ["0 samples"]),
                              ("results", [{**result, "samples_ns": [5, -1]}], ["sample 1"]),
                              ("results", [{**result, "bytes": "x"}], ["'bytes'"])]:
        bad = {**made, key: value}
        if value is None:
            del bad[key]
        with open(path, "w") as f:
            json.dump(bad, f)
        fails(2, ["here.json", *words], *show)
    fails(3, ["nowhere.json"], "bench", "show", os.path.join(tmp, "nowhere.json"))
    fails(2, ["records"], "bench", "show")
    fails(2, ["'--tokens'", "`bench show`"], *show, "--tokens", "8")
    fails(2, ["'more'"], "bench", "ops", "more")


def the_page_of_tables_is_what_the_records_say(tmp):
    source = os.environ["DESBENCH_SOURCE"]
    folder = os.path.join(source, "docs", "measurements", "h100")
    records = sorted(n for n in os.listdir(folder)
                     if n.endswith(".json") and n.split("-")[0] in ("forward", "moe", "route", "decode"))
    assert records
    with open(os.path.join(folder, "tables.md")) as f:
        page = f.read()
    assert ok("bench", "show", *(os.path.join(folder, n) for n in records), "--format", "markdown") == page


def policies_pool_the_tasks_of_their_newest_runs(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    ok(*dry(tmp, *TWO))
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "3", "--gen-length", "64"))
    out = json.loads(ok("ls", "policies", "-o", tmp, "--json"))
    assert [r["selector"] for r in out] == ["vanilla", "topk:k=1"], out
    vanilla, one = out
    assert vanilla["n_samples"] == 11 and one["n_samples"] == 8
    assert one["sample_gsm8k"] is None and vanilla["sample_gsm8k"] is not None
    assert one["mean_unique_experts"] < vanilla["mean_unique_experts"] <= vanilla["n_experts"] == 8
    (n, passed, unique), = rows(tmp, """select count(*), sum(v.passed), 1.0 * sum(s.sum_unique) / sum(s.n_layer_forwards)
        from sample s join verdict v using (sample_id) join cell c using (cell_key) where c.selector = 'topk:k=1'""")
    assert (one["n_samples"], one["n_passed"]) == (n, passed) and abs(one["mean_unique_experts"] - unique) < 1e-12
    markdown = ok("ls", "policies", "-o", tmp, "--format", "markdown")
    assert "| topk:k=1 |" in markdown and "decoder threshold" in markdown and "weights_sha256" not in markdown


def another_way_of_asking_is_another_policy_row(tmp):
    need_sandbox()
    run = dry(tmp, "-t", "sample_humaneval", "-L", "2", "--gen-length", "32")
    ok(*run)
    ok(*run, "--prompt-form", "chat-evalplus")
    out = json.loads(ok("ls", "policies", "-o", tmp, "--json"))
    assert [(r["selector"], r["n_samples"]) for r in out] == [("vanilla", 2), ("vanilla", 2)], out


def what_varies_in_a_run_has_a_column_of_its_own(tmp):
    one = dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64")
    head = next(line for line in ok(*one).splitlines() if line.startswith("task"))
    assert head.split()[:3] == ["task", "selector", "samples"]
    text = ok(*one, "--block-length", "32,64", "--threshold", "0.8,0.9")
    head = next(line for line in text.splitlines() if line.startswith("task"))
    assert head.split()[:5] == ["task", "selector", "decoder", "block", "samples"], head
    table = [line.split() for line in text.splitlines() if line.startswith("sample_gsm8k  ")]
    assert len({tuple(r[2:4]) for r in table}) == len(table) == 4
    out = json.loads(ok(*one, "--cache", "none,dual", "--json"))["tasks"]
    assert [r["cache"].split(":")[0] for r in out] == ["none", "dual"] and {r["gen_length"] for r in out} == {64}
    assert ok(*one, "--cache", "none,dual").count("\ntask") == 1


KEPT = ["-t", "mini-gsm8k,mini-math500", "-q", "--progress", "never", "-b", "8", "--selector"]


def what_policies_keep_and_save_is_of_the_same_items_and_settings(tmp):
    need_model("mini-e16")
    run = ["run", "-m", "mini-e16", "-o", tmp, *KEPT]
    ok(*run, "vanilla", "--selector", "topk:k=1", "--selector", "des-seq:k0=2", "-L", "6")
    ask = ["ls", "policies", "-o", tmp, "--against", "vanilla"]
    out = json.loads(ok(*ask, "--json"))
    assert [r["selector"] for r in out] == ["des-seq:k0=2", "topk:k=1"], out
    for r in out:
        pairs = rows(tmp, f"""select c.task, v.passed, w.passed, s.sum_unique - s.sum_unique_cache,
            s.n_layer_forwards - s.n_layer_forwards * s.n_forwards_cache / s.n_forwards, z.sum_unique - z.sum_unique_cache,
            z.n_layer_forwards - z.n_layer_forwards * z.n_forwards_cache / z.n_forwards
            from sample s join verdict v using (sample_id) join cell c using (cell_key), sample z join verdict w on
            w.sample_id = z.sample_id join cell d on d.cell_key = z.cell_key where c.selector = 'vanilla' and
            d.selector = '{r["selector"]}' and s.item_id = z.item_id""")
        assert len(pairs) == r["n_answers"] == 12
        right = {t: (sum(p[1] for p in pairs if p[0] == t), sum(p[2] for p in pairs if p[0] == t)) for t in
                 ("mini-gsm8k", "mini-math500")}
        if all(b for b, _ in right.values()):
            assert abs(r["relative_accuracy"] - sum(c / b for b, c in right.values()) / 2) < 1e-12
        assert abs(r["kept"] - sum(c for _, c in right.values()) / sum(b for b, _ in right.values())) < 1e-12
        assert (r["n_lost"], r["n_gained"]) == (sum(p[1] > p[2] for p in pairs), sum(p[1] < p[2] for p in pairs))
        u, v, w, x = (sum(p[i] for p in pairs) for i in (3, 4, 5, 6))
        assert abs(r["saved_block"] - (1 - (w / x) / (u / v))) < 1e-12
        assert r["kept_ci_low"] < r["kept"] < r["kept_ci_high"]
        assert r["saved_block_ci_low"] <= r["saved_block"] <= r["saved_block_ci_high"]
    # other settings and other items are not mixed in, and other settings have a row of their own
    ok(*run, "topk:k=1", "-L", "2")
    ok(*run, "topk:k=1", "-L", "6", "--threshold", "0.5")
    assert json.loads(ok(*ask, "--json")) == out
    assert "2 cells have no answers of vanilla" in ok(*ask)
    ok(*run, "vanilla", "-L", "6", "--threshold", "0.5")
    assert [r["decoder"] for r in json.loads(ok(*ask, "--json"))].count("threshold:threshold=0.5") == 1
    # what is asked is what decides
    one, = json.loads(ok(*ask, "--selector", "des-seq", "--json"))
    assert one["selector"] == "des-seq:k0=2" and one["keeps"] == "no", "saves too little"
    assert one["kept_ci_low"] > out[0]["kept_ci_low"], "fewer rows at once"
    one, = json.loads(ok(*ask, "--selector", "des-seq:k0=2", "--save", "0", "--keep", "0.1", "--json"))
    assert one["keeps"] == "yes"
    assert "mini-e16: yes with des-seq:k0=2; no with 0" in ok(*ask, "--selector", "des-seq", "--save", "0", "--keep", "0.1")


def two_models_are_a_family(tmp):
    need_model("mini-e16")
    need_model()
    for model in ("mini-e16", "mini-e64"):
        ok("run", "-m", model, "-o", tmp, *KEPT, "vanilla", "--selector", "topk:k=4", "-L", "3")
    ask = ["ls", "policies", "-o", tmp, "--against", "vanilla"]
    a, b, both = json.loads(ok(*ask, "--json"))
    assert both["model"] == "all 2 models" and both["n_answers"] == a["n_answers"] + b["n_answers"] == 12
    assert both["n_lost"] == a["n_lost"] + b["n_lost"] and both["weights_sha256"] is None
    assert abs(both["saved_block"] - (a["saved_block"] + b["saved_block"]) / 2) < 1e-12
    assert ok(*ask, "--format", "markdown").count("\n| all 2 models") == 1


def misuse_of_against_is_told(tmp):
    ok(*dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "64"))
    fails(2, ["ls runs", "--against"], "ls", "runs", "-o", tmp, "--against", "vanilla")
    fails(2, ["--selector", "--against"], "ls", "policies", "-o", tmp, "--selector", "vanilla")
    fails(2, ["--keep", "--against"], "ls", "policies", "-o", tmp, "--keep", "0.9")
    fails(2, ["no-such"], "ls", "policies", "-o", tmp, "--against", "no-such")
    fails(2, ["--keep", "'x'"], "ls", "policies", "-o", tmp, "--against", "vanilla", "--keep", "x")
    code, _, err = call("ls", "policies", "-o", tmp, "--against", "topk:k=1")
    assert code == 3 and "'topk:k=1'" in err, (code, err)


if __name__ == "__main__":
    main(globals())
