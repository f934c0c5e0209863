/* Trace files: the writer. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "harness/trace_bytes.h"
#include "harness/trace_file.h"

struct trace_writer {
    char *path, *temp_path;
    FILE *file;
    struct sha256 *hash;
    struct buf out; /* of the record under way */
    int32_t *order; /* (n_exp) experts of a token, best first */
    uint64_t n_bytes, n_forwards;
    int n_layer, n_exp, n_top, n_tok;
    int n_layers_left; /* of the forward under way */
    bool has_importance, has_executed, has_sequence;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory writing a trace");
}

static void put32(struct buf *b, uint32_t v)
{
    unsigned char p[4];

    trace_store32(p, v);
    buf_append(b, p, sizeof(p));
}

static void put64(struct buf *b, uint64_t v)
{
    unsigned char p[8];

    trace_store64(p, v);
    buf_append(b, p, sizeof(p));
}

static void put_float(struct buf *b, float v)
{
    put32(b, trace_bits_of(v));
}

/* What w->out holds, to the file. */
static enum status flush(struct trace_writer *w, struct error *err)
{
    if (!buf_ok(&w->out))
        return no_memory(err);
    sha256_add(w->hash, w->out.data, w->out.len);
    if (w->out.len && fwrite(w->out.data, 1, w->out.len, w->file) != w->out.len)
        return error_set(err, ST_IO, "cannot write '%s': %s", w->temp_path, strerror(errno));
    w->n_bytes += w->out.len;
    buf_clear(&w->out);
    return ST_OK;
}

/* ---- the header ------------------------------------------------------------------------- */

static enum status check_header(const struct trace_header *h, struct error *err)
{
    if (h->n_layer < 1 || h->n_layer > TRACE_MAX_LAYERS)
        return error_set(err, ST_INVALID, "a trace holds 1 .. %d layers, not %d", TRACE_MAX_LAYERS,
                         h->n_layer);
    if (h->n_exp < 1 || h->n_exp > TRACE_MAX_EXPERTS)
        return error_set(err, ST_INVALID, "a trace holds 1 .. %d experts, not %d",
                         TRACE_MAX_EXPERTS, h->n_exp);
    if (h->top_k < 1 || h->top_k > h->n_exp || h->top_k > TRACE_MAX_TOP_K)
        return error_set(err, ST_INVALID, "top_k %d is not within 1 .. %d experts, at most %d",
                         h->top_k, h->n_exp, TRACE_MAX_TOP_K);
    if (h->n_top < h->top_k || h->n_top > h->n_exp)
        return error_set(err, ST_INVALID, "need top_k %d <= scores kept of a token %d <= n_exp %d",
                         h->top_k, h->n_top, h->n_exp);
    if (h->n_top < h->n_exp && (h->n_group || h->bias))
        return error_set(err, ST_INVALID,
                         "a model with groups of experts or a selection bias needs all %d scores "
                         "of a token, not its %d largest",
                         h->n_exp, h->n_top);
    return ST_OK;
}

static void put_member(struct buf *b, const char *key, const char *value)
{
    if (!value)
        return;
    buf_puts(b, b->len ? ", " : "{");
    json_put_str(b, key, strlen(key));
    buf_puts(b, ": ");
    json_put_str(b, value, strlen(value));
}

static void put_about(struct buf *b, const struct trace_about *a)
{
    put_member(b, "model", a->model);
    put_member(b, "selector", a->selector);
    put_member(b, "writer", a->writer);
    put_member(b, "weights_sha256", a->weights_sha256);
    put_member(b, "task", a->task);
    put_member(b, "decoder", a->decoder);
    put_member(b, "cache", a->cache);
    put_member(b, "backend", a->backend);
    buf_putc(b, '}');
}

static enum status put_header(struct trace_writer *w, const struct trace_header *h,
                              struct error *err)
{
    unsigned char p[TRACE_HEADER_BYTES] = { 0 };
    struct buf text = { 0 };
    uint32_t flags = 0;

