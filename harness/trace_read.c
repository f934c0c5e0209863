/* Trace files: the reader. Everything in a file is outside data: each field is checked before it is
 * used, each size before it is multiplied. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "harness/trace_bytes.h"
#include "harness/trace_file.h"

struct trace_reader {
    const unsigned char *data;
    size_t len; /* of the records' end: where the tag of END lies */
    void *map;  /* of trace_open(); NULL: memory of the caller's */
    size_t map_len;
    char *name;
    struct arena arena; /* of the header */
    struct trace_header h;
    uint64_t n_forwards; /* as END says */
    size_t first;        /* byte of the first record */

    size_t at; /* of the next record */
    uint64_t n_read;
    bool has_sequence;
    struct trace_sequence sequence; /* the last one */
    int n_tok;                      /* of the forward come to; 0: none */
    size_t layers_at, layer_bytes;  /* its layers in the file */
    int32_t *ids;                   /* (2, cap_tok) and positions behind them */
    float *scores, *importance;     /* (cap_tok, n_exp), (cap_tok) */
    size_t cap_tok;
};

static enum status no_memory(const struct trace_reader *r, struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory reading '%s'", r->name);
}

static enum status cut_short(const struct trace_reader *r, size_t at, struct error *err)
{
    return error_set(err, ST_INVALID, "'%s' ends within what begins at byte %zu", r->name, at);
}

static float get_float(const unsigned char *p)
{
    return trace_float_of(trace_load32(p));
}

/* ---- the header ------------------------------------------------------------------------- */

/* A field of the header that is a count. */
static enum status get_count(const struct trace_reader *r, int offset, const char *field, int min,
                             int max, int *ret, struct error *err)
{
    uint32_t v = trace_load32(r->data + offset);

    if (v > (uint32_t)max || (int)v < min)
        return error_set(err, ST_INVALID, "'%s' byte %d: %s %u is not within %d .. %d", r->name,
                         offset, field, v, min, max);
    *ret = (int)v;
    return ST_OK;
}

static enum status read_counts(struct trace_reader *r, struct error *err)
{
    struct trace_header *h = &r->h;
    enum status st;

    st = get_count(r, TRACE_AT_N_LAYER, "n_layer", 1, TRACE_MAX_LAYERS, &h->n_layer, err);
    if (!st)
        st = get_count(r, TRACE_AT_N_EXP, "n_exp", 1, TRACE_MAX_EXPERTS, &h->n_exp, err);
    if (!st)
        st = get_count(r, TRACE_AT_TOP_K, "top_k", 1,
                       h->n_exp < TRACE_MAX_TOP_K ? h->n_exp : TRACE_MAX_TOP_K, &h->top_k, err);
    if (!st)
        st = get_count(r, TRACE_AT_N_GROUP, "n_group", 0, h->n_exp, &h->n_group, err);
    if (!st)
        st = get_count(r, TRACE_AT_TOPK_GROUP, "topk_group", h->n_group ? 1 : 0, h->n_group,
                       &h->topk_group, err);
    if (!st)
        st = get_count(r, TRACE_AT_N_TOP, "n_top", h->top_k, h->n_exp, &h->n_top, err);
    if (st)
        return st;
    if (h->n_group && h->n_exp % h->n_group != 0)
        return error_set(err, ST_INVALID, "'%s' byte %d: %d experts are not %d groups of one size",
                         r->name, TRACE_AT_N_GROUP, h->n_exp, h->n_group);
    if (h->n_group && h->n_exp / h->n_group * h->topk_group < h->top_k)
        return error_set(err, ST_INVALID,
                         "'%s' byte %d: %d groups of %d experts hold fewer than top_k %d", r->name,
                         TRACE_AT_TOPK_GROUP, h->topk_group, h->n_exp / h->n_group, h->top_k);
    return ST_OK;
}

static enum status read_fields(struct trace_reader *r, uint32_t *ret_flags, struct error *err)
{
    const unsigned char *p = r->data;
    struct trace_header *h = &r->h;
    uint32_t version = trace_load32(p + TRACE_AT_VERSION);
    uint32_t flags = trace_load32(p + TRACE_AT_FLAGS);
    enum status st;

