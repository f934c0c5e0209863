"""compare, gate and baseline by their command line. Prints TAP. Usage: test_gate.py PROGRAM [CASE...]

Answers to the bundled mini suites are written here, right or wrong as a case needs it, and graded by `score`, so
that every verdict is a real one. Runs of the bundled tiny model have tokens and steps.
"""
import csv
import gzip
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import traceback
import xml.etree.ElementTree as ElementTree

PROGRAM = os.path.abspath(sys.argv[1])
SOURCE = os.environ["DESBENCH_SOURCE"]
SHAPE = os.path.join(SOURCE, "models", "shapes", "tiny-llada-moe")
MINI = os.path.join(SOURCE, "tasks", "mini")


def call(*args, env=None):
    full = {k: v for k, v in os.environ.items()
            if not k.startswith("DESBENCH_") and k not in ("CI", "GITHUB_STEP_SUMMARY")}
    full.update(env or {})
    p = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, env=full, timeout=300)
    assert b"Sanitizer" not in p.stderr, p.stderr.decode()
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def ok(*args, **kw):
    code, out, err = call(*args, **kw)
    assert code == 0, f"exit {code}: {err}{out}"
    return out


def exits(code, *args, **kw):
    got, out, err = call(*args, **kw)
    assert got == code, f"exit {got}, wanted {code}: {err}{out}"
    return out, err


def golds(task):
    name = {"mini-gsm8k": "gsm8k.jsonl", "mini-gsm8k-full": "gsm8k_full.jsonl.gz"}[task]
    path = os.path.join(MINI, name)
    with (gzip.open(path, "rt") if name.endswith("gz") else open(path)) as f:
        return [json.loads(line)["answer"].split("####")[1].strip() for line in f]


def answers(tmp, name, task="mini-gsm8k-full", wrong=(), limit=None, words="So", extra=()):
    """Score answers of which those in `wrong` are wrong, as a run called name; returns RESULTS:RUN."""
    path, lines = os.path.join(tmp, name + ".jsonl"), []
    for i, gold in enumerate(golds(task)[:limit]):
        shown = str(int(float(gold.replace(",", ""))) + 1) if i in set(wrong) else gold
        lines.append(json.dumps({"task_id": str(i), "output": f"{words} it is.\n#### {shown}"}))
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    folder = os.path.join(tmp, name)
    ok("score", task, path, "-o", folder, "--model-name", name, "--progress", "never", "-q",
       *(["--partial"] if limit else []), *extra)
    return folder


def model_run(tmp, name, *extra):
    folder = os.path.join(tmp, name)
    ok("run", "--model", SHAPE, "--load-format", "dummy", "-o", folder, "--progress", "never", "-q", "-t",
       "mini-gsm8k", "-L", "8", "--gen-length", "32", *extra)
    return folder


def sql(folder, text, write=False):
    db = sqlite3.connect(os.path.join(folder, "results.sqlite"))
    try:
        rows = db.execute(text).fetchall()
        db.commit()
        return rows
    finally:
        db.close()


FEW = range(0, 1000, 4)  # what the baseline has wrong


# ---- the four outcomes ------------------------------------------------------------------------


def a_rerun_is_identical_and_exits_0(tmp):
    a, b = model_run(tmp, "a"), model_run(tmp, "b", "--batch-size", "3", "--threads", "1")
    out = ok("gate", "--baseline", a, b)
    assert out.rstrip().endswith("identical: all 8 answers are the same, token by token"), out
    for rule in ["fail", "warn", "pass", "report"]:
        exits(0, "gate", "--baseline", a, b, "--undecided", rule)
    assert json.loads(ok("gate", "-b", a, b, "--json"))["comparisons"][0]["outcome"] == "identical"


def a_neutral_change_of_1000_items_passes_and_exits_0(tmp):
    base = answers(tmp, "base", wrong=FEW)
    flips = set(range(2, 1000, 200))  # 5 lost, and 5 gained
    other = answers(tmp, "other", wrong=set(FEW) - set(range(0, 20, 4)) | flips, words="Thus")
    out = ok("gate", "--baseline", base, other)
    assert "\npass: a loss of 2.00 points is excluded (at most +0.58, 95 %)" in out, out
    ok("gate", "--baseline", base, other, env={"CI": "true"})


