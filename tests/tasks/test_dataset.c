/* Data set files: what is read, and how what cannot be read is reported. */
#include "support.h"

#include <unistd.h>
#include <zlib.h>

static size_t count(const char *name)
{
    struct task *t = support_open(name);
    size_t n = task_n_items(t);

    task_close(t);
    return n;
}

Test(dataset, real_sets_have_their_sizes)
{
    cr_expect_eq(count("humaneval"), 164);
    cr_expect_eq(count("humaneval_pro"), 164);
    cr_expect_eq(count("mbpp"), 500);
    cr_expect_eq(count("mbpp_all"), 974);
    cr_expect_eq(count("mbpp_sanitized"), 427);
    cr_expect_eq(count("mbpp_sanitized_test"), 257);
    cr_expect_eq(count("gsm8k"), 1319);
    cr_expect_eq(count("math500"), 500);
}

Test(dataset, bundled_sets_need_no_data)
{
    for (const struct task_def *const *d = task_table(); *d; d++)
        if ((*d)->is_bundled)
            cr_expect_eq(count((*d)->name),
                         strncmp((*d)->name, "sample_", 7) == 0 ? 4
                         : strstr((*d)->name, "-full")          ? 1000
                                                                : 128,
                         "%s", (*d)->name);
}

Test(dataset, names_are_unique_and_found)
{
    for (const struct task_def *const *d = task_table(); *d; d++) {
        cr_expect_eq(task_find((*d)->name), *d, "%s", (*d)->name);
        cr_expect((*d)->is_bundled == !(*d)->data, "%s", (*d)->name);
        cr_expect_str_eq((*d)->metric, (*d)->kind == TASK_CODE ? "pass@1" : "accuracy");
    }
    cr_expect_null(task_find("humaneva"));
}

Test(dataset, ids_are_found_as_text)
{
    struct task *t = support_open("mbpp");
    struct task_item item;
    size_t index = 7;

    cr_assert(task_find_item(t, "11", &index));
    cr_expect_eq(index, 0);
    cr_assert(task_find_item(t, "510", &index));
    cr_expect_eq(index, 499);
    task_get_item(t, index, &item);
    cr_expect_str_eq(item.id, "510");
    index = 7;
    cr_expect(!task_find_item(t, "10", &index), "the prompt split is not in the task");
    cr_expect(!task_find_item(t, "0510", &index));
    cr_expect(!task_find_item(t, "", &index));
    cr_expect_eq(index, 7);
    cr_expect_null(task_gold(t, 0));
    task_close(t);
}

/* Hash made by: python3 -c 'import json,hashlib,sys; print(hashlib.sha256(json.dumps(json.loads(
 * sys.stdin.readline()),sort_keys=True,separators=(",",":"),ensure_ascii=False).encode())
 * .hexdigest())' < tasks/sample/math500.jsonl */
#define SAMPLE_MATH_0 "0062bdc25cffd1c503ad7ec89ff20b1452e7add24a93381c954c1be63b869fb7"

Test(dataset, items_carry_subject_level_gold_and_hashes)
{
    struct task *t = support_open("sample_math500");
    struct task_item item, other;

    task_get_item(t, 0, &item);
    task_get_item(t, 1, &other);
    cr_expect_str_eq(item.id, "sample/geometry/1.json");
    cr_expect_str_eq(item.subject, "Geometry");
    cr_expect_eq(item.level, 1);
    cr_expect_str_eq(item.sha256, SAMPLE_MATH_0);
    cr_expect_str_neq(item.reference_sha256, other.reference_sha256);
    cr_expect_str_eq(task_gold(t, 0), "2\\sqrt{34}");
    task_close(t);
}

Test(dataset, subjects_and_levels_of_math500_are_counted)
{
    static const int n_level[6] = { 0, 43, 90, 105, 128, 134 };
    struct task *t = support_open("math500");
    struct task_item item;
    int n[6] = { 0 }, n_algebra = 0;

    for (size_t i = 0; i < task_n_items(t); i++) {
        task_get_item(t, i, &item);
        n[item.level]++;
        n_algebra += strcmp(item.subject, "Algebra") == 0;
    }
    for (int level = 1; level <= 5; level++)
        cr_expect_eq(n[level], n_level[level], "level %d: %d", level, n[level]);
    cr_expect_eq(n_algebra, 124);
    task_close(t);
}

