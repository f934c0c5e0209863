/*
 * Tokenizer against Hugging Face tokenizers (tests/vectors/tokenizer/README.md), and what the
 * vectors do not say: errors, hostile sizes, threads.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/rng.h"
#include "engine/tokenizer.h"

/* ---- helpers ---------------------------------------------------------------------------- */

static const char *env(const char *name)
{
    const char *v = getenv(name);

    cr_assert(v, "%s is not set; run this by meson test", name);
    return v;
}

static struct tokenizer *open_file(const char *path)
{
    struct buf full = { 0 };
    struct tokenizer *t = NULL;
    struct error err = { 0 };

    buf_printf(&full, "%s/%s", env("DESBENCH_SOURCE"), path);
    cr_assert_eq(tokenizer_open(buf_str(&full), &t, &err), ST_OK, "%s", err.text);
    buf_release(&full);
    return t;
}

static struct tokenizer *open_shape(const char *name)
{
    struct tokenizer *t;
    struct buf path = { 0 };

    buf_printf(&path, "models/shapes/%s/tokenizer.json", name);
    t = open_file(buf_str(&path));
    buf_release(&path);
    return t;
}

static size_t encode(const struct tokenizer *t, const char *text, size_t len, struct arena *arena,
                     int32_t **ret)
{
    struct error err = { 0 };
    size_t n = 0;

    cr_assert_eq(tokenizer_encode(t, text, len, arena, ret, &n, &err), ST_OK, "%s", err.text);
    return n;
}

/* ---- vectors ---------------------------------------------------------------------------- */

struct vectors {
    FILE *f;
    char *line;
    size_t cap;
    json_t *row;
};

static void vectors_open(struct vectors *v, const char *name)
{
    struct buf path = { 0 };

    buf_printf(&path, "%s/vectors/tokenizer/%s", env("DESBENCH_TESTS"), name);
    v->f = fopen(buf_str(&path), "r");
    cr_assert(v->f, "cannot open %s", buf_str(&path));
    buf_release(&path);
}

