"""End-to-end tests of `desbench report`: its numbers are those of the results file. Prints TAP.
Usage: test_report.py PROGRAM [CASE...]"""
import csv
import html.parser
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SHAPE, SOURCE, call, fails, main, ok  # noqa: E402

SELECTORS = ["vanilla", "topk:k=4", "topk:k=1"]


# Where there is no rsvg-convert: PNGs take their time, and have a test of their own.
PLAIN = {"PATH": "/nonexistent"}


def report(*args):
    return ok("report", *args, "-q", env=PLAIN)


def sweep(tmp, made={}):
    """Two tasks under three policies, by the bundled model: made once, then copied."""
    if made:
        with open(tmp + "/results.sqlite", "wb") as f:
            f.write(made["file"])
        report(tmp, "-o", tmp + "/report")
        return tmp + "/report"
    ok("run", "-m", os.path.join(SOURCE, "models", "mini-e64"), "-t", "mini-gsm8k,mini-humaneval_pro", "-L", "6",
       *[x for s in SELECTORS for x in ("--selector", s)], "-o", tmp, "--progress", "never", "-q")
    with open(tmp + "/results.sqlite", "rb") as f:
        made["file"] = f.read()
    report(tmp, "-o", tmp + "/report")
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
               sum(s.sum_expert_bytes) AS bytes, sum(s.total_ns) AS ns
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
        [q] = sql(tmp, "SELECT sum(passed) AS k FROM sample_flat WHERE (task = ?1 OR ?1 = 'all') AND selector = ?2",
                  x["task"], x["policy"])
        assert int(x["n_passed"]) == q["k"]
    for p in table(folder + "/pareto-bytes.csv"):
        q = policies[p["policy"]]
        near(p["bytes_per_answer"], q["bytes"] / q["n"])
        assert float(p["bytes_per_answer_low"]) < q["bytes"] / q["n"] < float(p["bytes_per_answer_high"])
        assert 0 <= float(p["frontier_probability"]) <= 1
    for p in table(folder + "/pareto-latency.csv"):
        q = policies[p["policy"]]
        near(p["seconds_per_forward"], q["ns"] * 1e-9 / q["forwards"])
        assert float(p["seconds_per_forward_low"]) < q["ns"] * 1e-9 / q["forwards"]
    for x in table(folder + "/bytes.csv"):
        q = policies[x["policy"]]
        near(x["bytes_per_right"], q["bytes"] / q["k"]) if q["k"] else None
        of_all = [c for c in commits if c["policy"] == x["policy"]]
        near(x["bytes_per_committed"],
             q["bytes"] / sum(int(c["n_forwards"]) * int(c["n_committed"]) for c in of_all))


def mcnemar(b, c):
    """Exact, two-sided."""
    m = b + c
    return min(1, 2 * sum(math.comb(m, i) for i in range(max(b, c), m + 1)) / 2 ** m) if m else 1


def holm(p):
    """Adjusted p-values, in their order."""
    order, last, ret = sorted(range(len(p)), key=lambda i: p[i]), 0, [0] * len(p)
    for k, i in enumerate(order):
        last = max(last, min(1, p[i] * (len(p) - k)))
        ret[i] = last
    return ret


def marks_are_holms_of_mcnemars_tests(tmp):
    folder = sweep(tmp)
    rows = table(folder + "/accuracy.csv")
    assert all(r["p_holm"] == r["lost"] == "" for r in rows if r["policy"] == "vanilla")
    for of_all in (False, True):
        mine = [r for r in rows if r["policy"] != "vanilla" and (r["task"] == "all") == of_all]
        p = []
        for r in mine:
            [q] = sql(tmp, """
                SELECT sum(v.passed AND NOT x.passed) AS lost, sum(x.passed AND NOT v.passed) AS gained
                FROM sample_flat v JOIN sample_flat x USING (task, task_id)
                WHERE v.selector = 'vanilla' AND x.selector = ?1 AND (?2 = 'all' OR task = ?2)""", r["policy"], r["task"])
            assert (int(r["lost"]), int(r["gained"])) == (q["lost"], q["gained"])
            p.append(mcnemar(q["lost"], q["gained"]))
        for r, x in zip(mine, holm(p)):
            near(r["p_holm"], x)