    if (version != TRACE_VERSION)
        return error_set(err, version > TRACE_VERSION ? ST_UNSUPPORTED : ST_INVALID,
                         "'%s' is a trace of version %u, this program reads %d", r->name, version,
                         TRACE_VERSION);
    if (flags & ~(uint32_t)TRACE_ALL_FLAGS)
        return error_set(err, ST_INVALID, "'%s' byte %d: unknown flags 0x%x", r->name,
                         TRACE_AT_FLAGS, flags & ~(uint32_t)TRACE_ALL_FLAGS);
    st = read_counts(r, err);
    if (st)
        return st;
    h->is_sigmoid = flags & TRACE_IS_SIGMOID;
    h->is_renormed = flags & TRACE_IS_RENORMED;
    h->has_importance = flags & TRACE_HAS_IMPORTANCE;
    h->has_executed = flags & TRACE_HAS_EXECUTED;
    h->scale = get_float(p + TRACE_AT_SCALE);
    h->mask_id = (int32_t)trace_load32(p + TRACE_AT_MASK_ID);
    if (!isfinite(h->scale) || !(h->scale > 0))
        return error_set(err, ST_INVALID, "'%s' byte %d: scale %g is not above 0", r->name,
                         TRACE_AT_SCALE, (double)h->scale);
    if (h->mask_id < -1)
        return error_set(err, ST_INVALID, "'%s' byte %d: mask token %d is not one", r->name,
                         TRACE_AT_MASK_ID, (int)h->mask_id);
    for (int i = TRACE_AT_ZERO; i < TRACE_HEADER_BYTES; i++)
        if (p[i])
            return error_set(err, ST_INVALID, "'%s' byte %d is %d, not 0", r->name, i, p[i]);
    if (h->n_top < h->n_exp && (h->n_group || flags & TRACE_HAS_BIAS))
        return error_set(err, ST_INVALID,
                         "'%s' byte %d: the %d largest of %d scores are not enough with groups of "
                         "experts or a selection bias",
                         r->name, TRACE_AT_N_TOP, h->n_top, h->n_exp);
    *ret_flags = flags;
    return ST_OK;
}

static enum status get_text(struct trace_reader *r, const json_t *obj, const char *key,
                            bool is_needed, const char **ret, struct error *err)
{
    struct error where;
    const char *text;
    enum status st;

    if (!is_needed && !json_object_get(obj, key))
        return ST_OK;
    error_set(&where, ST_OK, "'%s' description", r->name);
    st = json_get_str(obj, where.text, key, &text, NULL, err);
    if (st)
        return st;
    *ret = arena_strdup(&r->arena, text, strlen(text));
    return *ret ? ST_OK : no_memory(r, err);
}

static enum status read_about(struct trace_reader *r, size_t len, struct error *err)
{
    struct trace_about *a = &r->h.about;
    json_t *obj = NULL;
    enum status st =
        json_parse((const char *)r->data + TRACE_HEADER_BYTES, len, r->name, 0, &obj, err);

    if (st)
        return st;
    if (!json_is_object(obj))
        st = error_set(err, ST_INVALID, "'%s': its description is not a JSON object", r->name);
    if (!st)
        st = get_text(r, obj, "model", true, &a->model, err);
    if (!st)
        st = get_text(r, obj, "selector", true, &a->selector, err);
    if (!st)
        st = get_text(r, obj, "writer", false, &a->writer, err);
    if (!st)
        st = get_text(r, obj, "weights_sha256", false, &a->weights_sha256, err);
    if (!st)
        st = get_text(r, obj, "task", false, &a->task, err);
    if (!st)
        st = get_text(r, obj, "decoder", false, &a->decoder, err);
    if (!st)
        st = get_text(r, obj, "cache", false, &a->cache, err);
    if (!st)
        st = get_text(r, obj, "backend", false, &a->backend, err);
    json_decref(obj);
    return st;
}

static enum status read_bias(struct trace_reader *r, size_t at, struct error *err)
{
    size_t n = (size_t)r->h.n_layer * (size_t)r->h.n_exp; /* at most 2^22 */
    float *bias;

    if (r->len - at < n * sizeof(float))
        return cut_short(r, at, err);
    bias = arena_array(&r->arena, n, sizeof(*bias));
    if (!bias)
        return no_memory(r, err);
    for (size_t i = 0; i < n; i++) {
        bias[i] = get_float(r->data + at + i * sizeof(float));
        if (!isfinite(bias[i]))
            return error_set(err, ST_INVALID, "'%s' byte %zu: a selection bias of %g", r->name,
                             at + i * sizeof(float), (double)bias[i]);
    }
    r->h.bias = bias;
    return ST_OK;
}

