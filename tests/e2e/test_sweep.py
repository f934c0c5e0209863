"""Sweeps that are killed and begun again, and the plans that come with the program. Prints TAP.
Usage: test_sweep.py PROGRAM [CASE...]

DESBENCH_KILLS says how many kills the case of random moments makes (6), DESBENCH_SEED what its moments follow from.
"""
import glob
import json
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SHAPE, fails, main, ok  # noqa: E402
from test_resume import contents, db_rows, end, n_samples, same, start, wait_for  # noqa: E402

N_KILLS = int(os.environ.get("DESBENCH_KILLS", "6"))
SEED = int(os.environ.get("DESBENCH_SEED", "1"))
SOURCE = os.environ["DESBENCH_SOURCE"]
PLAN = f"""
load-format: dummy
tasks: [sample_gsm8k, sample_math500]
gen-length: 32
decoder: threshold
threshold: 0
n-samples: 3
temperature: 1
runs:
  - model: {SHAPE}
    block-length: 16,32
    seed: 0-1
    selector: [vanilla, "topk:k=1,2"]
  - model: {SHAPE}
    block-length: 8
"""


def plan(tmp, text=PLAN, name="p.yaml"):
    path = os.path.join(tmp, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def sweep(path, *args):
    return ["sweep", path, "-o", "runs", "--progress", "never", *args]


def stored(folder):
    """What a sweep stores, whichever of its runs began first, and without those that hold nothing."""
    found = contents(folder)
    found["run"] = sorted((r for r in found["run"]), key=repr)
    found.pop("telemetry")  # `show last` is of one run
    found.pop("metric")
    return found


def a_sweep_killed_at_random_moments_equals_an_undisturbed_one(tmp):
    path = plan(tmp)
    began = time.monotonic()
    end(start(tmp + "/whole", sweep(path)), 0)
    whole_s = time.monotonic() - began
    whole = stored(tmp + "/whole")
    assert len(whole["run"]) == 3 and len(whole["cell"]) == 14, (len(whole["run"]), len(whole["cell"]))
    rng = random.Random(SEED)
    folder = tmp + "/killed"
    for _ in range(N_KILLS):
        p = start(folder, sweep(path))
        time.sleep(rng.uniform(0.1, 0.6 * whole_s))
        p.send_signal(signal.SIGKILL)
        p.communicate()
    end(start(folder, sweep(path)), 0)
    again = stored(folder)
    # a kill between the row of a run and its first sample is gone on with like any other
    same({k: v for k, v in whole.items()}, again)
    assert db_rows(folder, "select distinct status, validity from run") == [("done", "VALID")]


def a_sweep_that_is_done_computes_nothing(tmp):
    path = plan(tmp)
    first, _ = end(start(tmp, sweep(path)), 0)
    n, n_runs = n_samples(tmp), db_rows(tmp, "select count(*) from run")
    second, err = end(start(tmp, sweep(path)), 0)
    assert second == first and n_samples(tmp) == n and db_rows(tmp, "select count(*) from run") == n_runs, err
    # one selector more: that alone
    end(start(tmp, sweep(path, "--selector", "vanilla", "--selector", "topk:k=1,2", "--selector", "naee:tail=0.9")), 0)
    assert db_rows(tmp, "select distinct substr(selector, 1, 4) from cell order by 1") == [("naee",), ("topk",), ("vani",)]


def a_run_that_measures_more_has_an_engine_of_its_own(tmp):
    path = plan(tmp, f"""
load-format: dummy
tasks: sample_gsm8k
limit: 1
gen-length: 32
model: {SHAPE}
runs:
  - selector: vanilla
  - selector: "topk:k=1"
    diagnose: true
""")
    end(start(tmp, sweep(path)), 0)
    runs = db_rows(tmp, "select run_id, task_id, selector from sample join cell using (cell_key)"
                        " join item using (item_id) order by 3 desc")
    assert [r[2] for r in runs] == ["vanilla", "topk:k=1"], runs
    for run_id, task_id, selector in runs:
        out = ok("show", run_id, "sample_gsm8k", task_id, "-o", "runs", "--json", cwd=tmp)
        assert ("output_errors" in out) == (selector != "vanilla"), selector


def an_interrupted_sweep_goes_on(tmp):
    path = plan(tmp)
    p = start(tmp, sweep(path, "-n", "30"))
    wait_for(tmp, 5, p)
    p.send_signal(signal.SIGINT)
    end(p, 130, "interrupted")
    n = n_samples(tmp)
    out, err = end(start(tmp, sweep(path, "-n", "30", "--json")), 0)
    cells = json.loads(out)["cells"]
    assert len(cells) == 2 * 2 * 3 * 2 + 2 and n_samples(tmp) > n, (len(cells), err)
    assert all(c["n_samples"] == 30 * c["n_items"] for c in cells)


def what_cannot_run_is_told_and_the_rest_carried_out(tmp):
    path = plan(tmp, PLAN + "  - model: no-such-model\n  - model: llada2.0-mini\n    load-format: safetensors\n")
    out = ok(*sweep(path, "--dry-run"), cwd=tmp)
    assert "not runnable: model 'no-such-model'" in out and "(2 not runnable here)" in out, out
    assert not os.path.exists(tmp + "/runs")
    one = json.loads(ok(*sweep(path, "--dry-run", "--json"), cwd=tmp))
    assert one["n_cells"] == 26 and len(one["not_runnable"]) == 2, one
    end(start(tmp, sweep(path)), 6, "not runnable")
    assert n_samples(tmp) > 0
    # times are known now
    assert json.loads(ok(*sweep(path, "--dry-run", "--json"), cwd=tmp))["n_cells_without_time"] == 0


def a_run_whose_backend_lacks_a_mode_or_an_instruction_set_is_told(tmp):
    more = "  - backend: cpu\n    numeric: fast\n  - backend: ref\n    isa: avx2\n"
    one = json.loads(ok(*sweep(plan(tmp, PLAN + more), "--dry-run", "--json"), cwd=tmp))
    why = [r["why"] for r in one["not_runnable"]]
    assert one["n_cells"] == 26, one["n_cells"]
    assert why == ["backend 'cpu' has no numeric mode 'fast'", "backend 'ref' has no instruction set 'avx2'"], why


def shares_put_together_are_the_whole(tmp):
    path = plan(tmp)
    keys = set()
    for i in (1, 2):
        end(start(f"{tmp}/{i}", sweep(path, "--cells", f"{i}/2")), 0)
        found = {k for k, in db_rows(f"{tmp}/{i}", "select cell_key from cell")}
        keys |= found
    end(start(tmp + "/all", sweep(path)), 0)
    assert keys == {k for k, in db_rows(tmp + "/all", "select cell_key from cell")}


def mistakes_are_told_with_their_place(tmp):
    fails(2, ["p.yaml:2:5", "modell"], "sweep", plan(tmp, "runs:\n  - modell: x\n"))
    fails(2, ["desbench sweep"], "run", plan(tmp))
    fails(2, ["--seed", "sweep"], "run", "--seed", "0,1", "-m", SHAPE)
    fails(2, ["needs PLAN"], "sweep")


def every_bundled_plan_can_be_tried(tmp):
    for path in sorted(glob.glob(os.path.join(SOURCE, "plans", "*.yaml"))):
        name = os.path.basename(path)[:-5]
        if name == "claims":  # of `report`, not a plan
            continue
        if name == "mini-full":  # thousands of prompts: a few of them
            out = ok("sweep", name, "--dry-run", "-L", "2", "-o", tmp + "/none", cwd=tmp)
        else:
            out = ok("sweep", name, "--dry-run", "-o", tmp + "/none", cwd=tmp)
        assert "in all " in out, (name, out)
        if name == "mini-full" and "0 cells" in out:  # no GPU, or a build that knows none
            assert re.search("not runnable: (backend 'cuda'|no NVIDIA (driver|GPU))", out), out
        if name.startswith("des-"):
            assert "not runnable: " in out and "0 cells" in out, (name, out)
    assert "375 cells, 12000 samples" in ok("sweep", "mini-quick", "--dry-run", "-o", tmp + "/none", cwd=tmp)


if __name__ == "__main__":
    main(globals())