/* The next line as JSON, valid until the one after; NULL at the end. */
static json_t *vectors_next(struct vectors *v)
{
    ssize_t n = getline(&v->line, &v->cap, v->f);

    json_decref(v->row);
    v->row = NULL;
    if (n < 0)
        return NULL;
    v->row = json_loadb(v->line, (size_t)n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    cr_assert(v->row, "not JSON: %s", v->line);
    return v->row;
}

static void vectors_close(struct vectors *v)
{
    json_decref(v->row);
    free(v->line);
    fclose(v->f);
}

static bool same_ids(const json_t *want, const int32_t *ids, size_t n)
{
    if (json_array_size(want) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (json_integer_value(json_array_get(want, i)) != ids[i])
            return false;
    return true;
}

static bool decodes_to(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                       const json_t *want)
{
    struct buf got = { 0 };
    bool is_same;

    cr_assert_eq(tokenizer_decode(t, ids, n, skip_special, &got, NULL), ST_OK);
    is_same = got.len == json_string_length(want) &&
              memcmp(buf_str(&got), json_string_value(want), got.len) == 0;
    if (!is_same)
        cr_log_error("decodes to '%s', not '%s'", buf_str(&got), json_string_value(want));
    buf_release(&got);
    return is_same;
}

ParameterizedTestParameters(tokenizer, vectors)
{
    static char names[][32] = { "llada2.0-mini", "tiny-llada2", "ignore-merges", "array-merges",
                                "added-tokens" };

    return cr_make_param_array(char[32], names, sizeof(names) / sizeof(names[0]));
}

/* Rows: [ids, decoded unless it is the text (then 0 or absent), decoded without special tokens
 * unless it is the same]. */
ParameterizedTest(char (*name)[32], tokenizer, vectors)
{
    struct vectors texts = { 0 }, rows = { 0 };
    struct tokenizer *t;
    struct arena arena = { 0 };
    struct buf file = { 0 };
    size_t n_texts, n_bad = 0, n_rows = 0;
    json_t *text, *row;

    buf_printf(&file, "%s.encode.jsonl", *name);
    vectors_open(&texts, "texts.jsonl");
    vectors_open(&rows, buf_str(&file));
    n_texts = (size_t)json_integer_value(json_object_get(vectors_next(&texts), "texts"));
    t = open_file(json_string_value(json_object_get(vectors_next(&rows), "tokenizer")));
    cr_assert_geq(n_texts, 2000);
    while ((text = vectors_next(&texts)) && (row = vectors_next(&rows))) {
        const json_t *full = json_array_get(row, 1), *skipped = json_array_get(row, 2);
        int32_t *ids = NULL;
        size_t n;

        n = encode(t, json_string_value(text), json_string_length(text), &arena, &ids);
        n_rows++;
        full = json_is_string(full) ? full : text;
        skipped = skipped ? skipped : full;
        if (same_ids(json_array_get(row, 0), ids, n) && decodes_to(t, ids, n, false, full) &&
            decodes_to(t, ids, n, true, skipped))
            continue;
        if (n_bad++ < 5)
            cr_log_error("text %zu: %s", n_rows, texts.line);
    }
    cr_expect_eq(n_rows, n_texts);
    cr_expect_eq(n_bad, 0, "%s: %zu of %zu texts differ", *name, n_bad, n_texts);
    vectors_close(&texts);
    vectors_close(&rows);
    tokenizer_close(t);
    arena_release(&arena);
    buf_release(&file);
}

ParameterizedTestParameters(tokenizer, random_ids_decode_alike)
{
    static char names[][32] = { "llada2.0-mini", "tiny-llada2", "ignore-merges", "array-merges",
                                "added-tokens" };

    return cr_make_param_array(char[32], names, sizeof(names) / sizeof(names[0]));
}

/* Rows: [ids, decoded, decoded without special tokens]; ids that no token has are among them. */
ParameterizedTest(char (*name)[32], tokenizer, random_ids_decode_alike)
{
    struct vectors rows = { 0 };
    struct tokenizer *t;
    struct buf file = { 0 };
    size_t n_rows = 0;
    json_t *row;

    buf_printf(&file, "%s.decode.jsonl", *name);
    vectors_open(&rows, buf_str(&file));
    t = open_file(json_string_value(json_object_get(vectors_next(&rows), "tokenizer")));
    while ((row = vectors_next(&rows))) {
        const json_t *list = json_array_get(row, 0);
        size_t n = json_array_size(list);
        int32_t ids[16];

        cr_assert(n > 0 && n <= 16);
        for (size_t i = 0; i < n; i++)
            ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        cr_expect(decodes_to(t, ids, n, false, json_array_get(row, 1)), "%s", rows.line);
        cr_expect(decodes_to(t, ids, n, true, json_array_get(row, 2)), "%s", rows.line);
        n_rows++;
    }
    cr_expect_geq(n_rows, 200);
    vectors_close(&rows);
    tokenizer_close(t);
    buf_release(&file);
}

/* ---- facts ------------------------------------------------------------------------------ */

Test(tokenizer, special_ids_are_found_by_content)
{
    struct tokenizer *t = open_shape("llada2.0-mini");

    cr_expect_eq(tokenizer_special_id(t, "<|mask|>"), 156895);
    cr_expect_eq(tokenizer_special_id(t, "<|endoftext|>"), 156892);
    cr_expect_eq(tokenizer_special_id(t, "<|mask"), -1);
    cr_expect_eq(tokenizer_special_id(t, ""), -1);
    cr_expect_eq(tokenizer_special_id(t, "the"), -1, "in the vocabulary, but not added");
    cr_expect_eq(tokenizer_max_id(t), 156898);
    cr_expect_eq(strlen(tokenizer_sha256(t)), 64);
    tokenizer_close(t);
}

Test(tokenizer, all_shapes_have_what_the_engine_and_the_template_need)
{
    static const char *const shapes[] = { "llada-moe-7b-a1b", "llada2.0-mini",  "llada2.0-flash",
                                          "llada2.1-mini",    "llada2.1-flash", "tiny-llada-moe",
                                          "tiny-llada2" };
    static const char *const tokens[] = {
        "<|startoftext|>", "<|endoftext|>", "<|mask|>", "<role>",
        "</role>",         "<|role_end|>",  "[CLS]",    "[gMASK]"
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct tokenizer *t = open_shape(shapes[i]);

        for (size_t k = 0; k < sizeof(tokens) / sizeof(tokens[0]); k++)
            cr_expect_geq(tokenizer_special_id(t, tokens[k]), 0, "%s: %s", shapes[i], tokens[k]);
        cr_expect_lt(tokenizer_max_id(t), strncmp(shapes[i], "tiny", 4) ? 157184 : 288);
        tokenizer_close(t);
    }
}

Test(tokenizer, ids_without_a_token_are_dropped)
{
    static const int32_t ids[] = { 'h' - 33 + 33, -1, 5000, INT32_MAX, INT32_MIN, 156895, 'i' };
    struct tokenizer *t = open_shape("llada2.0-mini");
    struct buf b = { 0 };

    cr_assert_eq(tokenizer_decode(t, ids, 7, true, &b, NULL), ST_OK);
    cr_expect_str_eq(buf_str(&b), "hi");
    cr_assert_eq(tokenizer_decode(t, ids, 7, false, &b, NULL), ST_OK);
    cr_expect_str_eq(buf_str(&b), "hih<|mask|>i", "it appends");
    tokenizer_close(t);
    buf_release(&b);
}

/* ---- errors ----------------------------------------------------------------------------- */

Test(tokenizer, text_that_is_not_utf8_is_refused_with_its_offset)
{
    static const struct {
        const char *text;
        size_t len;
        const char *offset;
    } cases[] = {
        { "abc\xff", 4, "byte 3 (0xff)" },     { "\x80", 1, "byte 0 (0x80)" },
        { "a\xc3", 2, "byte 1 (0xc3)" },       { "\u00e9\xed\xa0\x80", 5, "byte 2 (0xed)" },
        { "\xc0\x80", 2, "byte 0 (0xc0)" },    { "a\0\xf4\x90\x80\x80", 6, "byte 2 (0xf4)" },
        { "<|mask|>\xe2\x82", 10, "byte 8 " },
    };
    struct tokenizer *t = open_shape("tiny-llada2");
    struct arena arena = { 0 };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int32_t *ids = NULL;
        struct error err = { 0 };
        size_t n = 77;

        cr_expect_eq(tokenizer_encode(t, cases[i].text, cases[i].len, &arena, &ids, &n, &err),
                     ST_INVALID);
        cr_expect_not_null(strstr(err.text, cases[i].offset), "%zu: %s", i, err.text);
        cr_expect(!ids && n == 77, "outputs keep their values on failure");
    }
    arena_release(&arena);
    tokenizer_close(t);
}

Test(tokenizer, a_missing_file_is_not_found)
{
    struct tokenizer *t = NULL;
    struct error err = { 0 };

    cr_assert_eq(tokenizer_open("/nonexistent/tokenizer.json", &t, &err), ST_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "/nonexistent/tokenizer.json"));
    cr_assert_null(t);
    tokenizer_close(NULL);
}