static enum status read_header(struct trace_reader *r, struct error *err)
{
    uint32_t flags = 0, text;
    size_t at;
    enum status st = read_fields(r, &flags, err);

    if (st)
        return st;
    text = trace_load32(r->data + TRACE_AT_TEXT_BYTES);
    if (text > TRACE_MAX_TEXT)
        return error_set(err, ST_INVALID, "'%s' byte %d: a description of %u bytes is above %d",
                         r->name, TRACE_AT_TEXT_BYTES, text, TRACE_MAX_TEXT);
    if (text > r->len - TRACE_HEADER_BYTES)
        return cut_short(r, TRACE_HEADER_BYTES, err);
    st = read_about(r, text, err);
    at = TRACE_HEADER_BYTES + text;
    if (!st && flags & TRACE_HAS_BIAS) {
        st = read_bias(r, at, err);
        at += (size_t)r->h.n_layer * (size_t)r->h.n_exp * sizeof(float);
    }
    r->first = at;
    return st;
}

/* The END record: where records end, how many forwards there are, whether the bytes are as they
 * were written. */
static enum status read_end(struct trace_reader *r, size_t len, struct error *err)
{
    char hex[SHA256_HEX_SIZE];
    const unsigned char *end;
    enum status st;

    if (len < 8 || memcmp(r->data, TRACE_MAGIC, 8) != 0)
        return error_set(err, ST_INVALID, "'%s' is not a trace: it does not begin with '%s'",
                         r->name, TRACE_MAGIC);
    if (len < TRACE_HEADER_BYTES + TRACE_END_BYTES)
        return error_set(err, ST_INVALID, "'%s': %zu bytes are too few for a trace", r->name, len);
    r->len = len - TRACE_END_BYTES;
    end = r->data + r->len;
    if (trace_load32(end) != TRACE_TAG_END)
        return error_set(err, ST_INVALID, "'%s' has no end: it was cut, or is still being written",
                         r->name);
    r->n_forwards = trace_load64(end + 4);
    st = sha256_hex(r->data, len - TRACE_HASH_DIGITS, hex, err);
    if (st)
        return st;
    if (memcmp(hex, end + 12, TRACE_HASH_DIGITS) != 0)
        return error_set(err, ST_INVALID,
                         "'%s' was changed: the SHA-256 of its bytes is %.12s..., it ends in "
                         "another",
                         r->name, hex);
    return ST_OK;
}

/* ---- opening ---------------------------------------------------------------------------- */

enum status trace_open_memory(const void *data, size_t len, const char *name,
                              struct trace_reader **ret, struct error *err)
{
    struct trace_reader *r = calloc(1, sizeof(*r));
    enum status st;

    if (!r || !(r->name = strdup(name))) {
        free(r);
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", name);
    }
    r->data = data;
    st = read_end(r, len, err);
    if (!st)
        st = read_header(r, err);
    if (st) {
        trace_close(r);
        return st;
    }
    trace_rewind(r);
    *ret = r;
    return ST_OK;
}

enum status trace_open(const char *path, struct trace_reader **ret, struct error *err)
{
    struct trace_reader *r = NULL;
    struct stat sb;
    void *map = NULL;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status st = ST_OK;

    if (fd < 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO,
                         "cannot open '%s': %s", path, strerror(errno));
    if (fstat(fd, &sb) != 0) {
        st = error_set(err, ST_IO, "cannot read '%s': %s", path, strerror(errno));
    } else if (!S_ISREG(sb.st_mode)) {
        st = error_set(err, ST_INVALID, "'%s' is not a regular file", path);
    } else if (sb.st_size == 0) {
        st = error_set(err, ST_INVALID, "'%s' is not a trace: it is empty", path);
    } else {
        len = (size_t)sb.st_size;
        map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            map = NULL;
            st = error_set(err, ST_IO, "cannot map '%s': %s", path, strerror(errno));
        }
    }
    close(fd);
    if (!st)
        st = trace_open_memory(map, len, path, &r, err);
    if (st) {
        if (map)
            munmap(map, len);
        return st;
    }
    r->map = map;
    r->map_len = len;
    *ret = r;
    return ST_OK;
}

