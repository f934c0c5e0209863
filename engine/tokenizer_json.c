/*
 * tokenizer.json -> struct tokenizer.
 *
 * The format is what Hugging Face tokenizers serialize (version "1.0"). Only one kind of
 * tokenizer is known here, the byte-level BPE of tokenizer.h; a field that says otherwise, or one
 * that is not known, could change ids and is ST_UNSUPPORTED. Where a file contradicts itself
 * (ids given twice, merges of tokens that do not exist) it is ST_INVALID, even where Hugging Face
 * tokenizers would go on with one of the two readings.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pretokenize.h"
#include "engine/tokenizer_impl.h"
#include "engine/tokenizer_nfc.h"

struct reader {
    const char *path;
    struct tokenizer *t;
    struct arena names; /* of places in the file, for messages */
    struct error *err;
};

/* ---- helpers ---------------------------------------------------------------------------- */

/* "'FILE' PLACE", or NULL with the error set. */
static const char *place(struct reader *r, const char *name)
{
    const char *where = arena_printf(&r->names, "'%s'%s%s", r->path, *name ? " " : "", name);

    if (!where)
        error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->path);
    return where;
}

static enum status place_item(struct reader *r, const char *name, size_t i, const char **ret)
{
    *ret = arena_printf(&r->names, "'%s' %s[%zu]", r->path, name, i);
    return *ret ? ST_OK : error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->path);
}

/* Refuse members that are not among the NULL-ended names. */
static enum status check_keys(struct reader *r, const json_t *obj, const char *where,
                              const char *const *known)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)obj, key, v)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return error_set(r->err, ST_UNSUPPORTED, "%s: unknown field '%.80s'", where, key);
    }
    return ST_OK;
}

static enum status unsupported(struct reader *r, const char *where, const char *key,
                               const json_t *v, const char *want)
{
    struct buf text = { 0 };

    json_put_value(&text, v, JSON_COMPACT);
    error_set(r->err, ST_UNSUPPORTED, "%s: field '%s' must be %s, found %.200s", where, key, want,
              v ? buf_str(&text) : "nothing");
    buf_release(&text);
    return ST_UNSUPPORTED;
}

static bool is_null(const json_t *v)
{
    return !v || json_is_null(v);
}

