/* Each allocation of the open and load paths fails once. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/csv.h"
#include "base/file.h"
#include "base/json.h"
#include "base/yaml.h"
#include "tests/base/fail_malloc.h"

static char path[300];
static char text[200000]; /* large enough that buffers grow several times */

static void set_up(void)
{
    struct error err = { 0 };
    const char *tmp = getenv("TMPDIR");
    int fd;
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/desbench-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "{\"list\": [");
    while (n < sizeof(text) - 1000)
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "{\"name\": \"caf\\u00e9 %zu\", \"x\": [1, 2.5, null, true]},\n", n);
    snprintf(text + n, sizeof(text) - n, "\"end\"]}");
    cr_assert_eq(file_write_atomic(path, text, strlen(text), &err), ST_OK, "%s", err.text);
}

static void tear_down(void)
{
    unlink(path);
}

TestSuite(alloc, .init = set_up, .fini = tear_down);

static void sweep(const char *what, enum status (*f)(void *arg, struct error *err))
{
    struct fail_sweep s = { .what = what, .f = f };

    cr_expect_gt(fail_malloc_sweep(&s), 0, "%s allocates nothing", what);
}

static enum status try_read(void *arg, struct error *err)
{
    (void)arg;
    struct buf b = { 0 };
    enum status st = file_read(path, 1 << 20, &b, err);

    if (!st)
        cr_expect_eq(b.len, strlen(text));
    buf_release(&b);
    return st;
}

Test(alloc, file_read)
{
    sweep("file_read", try_read);
}

static unsigned char zipped[sizeof(text)];
static size_t zipped_len;

static enum status try_gunzip(void *arg, struct error *err)
{
    (void)arg;
    struct buf b = { 0 };
    enum status st = file_gunzip(zipped, zipped_len, "x.gz", 1 << 20, &b, err);

    if (!st)
        cr_expect(b.len == strlen(text) && memcmp(b.data, text, b.len) == 0);
    buf_release(&b);
    return st;
}

Test(alloc, file_gunzip)
{
    z_stream z = { 0 };

    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)text;
    z.avail_in = (uInt)strlen(text);
    z.next_out = zipped;
    z.avail_out = sizeof(zipped);
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    zipped_len = z.total_out;
    deflateEnd(&z);
    sweep("file_gunzip", try_gunzip);
}

/* Every kind of token, and each kind long enough to be saved in a buffer that has to grow. */
static const char small[] =
    "{\"a\": [1, 2.5, {\"b\": \"caf\\u00e9 and more, \\ud83d\\ude00\\n\", \"c\": null}, true],\n"
    " \"d\": {\"e\": [[], {}, \"x\", 1234567890123456789, -1.000000000000000000000000000001e-17],\n"
    " \"a key that is long enough\": false, \"f\": [1, 2, 3, 4, 5, 6, 7, 8, 9], \"g\": \"\"},\n"
    " \"h\": 0, \"i\": 0, \"j\": 0, \"k\": 0, \"l\": 0, \"m\": \"\\\\\\\\\\\\\\\\\\\\\\\\\\\"\"}";

static enum status try_json(void *arg, struct error *err)
{
    json_t *v = NULL, *f = NULL;
    enum status st = json_read(path, 1 << 20, &v, err);

    (void)arg;
    cr_expect_eq(v != NULL, st == ST_OK);
    if (!st)
        st = json_get_array(json_object_get(v, "d"), "d", "f", &f, err);
    if (!st)
        cr_expect(json_array_size(f) == 9 && json_object_size(v) == 8);
    json_decref(v);
    return st;
}

Test(alloc, json_read)
{
    struct error err = { 0 };

    cr_assert_eq(file_write_atomic(path, small, strlen(small), &err), ST_OK, "%s", err.text);
    sweep("json_read", try_json);
}

/* Broken at any byte, a text is broken whatever fails: the parser tells the two apart. */
static enum status try_bad_json(void *arg, struct error *err)
{
    json_t *v = NULL;
    enum status st = json_parse(small, *(size_t *)arg, "x", 0, &v, err);

    cr_expect_null(v);
    return st == ST_INVALID ? ST_OK : st;
}

Test(alloc, json_parse_of_a_text_cut_short)
{
    for (size_t len = 0; len + 1 < sizeof(small) - 1; len++) {
        struct fail_sweep s = { .what = "json_parse", .f = try_bad_json, .arg = &len };

        cr_expect_gt(fail_malloc_sweep(&s), 0);
    }
}

static enum status try_put_value(void *arg, struct error *err)
{
    struct buf b = { 0 };
    enum status st = ST_OK;

    json_put_value(&b, arg, JSON_SORT_KEYS | JSON_COMPACT);
    if (!buf_ok(&b))
        st = error_set(err, ST_NOMEM, "json_put_value");
    else
        cr_expect_eq(strncmp(buf_str(&b), "{\"a\":[1,2.5,{\"b\":\"caf", 21), 0);
    buf_release(&b);
    return st;
}

