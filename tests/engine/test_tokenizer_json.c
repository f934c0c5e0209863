/*
 * Reading tokenizer.json: what is refused and what the message says, malformed files of many
 * kinds, and every allocation failing once.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/tokenizer.h"
#include "tests/base/fail_malloc.h"

/* The tiny shape's tokenizer, to be spoiled. */
static json_t *load(void)
{
    struct buf path = { 0 };
    struct error err = { 0 };
    json_t *v = NULL;

    cr_assert(getenv("DESBENCH_SOURCE"));
    buf_printf(&path, "%s/models/shapes/tiny-llada2/tokenizer.json", getenv("DESBENCH_SOURCE"));
    cr_assert_eq(json_read(buf_str(&path), 1 << 20, &v, &err), ST_OK, "%s", err.text);
    buf_release(&path);
    return v;
}

/* Open a tokenizer.json with this content. A message must name the file. */
static enum status open_bytes(const char *data, size_t len, struct error *err)
{
    char path[] = "/tmp/desbench-tokenizer-XXXXXX";
    int fd = mkstemp(path);
    struct tokenizer *t = NULL;
    enum status st;

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    close(fd);
    st = tokenizer_open(path, &t, err);
    unlink(path);
    cr_assert_eq(st == ST_OK, t != NULL);
    if (st)
        cr_expect_not_null(strstr(err->text, path), "the file is not named: %s", err->text);
    tokenizer_close(t);
    return st;
}

static enum status open_json(const json_t *v, struct error *err)
{
    struct buf text = { 0 };
    enum status st;

    json_put_value(&text, v, 0);
    cr_assert(buf_ok(&text));
    st = open_bytes(text.data, text.len, err);
    buf_release(&text);
    return st;
}

/* The container and last step of a path like "added_tokens.2.id"; the step is borrowed. */
static json_t *find_parent(json_t *v, const char *path, const char **ret_last)
{
    const char *dot;

    while ((dot = strchr(path, '.'))) {
        char step[64] = { 0 };

        cr_assert_lt((size_t)(dot - path), sizeof(step));
        memcpy(step, path, (size_t)(dot - path));
        v = json_is_array(v) ? json_array_get(v, (size_t)strtoul(step, NULL, 10))
                             : json_object_get(v, step);
        cr_assert(v, "no '%s'", step);
        path = dot + 1;
    }
    *ret_last = path;
    return v;
}

/* Set what is at path to a JSON text, or delete it (NULL). */
static void put(json_t *root, const char *path, const char *text)
{
    const char *last;
    json_t *parent = find_parent(root, path, &last), *v = NULL;
    int rc;

    if (text) {
        v = json_loads(text, JSON_DECODE_ANY, NULL);
        cr_assert(v, "not JSON: %s", text);
    }
    if (json_is_array(parent))
        rc = json_array_set_new(parent, (size_t)strtoul(last, NULL, 10), v);
    else if (v)
        rc = json_object_set_new(parent, last, v);
    else
        rc = json_object_del(parent, last);
    cr_assert_eq(rc, 0, "cannot set '%s'", path);
}

struct change {
    const char *path, *text; /* NULL text: deleted */
    enum status status;
    const char *message; /* part of it */
};

static void check(const struct change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &changes[i];
        struct error err = { 0 };
        json_t *v = load();
        enum status st;

        put(v, c->path, c->text);
        st = open_json(v, &err);
        cr_expect_eq(st, c->status, "%s = %s: %s, '%s'", c->path, c->text ? c->text : "deleted",
                     status_name(st), err.text);
        if (c->message)
            cr_expect_not_null(strstr(err.text, c->message), "%s = %s: '%s' lacks '%s'", c->path,
                               c->text ? c->text : "deleted", err.text, c->message);
        json_decref(v);
    }
}

#define CHECK(table) check(table, sizeof(table) / sizeof((table)[0]))

