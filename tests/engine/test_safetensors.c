/* Checkpoints: what is read, and every way a file can break the rules. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/safetensors.h"
#include "temp_dir.h"

static struct temp_dir dir;

static void setup(void)
{
    temp_dir_init(&dir);
    cr_assert_eq(setenv("XDG_CACHE_HOME", dir.path, 1), 0);
}

static void teardown(void)
{
    char sub[128];
    struct temp_dir cache;

    snprintf(sub, sizeof(sub), "%s/desbench", dir.path);
    if (file_is_dir(sub)) {
        memcpy(cache.path, sub, sizeof(cache.path));
        temp_dir_release(&cache);
    }
    temp_dir_release(&dir);
}

TestSuite(safetensors, .init = setup, .fini = teardown);

/* A file of this header and n_data bytes 0, 1, 2, ... */
static void write_file(const char *name, const char *header, size_t n_data)
{
    uint64_t n = strlen(header);
    struct buf b = { 0 };

    buf_append(&b, &n, 8);
    buf_puts(&b, header);
    for (size_t i = 0; i < n_data; i++)
        buf_putc(&b, (char)i);
    temp_dir_write(&dir, name, b.data, b.len);
    buf_release(&b);
}

/* A file of zeros that is just large enough for its hash to be cached; named a or b. */
static void write_large(const char *name, char tensor)
{
    char header[] = "{\"?\":{\"dtype\":\"F32\",\"shape\":[8388608],\"data_offsets\":[0,33554432]}}";
    char path[256];

    header[2] = tensor;
    write_file(name, header, 0);
    temp_dir_path(&dir, name, path, sizeof(path));
    cr_assert_eq(truncate(path, (off_t)(8 + strlen(header) + 33554432)), 0);
}

static enum status open_file(const char *name, struct safetensors **ret, struct error *err)
{
    char path[256];

    temp_dir_path(&dir, name, path, sizeof(path));
    return safetensors_open_file(path, ret, err);
}