/* ---- Files that cannot be used ---------------------------------------------------------- */

/* Write content as the task's file into a new folder, try to open it there. */
static enum status try_open(const char *name, const void *content, size_t len, bool is_sha_checked,
                            struct error *err)
{
    char dir[] = "/tmp/desbench-data-XXXXXX", path[128];
    struct task *t = NULL;
    enum status st;

    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/%s", dir, task_find(name)->file);
    cr_assert_eq(file_write_atomic(path, content, len, err), ST_OK);
    *err = (struct error){ 0 };
    st = task_open(task_find(name), dir, is_sha_checked, &t, err);
    cr_expect(st == ST_OK || !t);
    if (st)
        cr_expect(strstr(err->text, task_find(name)->file), "file not named: %s", err->text);
    task_close(t);
    unlink(path);
    rmdir(dir);
    return st;
}

static size_t gzip(const char *text, unsigned char *ret, size_t size)
{
    z_stream z = { 0 };

    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)text;
    z.avail_in = (unsigned)strlen(text);
    z.next_out = ret;
    z.avail_out = (unsigned)size;
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

#define HE(id, prompt, entry)                                                                      \
    "{\"task_id\":" id ",\"prompt\":" prompt ",\"entry_point\":" entry                             \
    ",\"canonical_solution\":\" pass\",\"test\":\"def check(c): pass\"}\n"
#define HE_GOOD(id) HE("\"" id "\"", "\"def f():\\n\"", "\"f\"")
#define PRO(id, raw, test)                                                                         \
    "{\"id\":" id ",\"raw_problem\":" raw                                                          \
    ",\"raw_solution\":\"x\",\"new_problem\":\"x\",\"new_solution\":\"x\",\"test_code\":" test "}"
#define MBPP(id, tests, setup)                                                                     \
    "{\"task_id\":" id ",\"text\":\"t\",\"code\":\"c\",\"test_list\":" tests                       \
    ",\"test_setup_code\":" setup ",\"challenge_test_list\":[]}\n"
#define MBPP_GOOD(id) MBPP(id, "[\"assert f(1)\"]", "\"\"")
#define MATH(answer, level, id)                                                                    \
    "{\"problem\":\"p\",\"solution\":\"s\",\"answer\":" answer ",\"subject\":\"Algebra\","         \
    "\"level\":" level ",\"unique_id\":" id "}\n"
#define GSM(answer) "{\"question\":\"q\",\"answer\":" answer "}\n"