Test(tokenizer_json, what_would_change_ids_is_unsupported)
{
    static const struct change changes[] = {
        { "version", "\"2.0\"", ST_UNSUPPORTED, "field 'version' must be \"1.0\", found \"2.0\"" },
        { "novelty", "1", ST_UNSUPPORTED, "unknown field 'novelty'" },
        { "truncation", "{\"max_length\":8}", ST_UNSUPPORTED, "'truncation' must be null" },
        { "padding", "{}", ST_UNSUPPORTED, "'padding' must be null, found {}" },
        { "normalizer", "{\"type\":\"NFKC\"}", ST_UNSUPPORTED, "'normalizer' must be" },
        { "normalizer.strip", "true", ST_UNSUPPORTED, "normalizer: unknown field 'strip'" },
        { "pre_tokenizer", "null", ST_UNSUPPORTED, "'pre_tokenizer' must be" },
        { "pre_tokenizer", NULL, ST_UNSUPPORTED, "'pre_tokenizer' must be" },
        { "pre_tokenizer", "{\"type\":\"ByteLevel\"}", ST_UNSUPPORTED,
          "found {\"type\":\"ByteLevel\"}" },
        { "pre_tokenizer.pretokenizers", "[]", ST_UNSUPPORTED, "'pre_tokenizer' must be" },
        { "pre_tokenizer.more", "1", ST_UNSUPPORTED, "pre_tokenizer: unknown field 'more'" },
        { "pre_tokenizer.pretokenizers.0.type", "\"Digits\"", ST_UNSUPPORTED, "'pre_tokenizer'" },
        { "pre_tokenizer.pretokenizers.0.pattern", "{\"String\":\" \"}", ST_UNSUPPORTED,
          "'pattern'" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\s+\"", ST_UNSUPPORTED,
          "pretokenizers[0]: field 'pattern' is not a regex known here: \\s+" },
        { "pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", ST_UNSUPPORTED, "\"Removed\"" },
        { "pre_tokenizer.pretokenizers.0.invert", "true", ST_UNSUPPORTED,
          "'invert' must be false" },
        { "pre_tokenizer.pretokenizers.0.x", "true", ST_UNSUPPORTED, "unknown field 'x'" },
        { "pre_tokenizer.pretokenizers.1.add_prefix_space", "true", ST_UNSUPPORTED,
          "'add_prefix_space'" },
        { "pre_tokenizer.pretokenizers.1.use_regex", "true", ST_UNSUPPORTED, "'use_regex'" },
        { "pre_tokenizer.pretokenizers.1.x", "1", ST_UNSUPPORTED, "unknown field 'x'" },
        { "post_processor", "{\"type\":\"BertProcessing\"}", ST_UNSUPPORTED, "'post_processor'" },
        { "post_processor",
          "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_"
          "id\":0}},"
          "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}",
          ST_UNSUPPORTED, "'post_processor' must be one that adds no tokens" },
        { "decoder", "null", ST_UNSUPPORTED, "'decoder' must be" },
        { "decoder", "{\"type\":\"Metaspace\"}", ST_UNSUPPORTED, "'decoder' must be" },
        { "model.type", "\"Unigram\"", ST_UNSUPPORTED, "model: field 'type' must be \"BPE\"" },
        { "model.dropout", "0.1", ST_UNSUPPORTED, "model: field 'dropout' must be null" },
        { "model.continuing_subword_prefix", "\"##\"", ST_UNSUPPORTED,
          "'continuing_subword_prefix'" },
        { "model.end_of_word_suffix", "\"</w>\"", ST_UNSUPPORTED, "'end_of_word_suffix'" },
        { "model.byte_fallback", "true", ST_UNSUPPORTED, "'byte_fallback' must be false" },
        { "model.cache", "1", ST_UNSUPPORTED, "model: unknown field 'cache'" },
        { "added_tokens.0.x", "1", ST_UNSUPPORTED, "added_tokens[0]: unknown field 'x'" },
    };

    CHECK(changes);
}