static bool is_text(const json_t *v, const char *text)
{
    return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

static bool is_type(const json_t *v, const char *type)
{
    return is_text(json_object_get(v, "type"), type);
}

/* ---- normalizer, pre-tokenizer, post-processor, decoder --------------------------------- */

static enum status read_normalizer(struct reader *r, const json_t *root, const char *where)
{
    static const char *const keys[] = { "type", NULL };
    const json_t *v = json_object_get(root, "normalizer");

    if (is_null(v))
        return ST_OK;
    if (!is_type(v, "NFC"))
        return unsupported(r, where, "normalizer", v, "null or {\"type\":\"NFC\"}");
    r->t->is_nfc = true;
    where = place(r, "normalizer");
    return where ? check_keys(r, v, where, keys) : ST_NOMEM;
}

static enum status read_split(struct reader *r, const json_t *v)
{
    static const char *const keys[] = { "type", "pattern", "behavior", "invert", NULL };
    const char *where = place(r, "pre_tokenizer.pretokenizers[0]"), *regex;
    const json_t *pattern = json_object_get(v, "pattern");
    bool is_inverted = false;
    enum status st;

    if (!where)
        return ST_NOMEM;
    st = check_keys(r, v, where, keys);
    if (st)
        return st;
    if (!json_is_object(pattern) || json_object_size(pattern) != 1 ||
        !json_is_string(json_object_get(pattern, "Regex")))
        return unsupported(r, where, "pattern", pattern, "{\"Regex\": ...}");
    regex = json_string_value(json_object_get(pattern, "Regex"));
    if (!pretokenize_is_known_regex(regex))
        return error_set(r->err, ST_UNSUPPORTED,
                         "%s: field 'pattern' is not a regex known here: %.400s", where, regex);
    if (!is_text(json_object_get(v, "behavior"), "Isolated"))
        return unsupported(r, where, "behavior", json_object_get(v, "behavior"), "\"Isolated\"");
    st = json_get_bool(v, where, "invert", &is_inverted, r->err);
    if (!st && is_inverted)
        st = unsupported(r, where, "invert", json_object_get(v, "invert"), "false");
    return st;
}

static enum status read_byte_level(struct reader *r, const json_t *v)
{
    static const char *const keys[] = { "type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL };
    const char *where = place(r, "pre_tokenizer.pretokenizers[1]");
    enum status st = where ? check_keys(r, v, where, keys) : ST_NOMEM;

    if (st)
        return st;
    for (int i = 1; i < 4; i += 2) { /* trim_offsets is about offsets only */
        bool is_set = true;

        st = json_get_bool(v, where, keys[i], &is_set, r->err);
        if (!st && is_set)
            st = unsupported(r, where, keys[i], json_object_get(v, keys[i]), "false");
        if (st)
            return st;
    }
    return ST_OK;
}

static enum status read_pre_tokenizer(struct reader *r, const json_t *root, const char *where)
{
    static const char *const keys[] = { "type", "pretokenizers", NULL };
    const json_t *v = json_object_get(root, "pre_tokenizer");
    const json_t *list = json_object_get(v, "pretokenizers");
    const char *inner = place(r, "pre_tokenizer");
    enum status st;

    if (!inner)
        return ST_NOMEM;
    if (!is_type(v, "Sequence") || json_array_size(list) != 2 ||
        !is_type(json_array_get(list, 0), "Split") ||
        !is_type(json_array_get(list, 1), "ByteLevel"))
        return unsupported(r, where, "pre_tokenizer", v, "a Sequence of Split and ByteLevel");
    st = check_keys(r, v, inner, keys);
    if (!st)
        st = read_split(r, json_array_get(list, 0));
    if (!st)
        st = read_byte_level(r, json_array_get(list, 1));
    return st;
}

/* Does this post-processor leave the ids of a single text as they are? */
static bool is_no_op(const json_t *v)
{
    const json_t *list, *single;

    if (is_null(v) || is_type(v, "ByteLevel")) /* the latter adjusts offsets only */
        return true;
    if (is_type(v, "TemplateProcessing")) {
        single = json_object_get(v, "single");
        return json_array_size(single) == 1 &&
               is_text(
                   json_object_get(json_object_get(json_array_get(single, 0), "Sequence"), "id"),
                   "A");
    }
    list = json_object_get(v, "processors");
    if (!is_type(v, "Sequence") || !json_is_array(list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (is_type(json_array_get(list, i), "Sequence") || !is_no_op(json_array_get(list, i)))
            return false;
    return true;
}

/* ---- model ------------------------------------------------------------------------------ */

static enum status read_model_options(struct reader *r, const json_t *m, const char *where)
{
    static const char *const keys[] = {
        "type",
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "vocab",
        "merges",
        "ignore_merges",
        NULL,
    };
    const json_t *v;
    enum status st;

    if (!is_type(m, "BPE"))
        return unsupported(r, where, "type", json_object_get(m, "type"), "\"BPE\"");
    st = check_keys(r, m, where, keys);
    if (st)
        return st;
    v = json_object_get(m, "dropout");
    if (!is_null(v) && !(json_is_number(v) && json_number_value(v) == 0))
        return unsupported(r, where, "dropout", v, "null");
    for (int i = 3; i < 5; i++) {
        v = json_object_get(m, keys[i]);
        if (!is_null(v) && !is_text(v, ""))
            return unsupported(r, where, keys[i], v, "null");
    }
    v = json_object_get(m, "byte_fallback");
    if (v && !json_is_false(v))
        return unsupported(r, where, "byte_fallback", v, "false");
    /* unk_token and fuse_unk never come into play: every byte has a token, see read_vocab() */
    v = json_object_get(m, "ignore_merges");
    if (v && !json_is_boolean(v))
        return json_get_bool(m, where, "ignore_merges", &r->t->bpe.ignore_merges, r->err);
    r->t->bpe.ignore_merges = json_is_true(v);
    return ST_OK;
}

/* Largest id of vocab and added_tokens, so that tables can be made; ids are checked here. */
static enum status find_max_id(struct reader *r, json_t *vocab, const json_t *added,
                               const char *where, size_t *ret)
{
    const char *key, *item;
    int64_t max = 0, id = 0;
    enum status st;
    json_t *v;

    json_object_foreach(vocab, key, v)
    {
        id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > TOKENIZER_MAX_ID) {
            struct buf text = { 0 };

            json_put_value(&text, v, JSON_COMPACT);
            error_set(r->err, ST_INVALID,
                      "%s: id of '%.80s' in field 'vocab' must be 0 .. %d, found %.80s", where, key,
                      TOKENIZER_MAX_ID, buf_str(&text));
            buf_release(&text);
            return ST_INVALID;
        }
        max = id > max ? id : max;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        st = place_item(r, "added_tokens", i, &item);
        if (!st)
            st = json_get_int(json_array_get(added, i), item, "id", 0, TOKENIZER_MAX_ID, &id,
                              r->err);
        if (st)
            return st;
        max = id > max ? id : max;
    }
    *ret = (size_t)max;
    return ST_OK;
}

static enum status read_vocab(struct reader *r, json_t *vocab, const char *where)
{
    struct bpe *b = &r->t->bpe;
    const char *key;
    enum status st;
    json_t *v;

    json_object_foreach(vocab, key, v)
    {
        int32_t id = (int32_t)json_integer_value(v);

        if (b->tokens[id].text)
            return error_set(r->err, ST_INVALID,
                             "%s: '%.80s' and '%.80s' in field 'vocab' have the same id %d", where,
                             b->tokens[id].text, key, (int)id);
        st = bpe_set_token(b, id, key, strlen(key), true, r->err);
        if (st)
            return st;
    }
    for (int i = 0; i < 256; i++)
        if (b->byte_id[i] < 0)
            return error_set(r->err, ST_INVALID, "%s: field 'vocab' has no token for byte 0x%02x",
                             where, i);
    return ST_OK;
}

/* The two sides of a merge, "a b" or ["a", "b"], in vocab; names the one that is not there. */
static enum status find_pair(struct reader *r, const json_t *v, const char *where, size_t i,
                             int32_t id[2], struct buf *made)
{
    const char *side[2] = { NULL, NULL };
    size_t len[2] = { 0, 0 };

    if (json_is_string(v)) {
        const char *text = json_string_value(v), *space = strchr(text, ' ');

        if (space && !strchr(space + 1, ' ') && strlen(text) == json_string_length(v)) {
            side[0] = text;
            len[0] = (size_t)(space - text);
            side[1] = space + 1;
            len[1] = json_string_length(v) - len[0] - 1;
        }
    } else if (json_is_array(v) && json_array_size(v) == 2) {
        for (size_t k = 0; k < 2; k++) {
            side[k] = json_string_value(json_array_get(v, k));
            len[k] = json_string_length(json_array_get(v, k));
        }
    }
    if (!side[0] || !side[1])
        return error_set(r->err, ST_INVALID,
                         "%s: field 'merges[%zu]' must be \"a b\" or [\"a\",\"b\"]", where, i);
    buf_clear(made);
    for (int k = 0; k < 2; k++) {
        id[k] = bpe_find(&r->t->bpe, side[k], len[k]);
        if (id[k] < 0)
            return error_set(r->err, ST_INVALID,
                             "%s: field 'merges[%zu]': '%.*s' is not in the vocabulary", where, i,
                             (int)(len[k] < 80 ? len[k] : 80), side[k]);
        buf_append(made, side[k], len[k]);
    }
    return buf_ok(made) ? ST_OK
                        : error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->path);
}

static enum status read_merges(struct reader *r, const json_t *merges, const char *where)
{
    struct bpe *b = &r->t->bpe;
    struct buf made = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < json_array_size(merges) && !st; i++) {
        const json_t *v = json_array_get(merges, i);
        int32_t id[2] = { -1, -1 }, made_id;

        /* the head line of a merges.txt, which old converters kept; Hugging Face skips it, too */
        if (json_is_string(v) && strncmp(json_string_value(v), "#version", 8) == 0)
            continue;
        st = find_pair(r, v, where, i, id, &made);
        if (st)
            break;
        made_id = bpe_find(b, buf_str(&made), made.len);
        if (made_id < 0)
            st = error_set(r->err, ST_INVALID,
                           "%s: field 'merges[%zu]' makes '%.80s', which is not in the vocabulary",
                           where, i, buf_str(&made));
        else if (!bpe_add_merge(b, id[0], id[1], made_id))
            st = error_set(r->err, ST_INVALID, "%s: field 'merges[%zu]' is there twice ('%.80s')",
                           where, i, buf_str(&made));
    }
    buf_release(&made);
    return st;
}

static enum status read_model(struct reader *r, const json_t *root, const json_t *added,
                              const char *where)
{
    json_t *m = NULL, *vocab = NULL, *merges = NULL;
    size_t max_id = 0;
    enum status st = json_get_object(root, where, "model", &m, r->err);

    if (st)
        return st;
    where = place(r, "model");
    if (!where)
        return ST_NOMEM;
    st = read_model_options(r, m, where);
    if (!st)
        st = json_get_object(m, where, "vocab", &vocab, r->err);
    if (!st)
        st = json_get_array(m, where, "merges", &merges, r->err);
    if (!st)
        st = find_max_id(r, vocab, added, where, &max_id);
    if (!st)
        st = bpe_init(&r->t->bpe, max_id, json_object_size(vocab), json_array_size(merges), r->err);
    if (!st)
        st = read_vocab(r, vocab, where);
    if (!st)
        st = read_merges(r, merges, where);
    return st;
}

/* ---- added tokens ----------------------------------------------------------------------- */

/*
 * Hugging Face tokenizers take an added token's id from the vocabulary, or number it on behind
 * the vocabulary and the added tokens so far; the "id" in the file is only compared. What it
 * would give is returned, so that a file on which the two disagree can be refused.
 */
static int64_t hugging_face_id(int32_t in_vocab, size_t n_vocab, int64_t max_added)
{
    if (in_vocab >= 0)
        return in_vocab;
    return max_added >= (int64_t)n_vocab ? max_added + 1 : (int64_t)n_vocab;
}

/*
 * Put an added token among those looked for. One that is looked for in normalized text, but is
 * not itself normalized, is refused: Hugging Face tokenizers (0.23.3) decode such a token to its
 * normalized spelling and no longer know that it is special.
 */
static enum status add_to_set(struct reader *r, const char *where, const struct added_token *a,
                              bool is_normalized)
{
    struct tokenizer *t = r->t;
    struct buf nfc = { 0 };
    enum status st = ST_OK;

    if (is_normalized && t->is_nfc && !nfc_is_trivial(a->content, a->len)) {
        st = nfc_normalize(a->content, a->len, &nfc, r->err);
        if (!st && (nfc.len != a->len || memcmp(nfc.data, a->content, a->len) != 0))
            st = error_set(r->err, ST_UNSUPPORTED,
                           "%s: field 'content' ('%.80s') of a token with 'normalized' is not NFC",
                           where, a->content);
        buf_release(&nfc);
        if (st)
            return st;
    }
    if (!added_set_add(is_normalized ? &t->normalized : &t->raw, a))
        return error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->path);
    return ST_OK;
}

