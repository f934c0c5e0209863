/*
 * LLaDA2.x: the forward pass against stock transformers (tests/vectors/model/llada2/README.md),
 * stage by stage, and what its block-causal mask promises. On every backend of the build that this
 * machine runs; where activations are rounded to bf16, only on the checkpoint in f32.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/model_impl.h"
#include "kernels/host.h"
#include "model_vectors.h"
#include "temp_dir.h"

enum { N_VOCAB = 288, BLOCK = 32 };

static const char usual[] = "llada2/usual-bf16", merged[] = "llada2/merged-f32";

TestSuite(llada2, .init = keep_no_hashes);

/* Rows of backend memory in host memory; free() them. */
static float *fetch(struct model *m, const float *p, size_t n)
{
    struct kernels *k = model_kernels(m);
    float *host = calloc(n ? n : 1, sizeof(*host));
    struct error err = { 0 };

    cr_assert(host);
    cr_assert_eq(k->ops->download(k, host, p, n * sizeof(*host), &err), ST_OK, "%s", err.text);
    return host;
}

/* Logits of item->n_logits rows; free() them. */
static float *logits_of(struct model *m, const struct forward_item *item)
{
    struct forward_result r = run_forward(m, item, 1);

    return fetch(m, r.logits, (size_t)item->n_logits * N_VOCAB);
}

static void tokens_get(const struct safetensors *v, int n, struct canvas *ret)
{
    char name[40];

    snprintf(name, sizeof(name), "L%d.tokens", n);
    canvas_get(v, name, ret);
}

static void check_logits(const char *name, const char *backend, int n)
{
    struct safetensors *v = vectors_open(name);
    struct model *m = vector_model(name, backend, 1);
    struct forward_item item;
    struct canvas c;
    char what[100];
    float *logits;

    if (m) {
        struct kv_cache *cache = new_cache(m);

        tokens_get(v, n, &c);
        item = whole_canvas(m, cache, &c);
        logits = logits_of(m, &item);
        snprintf(what, sizeof(what), "%s on %s, L=%d", name, backend, n);
        assert_rows(logits, vector_get(v, NULL, "L%d.logits", n), (size_t)n, N_VOCAB,
                    backend_tolerance(backend), what);
        free(logits);
        kv_cache_free(cache);
    }
    model_close(m);
    safetensors_close(v);
}

/* Of the second checkpoint every score plus bias is negative, and experts are merged. */
Test(llada2, logits_agree_with_transformers)
{
    FOR_EACH_BACKEND(b)
    {
        for (int i = 0; i < 4 && !backend_rounds(b); i++)
            check_logits(usual, b->name, (const int[]){ 5, 32, 33, 70 }[i]);
        for (int i = 0; i < 3; i++)
            check_logits(merged, b->name, (const int[]){ 5, 33, 70 }[i]);
    }
}

/* ---- stages -------------------------------------------------------------------------------- */

/* What ops gave, in order: a table of ops stands before the backend's own. */
enum op { OP_EMBED, OP_NORM, OP_MATMUL, OP_ROPE, OP_ATTENTION, OP_ADD, OP_ROUTER, OP_MOE };

struct kept {
    enum op op;
    size_t n;
    float *data;
};

static struct {
    const struct kernel_ops *real;
    struct kernel_ops ops;
    struct kept kept[128];
    int n_kept, next;
} rec;

static void keep(struct kernels *k, enum op op, const float *data, size_t n)
{
    struct kept *r = &rec.kept[rec.n_kept++];

    cr_assert_leq(rec.n_kept, 128);
    *r = (struct kept){ op, n, calloc(n, sizeof(float)) };
    cr_assert(r->data);
    cr_assert_eq(rec.real->download(k, r->data, data, n * sizeof(float), NULL), ST_OK);
}

static enum status keep_embed(struct kernels *k, const struct weight *table, const int32_t *ids,
                              int n_tok, float *ret_x, struct error *err)
{
    enum status st = rec.real->embed(k, table, ids, n_tok, ret_x, err);

    keep(k, OP_EMBED, ret_x, (size_t)n_tok * 64);
    return st;
}

static enum status keep_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                             int n_rows, float *ret_y, struct error *err)
{
    enum status st = rec.real->rms_norm(k, x, w, eps, n_rows, ret_y, err);

    keep(k, OP_NORM, ret_y, (size_t)n_rows * (size_t)w->m.cols);
    return st;
}