    put_about(&text, &h->about);
    if (!buf_ok(&text) || text.len > TRACE_MAX_TEXT) {
        enum status st = buf_ok(&text) ? error_set(err, ST_INVALID,
                                                   "a trace's description of %zu bytes is "
                                                   "longer than %d",
                                                   text.len, TRACE_MAX_TEXT)
                                       : no_memory(err);
        buf_release(&text);
        return st;
    }
    flags |= h->is_sigmoid ? TRACE_IS_SIGMOID : 0;
    flags |= h->is_renormed ? TRACE_IS_RENORMED : 0;
    flags |= h->bias ? TRACE_HAS_BIAS : 0;
    flags |= h->has_importance ? TRACE_HAS_IMPORTANCE : 0;
    flags |= h->has_executed ? TRACE_HAS_EXECUTED : 0;
    memcpy(p, TRACE_MAGIC, 8);
    trace_store32(p + TRACE_AT_VERSION, TRACE_VERSION);
    trace_store32(p + TRACE_AT_FLAGS, flags);
    trace_store32(p + TRACE_AT_N_LAYER, (uint32_t)h->n_layer);
    trace_store32(p + TRACE_AT_N_EXP, (uint32_t)h->n_exp);
    trace_store32(p + TRACE_AT_TOP_K, (uint32_t)h->top_k);
    trace_store32(p + TRACE_AT_N_GROUP, (uint32_t)h->n_group);
    trace_store32(p + TRACE_AT_TOPK_GROUP, (uint32_t)h->topk_group);
    trace_store32(p + TRACE_AT_N_TOP, (uint32_t)h->n_top);
    trace_store32(p + TRACE_AT_SCALE, trace_bits_of(h->scale));
    trace_store32(p + TRACE_AT_MASK_ID, (uint32_t)h->mask_id);
    trace_store32(p + TRACE_AT_TEXT_BYTES, (uint32_t)text.len);
    buf_append(&w->out, p, sizeof(p));
    buf_append(&w->out, text.data, text.len);
    buf_release(&text);
    for (size_t i = 0; h->bias && i < (size_t)h->n_layer * (size_t)h->n_exp; i++)
        put_float(&w->out, h->bias[i]);
    return flush(w, err);
}

static enum status open_temp(struct trace_writer *w, const char *path, struct error *err)
{
    struct buf temp = { 0 };
    enum status st = file_check_target(path, err);
    int fd;

