/* Files, gzip and SHA-256. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/rng.h"

static char dir[300];

static void open_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/desbench-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_dir(void)
{
    char command[400];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = open_dir, .fini = remove_dir);

static const char *in_dir(const char *name)
{
    static char path[4][400];
    static int next;
    char *p = path[next++ % 4];

    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

/* ---- reading and writing ---------------------------------------------------------------- */

Test(file, what_is_written_is_read_back_at_any_size)
{
    static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 300000 };
    struct error err = { 0 };
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf b = { 0 };
        char *data = malloc(sizes[i] + 1);

        for (size_t k = 0; k < sizes[i]; k++)
            data[k] = (char)rng_below(&rng, 256);
        cr_assert_eq(file_write_atomic(in_dir("f"), data, sizes[i], &err), ST_OK, "%s", err.text);
        cr_assert_eq(file_read(in_dir("f"), sizes[i], &b, &err), ST_OK, "%s", err.text);
        cr_expect_eq(b.len, sizes[i]);
        cr_expect_eq(memcmp(b.data, data, sizes[i]), 0);
        cr_expect_eq(b.data[b.len], '\0');
        if (sizes[i]) {
            cr_expect_eq(file_read(in_dir("f"), sizes[i] - 1, &b, &err), ST_INVALID);
            cr_expect(strstr(err.text, in_dir("f")) && strstr(err.text, "limit"), "%s", err.text);
        }
        buf_release(&b);
        free(data);
    }
}

Test(file, what_cannot_be_read_is_named)
{
    struct buf b = { 0 };
    struct error err = { 0 };

    buf_puts(&b, "old");
    cr_expect_eq(file_read(in_dir("none"), 10, &b, &err), ST_NOT_FOUND);
    cr_expect(strstr(err.text, in_dir("none")), "%s", err.text);
    cr_expect_eq(b.len, 0, "cleared first");
    cr_expect_eq(file_read(dir, 10, &b, &err), ST_INVALID);
    cr_expect(strstr(err.text, "folder"), "%s", err.text);
    cr_assert_eq(mkfifo(in_dir("fifo"), 0600), 0);
    cr_expect_eq(file_read(in_dir("fifo"), 10, &b, &err), ST_INVALID, "and does not wait");
    cr_expect(strstr(err.text, "not a regular file"), "%s", err.text);
    cr_expect_eq(file_read("/dev/zero", 10, &b, &err), ST_INVALID);
    cr_assert_eq(file_write_atomic(in_dir("f"), "", 0, &err), ST_OK);
    cr_expect_eq(file_read(in_dir("f/g"), 10, &b, &err), ST_NOT_FOUND, "f is no folder");
    buf_release(&b);
}

Test(file, sizes_that_stat_does_not_know_are_read_to_the_end)
{
    struct buf b = { 0 };
    struct error err = { 0 };

    cr_assert_eq(file_read("/proc/self/status", 1 << 20, &b, &err), ST_OK, "%s", err.text);
    cr_expect_gt(b.len, 100);
    buf_release(&b);
}

Test(file, a_failed_write_leaves_the_old_file_and_no_other)
{
    struct rlimit lim = { .rlim_cur = 1000, .rlim_max = RLIM_INFINITY };
    struct buf b = { 0 };
    struct error err = { 0 };
    static const char big[5000];
    char command[500];

    cr_assert_eq(file_write_atomic(in_dir("f"), "old", 3, &err), ST_OK, "%s", err.text);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
    cr_expect_eq(file_write_atomic(in_dir("f"), big, sizeof(big), &err), ST_IO);
    cr_expect(strstr(err.text, in_dir("f")) && strstr(err.text, strerror(EFBIG)), "%s", err.text);
    cr_assert_eq(file_read(in_dir("f"), 100, &b, &err), ST_OK);
    cr_expect_str_eq(buf_str(&b), "old");
    snprintf(command, sizeof(command), "test \"$(ls -A '%s')\" = f", dir);
    cr_expect_eq(system(command), 0, "a temporary file stays behind");
    cr_expect_eq(file_write_atomic(in_dir("no/f"), "x", 1, &err), ST_NOT_FOUND);
    cr_assert_eq(mkdir(in_dir("d"), 0700), 0);
    cr_expect_eq(file_write_atomic(in_dir("d"), "x", 1, &err), ST_IO, "a folder is not replaced");
    buf_release(&b);
}