static enum status keep_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                               float *ret_y, struct error *err)
{
    enum status st = rec.real->matmul(k, x, w, n_tok, ret_y, err);

    keep(k, OP_MATMUL, ret_y, (size_t)n_tok * (size_t)w->m.rows);
    return st;
}

static enum status keep_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok,
                             int n_head, int d_head, int d_rot, double theta, struct error *err)
{
    enum status st = rec.real->rope(k, x, positions, n_tok, n_head, d_head, d_rot, theta, err);

    keep(k, OP_ROPE, x, (size_t)n_tok * (size_t)n_head * (size_t)d_head);
    return st;
}

static enum status keep_attention(struct kernels *k, const float *q, const int32_t *positions,
                                  const struct attn_segment *segs, int n_segs, int n_head,
                                  int n_kv_head, int d_head, float *ret_y, struct error *err)
{
    enum status st =
        rec.real->attention(k, q, positions, segs, n_segs, n_head, n_kv_head, d_head, ret_y, err);

    keep(k, OP_ATTENTION, ret_y, (size_t)segs->n_tok * (size_t)n_head * (size_t)d_head);
    return st;
}

static enum status keep_add(struct kernels *k, float *x, const float *y, size_t n,
                            struct error *err)
{
    enum status st = rec.real->add(k, x, y, n, err);

    keep(k, OP_ADD, x, n);
    return st;
}

static enum status keep_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                               enum router_score score, float *ret_s, float *ret_z,
                               struct error *err)
{
    enum status st = rec.real->router(k, x, w, n_tok, score, ret_s, ret_z, err);

    keep(k, OP_ROUTER, ret_s, (size_t)n_tok * (size_t)w->m.rows);
    return st;
}

static enum status keep_moe(struct kernels *k, const float *x, const struct experts *e,
                            const int32_t *ids, const float *w, int n_tok, int top_k, float *ret_y,
                            struct error *err)
{
    enum status st = rec.real->moe(k, x, e, ids, w, n_tok, top_k, ret_y, err);

    if (ids) { /* they were route()'s, and then its weights */
        struct kept *r = &rec.kept[rec.n_kept];

        keep(k, OP_MOE, w, (size_t)n_tok * (size_t)top_k);
        keep(k, OP_MOE, w, (size_t)n_tok * (size_t)top_k);
        for (size_t i = 0; i < r->n; i++)
            r->data[i] = (float)ids[i];
    }
    keep(k, OP_MOE, ret_y, (size_t)n_tok * 64);
    return st;
}

static void begin_keeping(struct model *m)
{
    rec.real = model_kernels(m)->ops;
    rec.ops = *rec.real;
    rec.ops.embed = keep_embed;
    rec.ops.rms_norm = keep_norm;
    rec.ops.matmul = keep_matmul;
    rec.ops.rope = keep_rope;
    rec.ops.attention = keep_attention;
    rec.ops.add = keep_add;
    rec.ops.router = keep_router;
    rec.ops.moe = keep_moe;
    model_kernels(m)->ops = &rec.ops;
}

static void end_keeping(struct model *m)
{
    model_kernels(m)->ops = rec.real;
    for (int i = 0; i < rec.n_kept; i++)
        free(rec.kept[i].data);
    memset(&rec, 0, sizeof(rec));
}

/* The next that was kept is of op, and its rows are those of the vector; name NULL: any. */
static void expect(const struct safetensors *v, enum op op, int n, const char *name, int layer,
                   double tol)
{
    const struct kept *r = &rec.kept[rec.next++];
    const float *want;
    char what[40];
    size_t size;

    cr_assert_leq(rec.next, rec.n_kept, "no %s%d", name ? name : "", layer);
    cr_assert_eq(r->op, op, "%s%d: op %d", name ? name : "", layer, (int)r->op);
    if (!name)
        return;
    snprintf(what, sizeof(what), layer < 0 ? "L%d.%s" : "L%d.%s%d", n, name, layer);
    want = vector_get(v, &size, "%s", what);
    cr_assert_eq(size, r->n, "%s: %zu, not %zu", what, r->n, size);
    assert_rows(r->data, want, (size_t)n, size / (size_t)n, tol, what);
}