void trace_close(struct trace_reader *r)
{
    if (!r)
        return;
    if (r->map)
        munmap(r->map, r->map_len);
    free(r->ids);
    free(r->scores);
    free(r->importance);
    arena_release(&r->arena);
    free(r->name);
    free(r);
}

const struct trace_header *trace_get_header(const struct trace_reader *r)
{
    return &r->h;
}

uint64_t trace_n_forwards(const struct trace_reader *r)
{
    return r->n_forwards;
}

void trace_rewind(struct trace_reader *r)
{
    r->at = r->first;
    r->n_read = 0;
    r->n_tok = 0;
    r->has_sequence = false;
}

/* ---- records ---------------------------------------------------------------------------- */

static enum status read_sequence(struct trace_reader *r, size_t at, struct trace_sequence *ret,
                                 struct error *err)
{
    const unsigned char *p = r->data + at + 4;
    uint32_t n_prompt, n_gen, block_length, item_len;

    if (r->len - at < 4 + TRACE_SEQUENCE_BYTES)
        return cut_short(r, at, err);
    n_prompt = trace_load32(p + 8);
    n_gen = trace_load32(p + 12);
    block_length = trace_load32(p + 16);
    item_len = trace_load32(p + 20);
    if (n_prompt > TRACE_MAX_TOKENS || n_gen > TRACE_MAX_TOKENS || block_length > TRACE_MAX_TOKENS)
        return error_set(err, ST_INVALID,
                         "'%s' byte %zu: a sequence of %u prompt tokens, %u more and blocks of %u "
                         "is above %d",
                         r->name, at, n_prompt, n_gen, block_length, TRACE_MAX_TOKENS);
    if (block_length ? n_gen % block_length != 0 : n_gen != 0)
        return error_set(err, ST_INVALID, "'%s' byte %zu: %u positions are not blocks of %u",
                         r->name, at, n_gen, block_length);
    if (item_len > TRACE_MAX_ITEM)
        return error_set(err, ST_INVALID, "'%s' byte %zu: an item's name of %u bytes is above %d",
                         r->name, at, item_len, TRACE_MAX_ITEM);
    if (r->len - at - 4 - TRACE_SEQUENCE_BYTES < item_len)
        return cut_short(r, at, err);
    r->sequence = (struct trace_sequence){ .item = (const char *)p + TRACE_SEQUENCE_BYTES,
                                           .item_len = item_len,
                                           .seed = trace_load64(p),
                                           .n_prompt = (int)n_prompt,
                                           .n_gen = (int)n_gen,
                                           .block_length = (int)block_length };
    *ret = r->sequence;
    r->has_sequence = true;
    r->at = at + 4 + TRACE_SEQUENCE_BYTES + item_len;
    return ST_OK;
}

/* Room for n_tok tokens. */
static enum status grow(struct trace_reader *r, size_t n_tok, struct error *err)
{
    size_t n_scores;

    if (n_tok <= r->cap_tok)
        return ST_OK;
    if (!size_mul(n_tok, (size_t)r->h.n_exp, &n_scores))
        return no_memory(r, err);
    free(r->ids);
    free(r->scores);
    free(r->importance);
    r->cap_tok = 0;
    r->ids = calloc(2 * n_tok, sizeof(*r->ids));
    r->scores = calloc(n_scores, sizeof(*r->scores));
    r->importance = calloc(n_tok, sizeof(*r->importance));
    if (!r->ids || !r->scores || !r->importance)
        return no_memory(r, err);
    r->cap_tok = n_tok;
    return ST_OK;
}

/* Bytes of one token's scores. */
static size_t token_bytes(const struct trace_header *h)
{
    return h->n_top < h->n_exp ? (size_t)h->n_top * 6 + 4 : (size_t)h->n_exp * 4;
}

static enum status check_tokens(const struct trace_reader *r, size_t at, int n_tok,
                                struct error *err)
{
    const int32_t *ids = r->ids, *positions = r->ids + n_tok;
    int n_canvas = r->sequence.n_prompt + r->sequence.n_gen;

    for (int t = 0; t < n_tok; t++) {
        if (ids[t] < 0)
            return error_set(err, ST_INVALID, "'%s' byte %zu: id %d of token %d", r->name, at,
                             (int)ids[t], t);
        if (positions[t] <= (t ? positions[t - 1] : -1) || positions[t] >= n_canvas)
            return error_set(err, ST_INVALID,
                             "'%s' byte %zu: position %d of token %d is not ascending within %d",
                             r->name, at, (int)positions[t], t, n_canvas);
    }
    return ST_OK;
}

