"""The bundled model end to end: what `run` gives without arguments. Prints TAP.

Usage: test_mini.py PROGRAM [CASE...]
       test_mini.py PROGRAM --record    prints what tests/vectors/mini/default-run.json is to hold

The record is of backend cpu with AVX2, which gives the same bits on every machine that has it.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import PROGRAM, SHAPE, SOURCE, Skip, call, fails, main, need_model, need_sandbox, ok, rows  # noqa: E402

RECORD = os.path.join(SOURCE, "tests", "vectors", "mini", "default-run.json")
SUITES = ["mini-humaneval", "mini-humaneval_pro", "mini-mbpp", "mini-gsm8k", "mini-math500"]
COUNTS = ["task", "n_samples", "n_passed", "n_no_answer", "n_prompt", "n_gen_positions", "n_tokens_before_eos",
          "n_forwards", "n_forwards_cache"]
LIMIT = "4"


def tokens_of(folder):
    """The generated tokens of every sample, as one hash."""
    found = rows(folder, "select c.task, i.task_id, s.tokens_sha256 from sample s join cell c using (cell_key) "
                         "join item i using (item_id) order by 1, 2")
    return len(found), hashlib.sha256(json.dumps(found).encode()).hexdigest()


def default_run(folder, *args):
    code, out, err = call("run", "-L", LIMIT, "-o", folder, "--progress", "never", "--json", *args)
    if code == 2 and "avx2" in err and "avx2" in args:
        raise Skip("this processor has no AVX2")
    assert code == 0, (code, err)
    return json.loads(out)


def record(folder):
    out = default_run(folder, "--isa", "avx2")
    return {"model": out["model"], "weights_sha256": out["weights_sha256"], "limit": int(LIMIT), "isa": "avx2",
            "tokens_sha256": tokens_of(folder)[1], "tasks": [{k: t[k] for k in COUNTS} for t in out["tasks"]]}


def the_default_run_gives_the_recorded_counts(tmp):
    need_model()
    need_sandbox()
    with open(RECORD) as f:
        expected = json.load(f)
    found = record(tmp)
    assert found["weights_sha256"] == expected["weights_sha256"], \
        "other weights than the record is of: write it anew (see the head of this file)"
    for a, b in zip(found["tasks"], expected["tasks"]):
        assert a == b, f"found {a}, expected {b}"
    assert found == expected, (found["tokens_sha256"], expected["tokens_sha256"])


def two_runs_and_another_batch_give_the_same_answers(tmp):
    need_model()
    need_sandbox()
    runs = [default_run(f"{tmp}/{i}", "-b", b, "--threads", n) for i, (b, n) in enumerate(["12", "12", "31"])]
    assert len({tokens_of(f"{tmp}/{i}") for i in range(3)}) == 1 and tokens_of(f"{tmp}/0")[0] == 5 * int(LIMIT)
    for r in runs[1:]:
        for a, b in zip(runs[0]["tasks"], r["tasks"]):
            assert all(a[k] == b[k] for k in [*COUNTS, "value", "mean_unique_experts"]), (a, b)


def the_default_run_prints_the_five_suites(tmp):
    need_model()
    need_sandbox()
    out = ok("run", "-L", "1", "-o", tmp, "--progress", "never")
    assert "model mini-e64 (" in out and "DUMMY" not in out
    table = [line.split() for line in out.splitlines() if line.startswith("mini-") and "other scores" not in line]
    assert [line[0] for line in table] == SUITES
    heading = next(line for line in out.splitlines() if line.startswith("task "))
    for word in ["score", "95 % interval", "tok/s", "tok/forward", "forwards", "experts a layer"]:
        assert word in heading, heading
    assert rows(tmp, "select distinct model, decoder, cache, block_length, load_format from cell") == [
        ("mini-e64", "threshold:threshold=%s" % defaults()["threshold"], defaults()["cache"],
         defaults()["block_length"], "safetensors")]
    by = json.loads(ok("show", "last", "--by", "depth", "-o", tmp, "--json"))
    assert {r["task"] for r in by} >= set(SUITES)
    by = json.loads(ok("show", "last", "--by", "frequency", "-o", tmp, "--json"))
    assert {r["task"] for r in by} - {"all"} == set(SUITES[:3])


def defaults():
    with open(os.path.join(SOURCE, "models", "mini-e64", "generation_config.json")) as f:
        return json.load(f)


def options_win_over_the_models_own_decoding(tmp):
    need_model()
    plan = json.loads(ok("run", "-t", "mini-gsm8k", "--dry-run", "--json"))["cells"][0]
    assert (plan["decoder"], plan["cache"]) == (defaults()["decoder"], defaults()["cache"])
    ok("run", "-t", "mini-gsm8k", "-L", "1", "--threshold", "0.5", "--cache", "none", "--block-length", "16", "-o", tmp,
       "--progress", "never")
    assert rows(tmp, "select decoder, cache, block_length from cell") == [("threshold:threshold=0.5", "none", 16)]


def a_block_causal_model_answers_alike_with_and_without_its_cache(tmp):
    need_model("mini2-e64")
    ask = ["run", "-m", "mini2-e64", "-t", "mini-gsm8k", "-L", "16", "--progress", "never", "--json"]
    with open(os.path.join(SOURCE, "models", "mini2-e64", "generation_config.json")) as f:
        own = json.load(f)
    for cache, args in [(own["cache"], []), ("none", ["--cache", "none"])]:
        out = json.loads(ok(*ask, *args, "-o", f"{tmp}/{cache}"))
        assert out["tasks"][0]["n_passed"] >= 12, out["tasks"]
        assert rows(f"{tmp}/{cache}", "select decoder, cache from cell") == [
            ("block-diffusion:steps=32,threshold=%s" % own["threshold"], cache)]
    assert own["cache"] == "block" and tokens_of(tmp + "/block") == tokens_of(tmp + "/none")


def a_bad_default_of_a_model_is_named_with_file_field_and_value(tmp):
    shutil.copytree(SHAPE, tmp + "/m")
    for text, words in [('{"threshold": 1.5}', ["'threshold'", "1.5"]), ('{"cache": "big"}', ["cache", "'big'"]),
                        ('{"block_length": 0}', ["'block_length'", "0"]), ('{"steps": "8"}', ["'steps'"]),
                        ('{"blocklength": 32}', ["'blocklength'"])]:
        with open(tmp + "/m/generation_config.json", "w") as f:
            f.write(text)
        fails(2, [tmp + "/m/generation_config.json", *words], "run", "-m", tmp + "/m", "--load-format", "dummy",
              "-t", "sample_gsm8k", "--dry-run")


def a_copy_without_weights_says_so(tmp):
    """A program whose share folder has suites and plans but no models, and one with a model's configuration only."""
    os.makedirs(tmp + "/share/models")
    for name in ["tasks", "plans"]:
        os.symlink(os.path.join(SOURCE, name), f"{tmp}/share/{name}")
    shutil.copy(PROGRAM, tmp + "/desbench")
    with open(tmp + "/desbench.share", "w") as f:
        f.write(tmp + "/share\n")

    def run():
        p = subprocess.run([tmp + "/desbench", "run", "-o", tmp + "/out"], capture_output=True, timeout=60)
        return p.returncode, p.stdout.decode(), p.stderr.decode()

    code, out, err = run()
    assert code == 3 and out == "" and "no weights of its default model" in err and "'mini-e64'" in err, (code, err)
    shutil.copytree(SHAPE, tmp + "/share/models/mini-e64")
    code, out, err = run()
    assert code == 3 and out == "" and "models/mini-e64" in err and "safetensors" in err, (code, err)


if __name__ == "__main__":
    if sys.argv[2:] == ["--record"]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(record(folder), indent=1))
    else:
        main(globals())
