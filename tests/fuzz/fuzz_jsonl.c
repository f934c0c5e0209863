/*
 * Data sets: the file of each format, as JSON lines or an array. Records that are accepted can be
 * found, asked, answered by their own reference and written again.
 *
 * First byte: the format. The rest: the file.
 */
#include <string.h>

#include "base/json.h"
#include "tasks/task.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = { "sample_humaneval", "sample_humaneval_pro", "sample_mbpp",
                                     "mbpp_sanitized",   "sample_gsm8k",         "sample_math500" };

static void check_record(const struct task *t, size_t index)
{
    struct error err = { 0 };
    struct buf first = { 0 }, second = { 0 };
    json_t *v = NULL;

    REQUIRE(task_put_record(t, index, false, &first, &err) == ST_OK);
    REQUIRE(json_parse(first.data, first.len, "record", 0, &v, &err) == ST_OK);
    json_put_value(&second, v, JSON_COMPACT);
    buf_clear(&first);
    REQUIRE(task_put_record(t, index, true, &first, &err) == ST_OK);
    json_decref(v);
    REQUIRE(json_parse(first.data, first.len, "indented", 0, &v, &err) == ST_OK);
    buf_clear(&first);
    json_put_value(&first, v, JSON_COMPACT);
    REQUIRE(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    json_decref(v);
    buf_release(&first);
    buf_release(&second);
}

static void check_item(const struct task *t, size_t index)
{
    const struct task_def *def = task_get_def(t);
    struct arena arena = { 0 };
    struct error err = { 0 };
    const struct task_form *form;
    struct task_item item;
    struct task_prompt prompt;
    struct task_program program;
    struct task_grade grade;
    struct extraction x;
    const char *reference;
    size_t len, found = index + 1;

    task_get_item(t, index, &item);
    REQUIRE(task_find_item(t, item.id, &found) && found == index);
    REQUIRE(strlen(item.sha256) == 64 && strlen(item.reference_sha256) == 64);
    check_record(t, index);
    for (size_t k = 0; (form = task_form_get(def, k)) != NULL; k++) {
        enum status st = task_make_prompt(t, index, form->name, &arena, &prompt, &err);

        REQUIRE(st == ST_OK || st == ST_NOT_FOUND);
        for (size_t i = 0; !st && i < prompt.n_msgs; i++)
            REQUIRE(strlen(prompt.msgs[i].text) == prompt.msgs[i].len);
    }
    REQUIRE(task_make_reference(t, index, &arena, &reference, &len, &err) == ST_OK);
    REQUIRE(task_extract(t, index, NULL, reference, len, &arena, &x, &err) == ST_OK);
    if (def->kind == TASK_CODE && x.text)
        REQUIRE(task_make_program(t, index, NULL, &x, &arena, &program, &err) == ST_OK);
    if (def->kind == TASK_ANSWER)
        REQUIRE(task_gold(t, index) && task_grade_answer(t, index, NULL, &x, reference, len, &arena,
                                                         &grade, &err) == ST_OK);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct error err = { 0 };
    struct task *t = NULL;
    enum status st;

    if (len == 0)
        return 0;
    st = task_open_bytes(task_find(names[data[0] % 6]), "x", data + 1, len - 1, false, &t, &err);
    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "'x'"));
        return 0;
    }
    for (size_t i = 0; i < task_n_items(t) && i < 3; i++)
        check_item(t, i);
    task_close(t);
    return 0;
}