static enum status read_forward(struct trace_reader *r, size_t at, struct trace_forward *ret,
                                struct error *err)
{
    const unsigned char *p = r->data + at + 4;
    const struct trace_header *h = &r->h;
    size_t room = r->len - at, n, need;
    uint32_t block, step, flags, n_tok;
    int n_blocks;
    enum status st;

    if (room < 4 + TRACE_FORWARD_BYTES)
        return cut_short(r, at, err);
    if (!r->has_sequence)
        return error_set(err, ST_INVALID, "'%s' byte %zu: a forward of no sequence", r->name, at);
    block = trace_load32(p);
    step = trace_load32(p + 4);
    flags = trace_load32(p + 8);
    n_tok = trace_load32(p + 12);
    n_blocks = r->sequence.block_length ? r->sequence.n_gen / r->sequence.block_length : 1;
    if (block >= (uint32_t)(n_blocks ? n_blocks : 1) || step > TRACE_MAX_TOKENS)
        return error_set(err, ST_INVALID, "'%s' byte %zu: step %u of block %u, of %d blocks",
                         r->name, at, step, block, n_blocks);
    if (flags & ~(uint32_t)TRACE_FORWARD_ALL_FLAGS || flags == TRACE_FORWARD_IS_MERGED)
        return error_set(err, ST_INVALID, "'%s' byte %zu: unknown flags 0x%x", r->name, at, flags);
    if (n_tok < 1 || n_tok > (uint32_t)(r->sequence.n_prompt + r->sequence.n_gen))
        return error_set(err, ST_INVALID, "'%s' byte %zu: %u tokens of a sequence of %d", r->name,
                         at, n_tok, r->sequence.n_prompt + r->sequence.n_gen);
    n = n_tok; /* at most 2^21; a token's scores take at most 2^12 bytes, layers are 2^12 */
    r->layer_bytes = (h->has_executed ? trace_executed_bytes(h->n_exp) : 0) +
                     (h->has_importance ? n * 4 : 0) + n * token_bytes(h);
    need = 4 + TRACE_FORWARD_BYTES + 8 * n + (size_t)h->n_layer * r->layer_bytes;
    if (room < need)
        return cut_short(r, at, err);
    st = grow(r, n, err);
    if (st)
        return st;
    for (size_t i = 0; i < 2 * n; i++)
        r->ids[i] = (int32_t)trace_load32(p + TRACE_FORWARD_BYTES + 4 * i);
    st = check_tokens(r, at, (int)n_tok, err);
    if (st)
        return st;
    if (flags & TRACE_FORWARD_IS_MERGED &&
        r->ids[2 * n - 1] < r->sequence.n_prompt + (int)block * r->sequence.block_length)
        return error_set(err, ST_INVALID,
                         "'%s' byte %zu: a step with a clean pass, but no token of block %u",
                         r->name, at, block);
    *ret = (struct trace_forward){ .block = (int)block,
                                   .step = (int)step,
                                   .is_cache_refresh = flags & TRACE_FORWARD_IS_REFRESH,
                                   .is_merged = flags & TRACE_FORWARD_IS_MERGED,
                                   .n_tok = (int)n_tok,
                                   .ids = r->ids,
                                   .positions = r->ids + n };
    r->layers_at = at + 4 + TRACE_FORWARD_BYTES + 8 * n;
    r->n_tok = (int)n_tok;
    r->n_read++;
    r->at = at + need;
    return ST_OK;
}

enum status trace_next(struct trace_reader *r, enum trace_record *ret_kind,
                       struct trace_sequence *ret_sequence, struct trace_forward *ret_forward,
                       struct error *err)
{
    size_t at = r->at;
    uint32_t tag;

    r->n_tok = 0;
    if (at == r->len) {
        if (r->n_read != r->n_forwards)
            return error_set(err, ST_INVALID, "'%s' holds %llu forwards, its end says %llu",
                             r->name, (unsigned long long)r->n_read,
                             (unsigned long long)r->n_forwards);
        *ret_kind = TRACE_END;
        return ST_OK;
    }
    if (r->len - at < 4)
        return cut_short(r, at, err);
    tag = trace_load32(r->data + at);
    if (tag == TRACE_TAG_SEQUENCE) {
        *ret_kind = TRACE_SEQUENCE;
        return read_sequence(r, at, ret_sequence, err);
    }
    if (tag == TRACE_TAG_FORWARD) {
        *ret_kind = TRACE_FORWARD;
        return read_forward(r, at, ret_forward, err);
    }
    return error_set(err, ST_INVALID, "'%s' byte %zu: no record begins with 0x%08x", r->name, at,
                     tag);
}