static enum status read_added_token(struct reader *r, const json_t *v, const char *where,
                                    size_t n_vocab, int64_t *max_added)
{
    static const char *const keys[] = { "id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL };
    struct bpe *b = &r->t->bpe;
    bool is_normalized = false, is_special = false;
    struct added_token a = { 0 };
    const char *content = "";
    int64_t id = 0, hf_id;
    int32_t in_vocab;
    enum status st;

    if ((st = check_keys(r, v, where, keys)) ||
        (st = json_get_int(v, where, "id", 0, TOKENIZER_MAX_ID, &id, r->err)) ||
        (st = json_get_str(v, where, "content", &content, &a.len, r->err)) ||
        (st = json_get_bool(v, where, "single_word", &a.single_word, r->err)) ||
        (st = json_get_bool(v, where, "lstrip", &a.lstrip, r->err)) ||
        (st = json_get_bool(v, where, "rstrip", &a.rstrip, r->err)) ||
        (st = json_get_bool(v, where, "normalized", &is_normalized, r->err)) ||
        (st = json_get_bool(v, where, "special", &is_special, r->err)))
        return st;
    if (!a.len)
        return error_set(r->err, ST_INVALID, "%s: field 'content' is empty", where);

    in_vocab = bpe_find(b, content, a.len);
    hf_id = hugging_face_id(in_vocab, n_vocab, *max_added);
    if (in_vocab < 0 && b->tokens[id].text)
        return error_set(r->err, ST_INVALID,
                         "%s: field 'id' %d of '%.80s' is the id of '%.80s', too", where, (int)id,
                         content, b->tokens[id].text);
    if (id != hf_id)
        return error_set(r->err, ST_INVALID,
                         "%s: field 'id' of '%.80s' is %d, but Hugging Face tokenizers %s %d",
                         where, content, (int)id,
                         in_vocab >= 0 ? "take that of the vocabulary," : "number it", (int)hf_id);
    *max_added = id > *max_added ? id : *max_added;
    if (in_vocab < 0) {
        st = bpe_set_token(b, (int32_t)id, content, a.len, false, r->err);
        if (st)
            return st;
    }
    b->tokens[id].is_special = is_special;
    a.content = b->tokens[id].text;
    a.id = (int32_t)id;
    r->t->names[r->t->n_names++] = (struct added_name){ a.content, a.id };
    return add_to_set(r, where, &a, is_normalized);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(((const struct added_name *)a)->content, ((const struct added_name *)b)->content);
}

static enum status read_added(struct reader *r, const json_t *added, size_t n_vocab)
{
    struct tokenizer *t = r->t;
    int64_t max_added = -1;
    const char *where;
    enum status st;

    t->names = arena_array(&t->bpe.arena, json_array_size(added), sizeof(*t->names));
    if (!t->names)
        return error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->path);
    for (size_t i = 0; i < json_array_size(added); i++) {
        st = place_item(r, "added_tokens", i, &where);
        if (!st)
            st = read_added_token(r, json_array_get(added, i), where, n_vocab, &max_added);
        if (st)
            return st;
    }
    qsort(t->names, t->n_names, sizeof(*t->names), name_cmp);
    for (size_t i = 1; i < t->n_names; i++)
        if (name_cmp(&t->names[i - 1], &t->names[i]) == 0)
            return error_set(r->err, ST_INVALID, "'%s' added_tokens: '%.80s' is there twice",
                             r->path, t->names[i].content);
    return ST_OK;
}