/* The stages of models/shapes/tiny-llada2, in order. */
static void check_stages(struct model *m, const struct safetensors *v, int n, double tol)
{
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct canvas c;

    tokens_get(v, n, &c);
    item = whole_canvas(m, cache, &c);
    begin_keeping(m);
    (void)run_forward(m, &item, 1);
    expect(v, OP_EMBED, n, "embed", -1, 0);
    for (int l = 0; l < 3; l++) {
        expect(v, OP_NORM, n, "norm_in", l, tol);
        for (int i = 0; i < 3; i++)
            expect(v, OP_MATMUL, n, NULL, l, 0);
        expect(v, OP_NORM, n, "q_norm", l, tol);
        expect(v, OP_NORM, n, "k_norm", l, tol);
        expect(v, OP_ROPE, n, "q_rope", l, tol);
        expect(v, OP_ROPE, n, "k_rope", l, tol);
        expect(v, OP_ATTENTION, n, "attention", l, tol);
        expect(v, OP_MATMUL, n, "o", l, tol);
        expect(v, OP_ADD, n, NULL, l, 0);
        expect(v, OP_NORM, n, "norm_ffn", l, tol);
        if (l > 0) {
            expect(v, OP_ROUTER, n, "scores", l, tol);
            expect(v, OP_MOE, n, "ids", l, 0);
            expect(v, OP_MOE, n, "weights", l, tol);
        }
        expect(v, OP_MOE, n, "ffn", l, tol);
        expect(v, OP_ADD, n, "layer", l, tol);
    }
    expect(v, OP_NORM, n, "norm_out", -1, tol);
    expect(v, OP_MATMUL, n, "logits", -1, tol);
    cr_assert_eq(rec.next, rec.n_kept);
    end_keeping(m);
    kv_cache_free(cache);
}

Test(llada2, every_stage_agrees_with_transformers)
{
    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open(usual);
        struct model *m = vector_model(usual, b->name, 1);

        for (int i = 0; m && i < 4 && !backend_rounds(b); i++)
            check_stages(m, v, (const int[]){ 5, 32, 33, 70 }[i], backend_tolerance(b->name));
        model_close(m);
        safetensors_close(v);
    }
}

/* ---- merged experts ------------------------------------------------------------------------ */

/* A checkpoint being written. */
struct file {
    struct buf header, data;
};

static void put_tensor(struct file *f, const char *name, const struct tensor *t, int n_more,
                       const int64_t *more)
{
    buf_printf(&f->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", f->header.len ? "," : "{",
               name, t->dtype == DT_F32 ? "F32" : "BF16");
    for (int i = 0; i < n_more; i++)
        buf_printf(&f->header, "%lld,", (long long)more[i]);
    for (int i = 0; i < t->n_dims; i++)
        buf_printf(&f->header, "%s%lld", i ? "," : "", (long long)t->shape[i]);
    buf_printf(&f->header, "],\"data_offsets\":[%zu,", f->data.len);
}

static void end_tensor(struct file *f)
{
    buf_printf(&f->header, "%zu]}", f->data.len);
}

/* Experts 0 .. n - 1 of a layer in one tensor. */
static void put_merged(struct file *f, const struct safetensors *s, int layer, const char *kind,
                       int64_t n)
{
    char name[100];

    for (int e = 0; e < (int)n; e++) {
        const struct tensor *t;

        snprintf(name, sizeof(name), "model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, e,
                 kind);
        t = safetensors_find(s, name);
        cr_assert(t);
        snprintf(name, sizeof(name), "model.layers.%d.mlp.experts.%s_proj.weight", layer, kind);
        if (e == 0)
            put_tensor(f, name, t, 1, &n);
        buf_append(&f->data, t->data, t->bytes);
    }
    end_tensor(f);
}

static void copy_file(const struct temp_dir *dir, const char *name)
{
    char path[512], below[100];
    struct buf text = { 0 };

    snprintf(below, sizeof(below), "%s/%s", usual, name);
    vector_path(below, path, sizeof(path));
    cr_assert_eq(file_read(path, 1 << 20, &text, NULL), ST_OK);
    temp_dir_write(dir, name, text.data, text.len);
    buf_release(&text);
}

enum merging { ALL_MERGED, FIRST_LAYER_MERGED, TOO_FEW_MERGED, BOTH_LAYOUTS };

/* The usual checkpoint with experts merged. */
static void write_merged(const struct temp_dir *dir, enum merging how)
{
    static const char *const kinds[] = { "gate", "up", "down" };
    struct safetensors *s = NULL;
    struct file f = { 0 };
    struct buf all = { 0 };
    char path[512];
    uint64_t n;

    vector_path(usual, path, sizeof(path));
    cr_assert_eq(safetensors_open_dir(path, &s, NULL), ST_OK);
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *t = safetensors_at(s, i);
        const char *expert = strstr(t->name, ".mlp.experts.");

        if (expert && how != BOTH_LAYOUTS && (how != FIRST_LAYER_MERGED || expert[-1] == '1'))
            continue;
        put_tensor(&f, t->name, t, 0, NULL);
        buf_append(&f.data, t->data, t->bytes);
        end_tensor(&f);
    }
    for (int l = 1; l < (how == FIRST_LAYER_MERGED ? 2 : 3); l++)
        for (int k = 0; k < 3; k++)
            put_merged(&f, s, l, kinds[k], how == TOO_FEW_MERGED ? 15 : 16);
    buf_putc(&f.header, '}');
    n = f.header.len;
    buf_append(&all, &n, 8);
    buf_append(&all, f.header.data, f.header.len);
    buf_append(&all, f.data.data, f.data.len);
    cr_assert(buf_ok(&all) && buf_ok(&f.header) && buf_ok(&f.data));
    temp_dir_write(dir, "model.safetensors", all.data, all.len);
    copy_file(dir, "config.json");
    copy_file(dir, "tokenizer.json");
    buf_release(&all);
    buf_release(&f.header);
    buf_release(&f.data);
    safetensors_close(s);
}