Test(file, what_is_no_file_is_not_replaced_by_one)
{
    struct error err = { 0 };
    struct stat sb;

    cr_assert_eq(mkfifo(in_dir("pipe"), 0666), 0);
    cr_expect_eq(file_write_atomic(in_dir("pipe"), "x", 1, &err), ST_IO);
    cr_expect_str_eq(strrchr(err.text, '/'), "/pipe' is not a regular file");
    cr_assert_eq(file_write_atomic(in_dir("new"), "new", 3, &err), ST_OK, "%s", err.text);
    cr_expect_eq(file_install(in_dir("new"), in_dir("pipe"), &err), ST_IO);
    cr_assert_eq(stat(in_dir("pipe"), &sb), 0);
    cr_expect(S_ISFIFO(sb.st_mode));
    cr_expect_eq(file_check_target(in_dir("none"), &err), ST_OK);
    cr_expect_eq(file_check_target(in_dir("new"), &err), ST_OK);
}

Test(file, folders_are_made_with_their_parents)
{
    struct error err = { 0 };

    cr_expect_eq(file_make_dirs(in_dir("a/b//c/"), &err), ST_OK, "%s", err.text);
    cr_expect(file_is_dir(in_dir("a/b/c")));
    cr_expect_eq(file_make_dirs(in_dir("a/b"), &err), ST_OK, "being there is fine");
    cr_expect_eq(file_make_dirs("/", &err), ST_OK);
    cr_assert_eq(file_write_atomic(in_dir("f"), "", 0, &err), ST_OK);
    cr_expect_eq(file_make_dirs(in_dir("f"), &err), ST_IO);
    cr_expect(strstr(err.text, "not a folder"), "%s", err.text);
    cr_expect_eq(file_make_dirs(in_dir("f/g"), &err), ST_IO);
    cr_expect(file_exists(in_dir("f")) && !file_is_dir(in_dir("f")));
    cr_expect_not(file_exists(in_dir("none")));
    cr_expect_not(file_is_dir(in_dir("none")));
}

/* ---- gzip ------------------------------------------------------------------------------- */

/* One gzip member of data, appended to b. */
static void put_gzip(struct buf *b, const void *data, size_t len)
{
    z_stream z = { 0 };
    size_t room = len + len / 1000 + 200;

    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = (unsigned char *)buf_reserve(b, room);
    z.avail_out = (uInt)room;
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    b->len += z.total_out;
    b->data[b->len] = '\0';
    deflateEnd(&z);
}

static void expect_bad_gzip(const void *data, size_t len, size_t max, const char *words)
{
    struct buf out = { 0 };
    struct error err = { 0 };
    void *copy = malloc(len ? len : 1); /* of this size, so that a sanitizer sees over-reads */

    if (len)
        memcpy(copy, data, len);
    cr_expect_eq(file_gunzip(copy, len, "x.gz", max, &out, &err), ST_INVALID, "%zu bytes", len);
    cr_expect(strstr(err.text, "'x.gz'") && strstr(err.text, words), "%zu bytes: %s", len,
              err.text);
    free(copy);
    buf_release(&out);
}

Test(file, members_are_inflated_one_after_another)
{
    struct buf gz = { 0 }, out = { 0 };
    struct error err = { 0 };
    char big[200000];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * i >> 7);
    put_gzip(&gz, "hello ", 6);
    put_gzip(&gz, "", 0);
    put_gzip(&gz, big, sizeof(big));
    put_gzip(&gz, "end", 3);
    cr_assert_eq(file_gunzip(gz.data, gz.len, "x.gz", 6 + sizeof(big) + 3, &out, &err), ST_OK, "%s",
                 err.text);
    cr_assert_eq(out.len, 6 + sizeof(big) + 3);
    cr_expect_eq(memcmp(out.data, "hello ", 6), 0);
    cr_expect_eq(memcmp(out.data + 6, big, sizeof(big)), 0);
    cr_expect_str_eq(out.data + out.len - 3, "end");
    expect_bad_gzip(gz.data, gz.len, 6 + sizeof(big) + 2, "limit");
    expect_bad_gzip(gz.data, gz.len, 0, "limit");
    buf_release(&gz);
    buf_release(&out);
}

Test(file, every_truncation_and_any_garbage_is_refused)
{
    struct buf gz = { 0 };
    size_t first;

    put_gzip(&gz, "some text, some text, some text", 31);
    first = gz.len;
    put_gzip(&gz, "more", 4);
    for (size_t len = 0; len < gz.len; len++)
        if (len != first) /* one whole member */
            expect_bad_gzip(gz.data, len, 1000, "gzip file");
    buf_putc(&gz, '\0');
    expect_bad_gzip(gz.data, gz.len, 1000, "gzip file");
    gz.len--;
    buf_puts(&gz, "garbage behind the last member");
    expect_bad_gzip(gz.data, gz.len, 1000, "not a valid gzip file");
    expect_bad_gzip("plain text", 10, 1000, "not a valid gzip file");
    buf_release(&gz);
}

