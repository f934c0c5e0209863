"""Selectors end to end: listings, every policy on the bundled model, batches, what is stored. Prints TAP.

Usage: test_selectors.py PROGRAM [CASE...]
"""
import csv
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SOURCE, call, fails, main, need_model, ok, rows  # noqa: E402

TASK = "mini-gsm8k"
POLICIES = ["vanilla", "topk:k=1", "topp:p=0.5", "naee", "mc-moe", "des-seq:k0=1", "des-vote:beta=0.4", "dmoe",
            "xshare:m=24", "moe-spec:m=24", "random:m=24", "previous-step:m=24", "oracle-mass:m=24",
            "des-vote:m=24,vote=logit,voters=masked,prefill=blocks", "des-vote:m=24,prefill=on,renorm=over"]


def run(folder, limit, batch, policies, *args):
    chosen = [x for p in policies for x in ("--selector", p)]
    return ok("run", "-m", "mini-e64", "-t", TASK, "-L", limit, "-b", batch, *chosen, *args, "-o", folder, "--progress",
              "never")


def listings_name_every_policy_and_field(tmp):
    listed = json.loads(ok("ls", "selectors", "--json"))
    names = {r["selector"]: r for r in listed}
    assert {p.split(":")[0] for p in POLICIES} | {"static", "oea"} == set(names)
    assert names["oea"]["alias_of"] == "des-seq"
    fields = [r["field"] for r in json.loads(ok("ls", "fields", "--json"))]
    text = ok("ls", "selectors")
    for r in listed:
        assert "\n" + r["selector"] + "\n" in "\n" + text
        if not r["alias_of"]:
            assert r["source"] and r["settled"] and r["settings"] in text
            for part in r["settings"].replace(" or ", ",").split(","):
                assert part.split("=")[0] in fields, part
    assert len(list(csv.DictReader(ok("ls", "selectors", "--format", "csv").splitlines()))) == len(listed)
    with open(os.path.join(SOURCE, "docs", "selectors.md")) as f:
        page = f.read()
    for name in names:
        assert f"`{name}`" in page, name


def answers_do_not_depend_on_the_batch_under_any_policy(tmp):
    need_model()
    found = []
    for batch in (1, 8, 32):
        folder = f"{tmp}/{batch}"
        run(folder, 8, batch, POLICIES)
        found.append(rows(folder, "select c.selector, i.task_id, s.cell_key, s.tokens_sha256, s.sum_unique, s.sum_natural"
                                  " from sample s join cell c using (cell_key) join item i using (item_id)"
                                  " order by 1, 2"))
    assert len(found[0]) == 8 * len(POLICIES)
    assert found[0] == found[1] == found[2]
    assert len({r[3] for r in found[0]}) > len(found[0]) / 3  # and policies do differ


def a_joint_coreset_is_a_cell_of_its_batch_size(tmp):
    need_model()
    for batch in (1, 4):
        run(f"{tmp}/{batch}", 4, batch, ["des-vote:m=20,scope=batch"])
    modes = [rows(f"{tmp}/{b}", "select numeric_mode, cell_key from cell") for b in (1, 4)]
    assert modes[0][0][0].startswith("batch-of-1") and modes[1][0][0].startswith("batch-of-4"), modes
    assert modes[0][0][1] != modes[1][0][1]


def popular_experts_of_a_run_can_be_kept(tmp):
    need_model()
    run(tmp, 2, 1, ["vanilla"])
    counts = json.loads(ok("show", "last", "--popularity", "-o", tmp))
    assert len(counts["tokens"]) == 6 and all(len(x) == 64 for x in counts["tokens"])
    n_tokens = sum(f["n_tok"] for line in ok("show", "last", TASK, "-o", tmp, "--json").splitlines()
                   for f in json.loads(line)["forwards"])
    assert all(sum(x) == 8 * n_tokens for x in counts["tokens"])
    path = tmp + "/counts.json"
    with open(path, "w") as f:
        json.dump(counts, f)
    run(tmp, 2, 1, [f"static:m=64,file={path}", f"static:m=20,file={path}"])
    texts = rows(tmp, "select selector, budget from cell where selector like 'static%' order by 1")
    assert [t[1] for t in texts] == ["m=20", "m=64"] and all(f"{path}@sha256:" in t[0] for t in texts), texts
    full, own = (rows(tmp, f"select tokens_sha256 from sample join cell using (cell_key) where selector like '{s}' "
                           "order by item_id") for s in ("static:m=64%", "vanilla"))
    assert full == own
    counts["weights_sha256"] = "0" * 64
    with open(path, "w") as f:
        json.dump(counts, f)
    fails(2, ["counted with other weights"], "run", "-m", "mini-e64", "-t", TASK, "-L", "1", "--selector",
          f"static:m=20,file={path}", "-o", tmp, "--progress", "never", "-q")
    code, _, err = call("run", "-m", "mini-e64", "-t", TASK, "-L", "1", "--selector", texts[0][0], "-o", tmp)
    assert code != 0 and "has changed" in err, (code, err)


def a_diagnosis_measures_and_changes_nothing(tmp):
    need_model()
    policies = ["vanilla", "des-vote:m=12"]
    run(tmp + "/a", 2, 2, policies)
    out = json.loads(run(tmp + "/b", 2, 2, policies, "--diagnose", "--json"))
    tokens = [rows(tmp + x, "select tokens_sha256 from sample order by cell_key, item_id") for x in ("/a", "/b")]
    assert tokens[0] == tokens[1]
    vanilla, vote = (json.loads(line) for line in
                     [ok("show", "last", TASK, "-o", tmp + "/b", "--json").splitlines()[i] for i in (0, -1)])
    assert all(e == 0 for f in vanilla["forwards"] for e in f["output_errors"])
    assert vanilla["selector"] == "vanilla" and vote["selector"] == "des-vote:m=12"
    block = [f for f in vote["forwards"] if not f["cache_refresh"]]
    assert block and all(u == 12 for f in block for u in f["unique_experts"])
    assert any(e > 0.01 for f in block for e in f["output_errors"])
    assert all(f["unique_experts"] == f["vanilla_experts"] for f in vote["forwards"] if f["cache_refresh"])
    share = [t["mean_unique_experts"] / t["mean_vanilla_experts"] for t in out["tasks"]]
    assert share[0] == 1 and share[1] < 1
    assert "output_errors" not in ok("show", "last", TASK, "-o", tmp + "/a", "--json")


if __name__ == "__main__":
    main(globals())