Test(tokenizer_json, what_cannot_change_ids_is_accepted)
{
    static const struct change changes[] = {
        { "version", NULL, ST_OK, NULL },
        { "truncation", NULL, ST_OK, NULL },
        { "normalizer", NULL, ST_OK, NULL },
        { "normalizer", "null", ST_OK, NULL },
        { "post_processor", NULL, ST_OK, NULL },
        { "post_processor", "{\"type\":\"ByteLevel\",\"trim_offsets\":true}", ST_OK, NULL },
        { "post_processor", "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}]}",
          ST_OK, NULL },
        { "pre_tokenizer.pretokenizers.1.trim_offsets", "false", ST_OK, NULL },
        { "decoder.trim_offsets", "false", ST_OK, NULL },
        { "model.dropout", "0.0", ST_OK, NULL },
        { "model.unk_token", "\"[UNK]\"", ST_OK, NULL },
        { "model.fuse_unk", "true", ST_OK, NULL },
        { "model.continuing_subword_prefix", "\"\"", ST_OK, NULL },
        { "model.ignore_merges", "true", ST_OK, NULL },
        { "model.merges", "[]", ST_OK, NULL },
    };

    CHECK(changes);
}

Test(tokenizer_json, malformed_fields_are_named)
{
    static const struct change changes[] = {
        { "added_tokens", NULL, ST_INVALID, "field 'added_tokens' (an array) is missing" },
        { "added_tokens", "{}", ST_INVALID, "'added_tokens' must be an array" },
        { "added_tokens.1", "7", ST_INVALID, "added_tokens[1]: an object is needed" },
        { "added_tokens.1.id", NULL, ST_INVALID,
          "added_tokens[1]: field 'id' (an integer) is missing" },
        { "added_tokens.1.id", "\"281\"", ST_INVALID,
          "added_tokens[1]: field 'id' must be an integer" },
        { "added_tokens.1.id", "-1", ST_INVALID, "field 'id' must be 0 .. 1048575, found -1" },
        { "added_tokens.1.id", "1048576", ST_INVALID, "found 1048576" },
        { "added_tokens.1.id", "9223372036854775807", ST_INVALID, "found 9223372036854775807" },
        { "added_tokens.1.id", "282", ST_INVALID, "take that of the vocabulary, 281" },
        { "added_tokens.1.content", NULL, ST_INVALID, "added_tokens[1]: field 'content'" },
        { "added_tokens.1.content", "5", ST_INVALID, "'content' must be a string" },
        { "added_tokens.1.content", "\"\"", ST_INVALID, "'content' is empty" },
        { "added_tokens.1.content", "\"<|startoftext|>\"", ST_INVALID,
          "added_tokens[1]: field 'id'" },
        { "added_tokens.1.content", "\"new\"", ST_INVALID, "is the id of '<|endoftext|>', too" },
        { "added_tokens.1.lstrip", "0", ST_INVALID, "'lstrip' must be true or false" },
        { "added_tokens.1.special", NULL, ST_INVALID, "field 'special'" },
        { "added_tokens.1.normalized", "null", ST_INVALID, "field 'normalized'" },
        { "pre_tokenizer.pretokenizers.0.invert", NULL, ST_INVALID, "field 'invert'" },
        { "pre_tokenizer.pretokenizers.1.use_regex", NULL, ST_INVALID, "field 'use_regex'" },
        { "model", NULL, ST_INVALID, "field 'model' (an object) is missing" },
        { "model", "[]", ST_INVALID, "'model' must be an object" },
        { "model.ignore_merges", "1", ST_INVALID, "'ignore_merges' must be true or false" },
        { "model.vocab", NULL, ST_INVALID, "model: field 'vocab'" },
        { "model.vocab", "[]", ST_INVALID, "'vocab' must be an object" },
        { "model.vocab", "{}", ST_INVALID, "'vocab' has no token for byte 0x00" },
        { "model.vocab.A", NULL, ST_INVALID, "'vocab' has no token for byte 0x41" },
        { "model.vocab.A", "\"65\"", ST_INVALID, "id of 'A' in field 'vocab' must be" },
        { "model.vocab.A", "-65", ST_INVALID, "found -65" },
        { "model.vocab.A", "65.0", ST_INVALID, "found 65.0" },
        { "model.vocab.A", "4294967295", ST_INVALID, "found 4294967295" },
        { "model.vocab.A", "66", ST_INVALID, "have the same id 66" },
        { "model.merges", NULL, ST_INVALID, "model: field 'merges'" },
        { "model.merges", "{}", ST_INVALID, "'merges' must be an array" },
        { "model.merges.2", "7", ST_INVALID, "field 'merges[2]' must be \"a b\" or [\"a\",\"b\"]" },
        { "model.merges.2", "\"ab\"", ST_INVALID, "merges[2]" },
        { "model.merges.2", "\"a b c\"", ST_INVALID, "merges[2]" },
        { "model.merges.2", "[\"a\"]", ST_INVALID, "merges[2]" },
        { "model.merges.2", "[\"a\",1]", ST_INVALID, "merges[2]" },
        { "model.merges.2", "[\"a\",\"qq\"]", ST_INVALID,
          "merges[2]': 'qq' is not in the vocabulary" },
        { "model.merges.2", "\"zz a\"", ST_INVALID, "merges[2]': 'zz' is not in the vocabulary" },
        { "model.merges.2", "\"q q\"", ST_INVALID, "makes 'qq', which is not in the vocabulary" },
    };

    CHECK(changes);
}