    if (st)
        return st;
    buf_printf(&temp, "%s.tmp-%ld", path, (long)getpid());
    w->path = strdup(path);
    if (!w->path || !buf_ok(&temp)) {
        buf_release(&temp);
        return no_memory(err);
    }
    fd = open(temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        buf_release(&temp);
        return error_set(err, ST_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    w->temp_path = temp.data;
    w->file = fdopen(fd, "wb");
    if (!w->file) {
        close(fd);
        return no_memory(err);
    }
    return ST_OK;
}

enum status trace_create(const char *path, const struct trace_header *h, struct trace_writer **ret,
                         struct error *err)
{
    struct trace_writer *w = NULL;
    enum status st = check_header(h, err);

    if (st)
        return st;
    w = calloc(1, sizeof(*w));
    if (!w)
        return no_memory(err);
    w->n_layer = h->n_layer;
    w->n_exp = h->n_exp;
    w->n_top = h->n_top;
    w->has_importance = h->has_importance;
    w->has_executed = h->has_executed;
    w->order = calloc((size_t)h->n_exp, sizeof(*w->order));
    w->hash = sha256_new();
    st = w->order && w->hash ? open_temp(w, path, err) : no_memory(err);
    if (!st)
        st = put_header(w, h, err);
    if (!st) {
        *ret = w;
        w = NULL;
    }
    trace_writer_free(w);
    return st;
}

void trace_writer_free(struct trace_writer *w)
{
    char hex[SHA256_HEX_SIZE];

    if (!w)
        return;
    if (w->file)
        fclose(w->file);
    if (w->temp_path)
        unlink(w->temp_path);
    sha256_finish(w->hash, hex);
    buf_release(&w->out);
    free(w->temp_path);
    free(w->path);
    free(w->order);
    free(w);
}

uint64_t trace_bytes(const struct trace_writer *w)
{
    return w->n_bytes;
}

/* ---- records ---------------------------------------------------------------------------- */

enum status trace_put_sequence(struct trace_writer *w, const struct trace_sequence *s,
                               struct error *err)
{
    if (w->n_layers_left)
        return error_set(err, ST_INTERNAL, "a sequence of a trace begins within a forward");
    if (s->item_len > TRACE_MAX_ITEM || s->n_prompt < 0 || s->n_gen < 0 ||
        s->n_prompt > TRACE_MAX_TOKENS || s->n_gen > TRACE_MAX_TOKENS)
        return error_set(err, ST_INVALID,
                         "a sequence of %d and %d positions, of an item's name of %zu bytes, is "
                         "larger than a trace holds",
                         s->n_prompt, s->n_gen, s->item_len);
    put32(&w->out, TRACE_TAG_SEQUENCE);
    put64(&w->out, s->seed);
    put32(&w->out, (uint32_t)s->n_prompt);
    put32(&w->out, (uint32_t)s->n_gen);
    put32(&w->out, (uint32_t)s->block_length);
    put32(&w->out, (uint32_t)s->item_len);
    buf_append(&w->out, s->item, s->item_len);
    w->has_sequence = true;
    return flush(w, err);
}

enum status trace_put_forward(struct trace_writer *w, const struct trace_forward *f,
                              struct error *err)
{
    if (w->n_layers_left || !w->has_sequence)
        return error_set(err, ST_INTERNAL, "a forward of a trace begins out of turn");
    put32(&w->out, TRACE_TAG_FORWARD);
    put32(&w->out, (uint32_t)f->block);
    put32(&w->out, (uint32_t)f->step);
    put32(&w->out, (f->is_cache_refresh ? TRACE_FORWARD_IS_REFRESH : 0U) |
                       (f->is_merged ? TRACE_FORWARD_IS_MERGED : 0U));
    put32(&w->out, (uint32_t)f->n_tok);
    for (int t = 0; t < f->n_tok; t++)
        put32(&w->out, (uint32_t)f->ids[t]);
    for (int t = 0; t < f->n_tok; t++)
        put32(&w->out, (uint32_t)f->positions[t]);
    w->n_tok = f->n_tok;
    w->n_layers_left = w->n_layer;
    w->n_forwards++;
    return flush(w, err);
}

/* The n_top best of a token to the front of w->order: larger first, ties by lower id. */
static void find_top(struct trace_writer *w, const float *scores)
{
    int n = 0;

    for (int e = 0; e < w->n_exp; e++) {
        int i;

        if (n == w->n_top && !(scores[e] > scores[w->order[n - 1]]))
            continue;
        for (i = n < w->n_top ? n++ : n - 1; i > 0 && scores[e] > scores[w->order[i - 1]]; i--)
            w->order[i] = w->order[i - 1];
        w->order[i] = e;
    }
}

static void put_top(struct trace_writer *w, const float *scores)
{
    double tail = 0;

    find_top(w, scores);
    for (int e = 0; e < w->n_exp; e++)
        tail += (double)scores[e];
    for (int i = 0; i < w->n_top; i++) {
        tail -= (double)scores[w->order[i]];
        buf_putc(&w->out, (char)(unsigned char)(w->order[i] & 255));
        buf_putc(&w->out, (char)(unsigned char)(w->order[i] >> 8));
    }
    for (int i = 0; i < w->n_top; i++)
        put_float(&w->out, scores[w->order[i]]);
    put_float(&w->out, tail > 0 ? (float)tail : 0);
}

enum status trace_put_layer(struct trace_writer *w, const struct trace_layer *l, struct error *err)
{
    size_t n_exp = (size_t)w->n_exp, n_tok = (size_t)w->n_tok;

    if (!w->n_layers_left || w->has_importance != (l->importance != NULL) ||
        w->has_executed != (l->executed != NULL))
        return error_set(err, ST_INTERNAL, "a layer of a trace comes out of turn, or lacks a part");
    for (size_t i = 0; i < n_tok * n_exp; i++)
        if (!(l->scores[i] >= 0) || !isfinite(l->scores[i]))
            return error_set(
                err, ST_INVALID, "router score of token %zu for expert %zu in layer %d is %g",
                i / n_exp, i % n_exp, w->n_layer - w->n_layers_left, (double)l->scores[i]);
    if (l->executed)
        buf_append(&w->out, l->executed, trace_executed_bytes(w->n_exp));
    for (size_t t = 0; l->importance && t < n_tok; t++)
        put_float(&w->out, l->importance[t]);
    for (size_t t = 0; t < n_tok; t++) {
        const float *s = l->scores + t * n_exp;

        if (w->n_top < w->n_exp)
            put_top(w, s);
        else
            for (size_t e = 0; e < n_exp; e++)
                put_float(&w->out, s[e]);
    }
    w->n_layers_left--;
    return flush(w, err);
}

enum status trace_finish(struct trace_writer *w, struct error *err)
{
    char hex[SHA256_HEX_SIZE];
    enum status st;
    int failed;

    if (w->n_layers_left)
        return error_set(err, ST_INTERNAL, "a trace ends within a forward");
    put32(&w->out, TRACE_TAG_END);
    put64(&w->out, w->n_forwards);
    st = flush(w, err);
    if (st)
        return st;
    sha256_finish(w->hash, hex);
    w->hash = NULL;
    if (!*hex)
        return error_set(err, ST_INTERNAL, "cannot compute SHA-256");
    buf_append(&w->out, hex, TRACE_HASH_DIGITS);
    st = flush(w, err);
    if (st)
        return st;
    failed = fclose(w->file);
    w->file = NULL;
    if (failed)
        return error_set(err, ST_IO, "cannot write '%s': %s", w->temp_path, strerror(errno));
    st = file_install(w->temp_path, w->path, err);
    if (!st) {
        free(w->temp_path);
        w->temp_path = NULL;
    }
    return st;
}
