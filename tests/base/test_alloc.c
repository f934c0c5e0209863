/*
 * Every allocation of the open and load paths fails once: the call reports ST_NOMEM, leaks
 * nothing that a later call would trip over, and works when tried again.
 */
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
#include "tests/base/fail_malloc.h"

static char path[300];
static char text[200000]; /* large enough that buffers grow several times */

static void set_up(void)
{
    struct error err = { 0 };
    const char *tmp = getenv("TMPDIR");
    int fd;
    size_t n = 0;

    if (!fail_malloc_works()) /* before there is something to clean up: .fini is skipped too */
        cr_skip_test("allocations cannot be made to fail in this build");
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

/*
 * Call f with its 1st, 2nd, ... allocation failing, until none is left to fail. f returns the
 * status of what it tried and says by *ret_text what the message was.
 */
static void sweep(const char *what, enum status (*f)(struct error *err), long max_n)
{
    long n, n_failed = 0;

    for (n = 1; n <= max_n; n++) {
        struct error err = { 0 };
        enum status st;
        bool has_failed;

        fail_malloc_arm(n);
        st = f(&err);
        has_failed = fail_malloc_disarm();
        if (!has_failed) {
            cr_assert_eq(st, ST_OK, "%s: %s", what, err.text);
            break;
        }
        if (st == ST_OK)
            continue; /* a library found another way, and f found the result right */
        cr_expect_eq(st, ST_NOMEM, "%s, allocation %ld: %s: %s", what, n, status_name(st),
                     err.text);
        cr_expect_neq(err.text[0], '\0', "%s, allocation %ld", what, n);
        n_failed++;
    }
    cr_expect_gt(n_failed, 0, "%s allocates nothing", what);
    cr_log_info("%s: %ld allocations", what, n - 1);
}

static enum status try_read(struct error *err)
{
    struct buf b = { 0 };
    enum status st = file_read(path, 1 << 20, &b, err);

    if (!st)
        cr_expect_eq(b.len, strlen(text));
    buf_release(&b);
    return st;
}

Test(alloc, file_read)
{
    sweep("file_read", try_read, 1000);
}

static unsigned char zipped[sizeof(text)];
static size_t zipped_len;

static enum status try_gunzip(struct error *err)
{
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
    sweep("file_gunzip", try_gunzip, 1000);
}

static enum status try_json(struct error *err)
{
    json_t *v = NULL;
    enum status st = json_read(path, 1 << 20, &v, err);

    cr_expect_eq(v != NULL, st == ST_OK);
    json_decref(v);
    return st;
}

Test(alloc, json_read)
{
    /* tens of thousands of allocations take quadratic time: a short text will do */
    struct error err = { 0 };
    static const char small[] = "{\"a\": [1, 2.5, {\"b\": \"caf\\u00e9\", \"c\": null}, true],\n"
                                " \"d\": {\"e\": [[], {}, \"x\"], \"f\": 12345678901}}";

    cr_assert_eq(file_write_atomic(path, small, strlen(small), &err), ST_OK, "%s", err.text);
    json_object_seed(1); /* jansson's hash seed is made once, not in the sweep */
    sweep("json_read", try_json, 1000);
}

static enum status on_row(void *arg, size_t record, char *const *fields, const size_t *lens,
                          size_t n_fields, struct error *err)
{
    (void)fields, (void)lens, (void)err, (void)record;
    *(size_t *)arg += n_fields;
    return ST_OK;
}

static enum status try_csv(struct error *err)
{
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
    sweep("csv_read", try_csv, 1000);
}

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static enum status try_hash(struct error *err)
{
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
    cr_assert_eq(try_hash(&err), ST_OK); /* libcrypto sets itself up once */
    sweep("sha256_file", try_hash, 1000);
}

static enum status try_write(struct error *err)
{
    return file_write_atomic(path, "x", 1, err);
}

Test(alloc, file_write_atomic)
{
    sweep("file_write_atomic", try_write, 1000);
}

static enum status try_dirs(struct error *err)
{
    return file_make_dirs("/tmp", err);
}

Test(alloc, file_make_dirs)
{
    sweep("file_make_dirs", try_dirs, 1000);
}

static enum status try_arena(struct error *err)
{
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
    sweep("arena", try_arena, 1000);
}

static enum status try_buf(struct error *err)
{
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
    sweep("buf", try_buf, 1000);
}