Test(tokenizer_json, contradictions_of_several_fields)
{
    struct error err = { 0 };
    json_t *v = load(), *added = json_object_get(v, "added_tokens");

    /* a merge given twice */
    json_array_append(json_object_get(json_object_get(v, "model"), "merges"),
                      json_array_get(json_object_get(json_object_get(v, "model"), "merges"), 0));
    cr_expect_eq(open_json(v, &err), ST_INVALID);
    cr_expect_not_null(strstr(err.text, "is there twice"), "%s", err.text);
    json_decref(v);

    /* the same token twice, once for raw and once for normalized text */
    v = load();
    added = json_object_get(v, "added_tokens");
    json_array_append_new(added, json_deep_copy(json_array_get(added, 0)));
    json_object_set_new(json_array_get(added, 8), "normalized", json_true());
    cr_expect_eq(open_json(v, &err), ST_INVALID);
    cr_expect_not_null(strstr(err.text, "added_tokens: '<|startoftext|>' is there twice"), "%s",
                       err.text);
    json_decref(v);

    /* not in the vocabulary, and numbered otherwise than Hugging Face would */
    v = load();
    json_object_del(json_object_get(json_object_get(v, "model"), "vocab"), "<|role_end|>");
    json_object_set_new(json_array_get(json_object_get(v, "added_tokens"), 7), "id",
                        json_integer(300));
    cr_expect_eq(open_json(v, &err), ST_INVALID);
    cr_expect_not_null(
        strstr(err.text, "'<|role_end|>' is 300, but Hugging Face tokenizers number it 287"), "%s",
        err.text);
    json_object_set_new(json_array_get(json_object_get(v, "added_tokens"), 7), "id",
                        json_integer(287));
    cr_expect_eq(open_json(v, &err), ST_OK, "%s", err.text);
    json_decref(v);

    /* looked for in NFC text, but itself not NFC */
    v = load();
    json_array_append_new(json_object_get(v, "added_tokens"),
                          json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 288, "content",
                                    "e\u0301", "special", 0, "normalized", 1, "lstrip", 0, "rstrip",
                                    0, "single_word", 0));
    cr_expect_eq(open_json(v, &err), ST_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "is not NFC"), "%s", err.text);
    json_decref(v);
}