Test(dataset, broken_records_are_named_by_line_and_field)
{
    static const struct {
        const char *task, *content;
        const char *message[2]; /* all must be in the message */
    } cases[] = {
        { "gsm8k", GSM("\"#### 1\"") "{\"question\":", { "line 2: not valid JSON" } },
        { "gsm8k", GSM("\"#### 1\"") "[]\n", { "line 2: an object is needed" } },
        { "gsm8k", GSM("\"#### 1\"") "\n" GSM("\"#### 1\""), { "line 2: empty" } },
        { "gsm8k", "{\"question\":\"q\"}\n", { "line 1", "field 'answer' (a string) is missing" } },
        { "gsm8k", GSM("7"), { "line 1", "'answer' must be a string, found an integer: 7" } },
        { "gsm8k", GSM("\"\""), { "line 1", "'answer' is empty" } },
        { "gsm8k", GSM("\"a\\u0000b\""), { "line 1", "'answer' holds a NUL" } },
        { "gsm8k", GSM("\"18\""), { "line 1", "'answer' has no '####'" } },
        { "gsm8k", GSM("\"#### 1.5\""), { "line 1", "an integer, found '1.5'" } },
        { "gsm8k", GSM("\"#### \""), { "line 1", "an integer, found ''" } },
        { "gsm8k", "{\"question\":\"a\",\"question\":\"b\"}\n", { "line 1: not valid JSON" } },
        { "gsm8k", "\xff\n", { "line 1: not valid JSON" } },
        { "gsm8k", "", { "holds no records" } },
        { "gsm8k", "\n\n", { "holds no records" } },
        { "mbpp",
          MBPP_GOOD("11") MBPP_GOOD("12") MBPP_GOOD("11"),
          { "line 3: id '11' was used by an earlier record" } },
        { "mbpp", MBPP_GOOD("1") MBPP_GOOD("1"), { "line 2: id '1' was used" } },
        { "mbpp", MBPP_GOOD("\"11\""), { "line 1", "'task_id' must be an integer" } },
        { "mbpp", MBPP_GOOD("-1"), { "line 1", "'task_id' must be 0 .. 2147483647, found -1" } },
        { "mbpp", MBPP("11", "[]", "\"\""), { "line 1", "'test_list' is empty" } },
        { "mbpp", MBPP("11", "[\"f()\",1]", "\"\""), { "line 1", "'test_list'" } },
        { "mbpp", MBPP("11", "\"f()\"", "\"\""), { "line 1", "'test_list' must be an array" } },
        { "mbpp", MBPP("11", "[\"assert x\"]", "\"\""), { "line 1", "calls no function" } },
        { "mbpp", MBPP("11", "[\"f()\"]", "null"), { "line 1", "'test_setup_code' must be" } },
        { "mbpp", MBPP("3", "[\"f()\"]", "null"), { "line 1", "'test_setup_code' must be" } },
        { "humaneval_pro", "{}", { "line 1: an array of records is needed" } },
        { "humaneval_pro",
          "[\n" PRO("0", "\"def f():\"", "\"f()\"") ",\n\n 5]",
          { "line 4: an object is needed" } },
        { "humaneval_pro",
          "[\n" PRO("0", "\"def f():\"", "\"f()\"") ",\n" //
          PRO("0", "\"def f():\"", "\"f()\"") "]",
          { "line 3: id '0' was used" } },
        { "humaneval_pro",
          "[" PRO("0", "\"f\"", "\"f()\"") "]",
          { "line 1", "'raw_problem' defines no function" } },
        { "humaneval_pro",
          "[" PRO("0", "\"def f():\"", "\"assert (1)\"") "]",
          { "line 1", "'test_code' calls no function" } },
        { "humaneval_pro", "[\n{\"id\":0},\n", { "line 3: not valid JSON" } },
        { "math500", MATH("\"1\"", "0", "\"a\""), { "line 1", "'level' must be 1 .. 5, found 0" } },
        { "math500", MATH("\"1\"", "6", "\"a\""), { "line 1", "'level' must be 1 .. 5, found 6" } },
        { "math500", MATH("\"1\"", "2.5", "\"a\""), { "line 1", "'level' must be an integer" } },
        { "math500", MATH("\"\"", "1", "\"a\""), { "line 1", "'answer' is empty" } },
        { "math500",
          MATH("\"1\"", "1", "\"a\"") MATH("\"2\"", "1", "\"a\""),
          { "line 2: id 'a' was used" } },
    };
    struct error err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_eq(
            try_open(cases[i].task, cases[i].content, strlen(cases[i].content), false, &err),
            ST_INVALID, "case %zu", i);
        for (size_t k = 0; k < 2 && cases[i].message[k]; k++)
            cr_expect(strstr(err.text, cases[i].message[k]), "case %zu: %s", i, err.text);
    }
}