static enum status open_merged(const struct temp_dir *dir, const char *backend, struct model **ret,
                               struct error *err)
{
    const struct engine_options o = { .model_dir = dir->path,
                                      .backend = backend,
                                      .n_threads = 2,
                                      .max_canvas = VECTOR_MAX_TOK,
                                      .max_batch = 1 };

    return model_open(&o, ret, err);
}

Test(llada2, merged_experts_are_the_same_experts)
{
    struct temp_dir dir;

    temp_dir_init(&dir);
    for (int how = ALL_MERGED; how <= FIRST_LAYER_MERGED; how++) {
        write_merged(&dir, (enum merging)how);
        FOR_EACH_BACKEND(b)
        {
            struct safetensors *v = vectors_open(usual);
            struct model *m[2] = { vector_model(usual, b->name, 1), NULL };
            struct error err = { 0 };
            float *logits[2];
            struct canvas c;

            tokens_get(v, 70, &c);
            if (m[0])
                cr_assert_eq(open_merged(&dir, b->name, &m[1], &err), ST_OK, "%s", err.text);
            for (int i = 0; m[0] && i < 2; i++) {
                struct kv_cache *cache = new_cache(m[i]);
                struct forward_item item = whole_canvas(m[i], cache, &c);

                logits[i] = logits_of(m[i], &item);
                kv_cache_free(cache);
            }
            if (m[0]) {
                cr_assert_eq(memcmp(logits[0], logits[1], 70 * N_VOCAB * sizeof(float)), 0);
                cr_assert_eq(m[0]->info.weight_bytes, m[1]->info.weight_bytes);
                free(logits[0]);
                free(logits[1]);
            }
            model_close(m[0]);
            model_close(m[1]);
            safetensors_close(v);
        }
    }
    temp_dir_release(&dir);
}

Test(llada2, merged_experts_that_do_not_fit_are_named)
{
    struct model *m = NULL;
    struct error err = { 0 };
    struct temp_dir dir;

    temp_dir_init(&dir);
    write_merged(&dir, TOO_FEW_MERGED);
    cr_assert_eq(open_merged(&dir, "ref", &m, &err), ST_INVALID);
    cr_assert(strstr(err.text, "'model.layers.1.mlp.experts.gate_proj.weight' has shape "
                               "(15, 32, 64), config.json needs (16, 32, 64)"),
              "%s", err.text);
    write_merged(&dir, BOTH_LAYOUTS);
    cr_assert_eq(open_merged(&dir, "ref", &m, &err), ST_INVALID);
    cr_assert(strstr(err.text, "experts.down_proj.weight' is not part of the model"), "%s",
              err.text);
    temp_dir_release(&dir);
}

/* ---- the mask ------------------------------------------------------------------------------ */

enum { LONG_CANVAS = 140 };

/* A long canvas of bytes: the tokens of one vector again and again, not quite. */
static void long_canvas(const struct safetensors *v, int32_t *ids, int32_t *positions)
{
    struct canvas c;

    tokens_get(v, 70, &c);
    for (int i = 0; i < LONG_CANVAS; i++) {
        ids[i] = (c.ids[i % c.n] + i / c.n) % 256;
        positions[i] = i;
    }
}