/* ---- layers ----------------------------------------------------------------------------- */

static enum status bad_score(const struct trace_reader *r, const unsigned char *p, int t, float v,
                             struct error *err)
{
    return error_set(err, ST_INVALID, "'%s' byte %zu: router score %g of token %d", r->name,
                     (size_t)(p - r->data), (double)v, t);
}

static bool is_score(float v)
{
    return isfinite(v) && v >= 0;
}

/* The largest scores of token t, spread out. */
static enum status read_top(const struct trace_reader *r, const unsigned char *p, int t, float *ret,
                            struct error *err)
{
    int n_exp = r->h.n_exp, n_top = r->h.n_top, last = -1;
    const unsigned char *values = p + (size_t)n_top * 2;
    float tail = get_float(values + (size_t)n_top * 4), least, share;

    if (!is_score(tail))
        return bad_score(r, values + (size_t)n_top * 4, t, tail, err);
    for (int e = 0; e < n_exp; e++)
        ret[e] = -1; /* none yet */
    for (int i = 0; i < n_top; i++) {
        const unsigned char *q = p + (size_t)i * 2, *at = values + (size_t)i * 4;
        int e = q[0] | q[1] << 8;
        float v = get_float(at);

        if (!is_score(v))
            return bad_score(r, at, t, v, err);
        if (e >= n_exp || ret[e] >= 0)
            return error_set(err, ST_INVALID, "'%s' byte %zu: expert %d of token %d %s", r->name,
                             (size_t)(q - r->data), e, t,
                             e >= n_exp ? "is not there" : "is named twice");
        if (last >= 0 && (v > ret[last] || (v >= ret[last] && e < last)))
            return error_set(err, ST_INVALID,
                             "'%s' byte %zu: expert %d of token %d is not in order of its score",
                             r->name, (size_t)(q - r->data), e, t);
        ret[e] = v;
        last = e;
    }
    least = ret[last];
    share = tail / (float)(n_exp - n_top);
    if (!(share < least))
        share = least > 0 ? nextafterf(least, 0) : 0;
    for (int e = 0; e < n_exp; e++)
        if (ret[e] < 0)
            ret[e] = share;
    return ST_OK;
}

static enum status read_all(const struct trace_reader *r, const unsigned char *p, int t, float *ret,
                            struct error *err)
{
    for (int e = 0; e < r->h.n_exp; e++) {
        ret[e] = get_float(p + (size_t)e * 4);
        if (!is_score(ret[e]))
            return bad_score(r, p + (size_t)e * 4, t, ret[e], err);
    }
    return ST_OK;
}

enum status trace_read_layer(struct trace_reader *r, int layer, struct trace_layer *ret,
                             struct error *err)
{
    const struct trace_header *h = &r->h;
    const unsigned char *p = r->data + r->layers_at + (size_t)layer * r->layer_bytes;
    struct trace_layer l = { .scores = r->scores };
    enum status st = ST_OK;

    if (!r->n_tok || layer < 0 || layer >= h->n_layer)
        return error_set(err, ST_INTERNAL, "layer %d of no forward of '%s'", layer, r->name);
    if (h->has_executed) {
        l.executed = p;
        p += trace_executed_bytes(h->n_exp);
    }
    for (int t = 0; h->has_importance && t < r->n_tok; t++, p += 4) {
        r->importance[t] = get_float(p);
        if (!is_score(r->importance[t]))
            return error_set(err, ST_INVALID, "'%s' byte %zu: importance %g of token %d", r->name,
                             (size_t)(p - r->data), (double)r->importance[t], t);
        l.importance = r->importance;
    }
    for (int t = 0; t < r->n_tok && !st; t++, p += token_bytes(h)) {
        float *scores = r->scores + (size_t)t * (size_t)h->n_exp;

        st = h->n_top < h->n_exp ? read_top(r, p, t, scores, err) : read_all(r, p, t, scores, err);
    }
    if (!st)
        *ret = l;
    return st;
}