Test(dataset, gzip_files_are_checked_to_their_end)
{
    unsigned char z[4096];
    size_t n = gzip(HE_GOOD("a") HE_GOOD("b"), z, sizeof(z));
    struct error err;

    cr_expect_eq(try_open("humaneval", z, n, false, &err), ST_OK, "%s", err.text);
    for (size_t cut = 0; cut < n; cut++)
        cr_expect_eq(try_open("humaneval", z, cut, false, &err), ST_INVALID, "%zu bytes", cut);
    z[n] = 'x';
    cr_expect_eq(try_open("humaneval", z, n + 1, false, &err), ST_INVALID);
    n = gzip(HE_GOOD("a") HE("\"b\"", "\"p\"", "\"not a name\""), z, sizeof(z));
    cr_expect_eq(try_open("humaneval", z, n, false, &err), ST_INVALID);
    cr_expect(strstr(err.text, "line 2: field 'entry_point' must be a Python name, found "
                               "'not a name'"),
              "%s", err.text);
}

Test(dataset, records_at_the_limits_are_accepted)
{
    struct error err;
    const char *lines = GSM("\"#### -1,234\"") GSM("\"x\\n#### 0\"") "\n\n";

    cr_expect_eq(try_open("gsm8k", lines, strlen(lines), false, &err), ST_OK, "%s", err.text);
    lines = "{\"question\":\"q\",\"answer\":\"#### 1\"}"; /* no final newline */
    cr_expect_eq(try_open("gsm8k", lines, strlen(lines), false, &err), ST_OK, "%s", err.text);
    lines = "{\"question\":\"q\",\"answer\":\"#### 1\",\"extra\":[1]}\r\n";
    cr_expect_eq(try_open("gsm8k", lines, strlen(lines), false, &err), ST_OK, "%s", err.text);
}

Test(dataset, other_bytes_are_a_mismatch_that_names_both_hashes)
{
    struct error err;
    const char *line = GSM("\"#### 1\"");
    char own[65];

    cr_assert_eq(sha256_hex(line, strlen(line), own, &err), ST_OK);
    cr_expect_eq(try_open("gsm8k", line, strlen(line), true, &err), ST_MISMATCH);
    cr_expect(strstr(err.text, own), "%s", err.text);
    cr_expect(strstr(err.text, task_find("gsm8k")->data->sha256), "%s", err.text);
    /* not even parsed */
    cr_expect_eq(try_open("humaneval", "\x1f\x8b", 2, true, &err), ST_MISMATCH);
}

Test(dataset, a_missing_file_is_named)
{
    struct error err = { 0 };
    struct task *t = NULL;

    cr_expect_eq(task_open(task_find("mbpp"), "/nonexistent", true, &t, &err), ST_NOT_FOUND);
    cr_expect(strstr(err.text, "'/nonexistent/mbpp.jsonl'"), "%s", err.text);
    cr_expect(strstr(err.text, task_source(task_find("mbpp"))), "%s", err.text);
    cr_expect(strstr(err.text, "DESBENCH_DATA"), "%s", err.text);
    cr_expect_null(t);
    cr_expect_eq(task_open(task_find("sample_mbpp"), "/nonexistent", true, &t, &err), ST_NOT_FOUND);
    cr_expect(!strstr(err.text, "DESBENCH_DATA"), "%s", err.text);
}

Test(dataset, sanitized_mbpp_may_be_laid_out_otherwise_but_not_differ)
{
    const char *dir = support_data_dir();
    struct error err = { 0 };
    json_t *records = NULL;
    struct buf text = { 0 };
    char path[4096];

    if (!dir)
        cr_skip_test("no data folder: set DESBENCH_DATA");
    snprintf(path, sizeof(path), "%s/sanitized-mbpp.json", dir);
    cr_assert_eq(json_read(path, 1 << 24, &records, &err), ST_OK, "%s", err.text);
    json_put_value(&text, records, JSON_INDENT(4));
    cr_expect_eq(try_open("mbpp_sanitized", text.data, text.len, true, &err), ST_OK, "%s",
                 err.text);

    json_object_set_new(json_array_get(records, 426), "prompt", json_string("other"));
    buf_clear(&text);
    json_put_value(&text, records, 0);
    cr_expect_eq(try_open("mbpp_sanitized", text.data, text.len, true, &err), ST_MISMATCH);
    cr_expect_eq(try_open("mbpp_sanitized", text.data, text.len, false, &err), ST_OK);
    buf_release(&text);
    json_decref(records);
}