def the_line_of_latency_is_that_of_least_squares(tmp):
    folder = sweep(tmp)
    rows = table(folder + "/latency.csv")
    assert [r["policy"] for r in rows] == SELECTORS
    x, y = [float(r["unique"]) for r in rows], [float(r["seconds_per_forward"]) for r in rows]
    mx, my = sum(x) / 3, sum(y) / 3
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
    for r in rows:
        assert math.isclose(float(r["slope_s_per_expert"]), slope, rel_tol=1e-6)
        assert math.isclose(float(r["intercept_s"]), my - slope * mx, rel_tol=1e-6)


def the_page_needs_no_network_and_is_well_formed_and_repeats(tmp):
    folder = sweep(tmp)
    text, page = read_page(folder + "/report.html")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {x for x in page.links if x != "data:,"} <= set(os.listdir(folder))
    names = {"pareto", "pareto-bytes", "pareto-latency", "accuracy", "levels", "latency", "batches", "forwards",
             "commits", "bytes", "seconds", "layers"}
    assert {x[:-4] for x in os.listdir(folder) if x.endswith(".svg")} == names  # no block sizes, no bench: no figure
    assert page.tags.count("svg") == len(names) and page.tags.count("script") == 1
    assert "VALID" in text and sql(tmp, "SELECT run_id FROM run")[0]["run_id"] in text
    for name in os.listdir(folder):
        if name.endswith(".svg"):
            root = ElementTree.parse(os.path.join(folder, name)).getroot()
            assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root) > 3
            assert os.path.exists(os.path.join(folder, name[:-3] + "csv"))
    report(tmp, "-o", tmp + "/again")
    assert sorted(os.listdir(folder)) == sorted(os.listdir(tmp + "/again"))
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as a, open(os.path.join(tmp, "again", name), "rb") as b:
            assert a.read() == b.read(), name


def every_claim_has_a_verdict_or_a_reason_and_its_numbers_are_those_of_a_query(tmp):
    sweep(tmp)
    out = report(tmp, "-o", tmp + "/claims", "--claims")
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
    report(tmp, "-o", tmp + "/r")
    cells = table(tmp + "/r/cells.csv")
    assert len(cells) == 7  # of six one is newer, and one more
    last = [r["run_id"] for r in sql(tmp, "SELECT run_id FROM run ORDER BY run_no")][-1]
    for c in cells:
        is_new = c["task"] == "mini-gsm8k" and c["policy"] in ("vanilla", "des-seq:k0=2")
        assert c["run_id"] == (last if is_new else first[c["cell_key"]]), c
    assert len(table(tmp + "/r/runs.csv")) == 2
    report(tmp, "-t", "mini-humaneval_pro", "-o", tmp + "/t")
    assert {c["task"] for c in table(tmp + "/t/cells.csv")} == {"mini-humaneval_pro"}
    report(tmp + ":last", "-o", tmp + "/last")
    assert {c["run_id"] for c in table(tmp + "/last/cells.csv")} == {last}
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.execute("UPDATE run SET validity = 'INVALID: a test' WHERE run_id = ?", (last,))
    db.commit()
    db.close()
    report(tmp, "-o", tmp + "/v")
    assert {c["run_id"]: 0 for c in table(tmp + "/v/cells.csv")} == dict.fromkeys(first.values(), 0)
    db = sqlite3.connect(tmp + "/results.sqlite")
    db.execute("UPDATE run SET validity = 'INVALID: a test'")
    db.commit()
    db.close()
    fails(3, ["done and valid", "last"], "report", tmp, "-o", tmp + "/none")
    report(tmp + ":last", "-o", tmp + "/named")
    with open(tmp + "/named/report.html") as f:
        assert "INVALID: a test" in f.read()