/* ---- the file --------------------------------------------------------------------------- */

static enum status read_root(struct reader *r, const json_t *root)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL,
    };
    const char *where = place(r, "");
    json_t *added = NULL, *vocab;
    const json_t *v;
    enum status st;

    if (!where)
        return ST_NOMEM;
    st = json_get_array(root, where, "added_tokens", &added, r->err);
    if (!st)
        st = check_keys(r, root, where, keys);
    if (st)
        return st;
    v = json_object_get(root, "version");
    if (v && !is_text(v, "1.0"))
        return unsupported(r, where, "version", v, "\"1.0\"");
    for (int i = 1; i < 3; i++) {
        v = json_object_get(root, keys[i]);
        if (!is_null(v))
            return unsupported(r, where, keys[i], v, "null");
    }
    v = json_object_get(root, "post_processor");
    if (!is_no_op(v))
        return unsupported(r, where, "post_processor", v, "one that adds no tokens");
    v = json_object_get(root, "decoder");
    if (!is_type(v, "ByteLevel"))
        return unsupported(r, where, "decoder", v, "{\"type\":\"ByteLevel\", ...}");
    st = read_normalizer(r, root, where);
    if (!st)
        st = read_pre_tokenizer(r, root, where);
    if (!st)
        st = read_model(r, root, added, where);
    if (st)
        return st;
    vocab = json_object_get(json_object_get(root, "model"), "vocab");
    return read_added(r, added, json_object_size(vocab));
}

enum status tokenizer_parse(struct tokenizer *t, const char *path, const char *data, size_t len,
                            struct error *err)
{
    struct reader r = { .path = path, .t = t, .err = err };
    json_t *root = NULL;
    enum status st = json_parse(data, len, path, 0, &root, err);

    if (!st)
        st = read_root(&r, root);
    json_decref(root);
    arena_release(&r.names);
    if (!st)
        t->max_id = (int32_t)t->bpe.n_tokens - 1;
    return st;
}