def a_loss_that_shows_fails_and_exits_1(tmp):
    base = answers(tmp, "base", wrong=FEW)
    worse = answers(tmp, "worse", wrong=set(FEW) | set(range(1, 600, 10)))
    out, _ = exits(1, "gate", "--baseline", base, worse)
    assert "\nfail: worse by 6.00 points" in out and "LOSS" in out, out
    for rule in ["warn", "pass", "report"]:
        exits(1, "gate", "--baseline", base, worse, "--undecided", rule)
    out = ok("gate", "--baseline", base, worse, "--margin", "10pt")  # real, but tolerated
    assert "there is a loss, a tolerable one: at least" in out, out
    assert ok("gate", "--baseline", base, worse, "--margin", "0.1") == out


def ten_items_are_undecided_and_exit_as_asked(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    other = answers(tmp, "other", task="mini-gsm8k", limit=10, wrong=[3], words="Hence")
    ten = ["gate", "--baseline", base, other]
    out, _ = exits(5, *ten)
    assert "undecided: neither a loss shown" in out and "too few changes to judge" in out, out
    exits(1, *ten, env={"CI": "true"})
    exits(5, *ten, env={"CI": "false"})
    exits(5, *ten, "--undecided", "report", env={"CI": "true"})
    exits(1, *ten, "--undecided", "fail")
    ok(*ten, "--undecided", "pass")
    _, err = exits(0, *ten, "--undecided", "warn")
    assert "warning" in err and "without evidence" in err, err
    exits(5, *ten, "--margin", "15pt")
    same = answers(tmp, "same", task="mini-gsm8k", limit=10, words="Now")  # no verdict changed
    exits(5, "gate", "--baseline", base, same)


def a_fixed_suite_states_facts(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    other = answers(tmp, "other", task="mini-gsm8k", limit=10, wrong=[3], words="Hence")
    out, _ = exits(1, "gate", "--fixed-suite", "--baseline", base, other)
    assert "fail: +10.00 points lost on these 10 items" in out and "95 %)" not in out, out
    out = ok("gate", "--fixed-suite", "--baseline", base, other, "--margin", "10pt")
    assert "pass: +10.00 points lost" in out and "lost     mini-gsm8k  3     pass  fail" in out, out


def a_neutral_change_of_the_models_decoding_passes_where_items_are_enough(tmp):
    """A threshold 0.01 higher changes a few answers, and on 64 items a loss of 8 points is excluded. On 10 items of
    another policy nothing is."""
    mini = ["run", "-t", "mini-gsm8k", "--batch-size", "32", "--progress", "never", "-q"]
    ok(*mini, "-L", "64", "-o", tmp + "/a")
    ok(*mini, "-L", "64", "--threshold", "0.96", "-o", tmp + "/b")
    [(right,)] = sql(tmp + "/a", "SELECT sum(passed) FROM verdict")
    assert right > 32
    out = ok("gate", "--baseline", tmp + "/a", tmp + "/b", "--margin", "8pt")
    assert re.search(r"^(pass: a loss of 8.00 points is excluded|identical: all 64 answers)", out, re.M), out
    ok(*mini, "-L", "10", "-o", tmp + "/c", "--selector", "vanilla", "--selector", "topk:k=4")
    out, _ = exits(5, "gate", "--baseline", tmp + "/c:last@vanilla", tmp + "/c", "--margin", "8pt")
    assert out.rstrip().splitlines()[-1].startswith("undecided: "), out


def the_bundled_model_repeats_itself_and_fails_a_budget_that_hurts(tmp):
    mini = ["run", "-t", "mini-gsm8k", "-L", "16", "--progress", "never", "-q"]
    ok(*mini, "-o", tmp + "/a", "--selector", "vanilla", "--selector", "topk:k=1", "--batch-size", "8")
    ok(*mini, "-o", tmp + "/b", "--batch-size", "5")
    out = ok("gate", "-b", tmp + "/a:last@vanilla", tmp + "/b")
    assert "identical: all 16 answers" in out, out
    out, _ = exits(1, "gate", "-b", tmp + "/a:last@vanilla", tmp + "/a")
    assert "selector vanilla, now topk:k=1" in out and "\nfail: worse by" in out, out
    plan = json.loads(ok("gate", "plan", "-b", tmp + "/a:last@vanilla", "--json"))[-1]
    assert plan["items"] == 16 and plan["minutes"] > 0 and plan["pass_pct"] < 1, plan


# ---- what may not be compared -----------------------------------------------------------------


def other_items_prompts_and_checkers_exit_4(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    fewer = answers(tmp, "fewer", task="mini-gsm8k", limit=9)
    _, err = exits(4, "gate", "--baseline", base, fewer)
    assert "1 answer of the baseline without a counterpart (mini-gsm8k 9)" in err, err
    exits(4, "compare", fewer, base)
    out = ok("gate", "--baseline", base, fewer, "--allow-mismatch")
    assert "without a counterpart" in out and "identical: all 9 answers" in out, out
    for column, words in [("prompt_sha256", "1 other prompt"), ("checker_version", "1 answer graded by")]:
        other = answers(tmp, column, task="mini-gsm8k", limit=10)
        table = "sample" if column == "prompt_sha256" else "verdict"
        sql(other, f"UPDATE {table} SET {column} = '{'0' * 64}' WHERE sample_id = 3")
        for verb in [["gate", "--baseline", base, other], ["compare", base, other]]:
            _, err = exits(4, *verb)
            assert words in err and "mini-gsm8k" in err, err
        out = ok("gate", "--baseline", base, other, "--allow-mismatch")
        assert "warning: what was compared is not the same" in out and words in out, out
    item = answers(tmp, "item", task="mini-gsm8k", limit=10)
    sql(item, f"UPDATE item SET item_sha256 = '{'0' * 64}' WHERE task_id = '4'")
    _, err = exits(4, "gate", "--baseline", base, item)
    assert "1 other item " in err and "mini-gsm8k 4" in err, err
    invalid = answers(tmp, "invalid", task="mini-gsm8k", limit=10)
    sql(invalid, "UPDATE run SET validity = 'INVALID: a reason'")
    _, err = exits(4, "gate", "--baseline", base, invalid)
    assert "INVALID: a reason" in err, err


def runs_that_are_not_whole_exit_6_and_7(tmp):
    base, other = (answers(tmp, n, task="mini-gsm8k", limit=10) for n in ["base", "other"])
    sql(other, "UPDATE run SET status = 'interrupted'")
    _, err = exits(6, "gate", "--baseline", base, other)
    assert "desbench resume" in err, err
    sql(other, "UPDATE verdict SET verdict = 'internal', passed = 0 WHERE sample_id = 1")
    _, err = exits(7, "gate", "--baseline", base, other)
    assert "1 answers" in err, err
    exits(7, "baseline", "export", other)


def usage_and_missing_things_are_named(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    for code, words, args in [
            (2, "--baseline", ["gate"]),
            (2, "'2'", ["gate", "-b", base, base, "--margin", "2"]),
            (2, "'0pt'", ["gate", "-b", base, base, "--margin", "0pt"]),
            (2, "'2x'", ["gate", "-b", base, base, "--margin", "2x"]),
            (2, "'xyz'", ["gate", "plan", "xyz", "-b", base]),
            (2, "no setting 'topk'", ["compare", base + ":last@topk", base]),
            (2, "no task 'mbpp'", ["compare", base, base, "-t", "mbpp"]),
            (2, "GITHUB_STEP_SUMMARY", ["gate", "-b", base, base, "--github-summary"]),
            (3, "no file '" + tmp + "/none.json'", ["gate", "plan", "-b", tmp + "/none.json"]),
            (3, "no file 'none.sqlite'", ["compare", "none.sqlite", base]),
            (3, "no results file '" + tmp + "/none'", ["compare", tmp + "/none:last", base]),
            (3, "'2099'", ["compare", base + ":2099", base])]:
        out, err = exits(code, *args)
        assert words in err and out == "", (words, err, out)


# ---- what is told -----------------------------------------------------------------------------


def flips_are_listed_with_the_step_and_token_that_differ_first(tmp):
    a = model_run(tmp, "a")
    b = model_run(tmp, "b", "--selector", "topk:k=1")
    sql(a, "UPDATE verdict SET verdict = 'pass', passed = 1 WHERE sample_id IN (1, 3)")
    sql(b, "UPDATE verdict SET verdict = 'pass', passed = 1 WHERE sample_id = 2")
    out = json.loads(ok("compare", a, b, "--json"))["comparisons"][0]
    assert [(f["task_id"], f["was"] == "pass") for f in out["flips"]] == [("0", True), ("2", True), ("1", False)], out
    for flip in out["flips"]:
        runs = []
        for folder in [a, b]:
            s = [json.loads(x) for x in ok("show", "last", "mini-gsm8k", flip["task_id"], "-o", folder,
                                           "--json").splitlines()][0]
            runs.append(s)
        # the canvas after each forward of either run, and the first one where they differ
        n = max(len(s["tokens"]) for s in runs)
        for forward in range(1000):
            canvas = [[s["tokens"][i] if i < len(s["tokens"]) and 0 <= s["commit_forward"][i] <= forward else -1
                       for i in range(n)] for s in runs]
            if canvas[0] != canvas[1]:
                break
        where = next(i for i in range(n) if canvas[0][i] != canvas[1][i])
        assert (flip["forward"], flip["position"]) == (forward, where), (flip, forward, where)
        assert (flip["token_was"], flip["token_is"]) == (canvas[0][where], canvas[1][where]), flip
        step = runs[0]["forwards"][forward] if forward < len(runs[0]["forwards"]) else runs[1]["forwards"][forward]
        assert (flip["block"], flip["step"]) == (step["block"], step["step"]), flip
    assert re.search(r"lost +mini-gsm8k +0 ", ok("compare", a, b))
    assert "--flips 3 lists all" in ok("compare", a, b, "--flips", "1")


def settings_of_a_run_are_held_against_each_other(tmp):
    two = model_run(tmp, "two", "--selector", "vanilla", "--selector", "topk:k=1")
    again = model_run(tmp, "again", "--selector", "topk:k=1", "--selector", "vanilla")
    both = json.loads(ok("gate", "-b", two, again, "--json"))["comparisons"]
    assert [(c["baseline"]["setting"], c["candidate"]["setting"], c["outcome"]) for c in both] == [
        ("topk:k=1", "topk:k=1", "identical"), ("vanilla", "vanilla", "identical")], both
    one = json.loads(ok("compare", two + ":last@vanilla", two, "--json"))["comparisons"]
    assert [c["candidate"]["setting"] for c in one] == ["topk:k=1"], one
    rates = {r["name"]: r for r in one[0]["rates"]}
    unique = {s: m for s, m in sql(two, "SELECT selector, mean_unique FROM task_summary")}
    r = rates["unique experts a layer"]
    assert abs(r["baseline"] - unique["vanilla"]) < 1e-9 and abs(r["candidate"] - unique["topk:k=1"]) < 1e-9
    assert r["low_95"] < r["ratio"] < r["high_95"] < 1, r
    assert json.loads(ok("compare", two + ":last@vanilla", two, "--json"))["comparisons"] == one  # same seed
    _, err = exits(2, "compare", two, answers(tmp, "x", task="mini-gsm8k", limit=8))
    assert "'vanilla', 'topk:k=1'" in err, err


def several_candidates_are_corrected_by_holm(tmp):
    two = model_run(tmp, "two", "--selector", "vanilla", "--selector", "topk:k=1", "--selector", "topk:k=2")
    # 6 of 8 lost: p = 0.0072 alone is below 0.01, of two comparisons it is not
    sql(two, "UPDATE verdict SET verdict = 'pass', passed = 1 WHERE sample_id IN (SELECT sample_id FROM sample"
             " JOIN cell USING (cell_key) WHERE selector = 'vanilla')")
    sql(two, "UPDATE verdict SET verdict = 'pass', passed = 1 WHERE sample_id IN (SELECT sample_id FROM sample"
             " JOIN cell USING (cell_key) JOIN item USING (item_id) WHERE selector = 'topk:k=1' AND"
             " CAST(task_id AS INTEGER) >= 6)")
    sql(two, "UPDATE verdict SET verdict = 'pass', passed = 1 WHERE sample_id IN (SELECT sample_id FROM sample"
             " JOIN cell USING (cell_key) JOIN item USING (item_id) WHERE selector = 'topk:k=2' AND"
             " CAST(task_id AS INTEGER) >= 6)")
    sql(two, "UPDATE sample SET tokens_sha256 = prompt_sha256 WHERE cell_key IN (SELECT cell_key FROM cell WHERE"
             " selector = 'topk:k=2')")  # two experts are all that the shape's router gives a token
    single = json.loads(exits(1, "gate", "-b", two + ":last@vanilla", two + ":last@topk:k=1", "--json")[0])
    p = single["comparisons"][0]["p_worse_holm"]
    assert 0.005 < p < 0.01, p
    out = json.loads(exits(5, "gate", "-b", two + ":last@vanilla", two, "--json")[0])
    assert [(c["outcome"], abs(c["p_worse_holm"] - 2 * p) < 1e-12) for c in out["comparisons"]] == [
        ("undecided", True)] * 2, out


def noise_of_neutral_runs_stands_beside_the_verdict(tmp):
    base = answers(tmp, "base", wrong=FEW)
    neutral = answers(tmp, "neutral", wrong=set(FEW) | {1, 2, 3}, words="Well")
    worse = answers(tmp, "worse", wrong=set(FEW) | set(range(1, 600, 10)))
    out, _ = exits(1, "gate", "-b", base, worse, "--noise", neutral)
    assert "noise: 1 neutral run changed 0.30 % of verdicts (0.10 to 0.88) and 100.0 % of answers; the candidate " \
           "6.00 %\n" in out, out
    out = ok("gate", "-b", base, neutral, "--noise", worse)  # churn below the noise never overrides the test
    assert "no more than noise does" in out, out
    plan = json.loads(ok("gate", "plan", "-b", base, "--noise", neutral, "--json"))
    assert plan[-1]["items"] == 1000 and plan[-1]["pass_pct"] > 99, plan


def the_plan_tells_items_minutes_and_the_loss_it_finds(tmp):
    folder = model_run(tmp, "a", "--batch-size", "2")
    row = json.loads(ok("gate", "plan", "-b", folder, "--json"))[-1]
    seconds = sql(folder, "SELECT sum(total_ns) * 1e-9 FROM sample")[0][0]
    assert row["items"] == 8 and abs(row["minutes"] * 60 - seconds / 2) < 1e-6, (row, seconds)
    assert abs(row["certain_pt"] - 100 * 2.705543 / (8 + 2.705543)) < 1e-3, row
    base = answers(tmp, "base", wrong=FEW)
    text = ok("gate", "plan", "-b", base, "--margin", "2pt", "--churn", "2")
    assert re.search(r"80 % power to pass needs about (39|40)\d items", text), text
    assert "More than these" not in text and re.search(r"^all +1000 +1000 ", text, re.M), text


def junit_is_red_when_the_exit_code_is(tmp):
    base = answers(tmp, "base", wrong=FEW)
    worse = answers(tmp, "worse", wrong=set(FEW) | set(range(1, 600, 10)))
    path = os.path.join(tmp, "gate.xml")
    for args, failures in [(["--margin", "10pt"], 0), ([], 61)]:
        code = call("gate", "-b", base, worse, "--junit", path, *args)[0]
        root = ElementTree.parse(path).getroot()
        assert code == (1 if failures else 0)
        assert len(root.findall(".//testcase")) == 1001
        assert len(root.findall(".//failure")) == failures == sum(int(s.get("failures")) for s in root)
    assert root.find(".//testcase[@name='1']/failure").get("message") == "lost: was pass, is fail"


def the_step_summary_is_added_to_githubs_file(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    path = os.path.join(tmp, "summary.md")
    with open(path, "w") as f:
        f.write("before\n")
    ok("gate", "-b", base, base + ":last", "--github-summary", env={"GITHUB_STEP_SUMMARY": path, "CI": "true"})
    with open(path) as f:
        text = f.read()
    assert text.startswith("before\n## desbench gate\n") and "### identical: all 10 answers" in text, text
    assert "| mini-gsm8k | 10 | 100.0 | 100.0 | 0 | 0 | 100.0 |" in text, text
    assert "| task | items |" in ok("gate", "-b", base, base, "--format", "markdown")
    rows = list(csv.DictReader(io.StringIO(ok("gate", "-b", base, base, "--format", "csv"))))
    assert [(r["task"], r["n"], r["outcome"]) for r in rows] == [("mini-gsm8k", "10", ""), ("all", "10", "identical")]


def a_comparison_is_stored_when_asked(tmp):
    base = answers(tmp, "base", wrong=FEW)
    worse = answers(tmp, "worse", wrong=set(FEW) | set(range(1, 600, 10)))
    exits(1, "gate", "-b", base, worse)
    assert sql(worse, "SELECT count(*) FROM comparison") == [(0,)]
    exits(1, "gate", "-b", base, worse, "--store", "--seed", "5")
    rows = sql(worse, "SELECT task, a, b, c, d, delta, outcome, seed, n_draws, rel_low < rel_accuracy AND rel_accuracy"
                      " < rel_high FROM comparison ORDER BY comparison_id")
    assert rows == [("mini-gsm8k-full", 690, 60, 0, 250, -0.06, "fail", 5, 10000, None),
                    ("all", 690, 60, 0, 250, -0.06, "fail", 5, 10000, 1)], rows


# ---- baseline files ---------------------------------------------------------------------------


def a_baseline_file_stands_for_its_run(tmp):
    a = model_run(tmp, "a", "--selector", "vanilla", "--selector", "topk:k=1")
    file = os.path.join(tmp, "baseline.json")
    exits(2, "baseline", "export", a)  # of which setting?
    ok("baseline", "export", a + ":last@topk:k=1", "-o", file)
    assert ok("baseline", "export", a + ":last@topk:k=1") == open(file).read()
    _, err = exits(2, "baseline", "export", a + ":last@vanilla", "-o", file)
    assert "--force" in err, err
    again = model_run(tmp, "b", "--selector", "topk:k=1")
    out = json.loads(ok("gate", "-b", file, again, "--json"))["comparisons"][0]
    assert out["outcome"] == "identical" and out["baseline"]["source"] == file, out
    exits(5, "gate", "-b", file, a + ":last@vanilla", "--undecided", "report")
    assert json.loads(ok("gate", "plan", "-b", file, "--json"))[-1]["minutes"] > 0
    ok("baseline", "import", file, "--results", tmp + "/imported")
    _, err = exits(2, "baseline", "import", file, "--results", tmp + "/imported")
    assert "there already" in err, err
    assert "identical" in ok("gate", "-b", tmp + "/imported", again)
    # exported anew, all but the timing is the same
    text = re.sub(r'"seconds": [^,]*,', '"seconds": 0,', open(file).read())
    out = ok("baseline", "export", tmp + "/imported")
    assert re.sub(r'"seconds": [^,]*,', '"seconds": 0,', out).replace(tmp, "") == text, out[:1500]


def baseline_files_that_cannot_be_used_are_named(tmp):
    base = answers(tmp, "base", task="mini-gsm8k", limit=10)
    good = json.loads(ok("baseline", "export", base))
    path = os.path.join(tmp, "b.json")

    def broken(change, *words):
        doc = json.loads(json.dumps(good))
        change(doc)
        with open(path, "w") as f:
            json.dump(doc, f)
        out, err = exits(2, "gate", "-b", path, base)
        assert all(w in err for w in ("b.json", *words)) and out == "", err
        exits(2, "baseline", "import", path, "--results", tmp + "/i")
        assert not os.path.exists(tmp + "/i")

    broken(lambda d: d.update(format="other"), "format")
    broken(lambda d: d.update(version=2), "version 2")
    broken(lambda d: d.pop("run_id"), "run_id")
    broken(lambda d: d.update(tasks=[]), "tasks")
    broken(lambda d: d["tasks"][0]["cell"].update(selector="vanilla"), "cell_key", "edited")
    broken(lambda d: d["tasks"][0]["dataset"].update(n_items=-1), "n_items")
    broken(lambda d: d["tasks"][0]["items"][3].pop(), "items[3]")
    broken(lambda d: d["tasks"][0]["items"][3].__setitem__(6, "zz"), "items[3][6]", "SHA-256")
    broken(lambda d: d["tasks"][0]["items"][3].__setitem__(1, -1), "items[3][1]")
    broken(lambda d: d["tasks"][0]["items"].append(d["tasks"][0]["items"][0]), "twice")
    with open(path, "w") as f:
        f.write('{"format": ')
    exits(2, "gate", "-b", path, base)


CASES = [f for n, f in list(globals().items()) if callable(f) and getattr(f, "__module__", "") == "__main__"
         and f.__code__.co_varnames[:1] == ("tmp",) and f.__code__.co_argcount == 1]


def main():
    chosen = [c for c in CASES if not sys.argv[2:] or c.__name__ in sys.argv[2:]]
    print(f"1..{len(chosen)}")
    n_failed = 0
    for i, case in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as tmp:
            try:
                case(tmp)
                print(f"ok {i} - {case.__name__}", flush=True)
            except Exception:
                n_failed += 1
                print(f"not ok {i} - {case.__name__}", flush=True)
                print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), flush=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
