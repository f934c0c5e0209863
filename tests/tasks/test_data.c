/* The pinned files: what counts as right. Content is that of the data folder, where it is there. */
#include "support.h"

#include <ctype.h>

#include "tasks/internal.h"

Test(data, every_file_is_found_by_name_and_pinned)
{
    int n = 0;

    for (const struct data_file *const *f = data_table(); *f; f++, n++) {
        cr_expect_eq(data_find((*f)->name), *f, "%s", (*f)->name);
        cr_expect((*f)->bytes > 0);
        cr_expect_eq(strlen((*f)->sha256), 64, "%s", (*f)->name);
        cr_expect(!(*f)->record_sha256 || strlen((*f)->record_sha256) == 64, "%s", (*f)->name);
        for (const char *p = (*f)->sha256; *p; p++)
            cr_expect(isdigit((unsigned char)*p) || (*p >= 'a' && *p <= 'f'));
        for (const char *const *a = (*f)->addresses; *a; a++)
            cr_expect(strncmp(*a, "https://", 8) == 0, "%s", *a);
        /* upstream is named by a commit: 40 hex digits between slashes */
        if ((*f)->addresses[0]) {
            const char *p = (*f)->addresses[0];
            size_t run = 0;

            for (; *p && run != 40; p++)
                run = isxdigit((unsigned char)*p) ? run + 1 : 0;
            cr_expect_eq(run, 40, "%s", (*f)->addresses[0]);
            cr_expect_eq(*p, '/', "%s", (*f)->addresses[0]);
        }
    }
    cr_expect_eq(n, 8);
    cr_expect_null(data_find("gsm8k"));
}

Test(data, tasks_name_the_files_they_read)
{
    const struct data_file *files[TASK_MAX_FILES];

    cr_assert_eq(task_files(task_find("humaneval"), files), 1);
    cr_expect_str_eq(files[0]->name, "HumanEval.jsonl.gz");
    cr_assert_eq(task_files(task_find("mbpp"), files), 2);
    cr_expect_str_eq(files[0]->name, "mbpp.jsonl");
    cr_expect_str_eq(files[1]->name, "fewshot.json");
    cr_expect_eq(task_files(task_find("sample_mbpp"), files), 0);
    for (const struct task_def *const *d = task_table(); *d; d++)
        if (!(*d)->is_bundled)
            cr_expect_str_eq((*d)->file, (*d)->data->name);
}

static enum data_state check(const char *name, const char *bytes, size_t len)
{
    enum data_state state;
    char sha256[65], own[65];
    struct error err = { 0 };

    cr_assert_eq(data_check(data_find(name), bytes, len, &state, sha256, &err), ST_OK, "%s",
                 err.text);
    cr_assert_eq(sha256_hex(bytes, len, own, &err), ST_OK);
    cr_expect_str_eq(sha256, own);
    return state;
}

Test(data, other_content_is_wrong_whether_it_can_be_read_or_not)
{
    static const char *const texts[] = { "", "{}", "[", "[{\"a\":1}]\n", "\xff\xfe", "<html>" };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (const struct data_file *const *f = data_table(); *f; f++)
            cr_expect_eq(check((*f)->name, texts[i], strlen(texts[i])), DATA_WRONG, "%s: %s",
                         (*f)->name, texts[i]);
}

/* A file of the data folder; the caller releases it. */
static struct buf read_data(const char *name)
{
    const char *dir = support_data_dir();
    struct error err = { 0 };
    struct buf b = { 0 };
    char path[4096];

    if (!dir)
        cr_skip_test("no data folder: set DESBENCH_DATA");
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert_eq(file_read(path, 1 << 26, &b, &err), ST_OK, "%s", err.text);
    return b;
}

