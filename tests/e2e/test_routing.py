"""End-to-end tests of `desbench routing`. Prints TAP. Usage: test_routing.py PROGRAM"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import SHAPE, fails, main, ok  # noqa: E402

ASK = ["routing", "--model", SHAPE, "--load-format", "dummy", "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64",
       "--block-length", "32", "-q"]


def a_record_holds_what_the_router_did(tmp):
    r = json.loads(ok(*ASK, "--json"))
    assert (r["format"], r["n_prompts"], r["block_length"], r["tasks"]) == ("desbench-routing-1", 2, 32, ["sample_gsm8k"])
    m, k = r["n_experts"], r["top_k"]
    assert [b["block_length"] for b in r["blocks"]] == [8, 16, 24, 32, 48, 64]
    for b in r["blocks"]:
        assert k <= b["least_layer"] <= b["mean_unique"] <= b["most_layer"] <= m
        assert abs(b["uniform"] - m * (1 - (1 - k / m) ** b["block_length"])) < 1e-9
        assert abs(b["ratio"] - b["mean_unique"] / b["uniform"]) < 1e-12
        assert b["n_samples"] % r["n_moe_layers"] == 0 and b["sd_unique"] >= 0
    own = r["blocks"][3]
    assert [x["layer"] for x in r["layers"]] == list(range(r["n_moe_layers"]))
    for x in r["layers"] + [r["all"]]:
        assert 1 / m <= x["top1_mass"] <= x["topk_mass"] <= 1 and x["topk_mass"] >= k / m
        assert x["load_max_over_mean"] >= 1 and 0 <= x["overlap"] <= 1
    assert abs(r["all"]["mean_unique"] - own["mean_unique"]) < 1e-12
    assert r["all"]["dead"] == sum(x["dead"] for x in r["layers"])
    assert min(x["mean_unique"] for x in r["layers"]) == own["least_layer"]
    for v in r["votes"]:
        assert v["n_samples"] <= own["n_samples"]
        assert v["n_samples"] == 0 or 0 <= v["differs"] < 1 and 0 <= v["mass_lost"] < 1


def unique_experts_are_those_that_run_stores(tmp):
    """Those of the block alone, so no more than those of the whole canvas, and of every forward."""
    r = json.loads(ok(*ASK, "--cache", "none", "--block-length", "64", "--json"))
    ok("run", "--model", SHAPE, "--load-format", "dummy", "-t", "sample_gsm8k", "-L", "2", "--gen-length", "64",
       "--block-length", "64", "--cache", "none", "-o", tmp, "--progress", "never")
    samples = [json.loads(line) for line in ok("show", "last", "sample_gsm8k", "-o", tmp, "--json").splitlines()]
    own = r["blocks"][-1]
    assert own["n_samples"] == sum(len(s["forwards"]) for s in samples) * r["n_moe_layers"]
    every = [u for s in samples for f in s["forwards"] for u in f["unique_experts"]]
    assert own["mean_unique"] <= sum(every) / len(every)


def the_same_twice_and_a_record_prints_as_the_measurement_does(tmp):
    record = ok(*ASK, "--json")
    with open(tmp + "/r.json", "w") as f:
        f.write(record)
    text = ok(*ASK)
    assert ok("routing", tmp + "/r.json") == text and "DUMMY WEIGHTS" in text
    again = json.loads(ok("routing", tmp + "/r.json", "--json"))
    assert again == json.loads(record)
    markdown = ok("routing", tmp + "/r.json", "--format", "markdown")
    assert markdown.count("\n| --") == 3
    assert "arXiv:2602.00879" in markdown and "0.935" in markdown and "0.426" in markdown


def a_record_that_is_none_is_refused_with_its_field(tmp):
    record = json.loads(ok(*ASK, "--json"))

    def refused(change, *words):
        broken = json.loads(json.dumps(record))
        change(broken)
        with open(tmp + "/r.json", "w") as f:
            json.dump(broken, f)
        fails(2, [tmp + "/r.json", *words], "routing", tmp + "/r.json")

    refused(lambda r: r.pop("format"), "'format'")
    refused(lambda r: r.update(format="desbench-routing-9"), "desbench-routing-9")
    refused(lambda r: r.pop("all"), "'all'")
    refused(lambda r: r["layers"][0].update(dead="none"), "'dead'")
    refused(lambda r: r["blocks"][0].update(mean_unique=[]), "'mean_unique'")
    refused(lambda r: r.update(votes={}), "'votes'")
    refused(lambda r: r.update(tasks=[1]), "'tasks'")
    with open(tmp + "/r.json", "w") as f:
        f.write("[]")
    fails(2, ["not an object"], "routing", tmp + "/r.json")
    fails(3, ["none.json"], "routing", tmp + "/none.json")


def what_routing_cannot_do_is_refused(tmp):
    fails(2, ["csv"], *ASK, "--format", "csv")
    fails(2, ["--selector"], *ASK, "--selector", "topk:k=1")
    fails(3, ["no-such-model"], "routing", "--model", "no-such-model")
    fails(2, ["'sample_gsm8k'", "8192"], *ASK[:7], "--gen-length", "8192", "--block-length", "32")


if __name__ == "__main__":
    main(globals())