Test(tokenizer_json, a_truncated_file_is_invalid_at_any_length)
{
    json_t *v = load();
    struct buf text = { 0 };

    json_put_value(&text, v, JSON_COMPACT);
    for (size_t n = 0; n < text.len; n += 1 + n / 64) {
        struct error err = { 0 };

        cr_expect_eq(open_bytes(text.data, n, &err), ST_INVALID, "%zu bytes: %s", n, err.text);
    }
    buf_release(&text);
    json_decref(v);
}

Test(tokenizer_json, bytes_that_are_not_json_are_invalid)
{
    static const char *const texts[] = {
        "", "null", "[]", "\"x\"", "{}", "{} {}", "\xff\xfe{}", "{\"model\":{},\"model\":{}}"
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error err = { 0 };

        cr_expect_eq(open_bytes(texts[i], strlen(texts[i]), &err), ST_INVALID, "'%s': %s", texts[i],
                     err.text);
    }
}

/* Put each of some values in place of every member of v, at every depth, and try to open. The
 * outcome is free, but a refusal names the file (see open_bytes) and nothing crashes. */
static void spoil(json_t *root, json_t *v, size_t *n)
{
    static const char *const values[] = {
        "null", "true", "-1", "1e308", "\"x\"", "[]", "{}", "[[]]"
    };
    const size_t n_values = sizeof(values) / sizeof(values[0]);
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_array(v)) {
        for (i = 0; i < json_array_size(v) && i < 3; i++) {
            member = json_incref(json_array_get(v, i));
            spoil(root, member, n);
            for (size_t k = 0; k < n_values; k++, (*n)++) {
                struct error err = { 0 };

                json_array_set_new(v, i, json_loads(values[k], JSON_DECODE_ANY, NULL));
                (void)open_json(root, &err);
            }
            json_array_set_new(v, i, member);
        }
    } else if (json_is_object(v) && json_object_size(v) < 32) { /* not the vocabulary */
        char *keys[32];
        size_t n_keys = 0;

        json_object_foreach(v, key, member) keys[n_keys++] = strdup(key);
        for (i = 0; i < n_keys; i++) {
            member = json_incref(json_object_get(v, keys[i]));
            spoil(root, member, n);
            for (size_t k = 0; k < n_values; k++, (*n)++) {
                struct error err = { 0 };

                json_object_set_new(v, keys[i], json_loads(values[k], JSON_DECODE_ANY, NULL));
                (void)open_json(root, &err);
            }
            json_object_set_new(v, keys[i], member);
            free(keys[i]);
        }
    }
}

Test(tokenizer_json, wrong_values_anywhere_are_survived)
{
    struct error err = { 0 };
    json_t *v = load();
    size_t n = 0;

    spoil(v, v, &n);
    cr_expect_gt(n, 300);
    cr_expect_eq(open_json(v, &err), ST_OK, "%s", err.text);
    json_decref(v);
}

static enum status try_text(void *path, struct error *err)
{
    static const char greeting[] = "Hello e\u0301 <|mask|><n> \u00e9!";
    struct tokenizer *t = NULL;
    struct arena arena = { 0 };
    struct buf text = { 0 };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    enum status st = tokenizer_open(path, &t, err);

    if (!st)
        st = tokenizer_encode(t, greeting, sizeof(greeting) - 1, &arena, &ids, &n_ids, err);
    if (!st)
        st = tokenizer_decode(t, ids, n_ids, false, &text, err);
    tokenizer_close(t);
    arena_release(&arena);
    buf_release(&text);
    return st;
}

Test(tokenizer_json, any_failing_allocation_is_reported)
{
    struct buf path = { 0 };
    struct fail_sweep s = { .what = "tokenizer", .f = try_text };

    buf_printf(&path, "%s/vectors/tokenizer/added-tokens.json", getenv("DESBENCH_TESTS"));
    s.arg = path.data;
    cr_expect_gt(fail_malloc_sweep(&s), 1000);
    buf_release(&path);
}