def models_have_groups_block_sizes_a_figure_and_names_are_whole(tmp):
    long = "des-vote:beta=0.5,vote_norm=topk,renorm=over"
    for model in ("mini-e64", "mini-e16"):
        ok("run", "-m", os.path.join(SOURCE, "models", model), "-t", "mini-gsm8k", "-L", "3", "-b", "3", "--block-length",
           "16,32", "--selector", "vanilla", "--selector", long, "-o", tmp, "--progress", "never", "-q")
    report(tmp, "-o", tmp + "/r")
    for name in ("pareto", "pareto-bytes", "pareto-latency"):
        for k, model in enumerate(["mini-e64", "mini-e16"]):
            rows = table(f"{tmp}/r/{name}-{k + 1}.csv")
            assert {r["model"] for r in rows} == {model} and len(rows) == 4
    blocks = table(tmp + "/r/blocks.csv")
    assert len(blocks) == 8
    for b in blocks:
        [q] = sql(tmp, """SELECT sum(sum_unique) * 1.0 / sum(n_layer_forwards) AS u FROM sample JOIN cell USING (cell_key)
                  WHERE model = ? AND selector = ? AND block_length = ?""", b["model"], b["selector"], b["block_length"])
        near(b["unique"], q["u"])
        assert b["policy"] == f"{b['selector']}, block {b['block_length']}"
        assert float(b["low"]) <= q["u"] <= float(b["high"])
    texts = "".join(x.text for x in ElementTree.parse(tmp + "/r/accuracy.svg").getroot().iter()
                    if x.tag.endswith("}text"))
    assert f"{long}, block 16" in texts and f"{long}, block 32" in texts
    cells = table(tmp + "/r/cells.csv")
    assert len(cells) == 8 and all(c["unique_of_vanilla"] == "1" for c in cells if c["policy"].startswith("vanilla"))
    out = report(tmp, "--claims", "-o", tmp + "/c")  # a claim has a row for each model
    assert re.search(r"^    mini-e64 over mini-e16 ", out, re.M), out


def a_bench_record_makes_a_roofline_of_measured_ceilings(tmp):
    sweep(tmp)
    path = os.path.join(SOURCE, "docs", "measurements", "ops-llada-moe-xeon-2-cores.json")
    with open(path) as f:
        record = json.load(f)
    report(tmp, "--bench", path, "-o", tmp + "/b")
    rows = table(tmp + "/b/roofline.csv")
    [memory] = [r for r in rows if r["name"] == "memory"]
    near(memory["bytes_per_s"], max(record["read_bytes_per_s"]))
    assert {r["name"]: float(r["flop_per_s"]) for r in rows if r["kind"] == "ceiling" and r["name"] != "memory"} == {
        k: float(f"{v:.12g}") for k, v in record["flops_per_s"].items()}
    timed = [r for r in record["results"] if r["flops"] > 0 and r["bytes"] > 0]
    mine = [r for r in rows if r["kind"] == "timing"]
    assert [(r["name"], r["shape"]) for r in mine] == [(r["name"], r["shape"]) for r in timed]
    for r, t in zip(mine, timed):
        near(r["flop_per_byte"], t["flops"] / t["bytes"])
        near(r["flop_per_s"], t["flops"] * 1e9 / t["median_ns"])
    with open(tmp + "/bad.json", "w") as f:
        f.write("{}")
    fails(2, ["bad.json"], "report", tmp, "--bench", tmp + "/bad.json", "-o", tmp + "/r")


def figures_are_pngs_where_there_is_a_tool(tmp):
    folder = sweep(tmp)
    assert not [x for x in os.listdir(folder) if x.endswith(".png")]
    _, _, err = call("report", tmp, "-o", tmp + "/none", env=PLAIN)
    assert "rsvg-convert" in err, err
    if not shutil.which("rsvg-convert"):
        return print("# no rsvg-convert: PNGs not tried", flush=True)
    ok("report", tmp, "-o", tmp + "/png", "-q")
    names = {x[:-4] for x in os.listdir(tmp + "/png") if x.endswith(".svg")}
    assert names == {x[:-4] for x in os.listdir(tmp + "/png") if x.endswith(".png")}
    for name in names:
        with open(f"{tmp}/png/{name}.png", "rb") as f:
            assert f.read(8) == b"\x89PNG\r\n\x1a\n"
    _, page = read_page(tmp + "/png/report.html")
    assert {x + ".png" for x in names} <= set(page.links)


