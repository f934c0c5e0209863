"""End-to-end tests of tables over stored results. Prints TAP. Usage: test_tables.py PROGRAM"""
import csv
import io
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import dry, fails, main, need_sandbox, ok, rows  # noqa: E402

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


if __name__ == "__main__":
    main(globals())
