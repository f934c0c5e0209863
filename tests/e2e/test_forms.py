"""End-to-end tests of prompt forms and habits of other harnesses. Prints TAP.
Usage: test_forms.py PROGRAM"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_e2e import DATA, call, dry, fails, main, need_data, need_sandbox, ok, rows  # noqa: E402


def extract(task, line, *args):
    return json.loads(ok("extract", task, *args, stdin=json.dumps(line).encode()))


def forms_of(*args):
    return {r["form"]: r for r in json.loads(ok("ls", "forms", *args, "--json"))}


def forms_are_listed_with_what_they_need(tmp):
    forms = forms_of("gsm8k", "--data-dir", tmp)
    assert list(forms)[0] == "chat-oc-4shot"
    assert forms["complete-lm-eval-5shot"] == {
        "task": "gsm8k", "form": "complete-lm-eval-5shot", "kind": "text", "shots": 5,
        "needs": "gsm8k_train.jsonl", "data": "-", "source": forms["complete-lm-eval-5shot"]["source"]}
    assert forms["chat-oc-0shot"]["needs"] is None and forms["chat-oc-0shot"]["kind"] == "chat"
    assert all(f["shots"] == 0 and not f["needs"] for f in forms_of("sample_gsm8k").values())
    assert "chat-oc-3shot" not in forms_of("sample_mbpp")
    open(tmp + "/fewshot.json", "w").close()
    assert forms_of("gsm8k", "--data-dir", tmp)["chat-oc-4shot"]["data"] == "there"
    fails(2, ["'nope'", "ls tasks"], "ls", "forms", "nope")
    fails(2, ["'gsm8k'"], "ls", "tasks", "gsm8k")


def examples_that_are_missing_refuse_the_form_and_name_others(tmp):
    need_data()
    shutil.copy(os.path.join(DATA, "gsm8k_test.jsonl"), tmp)
    plan = dry(tmp, "-t", "gsm8k", "-L", "2", "--gen-length", "64", "--dry-run", "--data-dir", tmp)
    fails(3, ["fewshot.json", "'chat-oc-4shot'", "chat-oc-0shot, complete-cot-0shot do not"], *plan)
    fails(3, ["gsm8k_train.jsonl", "'complete-lm-eval-5shot'", "complete-cot-0shot do not"], *plan,
          "--prompt-form", "complete-lm-eval-5shot")
    assert "chat-oc-0shot" in ok(*plan, "--prompt-form", "chat-oc-0shot")
    shutil.copy(os.path.join(DATA, "fewshot.json"), tmp)
    cell = json.loads(ok(*plan, "--json"))["cells"][0]
    assert (cell["prompt_form"], cell["shots"]) == ("chat-oc-4shot", 4), cell
    os.chmod(tmp + "/fewshot.json", 0o600)
    with open(tmp + "/fewshot.json", "w") as f:
        f.write("{}")
    fails(3, ["fewshot.json", "'gsm8k_opencompass_4shot'", "chat-oc-0shot"], *plan)
    with open(tmp + "/gsm8k_train.jsonl", "w") as f:
        f.write('{"question": "1 + 1?", "answer": "#### 2"}\n' * 5)
    fails(4, ["gsm8k_train.jsonl", "17f347dc5147"], *plan, "--prompt-form", "complete-lm-eval-5shot")
    ok(*plan, "--prompt-form", "complete-lm-eval-5shot", "--no-data-check")
    with open(tmp + "/gsm8k_train.jsonl", "w") as f:
        f.write('{"question": "1 + 1?"}\n' * 5)
    fails(2, ["example 1", "'answer'"], *plan, "--prompt-form", "complete-lm-eval-5shot", "--no-data-check")


def an_output_is_read_as_going_on_from_the_forms_prompt(tmp):
    body = {"problem": "Sample/0", "output": "    return 0\n```\nIt counts.\n```python\nprint(1)\n```\n"}
    alone = extract("sample_humaneval", body)
    assert alone["extracted"] == "    return 0" and alone["method"] == "body", alone
    begun = extract("sample_humaneval", body, "--prompt-form", "chat-lm-eval")
    assert begun["extracted"].startswith("def count_switches(") and begun["extracted"].endswith("    return 0")
    invented = {"output": "so 5. Q: 7"}
    assert extract("gsm8k", invented)["extracted"] == "7"
    assert extract("gsm8k", invented, "--prompt-form", "complete-cot-8shot")["extracted"] == "5"
    fails(2, ["'nope'", "ls forms gsm8k"], "extract", "gsm8k", "--prompt-form", "nope", stdin=b"")


def a_form_that_begins_the_answer_leaves_the_turn_open(tmp):
    need_sandbox()
    ok(*dry(tmp, "-t", "sample_humaneval", "-L", "1", "--gen-length", "32", "--prompt-form", "chat-evalplus"))
    (prompt, form), = rows(tmp, "select s.prompt, c.prompt_form from sample s join cell c using (cell_key)")
    assert form == "chat-evalplus"
    assert prompt.endswith("corresponding tests:\n```python\n"), prompt
    assert prompt.count("<role>ASSISTANT</role>") == 1 and prompt.count("<|role_end|>") == 2


def a_system_turn_and_plain_text_reach_the_model(tmp):
    need_sandbox()
    run = dry(tmp, "-t", "sample_humaneval_pro", "-L", "1", "--gen-length", "32")
    ok(*run, "--prompt-form", "chat-codeeval-pro")
    ok(*run, "--prompt-form", "complete-cot")
    (chat,), (text,) = rows(tmp, "select prompt from sample order by sample_id")
    assert chat.startswith("<role>SYSTEM</role>You are an exceptionally intelligent"), chat
    assert chat.endswith("```\n@@ Response\n<|role_end|><role>ASSISTANT</role>"), chat
    assert text.startswith("You are an exceptionally") and "Let's think step by step.\n```python\n" in text


def habits_change_extraction_and_are_stored(tmp):
    two = {"problem": 1, "output": "```python\ndef total_minutes(s): pass\n```\n```python\nx = 1\n```\n"}
    two["output"] = "```python\nx = 1\n```\n" + two["output"]
    assert extract("sample_humaneval_pro", two)["extracted"].startswith("def total")
    assert extract("sample_humaneval_pro", two, "--pro-first-block")["extracted"] == "x = 1"
    body = {"problem": "Sample/0", "output": "```\n    return 0\n```"}
    assert extract("sample_humaneval", body)["extracted"] == "    return 0"
    assert extract("sample_humaneval", body, "--humaneval-lstrip")["extracted"] == "return 0"
    run = dry(tmp, "-t", "sample_gsm8k", "-L", "1", "--gen-length", "32")
    ok(*run)
    ok(*run, "--mbpp-no-setup", "--pro-sanitized")
    assert {v for v, in rows(tmp, "select checker_version from verdict")} == {
        "checks-2", "checks-2+mbpp-no-setup+pro-sanitized"}
    assert "mbpp-no-setup" in rows(tmp, "select config_json from run order by started, rowid")[-1][0]


def nothing_passes_367_without_setup(tmp):
    need_data()
    need_sandbox()
    ask = ["validate", "-t", "mbpp", "-E", "367", "--data-dir", DATA, "--progress", "never"]
    assert "1/1" in ok(*ask)
    code, out, err = call(*ask, "--mbpp-no-setup")
    assert code == 1 and "0/1" in out, (code, out, err)


if __name__ == "__main__":
    main(globals())