/* ---- size and threads ------------------------------------------------------------------- */

/* Quadratic algorithms, which each part of this could be, would need 1e12 steps for these, and
 * 1e10 for the second and third tokenizer's. */
Test(tokenizer, a_megabyte_of_anything_is_tokenized_quickly)
{
    static const char *const units[] = {
        " ",
        "a",
        "the ",
        "ab",
        "\n",
        "\n ",
        "\t\r",
        "!",
        "1",
        "'",
        "\u00e9",
        "e\u0301\u0327",
        "\u0315\u0327",
        "<|mask|>",
        "<|mas",
        "<",
        "<r> \n\n",
        " <l>",
        "\u3000",
        "\u4e2d",
        "x  x",
        "word ",
        "wordless",
    };
    static const char *const files[] = { "models/shapes/llada2.0-mini/tokenizer.json",
                                         "tests/vectors/tokenizer/added-tokens.json",
                                         "tests/vectors/tokenizer/ignore-merges.json" };
    struct arena arena = { 0 };
    struct buf text = { 0 };

    for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++) {
        struct tokenizer *t = open_file(files[f]);

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            clock_t start = clock();
            int32_t *ids = NULL;

            buf_clear(&text);
            while (text.len < (f ? 100000 : 1000000))
                buf_puts(&text, units[i]);
            cr_expect_gt(encode(t, buf_str(&text), text.len, &arena, &ids), 0);
            cr_expect_lt((double)(clock() - start) / CLOCKS_PER_SEC, 15, "'%s'", units[i]);
            arena_clear(&arena);
        }
        tokenizer_close(t);
    }
    arena_release(&arena);
    buf_release(&text);
}