Test(data, the_files_of_the_data_folder_are_right)
{
    for (const struct data_file *const *f = data_table(); *f; f++) {
        struct buf b = read_data((*f)->name);

        cr_expect_eq(b.len, (size_t)(*f)->bytes, "%s", (*f)->name);
        cr_expect_eq(check((*f)->name, buf_str(&b), b.len), DATA_RIGHT, "%s", (*f)->name);
        b.data[b.len / 2] ^= 1;
        cr_expect_eq(check((*f)->name, buf_str(&b), b.len), DATA_WRONG, "%s", (*f)->name);
        buf_release(&b);
    }
}

/* The JSON of a file, of JSON lines as an array. */
static json_t *parse(const struct buf *b, bool is_lines)
{
    json_t *v = NULL;
    struct error err = { 0 };

    cr_assert_eq(records_parse((struct span){ buf_str(b), b->len }, is_lines, "x", &v, &err), ST_OK,
                 "%s", err.text);
    return v;
}

Test(data, the_same_records_in_another_layout_are_right_where_they_are_pinned)
{
    static const struct {
        const char *name;
        bool is_lines;
    } cases[] = { { "sanitized-mbpp.json", false },
                  { "fewshot.json", false },
                  { "math500.jsonl", true } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = read_data(cases[i].name), other = { 0 };
        json_t *v = parse(&b, cases[i].is_lines), *first;
        size_t n = cases[i].is_lines ? json_array_size(v) : 1;

        for (int is_changed = 0; is_changed < 2; is_changed++) {
            buf_clear(&other);
            for (size_t k = 0; k < n; k++) {
                json_put_value(&other, cases[i].is_lines ? json_array_get(v, k) : v,
                               JSON_SORT_KEYS | (cases[i].is_lines ? 0 : JSON_INDENT(3)));
                buf_puts(&other, "\r\n");
            }
            cr_expect_eq(check(cases[i].name, buf_str(&other), other.len),
                         is_changed ? DATA_WRONG : DATA_RIGHT_RECORDS, "%s", cases[i].name);
            first = json_is_array(v) ? json_array_get(v, 0)
                                     : json_object_iter_value(json_object_iter(v));
            json_object_set_new(first, "more", json_true());
        }
        json_decref(v);
        buf_release(&b);
        buf_release(&other);
    }
}

Test(data, a_set_in_another_layout_is_known_by_its_pinned_hash)
{
    struct buf b = read_data("math500.jsonl");
    json_t *v = parse(&b, true);
    char dir[] = "/tmp/desbench-data-XXXXXX", path[64], command[64];
    struct task *t = NULL;
    struct error err = { 0 };

    buf_clear(&b);
    for (size_t k = 0; k < json_array_size(v); k++) {
        json_put_value(&b, json_array_get(v, k), JSON_SORT_KEYS);
        buf_putc(&b, '\n');
    }
    json_decref(v);
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/math500.jsonl", dir);
    cr_assert_eq(file_write_atomic(path, buf_str(&b), b.len, &err), ST_OK, "%s", err.text);
    for (int is_checked = 0; is_checked < 2; is_checked++) {
        cr_assert_eq(task_open(task_find("math500"), dir, is_checked, &t, &err), ST_OK, "%s",
                     err.text);
        cr_expect_str_eq(task_sha256(t), data_find("math500.jsonl")->sha256);
        task_close(t);
    }
    /* other records are let in unchecked only, and known by their own hash */
    b.len -= 1;
    buf_puts(&b, "\n{\"problem\":\"p\",\"solution\":\"\\\\boxed{1}\",\"answer\":\"1\","
                 "\"subject\":\"s\",\"level\":1,\"unique_id\":\"u\"}\n");
    cr_assert_eq(file_write_atomic(path, buf_str(&b), b.len, &err), ST_OK, "%s", err.text);
    cr_expect_eq(task_open(task_find("math500"), dir, true, &t, &err), ST_MISMATCH);
    cr_assert_eq(task_open(task_find("math500"), dir, false, &t, &err), ST_OK, "%s", err.text);
    cr_expect_str_neq(task_sha256(t), data_find("math500.jsonl")->sha256);
    cr_expect_eq(strlen(task_sha256(t)), 64);
    task_close(t);
    buf_release(&b);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}