Test(file, changed_bytes_are_found_by_the_check_sum)
{
    struct buf gz = { 0 }, out = { 0 };
    struct error err = { 0 };
    int n_undetected = 0;

    put_gzip(&gz, "some text, some text, some text", 31);
    for (size_t i = 0; i < gz.len * 8; i++) {
        gz.data[i / 8] = (char)(gz.data[i / 8] ^ 1 << i % 8);
        if (file_gunzip(gz.data, gz.len, "x.gz", 1000, &out, &err) == ST_OK) {
            n_undetected++;
            cr_expect_str_eq(buf_str(&out), "some text, some text, some text", "bit %zu", i);
        }
        gz.data[i / 8] = (char)(gz.data[i / 8] ^ 1 << i % 8);
    }
    cr_expect_lt(n_undetected, 8 * 7, "only the header's time, flags and system may differ");
    buf_release(&gz);
    buf_release(&out);
}

Test(file, a_bomb_stops_at_the_limit)
{
    struct buf gz = { 0 };
    size_t n = 64 << 20;
    char *zeros = calloc(1, n);

    cr_assert_not_null(zeros);
    put_gzip(&gz, zeros, n);
    free(zeros);
    cr_expect_lt(gz.len, 100000);
    expect_bad_gzip(gz.data, gz.len, 1 << 20, "limit of 1048576 bytes");
    buf_release(&gz);
}

Test(file, a_finished_file_takes_the_place_of_another_or_fails_whole)
{
    struct error err = { 0 };
    struct buf b = { 0 };

    cr_assert_eq(file_write_atomic(in_dir("new"), "new", 3, &err), ST_OK, "%s", err.text);
    cr_assert_eq(file_write_atomic(in_dir("old"), "old", 3, &err), ST_OK, "%s", err.text);
    cr_assert_eq(file_install(in_dir("new"), in_dir("old"), &err), ST_OK, "%s", err.text);
    cr_expect_not(file_exists(in_dir("new")));
    cr_assert_eq(file_read(in_dir("old"), 10, &b, &err), ST_OK, "%s", err.text);
    cr_expect_str_eq(buf_str(&b), "new");
    cr_expect_eq(file_install(in_dir("none"), in_dir("old"), &err), ST_IO);
    cr_expect(strstr(err.text, "/none'"), "%s", err.text);
    cr_assert_eq(mkdir(in_dir("folder"), 0777), 0);
    cr_expect_eq(file_install(in_dir("old"), in_dir("folder"), &err), ST_IO);
    cr_expect(file_exists(in_dir("old")));
    buf_release(&b);
}

/* ---- SHA-256 ---------------------------------------------------------------------------- */

Test(file, sha256_gives_the_known_answers)
{
    /* FIPS 180-4 examples and the empty message */
    static const char *const cases[][2] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    char hex[SHA256_HEX_SIZE], *million = malloc(1000000);
    struct error err = { 0 };

    for (int i = 0; i < 3; i++) {
        cr_expect_eq(sha256_hex(cases[i][0], strlen(cases[i][0]), hex, &err), ST_OK);
        cr_expect_str_eq(hex, cases[i][1]);
    }
    memset(million, 'a', 1000000);
    cr_expect_eq(sha256_hex(million, 1000000, hex, &err), ST_OK);
    cr_expect_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    cr_assert_eq(file_write_atomic(in_dir("f"), million, 1000000, &err), ST_OK);
    cr_expect_eq(sha256_file(in_dir("f"), hex, &err), ST_OK, "%s", err.text);
    cr_expect_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    cr_expect_eq(sha256_file(in_dir("none"), hex, &err), ST_NOT_FOUND);
    cr_expect_eq(sha256_file(dir, hex, &err), ST_IO);
    free(million);
}

Test(file, sha256_in_pieces_is_sha256_of_the_whole)
{
    char whole[SHA256_HEX_SIZE], pieces[SHA256_HEX_SIZE];
    struct error err;
    struct sha256 *h = sha256_new();

    cr_assert_eq(sha256_hex("hello world", 11, whole, &err), ST_OK);
    sha256_add(h, "hello", 5);
    sha256_add(h, NULL, 0);
    sha256_add(h, " world", 6);
    sha256_finish(h, pieces);
    cr_expect_str_eq(pieces, whole);
    sha256_add(NULL, "x", 1);
    sha256_finish(NULL, pieces);
    cr_expect_str_eq(pieces, "");
}

Test(file, strings_are_hashed_with_their_lengths)
{
    char a[SHA256_HEX_SIZE], b[SHA256_HEX_SIZE], want[SHA256_HEX_SIZE];
    struct error err;
    struct sha256 *h = sha256_new();

    sha256_add_str(h, "ab");
    sha256_add_str(h, "c");
    sha256_finish(h, a);
    h = sha256_new();
    sha256_add_str(h, "a");
    sha256_add_str(h, "bc");
    sha256_finish(h, b);
    cr_expect_str_neq(a, b);
    cr_assert_eq(sha256_hex("\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c", 19, want, &err), ST_OK);
    cr_expect_str_eq(a, want);
}