static struct model *long_model(const char *name, const char *backend, int max_batch)
{
    char path[512];
    struct engine_options o = { .model_dir = path,
                                .backend = backend,
                                .n_threads = 2,
                                .max_canvas = LONG_CANVAS,
                                .max_batch = max_batch };
    struct model *m = NULL;
    struct error err = { 0 };
    enum status st;

    vector_path(name, path, sizeof(path));
    st = model_open(&o, &m, &err);
    cr_assert(st == ST_OK || (st == ST_UNSUPPORTED && strcmp(backend, "ref") != 0), "%s", err.text);
    return m;
}

static struct forward_item part_of(struct model *m, struct kv_cache *cache, const int32_t *ids,
                                   const int32_t *positions, int begin, int end)
{
    return (struct forward_item){ .cache = cache,
                                  .ids = ids + begin,
                                  .positions = positions + begin,
                                  .n_tok = end - begin,
                                  .n_kv = end,
                                  .n_logits = end - begin,
                                  .route = model_route(m) };
}

static bool is_same_row(const float *a, const float *b, int row)
{
    size_t at = (size_t)row * N_VOCAB;

    return memcmp(a + at, b + at, N_VOCAB * sizeof(float)) == 0;
}

Test(llada2, a_changed_token_is_seen_by_its_block_and_those_behind_it_alone)
{
    static const int changed[] = { 0, 31, 32, 63, 64, 70, 127, 128, 139 };

    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open(usual);
        struct model *m = long_model(usual, b->name, 1);
        int32_t ids[LONG_CANVAS], positions[LONG_CANVAS];

        long_canvas(v, ids, positions);
        for (size_t i = 0; m && i < sizeof(changed) / sizeof(changed[0]); i++) {
            struct kv_cache *cache = new_cache(m);
            struct forward_item item = part_of(m, cache, ids, positions, 0, LONG_CANVAS);
            float *before = logits_of(m, &item), *after;

            ids[changed[i]] ^= 1;
            after = logits_of(m, &item);
            for (int t = 0; t < LONG_CANVAS; t++)
                cr_assert_eq(is_same_row(before, after, t), t / BLOCK < changed[i] / BLOCK,
                             "%s: token %d, position %d", b->name, changed[i], t);
            free(before);
            free(after);
            kv_cache_free(cache);
        }
        model_close(m);
        safetensors_close(v);
    }
}

/* Blocks of the prompt at once, then block after block over what the cache has: the same bits. */
static void check_blocks(struct model *m, const int32_t *ids, const int32_t *positions,
                         int n_prompt)
{
    struct kv_cache *whole = new_cache(m), *by_block = new_cache(m);
    struct forward_item item = part_of(m, whole, ids, positions, 0, LONG_CANVAS);
    float *all = logits_of(m, &item);
    int begin = 0, end = n_prompt / BLOCK * BLOCK;

    while (begin < LONG_CANVAS) {
        if (end > begin) {
            float *part;

            item = part_of(m, by_block, ids, positions, begin, end);
            part = logits_of(m, &item);
            cr_assert_eq(memcmp(part, all + (size_t)begin * N_VOCAB,
                                (size_t)(end - begin) * N_VOCAB * sizeof(float)),
                         0, "prompt of %d: positions %d to %d", n_prompt, begin, end - 1);
            free(part);
        }
        begin = end;
        end = begin + BLOCK < LONG_CANVAS ? begin + BLOCK : LONG_CANVAS;
    }
    free(all);
    kv_cache_free(whole);
    kv_cache_free(by_block);
}

Test(llada2, blocks_over_a_cached_prefix_have_the_bits_of_the_whole)
{
    static const int prompts[] = { 0, 1, 31, 32, 33, 64, 95 };

    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open(usual);
        struct model *m = long_model(usual, b->name, 1);
        int32_t ids[LONG_CANVAS], positions[LONG_CANVAS];

        long_canvas(v, ids, positions);
        for (size_t i = 0; m && i < sizeof(prompts) / sizeof(prompts[0]); i++)
            check_blocks(m, ids, positions, prompts[i]);
        model_close(m);
        safetensors_close(v);
    }
}

/* ---- batches and what is counted ----------------------------------------------------------- */