/* Text of every kind of atom; the same seed gives the same text. */
static void random_text(struct rng *r, struct buf *b)
{
    static const char *const atoms[] = { "the",           " ",          "\n",    "e\u0301",
                                         "<|mask|>",      "'s",         "42",    "\u4e2d",
                                         "def",           "\U0001f642", "()",    "\t",
                                         "<|endoftext|>", "  ",         "answer" };

    buf_clear(b);
    for (size_t k = rng_below(r, 40); k; k--)
        buf_puts(b, atoms[rng_below(r, sizeof(atoms) / sizeof(atoms[0]))]);
}

static void *hash_many(void *arg)
{
    const struct tokenizer *t = arg;
    uint64_t *ret = calloc(1, sizeof(*ret));
    struct arena arena = { 0 };
    struct buf text = { 0 };
    struct rng r;

    rng_seed(&r, 11);
    for (int i = 0; i < 3000; i++) {
        int32_t *ids = NULL;
        size_t n = 0;

        random_text(&r, &text);
        if (tokenizer_encode(t, buf_str(&text), text.len, &arena, &ids, &n, NULL))
            break;
        *ret = (*ret ^ rng_hash(ids, n * sizeof(*ids))) * 1099511628211u + n;
        arena_clear(&arena);
    }
    arena_release(&arena);
    buf_release(&text);
    return ret;
}

Test(tokenizer, threads_share_it)
{
    struct tokenizer *t = open_shape("llada2.0-mini");
    pthread_t threads[3];
    uint64_t *want = hash_many(t);

    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, hash_many, t), 0);
    for (int i = 0; i < 3; i++) {
        void *got = NULL;

        pthread_join(threads[i], &got);
        cr_expect_eq(*(uint64_t *)got, *want);
        free(got);
    }
    free(want);
    tokenizer_close(t);
}

Test(tokenizer, decoding_what_was_encoded_gives_the_text)
{
    struct tokenizer *t = open_shape("tiny-llada-moe");
    struct arena arena = { 0 };
    struct buf text = { 0 }, back = { 0 };
    struct rng r;

    rng_seed(&r, 3);
    for (int i = 0; i < 500; i++) {
        int32_t *ids = NULL;
        size_t n;

        random_text(&r, &text);
        while (text.len && strstr(text.data, "e\u0301")) /* the one atom that is not NFC */
            memcpy(strstr(text.data, "e\u0301"), "abc", 3);
        n = encode(t, buf_str(&text), text.len, &arena, &ids);
        buf_clear(&back);
        cr_assert_eq(tokenizer_decode(t, ids, n, false, &back, NULL), ST_OK);
        cr_assert_str_eq(buf_str(&back), buf_str(&text));
    }
    tokenizer_close(t);
    arena_release(&arena);
    buf_release(&text);
    buf_release(&back);
}
