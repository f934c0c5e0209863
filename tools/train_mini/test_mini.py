#!/usr/bin/env python3
"""Tests of the mini suites' data: what is held out of training stays out.

    python3 tools/train_mini/test_mini.py

The report in overlap.json is of the whole stream; it counts only if it was made for the suites as
they are. A slice of the stream is drawn again here. Python's standard library only.
"""

import json
import os
import random

import code_items
import items
import make_report
import reserve
import stream

SLICE = 40


def the_report_is_of_these_suites_and_finds_no_overlap():
    with open(os.path.join(stream.HERE, "overlap.json")) as f:
        report = json.load(f)
    assert report["suites"] == make_report.suite_hashes(), "overlap.json was made for other suites"
    assert report["stream_items"] > 1_000_000
    for task in items.TASKS:
        assert report[task]["items"] == 1000
        assert report[task]["exact"] == report[task]["normal"] == 0, task


def a_slice_of_the_stream_has_no_reserved_pair_and_no_form_of_a_suite():
    suites = {x for forms in stream.suite_forms().values() for f in forms for k in ("exact", "normal") for x in f[k]}
    assert len(suites) > 15000
    for task in items.TASKS:
        for _, item in stream.shard("test", SLICE, task):
            assert reserve.split_of(task, item.parts, item.depth) == "train"
            forms = items.forms(task, item)
            assert not suites & {*forms["exact"], *forms["normal"]}


def items_of_the_test_split_hold_a_reserved_composition():
    rng, choose = random.Random(3), code_items.make_chooser(1.0)
    for task in items.TASKS:
        for depth in range(1, reserve.MAX_DEPTH[task] + 1):
            item = items.draw(rng, choose, task, depth, "test")
            assert reserve.n_reserved(item.parts) or depth == reserve.RESERVED_DEPTH[task]


def normal_forms_see_through_names_and_nothing_else():
    f = "def f(nums):\n    x = sorted(nums)\n    return x[:3]\n"
    g = "def other(rows):\n    q = sorted(rows)\n    return q[:3]\n"
    h = "def f(nums):\n    x = sorted(nums)\n    return x[:4]\n"
    assert items.tree(f) == items.tree(g) != items.tree(h)
    assert items.tree(f, True) == items.tree(h, True)
    assert items.plain_text("Mia has 3 plums.") == items.plain_text("Tom has 3 books.")
    assert items.plain_text("Mia has 3 plums.") != items.plain_text("Mia has 4 plums.")


def records_and_items_have_the_same_forms():
    rng, choose = random.Random(4), code_items.make_chooser(1.0)
    for task in items.TASKS:
        for depth in (1, 2, 3):
            item = items.draw(rng, choose, task, depth, "test")
            code = stream.answer_code(task, item.record)
            assert items.forms(task, item) == items.forms(task, code_items.Item(item.record, None, None, None, code))


def main():
    stream.limit_memory()
    tests = [f for f in list(globals().values()) if callable(f) and f.__module__ == "__main__" and f is not main]
    print(f"1..{len(tests)}", flush=True)
    for i, test in enumerate(tests, 1):
        test()
        print(f"ok {i} - {test.__name__}", flush=True)


if __name__ == "__main__":
    main()