Test(alloc, json_put_value)
{
    struct fail_sweep s = { .what = "json_put_value", .f = try_put_value };
    struct error err = { 0 };
    json_t *v = NULL;

    cr_assert_eq(json_parse(small, strlen(small), "x", 0, &v, &err), ST_OK, "%s", err.text);
    s.arg = v;
    cr_expect_gt(fail_malloc_sweep(&s), 0);
    json_decref(v);
}

static enum status try_yaml(void *arg, struct error *err)
{
    static const char doc[] = "a: &x [1, 2.5, 'single', \"dou\\u00e9ble\"]\n"
                              "b: {c: *x, d: ~}\n"
                              "e: |\n  literal\n  text\n"
                              "f: >-\n  folded\n  text\n"
                              "g:\n- {h: true}\n- \n";
    json_t *v = NULL;
    enum status st = yaml_parse(doc, sizeof(doc) - 1, "x", &v, err);

    (void)arg;
    if (!st)
        cr_expect_eq(json_array_size(json_object_get(v, "g")), 2);
    else
        cr_expect_null(v);
    json_decref(v);
    return st;
}

Test(alloc, yaml_parse)
{
    sweep("yaml_parse", try_yaml);
}

static enum status try_yaml_items(void *arg, struct error *err)
{
    static const char doc[] = "a: &x [1, 2.5, 'single']\nb: {c: *x, d: {e: [[f]]}}\n";
    struct yaml_reader *r = NULL;
    struct yaml_item it = { 0 };
    enum status st = yaml_reader_new(doc, sizeof(doc) - 1, &r, err);

    (void)arg;
    while (!st && it.kind != YAML_ITEM_EOF)
        st = yaml_reader_next(r, &it, err);
    yaml_reader_free(r);
    return st;
}

Test(alloc, yaml_items)
{
    sweep("yaml_items", try_yaml_items);
}

static enum status on_row(void *arg, size_t record, char *const *fields, const size_t *lens,
                          size_t n_fields, struct error *err)
{
    (void)fields, (void)lens, (void)err, (void)record;
    *(size_t *)arg += n_fields;
    return ST_OK;
}

static enum status try_csv(void *arg, struct error *err)
{
    (void)arg;
    static char line[4000];
    size_t n = 0;
    enum status st;

    memset(line, ',', sizeof(line)); /* many fields ... */
    memset(line + 100, 'x', 3000);   /* ... and a long one */
    st = csv_read(line, sizeof(line), "x.csv", on_row, &n, err);
    if (!st)
        cr_expect_eq(n, 1001);
    return st;
}

Test(alloc, csv_read)
{
    sweep("csv_read", try_csv);
}

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static enum status try_hash(void *arg, struct error *err)
{
    (void)arg;
    char hex[SHA256_HEX_SIZE];
    enum status st = sha256_file(path, hex, err);

    if (!st)
        cr_expect_str_eq(hex, EMPTY_SHA256);
    return st;
}

Test(alloc, sha256_file)
{
    struct error err;

    cr_assert_eq(file_write_atomic(path, "", 0, &err), ST_OK);
    cr_assert_eq(try_hash(NULL, &err), ST_OK); /* libcrypto sets itself up once */
    sweep("sha256_file", try_hash);
}

static enum status try_write(void *arg, struct error *err)
{
    (void)arg;
    return file_write_atomic(path, "x", 1, err);
}

Test(alloc, file_write_atomic)
{
    sweep("file_write_atomic", try_write);
}

static enum status try_dirs(void *arg, struct error *err)
{
    (void)arg;
    return file_make_dirs("/tmp", err);
}

Test(alloc, file_make_dirs)
{
    sweep("file_make_dirs", try_dirs);
}

static enum status try_arena(void *arg, struct error *err)
{
    (void)arg;
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (int i = 0; i < 40 && !st; i++) {
        char *p = arena_alloc(&a, 10000);
        char *q = p ? arena_printf(&a, "%d", i) : NULL;
        if (!p || !q)
            st = error_set(err, ST_NOMEM, "arena");
        else
            cr_expect(p[0] == 0 && p[9999] == 0 && atoi(q) == i);
    }
    arena_release(&a);
    return st;
}

Test(alloc, arena)
{
    sweep("arena", try_arena);
}

static enum status try_buf(void *arg, struct error *err)
{
    (void)arg;
    struct buf b = { 0 };
    enum status st = ST_OK;

    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%d,", i);
    json_put_str(&b, "\n\"x", 3);
    csv_put_field(&b, "a,b", 3);
    if (!buf_ok(&b))
        st = error_set(err, ST_NOMEM, "buf");
    else
        cr_expect_eq(b.len, 290 + 7 + 5);
    buf_release(&b);
    return st;
}

Test(alloc, buf)
{
    sweep("buf", try_buf);
}