Test(llada2, a_sequence_has_the_same_bits_alone_and_in_a_batch)
{
    enum { N = 3 };
    static const int ends[N] = { 5, 100, 140 };

    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open(usual);
        struct model *m = long_model(usual, b->name, N);
        int32_t ids[LONG_CANVAS], positions[LONG_CANVAS];
        struct forward_item items[N];
        struct route_stats stats[N][2];
        float *alone[N], *batch;
        size_t row = 0;

        long_canvas(v, ids, positions);
        for (int i = 0; m && i < N; i++) {
            items[i] = part_of(m, new_cache(m), ids, positions, 0, ends[i]);
            alone[i] = logits_of(m, &items[i]);
            memcpy(stats[i], m->stats, sizeof(stats[i]));
        }
        if (m) {
            const struct forward_result r = run_forward(m, items, N);

            batch = fetch(m, r.logits, (size_t)(ends[0] + ends[1] + ends[2]) * N_VOCAB);
            for (int i = 0; i < N; i++) {
                size_t n = (size_t)ends[i] * N_VOCAB;

                cr_assert_eq(memcmp(alone[i], batch + row, n * sizeof(float)), 0, "item %d", i);
                cr_assert_eq(memcmp(stats[i], r.stats + 2 * i, sizeof(stats[i])), 0, "item %d", i);
                row += n;
                free(alone[i]);
                kv_cache_free(items[i].cache);
            }
            free(batch);
        }
        model_close(m);
        safetensors_close(v);
    }
}

/* Neither the dense layer nor shared experts are among what is counted: two layers of 16. */
Test(llada2, layers_and_experts_that_are_counted_are_the_routed_ones)
{
    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open(usual);
        struct model *m = vector_model(usual, b->name, 1);
        struct canvas c;

        tokens_get(v, 33, &c);
        if (m && !backend_rounds(b)) {
            struct kv_cache *cache = new_cache(m);
            struct forward_item item = whole_canvas(m, cache, &c);
            const struct forward_result r = run_forward(m, &item, 1);

            cr_assert_eq(m->info.n_moe_layer, 2);
            cr_assert_eq(m->info.expert_bytes, 3 * 64 * 32 * 2);
            for (int l = 0; l < 2; l++) {
                const float *ids = vector_get(v, NULL, "L33.ids%d", l + 1);
                int32_t counts[16] = { 0 };
                int n_unique = 0;

                for (int i = 0; i < 33 * 4; i++)
                    n_unique += counts[(int)ids[i]]++ == 0;
                cr_assert_eq(memcmp(counts, r.tokens_per_expert + 16 * l, sizeof(counts)), 0);
                cr_assert_eq(r.stats[l].n_unique, n_unique);
                cr_assert_eq(r.stats[l].n_natural, n_unique);
                cr_assert(r.stats[l].n_rerouted == 0 && r.stats[l].n_lost_top1 == 0);
                cr_assert_float_eq(r.stats[l].kept_mass, 1, 1e-12);
            }
            kv_cache_free(cache);
        }
        model_close(m);
        safetensors_close(v);
    }
}

/* What the experts add, under other settings and the model's own, shared ones in both. */
Test(llada2, a_diagnosis_compares_with_the_models_own_bias_and_groups)
{
    static const char *const backends[] = { "ref", "cpu" };

    for (int b = 0; b < 2; b++) {
        struct safetensors *v = vectors_open(usual);
        char path[512];
        const struct engine_options o = { .model_dir = path,
                                          .backend = backends[b],
                                          .n_threads = 2,
                                          .max_canvas = VECTOR_MAX_TOK,
                                          .max_batch = 1,
                                          .is_diagnosed = true };
        struct model *m = NULL;
        struct kv_cache *cache;
        struct forward_item item;
        struct route_params few;
        struct forward_result r;
        struct canvas c;

        vector_path(usual, path, sizeof(path));
        cr_assert_eq(model_open(&o, &m, NULL), ST_OK);
        cache = new_cache(m);
        tokens_get(v, 33, &c);
        item = whole_canvas(m, cache, &c);
        r = run_forward(m, &item, 1);
        cr_assert(r.output_errors[0] == 0 && r.output_errors[1] == 0);
        few = *model_route(m);
        few.top_k = 2;
        item.route = &few;
        r = run_forward(m, &item, 1);
        for (int l = 0; l < 2; l++)
            cr_assert(r.output_errors[l] > 0.01 && r.output_errors[l] < 1, "%g",
                      r.output_errors[l]);
        kv_cache_free(cache);
        model_close(m);
        safetensors_close(v);
    }
}