Test(safetensors, tensors_of_a_file_are_found_by_name)
{
    struct safetensors *s = NULL;
    struct error err = { 0 };
    const struct tensor *t;

    write_file("model.safetensors",
               "{\"__metadata__\":{\"format\":\"pt\"},"
               "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[16,28]},"
               "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
               "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[28,30]},"
               "\"empty\":{\"dtype\":\"F16\",\"shape\":[0,5],\"data_offsets\":[28,28]}}      ",
               30);
    cr_assert_eq(safetensors_open_dir(dir.path, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(safetensors_count(s), 4);
    cr_assert_eq(safetensors_bytes(s), 30);
    cr_assert_str_eq(safetensors_at(s, 0)->name, "a");
    t = safetensors_find(s, "b");
    cr_assert(t);
    cr_assert_eq(t->dtype, DT_BF16);
    cr_assert_eq(t->n_dims, 2);
    cr_assert_eq(t->shape[0], 2);
    cr_assert_eq(t->shape[1], 3);
    cr_assert_eq(t->bytes, 12);
    cr_assert_eq(((const unsigned char *)t->data)[0], 16);
    cr_assert_eq(((const unsigned char *)t->data)[11], 27);
    cr_assert_eq(safetensors_find(s, "scalar")->n_dims, 0);
    cr_assert_eq(safetensors_find(s, "empty")->bytes, 0);
    cr_assert_null(safetensors_find(s, "c"));
    safetensors_close(s);
}

Test(safetensors, misaligned_data_are_copied_to_where_they_align)
{
    static const char *const pads[] = {
        "", " ", "  ", "   ", "    ", "     ", "      ", "       "
    };

    for (size_t i = 0; i < 8; i++) {
        char header[200];
        struct safetensors *s = NULL;
        struct error err = { 0 };
        const struct tensor *t;

        snprintf(header, sizeof(header),
                 "{\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                 "\"f\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[2,10]}}%s",
                 pads[i]);
        write_file("x.safetensors", header, 10);
        cr_assert_eq(open_file("x.safetensors", &s, &err), ST_OK, "%s", err.text);
        t = safetensors_find(s, "f");
        cr_assert_eq((uintptr_t)t->data % 4, 0);
        for (int j = 0; j < 8; j++)
            cr_assert_eq(((const unsigned char *)t->data)[j], 2 + j);
        t = safetensors_find(s, "h");
        cr_assert_eq((uintptr_t)t->data % 2, 0);
        cr_assert_eq(((const unsigned char *)t->data)[1], 1);
        safetensors_close(s);
    }
}

Test(safetensors, files_that_break_a_rule_are_refused_by_name)
{
    static const struct {
        const char *header;
        size_t n_data;
        enum status st;
        const char *says;
    } cases[] = {
        { "", 0, ST_INVALID, "JSON" },
        { "{", 0, ST_INVALID, "JSON" },
        { "[]", 0, ST_INVALID, "not a JSON object" },
        { "{}x", 0, ST_INVALID, "JSON" },
        { "{\"\xff\":{}}", 0, ST_INVALID, "JSON" },
        { "{\"a\\u0000b\":{}}", 0, ST_INVALID, "JSON" },
        { "{}", 1, ST_INVALID, "end at byte 0 of 1" },
        { "{\"__metadata__\":7}", 0, ST_INVALID, "__metadata__" },
        { "{\"__metadata__\":{\"format\":1}}", 0, ST_INVALID, "'format'" },
        { "{\"a\":7}", 0, ST_INVALID, "'a'" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ST_INVALID, "'dtype'" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ST_INVALID, "'shape'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ST_INVALID, "'data_offsets'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, ST_INVALID,
          "unknown field 'x'" },
        { "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ST_INVALID, "'dtype'" },
        { "{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, ST_UNSUPPORTED,
          "'I64'" },
        { "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ST_UNSUPPORTED,
          "'F8_E4M3'" },
        { "{\"a\":{\"dtype\":\"bf16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, ST_UNSUPPORTED,
          "'bf16'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":7,\"data_offsets\":[0,4]}}", 4, ST_INVALID,
          "'shape'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, ST_INVALID,
          "dimension 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, ST_INVALID,
          "dimension 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
          ST_UNSUPPORTED, "9 dimensions" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
          ST_INVALID, "overflows" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
          ST_INVALID, "overflows" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
          ST_INVALID, "JSON" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ST_INVALID,
          "needs 8 bytes, data_offsets span 4" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, ST_INVALID,
          "data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, ST_INVALID,
          "data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, ST_INVALID,
          "data_offsets[1]" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, ST_INVALID,
          "data_offsets[0]" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, ST_INVALID,
          "4 > 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, ST_INVALID,
          "begin at 4" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ST_INVALID,
          "end at byte 4 of 8" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
          12, ST_INVALID, "'b'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
          12, ST_INVALID, "'b'" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
          4, ST_INVALID, "begin at 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
          8, ST_INVALID, "duplicate" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct safetensors *s = NULL;
        struct error err = { 0 };
        enum status st;

        write_file("bad.safetensors", cases[i].header, cases[i].n_data);
        st = open_file("bad.safetensors", &s, &err);
        cr_expect_eq(st, cases[i].st, "%s gave %s: %s", cases[i].header, status_name(st), err.text);
        cr_expect(strstr(err.text, "bad.safetensors") && strstr(err.text, cases[i].says),
                  "%s said: %s", cases[i].header, err.text);
        cr_expect_null(s);
        safetensors_close(s);
    }
}

Test(safetensors, header_lengths_beyond_the_file_or_the_limit_are_refused)
{
    static const uint64_t lengths[] = { 3, 100, UINT64_MAX, UINT64_MAX - 7, INT64_MAX, 100000001 };
    struct safetensors *s = NULL;
    struct error err;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        unsigned char file[10];

        memcpy(file, &lengths[i], 8);
        memcpy(file + 8, "{}", 2);
        temp_dir_write(&dir, "x.safetensors", file, sizeof(file));
        cr_expect_eq(open_file("x.safetensors", &s, &err), ST_INVALID);
        cr_expect(strstr(err.text, "header of"), "%s", err.text);
    }
    for (size_t n = 0; n < 8; n++) {
        temp_dir_write(&dir, "x.safetensors", "\0\0\0\0\0\0\0", n);
        cr_expect_eq(open_file("x.safetensors", &s, &err), ST_INVALID);
        cr_expect(strstr(err.text, "too few"), "%s", err.text);
    }
}

/* Every prefix of a good file is refused, none crashes. */
Test(safetensors, truncated_files_are_refused)
{
    struct safetensors *s = NULL;
    struct buf b = { 0 };
    struct error err;
    char path[256];

    write_file("x.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}",
               12);
    temp_dir_path(&dir, "x.safetensors", path, sizeof(path));
    cr_assert_eq(file_read(path, 1000, &b, &err), ST_OK);
    for (size_t n = 0; n < b.len; n++) {
        temp_dir_write(&dir, "y.safetensors", b.data, n);
        cr_expect_eq(open_file("y.safetensors", &s, &err), ST_INVALID, "%zu bytes", n);
    }
    temp_dir_write(&dir, "y.safetensors", b.data, b.len);
    cr_assert_eq(open_file("y.safetensors", &s, &err), ST_OK);
    safetensors_close(s);
    buf_release(&b);
}

#define A_HEADER "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define B_HEADER "{\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}"

Test(safetensors, shards_are_joined_by_their_index)
{
    static const char index[] = "{\"metadata\":{\"total_size\":6},"
                                "\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}";
    struct safetensors *s = NULL;
    struct error err = { 0 };

    write_file("1.safetensors", A_HEADER, 4);
    write_file("2.safetensors", B_HEADER, 2);
    temp_dir_write(&dir, "model.safetensors.index.json", index, strlen(index));
    cr_assert_eq(safetensors_open_dir(dir.path, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(safetensors_count(s), 2);
    cr_assert_eq(safetensors_n_shards(s), 2);
    cr_assert(strstr(safetensors_shard_path(s, safetensors_find(s, "b")->i_shard), "/2.safe"));
    cr_assert_eq(safetensors_bytes(s), 6);
    safetensors_close(s);
}

Test(safetensors, an_index_that_disagrees_with_its_shards_is_refused)
{
    static const struct {
        const char *index;
        enum status st;
        const char *says;
    } cases[] = {
        { "7", ST_INVALID, "object" },
        { "{}", ST_INVALID, "weight_map" },
        { "{\"weight_map\":[]}", ST_INVALID, "weight_map" },
        { "{\"weight_map\":{}}", ST_INVALID, "empty" },
        { "{\"weight_map\":{\"a\":7}}", ST_INVALID, "'a'" },
        { "{\"weight_map\":{\"a\":\"\"}}", ST_INVALID, "not a file name" },
        { "{\"weight_map\":{\"a\":\"../1.safetensors\"}}", ST_INVALID, "not a file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", ST_INVALID, "not a file name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", ST_INVALID, "not a file name" },
        { "{\"weight_map\":{\"a\":\"x\\u0000y\"}}", ST_INVALID, "NUL" },
        { "{\"weight_map\":{\"a\":\"3.safetensors\"}}", ST_NOT_FOUND, "3.safetensors" },
        { "{\"weight_map\":{\"a\":\"2.safetensors\"}}", ST_INVALID, "tensor 'b'" },
        { "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}", ST_INVALID,
          "tensor 'b' is not in" },
        { "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}", ST_INVALID,
          "weight_map says" },
        { "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"a\":\"1\"}}",
          ST_INVALID, "duplicate" },
        { "{\"weight_map\":{\"a\":\"1.safetensors\",\"a2\":\"copy.safetensors\"}}", ST_INVALID,
          "tensor 'a' is in" },
        { "{\"metadata\":7,\"weight_map\":{\"a\":\"1.safetensors\"}}", ST_INVALID, "metadata" },
        { "{\"metadata\":{\"total_size\":5},\"weight_map\":{\"a\":\"1.safetensors\"}}", ST_INVALID,
          "total_size is 5, the tensors have 4" },
    };

    write_file("1.safetensors", A_HEADER, 4);
    write_file("2.safetensors", B_HEADER, 2);
    write_file("copy.safetensors", A_HEADER, 4);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct safetensors *s = NULL;
        struct error err = { 0 };
        enum status st;

        temp_dir_write(&dir, "model.safetensors.index.json", cases[i].index,
                       strlen(cases[i].index));
        st = safetensors_open_dir(dir.path, &s, &err);
        cr_expect_eq(st, cases[i].st, "%s gave %s: %s", cases[i].index, status_name(st), err.text);
        cr_expect(strstr(err.text, cases[i].says), "%s said: %s", cases[i].index, err.text);
        safetensors_close(s);
    }
}

Test(safetensors, a_folder_without_weights_is_not_found)
{
    struct safetensors *s = NULL;
    struct error err;

    cr_assert_eq(safetensors_open_dir(dir.path, &s, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, dir.path) && strstr(err.text, "model.safetensors"), "%s", err.text);
    cr_assert_eq(safetensors_open_dir("/nowhere", &s, &err), ST_NOT_FOUND);
}

Test(safetensors, a_folder_in_the_place_of_a_file_is_refused)
{
    struct safetensors *s = NULL;
    struct error err;

    cr_assert_eq(safetensors_open_file(dir.path, &s, &err), ST_INVALID);
    cr_assert(strstr(err.text, "regular file"), "%s", err.text);
}

Test(safetensors, a_file_that_changed_since_open_is_noticed)
{
    struct safetensors *s = NULL;
    struct error err;
    char path[256];

    write_file("x.safetensors", A_HEADER, 4);
    temp_dir_path(&dir, "x.safetensors", path, sizeof(path));
    cr_assert_eq(open_file("x.safetensors", &s, &err), ST_OK);
    cr_assert_eq(safetensors_check_files(s, &err), ST_OK);
    cr_assert_eq(truncate(path, 10), 0);
    cr_assert_eq(safetensors_check_files(s, &err), ST_IO);
    cr_assert(strstr(err.text, "x.safetensors"), "%s", err.text);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(safetensors_check_files(s, &err), ST_IO);
    safetensors_close(s);
}

static void hash_of(const char *name, char ret[65])
{
    struct safetensors *s = NULL;
    struct error err = { 0 };

    cr_assert_eq(open_file(name, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(safetensors_sha256(s, NULL, ret, &err), ST_OK, "%s", err.text);
    safetensors_close(s);
}

Test(safetensors, hash_is_of_the_shards_one_after_the_other)
{
    static const char index[] =
        "{\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}";
    char path[256], got[65], want[65];
    struct safetensors *s = NULL;
    struct buf all = { 0 }, b = { 0 };
    struct error err;

    write_file("1.safetensors", A_HEADER, 4);
    write_file("2.safetensors", B_HEADER, 2);
    temp_dir_write(&dir, "model.safetensors.index.json", index, strlen(index));
    for (int i = 1; i <= 2; i++) {
        snprintf(path, sizeof(path), "%s/%d.safetensors", dir.path, i);
        cr_assert_eq(file_read(path, 1000, &b, &err), ST_OK);
        buf_append(&all, b.data, b.len);
    }
    cr_assert_eq(sha256_hex(all.data, all.len, want, &err), ST_OK);
    cr_assert_eq(safetensors_open_dir(dir.path, &s, &err), ST_OK);
    cr_assert_eq(safetensors_sha256(s, NULL, got, &err), ST_OK);
    cr_assert_str_eq(got, want);
    safetensors_close(s);
    buf_release(&all);
    buf_release(&b);
}

/* The only file of the cache, as the tests here fill it. */
static void cache_file(char *ret, size_t size)
{
    char sub[128];
    DIR *d;

    snprintf(sub, sizeof(sub), "%s/desbench", dir.path);
    d = opendir(sub);
    cr_assert(d, "no cache was made");
    ret[0] = '\0';
    for (const struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "weights-", 8) == 0)
            snprintf(ret, size, "%s/%s", sub, e->d_name);
    closedir(d);
    cr_assert(*ret);
}

Test(safetensors, the_cached_hash_of_a_large_file_is_used_and_a_damaged_one_is_made_anew)
{
    static const char *const damaged[] = { "", "abc\n", "zz" };
    char first[65], again[65], path[512], fake[66];

    write_large("x.safetensors", 'a');
    hash_of("x.safetensors", first);
    cache_file(path, sizeof(path));
    memset(fake, 'a', 64);
    fake[64] = '\n';
    cr_assert_eq(file_write_atomic(path, fake, 65, NULL), ST_OK);
    hash_of("x.safetensors", again);
    cr_assert_eq(memcmp(again, fake, 64), 0, "the cache was not read");
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        cr_assert_eq(file_write_atomic(path, damaged[i], strlen(damaged[i]), NULL), ST_OK);
        hash_of("x.safetensors", again);
        cr_assert_str_eq(again, first);
    }
}

Test(safetensors, a_changed_file_has_another_hash_whatever_the_cache_holds)
{
    char first[65], second[65];

    write_large("x.safetensors", 'a');
    hash_of("x.safetensors", first);
    write_large("x.safetensors", 'b'); /* same size */
    hash_of("x.safetensors", second);
    cr_assert_str_neq(first, second);
}

Test(safetensors, a_cache_that_cannot_be_written_does_no_harm)
{
    char sum[65], want[65], path[256];
    struct error err;

    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
    write_large("x.safetensors", 'a');
    hash_of("x.safetensors", sum);
    temp_dir_path(&dir, "x.safetensors", path, sizeof(path));
    cr_assert_eq(sha256_file(path, want, &err), ST_OK);
    cr_assert_str_eq(sum, want);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    hash_of("x.safetensors", sum);
    cr_assert_str_eq(sum, want);
}

Test(safetensors, hashes_of_small_files_are_not_cached)
{
    char sum[65], sub[128];

    write_file("x.safetensors", A_HEADER, 4);
    hash_of("x.safetensors", sum);
    snprintf(sub, sizeof(sub), "%s/desbench", dir.path);
    cr_assert(!file_is_dir(sub));
}