def a_browser_shows_it_without_an_error_or_a_request(tmp):
    """Headless Chromium, where it is installed: nothing on the console, nothing fetched, nothing wider than the
    window, and a table that sorts."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        return print("# no chromium: the page is not opened", flush=True)
    sweep(tmp)
    report(tmp, "--claims", "-o", tmp + "/report")
    with open(tmp + "/report/report.html") as f:
        text = f.read()
    probe = """<script>addEventListener('load',function(){var t=document.querySelector('table.sort'),h=t.tHead.rows[0].cells,
      i=Array.prototype.findIndex.call(h,function(x){return x.textContent=='U'});h[i].querySelector('button').click();
      var u=Array.prototype.map.call(t.tBodies[0].rows,function(r){return +r.cells[i].dataset.v});
      document.title=JSON.stringify({wide:document.documentElement.scrollWidth,window:innerWidth,
        sorted:u.every(function(x,k){return !k||u[k-1]<=x}),n:u.length,requests:performance.getEntriesByType('resource').length,
        images:document.querySelectorAll('figure svg').length,
        dark:getComputedStyle(document.body).backgroundColor})})</script></body>"""
    with open(tmp + "/report/probe.html", "w") as f:
        f.write(text.replace("</body>", probe))
    colors = set()
    for width in (390, 1440):
        for dark in (False, True):
            p = subprocess.run(
                [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
                 f"--user-data-dir={tmp}/chromium", f"--window-size={width},2000", "--host-resolver-rules=MAP * ~NOTFOUND",
                 f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=2000", "--dump-dom",
                 f"file://{tmp}/report/probe.html"], capture_output=True, timeout=300)
            found = re.search(r"<title>(\{.*?\})</title>", p.stdout.decode())
            assert found, p.stderr.decode()[-2000:]
            seen = json.loads(found.group(1).replace("&quot;", '"'))
            assert seen["wide"] <= max(seen["window"], width), seen
            assert seen["sorted"] and seen["n"] == 6 and seen["requests"] == 0 and seen["images"] == 12, seen
            assert not re.search(r"CONSOLE", p.stderr.decode()), p.stderr.decode()
            colors.add(seen["dark"])
    assert len(colors) == 2, colors  # by day and by night


def what_was_not_measured_is_absent_and_names_are_escaped(tmp):
    """Answers made elsewhere: no experts, forwards or times; the model's name is anybody's."""
    name = "<script>alert(1)</script>\"'&"
    with open(os.path.join(SOURCE, "tasks", "mini", "gsm8k.jsonl")) as f:
        golds = [json.loads(line)["answer"].split("####")[1].strip() for line in f][:4]
    with open(tmp + "/a.jsonl", "w") as f:
        for i, gold in enumerate(golds):
            f.write(json.dumps({"task_id": str(i), "output": f"#### {gold}"}) + "\n")
    ok("score", "mini-gsm8k", tmp + "/a.jsonl", "-o", tmp, "--model-name", name, "--partial", "--progress", "never", "-q")
    report(tmp, "-o", tmp + "/report")
    assert sorted(os.listdir(tmp + "/report")) == sorted([
        "accuracy.csv", "accuracy.svg", "cells.csv", "levels.csv", "levels.svg", "report.html", "runs.csv"])
    assert "nan" not in open(tmp + "/report/accuracy.svg").read()
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
    fails(3, ["no file 'no-such.sqlite'"], "report", "no-such.sqlite", "-o", tmp + "/r")
    ok("run", "--model", SHAPE, "--load-format", "dummy", "-t", "sample_gsm8k", "-L", "1", "--gen-length", "32",
       "-o", tmp, "--progress", "never", "-q")
    ok("baseline", "export", "last", "--results", tmp, "-o", tmp + "/b.json", "-q")
    fails(2, ["b.json", "baseline file"], "report", tmp + "/b.json", "-o", tmp + "/r")
    with open(tmp + "/file", "w"):
        pass
    fails(3, ["/file"], "report", tmp, "-o", tmp + "/file/r")
    assert not os.path.exists(tmp + "/r")
    report(tmp, "-o", tmp + "/r")
    with open(tmp + "/r/report.html") as f:
        assert "dummy weights" in f.read()


if __name__ == "__main__":
    main(globals())
