"""End-to-end tests of `desbench report`: its numbers are those of the results file. Prints TAP.
Usage: test_report.py PROGRAM [CASE...]"""
import csv
import html.parser
import json
import math
import os
import re
import sqlite3
import sys
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SHAPE, SOURCE, fails, main, ok  # noqa: E402

SELECTORS = ["vanilla", "topk:k=4", "topk:k=1"]


def sweep(tmp, made={}):
    """Two tasks under three policies, by the bundled model: made once, then copied."""
    if made:
        with open(tmp + "/results.sqlite", "wb") as f:
            f.write(made["file"])
        ok("report", tmp, "-o", tmp + "/report", "-q")
        return tmp + "/report"
    ok("run", "-m", os.path.join(SOURCE, "models", "mini-e64"), "-t", "mini-gsm8k,mini-humaneval_pro", "-L", "6",
       *[x for s in SELECTORS for x in ("--selector", s)], "-o", tmp, "--progress", "never", "-q")
    with open(tmp + "/results.sqlite", "rb") as f:
        made["file"] = f.read()
    ok("report", tmp, "-o", tmp + "/report", "-q")
    return tmp + "/report"


def table(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def sql(tmp, text, *args):
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.row_factory = sqlite3.Row
    try:
        return db.execute(text, args).fetchall()
    finally:
        db.close()


def near(text, value):
    assert math.isclose(float(text), value, rel_tol=1e-9, abs_tol=1e-12), (text, value)


def wilson(k, n, z=1.959963984540054):
    mid, half = (k + z * z / 2) / (n + z * z), z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return mid - half, mid + half


def percentile(values, q):
    x = sorted(values)
    at = (len(x) - 1) * q
    low = math.floor(at)
    return x[low] + (x[min(low + 1, len(x) - 1)] - x[low]) * (at - low)


class Page(html.parser.HTMLParser):
    """Elements that are opened are closed, in order."""
    VOID = {"meta", "link", "rect", "line", "circle", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src")]
        if tag not in self.VOID or self.get_starttag_text().endswith(">") and tag in ("rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()


def read_page(path):
    with open(path) as f:
        text = f.read()
    # void elements of HTML have no end: as XML would write them
    return text, Page(re.sub(r"<((?:meta|link)\b[^>]*)>", r"<\1/>", text))


def every_number_of_the_tables_is_that_of_a_query(tmp):
    folder = sweep(tmp)
    cells = table(folder + "/cells.csv")
    assert sorted((c["task"], c["policy"]) for c in cells) == sorted(
        (t, s) for t in ("mini-gsm8k", "mini-humaneval_pro") for s in SELECTORS)
    for c in cells:
        [q] = sql(tmp, "SELECT * FROM task_summary WHERE cell_key = ?", c["cell_key"])
        samples = sql(tmp, "SELECT * FROM sample_flat WHERE cell_key = ?", c["cell_key"])
        [bytes_] = sql(tmp, "SELECT sum(sum_expert_bytes) AS b FROM sample WHERE cell_key = ?", c["cell_key"])
        assert (c["task"], c["policy"], c["model"]) == (q["task"], q["selector"], "mini-e64")
        assert int(c["n_samples"]) == q["n_samples"] == 6 and int(c["n_passed"]) == q["n_passed"]
        near(c["score"], q["n_passed"] / 6)
        near(c["score_low"], wilson(q["n_passed"], 6)[0])
        near(c["score_high"], wilson(q["n_passed"], 6)[1])
        near(c["unique"], q["mean_unique"])
        near(c["unique_share"], q["mean_unique"] / 64)
        near(c["tok_per_s"], q["n_tokens_before_eos"] * 1e9 / q["gen_ns"])
        near(c["tok_per_forward"], q["n_tokens_before_eos"] / q["n_forwards"])
        near(c["forwards_per_answer"], q["n_forwards"] / 6)
        if q["n_passed"]:
            near(c["bytes_per_right"], bytes_["b"] / q["n_passed"])
        else:
            assert c["bytes_per_right"] == ""
        near(c["gen_p50_s"], percentile([s["total_ns"] * 1e-9 for s in samples], 0.5))
        near(c["gen_p95_s"], percentile([s["total_ns"] * 1e-9 for s in samples], 0.95))
        judged = [s["judge_wall_ns"] * 1e-9 for s in samples if s["judge_mode"]]
        if c["task"] == "mini-gsm8k":
            assert not judged and c["judge_p50_s"] == c["judge_p95_s"] == ""  # no program was run
        else:
            near(c["judge_p50_s"], percentile(judged, 0.5))
        [v] = sql(tmp, "SELECT mean_unique FROM task_summary WHERE selector = 'vanilla' AND task = ?", c["task"])
        near(c["unique_of_vanilla"], q["mean_unique"] / v["mean_unique"])


def figures_hold_what_the_file_holds(tmp):
    folder = sweep(tmp)
    policies = {q["selector"]: q for q in sql(tmp, """
        SELECT selector, count(*) AS n, sum(passed) AS k, sum(s.sum_unique) * 1.0 / sum(s.n_layer_forwards) AS u,
               sum(s.n_forwards) AS forwards, sum(s.n_layer_forwards) AS layers, sum(s.sum_unique) AS uniques,
               sum(s.sum_expert_bytes) AS bytes
        FROM sample s JOIN cell USING (cell_key) JOIN verdict USING (sample_id) GROUP BY selector""")}
    assert set(policies) == set(SELECTORS)
    front = table(folder + "/pareto.csv")
    assert {p["policy"] for p in front} == set(SELECTORS)
    for p in front:
        q = policies[p["policy"]]
        near(p["score"], q["k"] / q["n"])
        near(p["score_low"], wilson(q["k"], q["n"])[0])
        near(p["unique"], q["u"])
        assert float(p["unique_low"]) < q["u"] < float(p["unique_high"])
        assert 0 <= float(p["frontier_probability"]) <= 1
    least = min(front, key=lambda p: float(p["unique"]))
    assert float(least["frontier_probability"]) > 0.9  # nobody reads fewer
    for p in table(folder + "/forwards.csv"):
        q = policies[p["policy"]]
        near(p["forwards_per_answer"], q["forwards"] / q["n"])
        assert float(p["low"]) <= q["forwards"] / q["n"] <= float(p["high"])
    commits, layers = table(folder + "/commits.csv"), table(folder + "/layers.csv")
    cells = table(folder + "/cells.csv")
    for name, q in policies.items():
        mine = [c for c in commits if c["policy"] == name]
        assert sum(int(c["n_forwards"]) for c in mine) == q["forwards"]
        near(sum(float(c["share"]) for c in mine), 1)
        committed = sum(int(c["n_forwards"]) * int(c["n_committed"]) for c in mine)
        of_cells = sum(float(c["bytes_per_committed"]) and sql(
            tmp, "SELECT sum(sum_expert_bytes) AS b FROM sample WHERE cell_key = ?",
            c["cell_key"])[0]["b"] / float(c["bytes_per_committed"]) for c in cells if c["policy"] == name)
        assert abs(of_cells - committed) < 1e-3
        mine = [x for x in layers if x["policy"] == name]
        assert [int(x["layer"]) for x in mine] == list(range(6))
        assert sum(int(x["n_forwards"]) for x in mine) == q["layers"]
        assert round(sum(int(x["n_forwards"]) * float(x["unique"]) for x in mine)) == q["uniques"]
    for x in table(folder + "/levels.csv"):
        assert x["class"] == "depth"
        [q] = sql(tmp, "SELECT count(*) AS n, sum(passed) AS k FROM sample_flat WHERE task = ? AND selector = ?"
                  " AND level = ?", x["task"], x["policy"], int(x["level"]))
        assert int(x["n_items"]) == q["n"]
        near(x["score"], q["k"] / q["n"])
    for x in table(folder + "/accuracy.csv"):
        [q] = sql(tmp, "SELECT sum(passed) AS k FROM sample_flat WHERE task = ? AND selector = ?", x["task"],
                  x["policy"])
        assert int(x["n_passed"]) == q["k"]


def the_page_needs_no_network_and_is_well_formed_and_repeats(tmp):
    folder = sweep(tmp)
    text, page = read_page(folder + "/report.html")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {x for x in page.links if x != "data:,"} <= set(os.listdir(folder))
    assert page.tags.count("svg") == 7 and page.tags.count("script") == 1
    assert "VALID" in text and sql(tmp, "SELECT run_id FROM run")[0]["run_id"] in text
    for name in os.listdir(folder):
        if name.endswith(".svg"):
            root = ElementTree.parse(os.path.join(folder, name)).getroot()
            assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root) > 3
            assert os.path.exists(os.path.join(folder, name[:-3] + "csv"))
    ok("report", tmp, "-o", tmp + "/again", "-q")
    assert sorted(os.listdir(folder)) == sorted(os.listdir(tmp + "/again"))
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as a, open(os.path.join(tmp, "again", name), "rb") as b:
            assert a.read() == b.read(), name


def every_claim_has_a_verdict_or_a_reason_and_its_numbers_are_those_of_a_query(tmp):
    sweep(tmp)
    out = ok("report", tmp, "-o", tmp + "/claims", "--claims", "-q")
    verdicts = dict(re.findall(r"^ ?(\d+)  (supported|refuted|not testable here|ill-posed)$", out, re.M))
    assert sorted(map(int, verdicts)) == list(range(1, 16)), out
    assert len(re.findall(r"^    why +\S", out, re.M)) == 15
    rows = table(tmp + "/claims/claims.csv")
    assert {(r["id"], r["verdict"]) for r in rows} == set(verdicts.items())
    assert all(r["why"] and r["metric"] and "SELECT" in r["query"] for r in rows)
    # computed anew
    [u] = sql(tmp, "SELECT sum(sum_unique) AS u, sum(n_layer_forwards) AS n FROM sample JOIN cell USING (cell_key)"
              " WHERE selector = 'vanilla'")
    [r] = [r for r in rows if r["id"] == "1"]
    near(r["value"], 8 * u["n"] / u["u"])
    assert r["subject"] == "mini-e64" and r["verdict"] == r["subject_verdict"] == "supported"
    assert float(r["low"]) < float(r["value"]) < float(r["high"]) < 1
    for selector in ["topk:k=4", "topk:k=1"]:
        [x, v] = [sql(tmp, "SELECT sum(sum_expert_bytes) AS b, sum(passed) AS k FROM sample JOIN verdict USING (sample_id)"
                      " JOIN cell USING (cell_key) WHERE selector = ?", s)[0] for s in (selector, "vanilla")]
        [r] = [r for r in rows if r["id"] == "10" and r["subject"] == "mini-e64 " + selector]
        if x["k"]:
            near(r["value"], x["b"] / x["k"] / (v["b"] / v["k"]))
        else:
            assert r["value"] == ""
    for number, word in [("4", "LLaDA-MoE"), ("5", "LLaDA2.0"), ("7", "mbpp"), ("8", "B200")]:
        [r] = [r for r in rows if r["id"] == number]
        assert r["verdict"] == "not testable here" and word in r["why"] and r["value"] == "", r
    text, page = read_page(tmp + "/claims/report.html")
    assert page.tags.count("details") >= 15 and "claims.csv" in page.links
    fails(2, ["--claims", "one"], "report", tmp, tmp, "--claims", "-o", tmp + "/r")


def a_file_is_covered_by_the_newest_run_of_each_cell(tmp):
    sweep(tmp)
    first = {r["cell_key"]: r["run_id"] for r in sql(tmp, "SELECT cell_key, run_id FROM run_cell")}
    ok("run", "-m", os.path.join(SOURCE, "models", "mini-e64"), "-t", "mini-gsm8k", "-L", "6", "--selector", "vanilla",
       "--selector", "des-seq:k0=2", "-o", tmp, "--progress", "never", "-q")
    ok("report", tmp, "-o", tmp + "/r", "-q")
    cells = table(tmp + "/r/cells.csv")
    assert len(cells) == 7  # of six one is newer, and one more
    last = [r["run_id"] for r in sql(tmp, "SELECT run_id FROM run ORDER BY run_no")][-1]
    for c in cells:
        is_new = c["task"] == "mini-gsm8k" and c["policy"] in ("vanilla", "des-seq:k0=2")
        assert c["run_id"] == (last if is_new else first[c["cell_key"]]), c
    assert len(table(tmp + "/r/runs.csv")) == 2
    ok("report", tmp, "-t", "mini-humaneval_pro", "-o", tmp + "/t", "-q")
    assert {c["task"] for c in table(tmp + "/t/cells.csv")} == {"mini-humaneval_pro"}
    ok("report", tmp + ":last", "-o", tmp + "/last", "-q")
    assert {c["run_id"] for c in table(tmp + "/last/cells.csv")} == {last}
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.execute("UPDATE run SET validity = 'INVALID: a test' WHERE run_id = ?", (last,))
    db.commit()
    db.close()
    ok("report", tmp, "-o", tmp + "/v", "-q")
    assert {c["run_id"]: 0 for c in table(tmp + "/v/cells.csv")} == dict.fromkeys(first.values(), 0)
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.execute("UPDATE run SET validity = 'INVALID: a test'")
    db.commit()
    db.close()
    fails(3, ["done and valid", "last"], "report", tmp, "-o", tmp + "/none")
    ok("report", tmp + ":last", "-o", tmp + "/named", "-q")
    with open(tmp + "/named/report.html") as f:
        assert "INVALID: a test" in f.read()


def what_was_not_measured_is_absent_and_names_are_escaped(tmp):
    """Answers made elsewhere: no experts, forwards or times; the model's name is anybody's."""
    name = "<script>alert(1)</script>\"'&"
    with open(os.path.join(SOURCE, "tasks", "mini", "gsm8k.jsonl")) as f:
        golds = [json.loads(line)["answer"].split("####")[1].strip() for line in f][:4]
    with open(tmp + "/a.jsonl", "w") as f:
        for i, gold in enumerate(golds):
            f.write(json.dumps({"task_id": str(i), "output": f"#### {gold}"}) + "\n")
    ok("score", "mini-gsm8k", tmp + "/a.jsonl", "-o", tmp, "--model-name", name, "--partial", "--progress", "never", "-q")
    ok("report", tmp, "-o", tmp + "/report", "-q")
    assert sorted(os.listdir(tmp + "/report")) == sorted([
        "accuracy.csv", "accuracy.svg", "cells.csv", "levels.csv", "levels.svg", "report.html", "runs.csv"])
    [c] = table(tmp + "/report/cells.csv")
    assert c["model"] == name and float(c["score"]) == 1
    for key in ("unique", "unique_share", "tok_per_s", "forwards_per_answer", "bytes_per_committed", "gen_p50_s"):
        assert c[key] == "", (key, c[key])
    text, page = read_page(tmp + "/report/report.html")
    assert "<script>alert" not in text and "&#60;script&#62;alert(1)" in text
    assert page.tags.count("script") == 1
    assert "tok/s" not in re.search("<thead>.*</thead>", text).group()


def what_cannot_be_reported_is_refused(tmp):
    fails(3, ["no-such-folder"], "report", "no-such-folder:last", "-o", tmp + "/r")
    ok("run", "--model", SHAPE, "--load-format", "dummy", "-t", "sample_gsm8k", "-L", "1", "--gen-length", "32",
       "-o", tmp, "--progress", "never", "-q")
    ok("baseline", "export", "last", "--results", tmp, "-o", tmp + "/b.json", "-q")
    fails(2, ["b.json", "baseline file"], "report", tmp + "/b.json", "-o", tmp + "/r")
    with open(tmp + "/file", "w"):
        pass
    fails(3, ["/file"], "report", tmp, "-o", tmp + "/file/r")
    assert not os.path.exists(tmp + "/r")
    ok("report", tmp, "-o", tmp + "/r", "-q")
    with open(tmp + "/r/report.html") as f:
        assert "dummy weights" in f.read()


if __name__ == "__main__":
    main(globals())
