/*
 * Opening a model: configuration, tokenizer, weights, memory plan, backend, workspace. In that
 * order, so that what is cheap to refuse is refused before anything large is made.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/trace.h"
#include "engine/memory.h"
#include "engine/model_impl.h"
#include "kernels/made.h"

/* ---- facts ------------------------------------------------------------------------------- */

static enum status no_room(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory opening a model");
}

/* The last component of a path; of its target for "." and the like. NULL: out of memory. */
static const char *folder_name(const char *path, struct arena *arena)
{
    size_t end = strlen(path), begin;
    const char *name;
    char *real;

    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
        ;
    if (begin < end && path[begin] != '.')
        return arena_strdup(arena, path + begin, end - begin);
    real = realpath(path, NULL);
    if (!real)
        return arena_strdup(arena, path, strlen(path));
    name = strrchr(real, '/');
    name = arena_strdup(arena, name + 1, strlen(name + 1));
    free(real);
    return name;
}

/* An id that config.json and tokenizer.json may both have; they must not disagree. */
static enum status special_id(const char *dir, const char *key, int32_t from_config,
                              const struct tokenizer *t, const char *content, int32_t *ret,
                              struct error *err)
{
    int32_t id = tokenizer_special_id(t, content);

    if (id < 0 && from_config < 0)
        return error_set(err, ST_INVALID,
                         "'%s': neither has tokenizer.json '%s' nor config.json "
                         "'%s'",
                         dir, content, key);
    if (id >= 0 && from_config >= 0 && id != from_config)
        return error_set(err, ST_INVALID,
                         "'%s': '%s' of config.json is %d, '%s' of tokenizer.json "
                         "is %d",
                         dir, key, (int)from_config, content, (int)id);
    *ret = from_config >= 0 ? from_config : id;
    return ST_OK;
}

/* All that config.json and tokenizer.json tell; strings in arena. */
static enum status fill_info(const struct engine_options *opts, const struct model_config *c,
                             const struct tokenizer *t, struct arena *arena, struct model_info *ret,
                             struct error *err)
{
    struct tensor_spec *specs = NULL;
    size_t n = 0;
    enum status st;

    *ret = (struct model_info){
        .architecture = arena_strdup(arena, c->architecture, strlen(c->architecture)),
        .name = folder_name(opts->model_dir, arena),
        .load_format = arena_strdup(arena, opts->load_format, strlen(opts->load_format)),
        .n_layer = c->n_layer,
        .n_moe_layer = c->n_layer - c->n_dense_layer,
        .d_model = c->d_model,
        .n_head = c->n_head,
        .n_kv_head = c->n_kv_head,
        .d_head = c->d_head,
        .d_ff = c->d_ff,
        .n_shared = c->n_shared,
        .d_ff_dense = c->d_ff_dense,
        .n_exp = c->n_exp,
        .top_k = c->top_k,
        .mask_block = c->mask_block,
        .routing = { .is_sigmoid = c->score == ROUTER_SIGMOID,
                     .is_renormed = c->renorm,
                     .scale = (float)c->scale,
                     .n_group = c->n_group > 1 ? c->n_group : 0,
                     .topk_group = c->n_group > 1 ? c->topk_group : 0 },
        .n_vocab = c->n_vocab,
        .max_positions = c->max_positions,
    };
    if (!ret->architecture || !ret->name || !ret->load_format)
        return no_room(err);
    if (tokenizer_max_id(t) >= c->n_vocab)
        return error_set(err, ST_INVALID,
                         "'%s': tokenizer.json has id %d, config.json only "
                         "vocab_size %d",
                         opts->model_dir, (int)tokenizer_max_id(t), c->n_vocab);
    st =
        special_id(opts->model_dir, "mask_token_id", c->mask_id, t, "<|mask|>", &ret->mask_id, err);
    if (!st)
        st = special_id(opts->model_dir, "eos_token_id", c->eos_id, t, "<|endoftext|>",
                        &ret->eos_id, err);
    if (!st)
        st = tensor_list_new(c, &specs, &n, err);
    if (st)
        return st;
    ret->n_params = tensor_list_params(specs, n);
    free(specs);
    memcpy(ret->config_sha256, c->sha256, sizeof(ret->config_sha256));
    snprintf(ret->tokenizer_sha256, sizeof(ret->tokenizer_sha256), "%s", tokenizer_sha256(t));
    chat_template_sha256(ret->template_sha256);
    return *ret->template_sha256 ? ST_OK : no_room(err);
}

static bool is_dummy(const struct engine_options *opts)
{
    return strcmp(opts->load_format, "dummy") == 0;
}

/* config.json and tokenizer.json; *ret_tokenizer is the caller's. */
static enum status read_texts(const struct engine_options *opts, struct model_config *ret_config,
                              struct tokenizer **ret_tokenizer, struct error *err)
{
    char *path = NULL;
    enum status st;

    if (!is_dummy(opts) && strcmp(opts->load_format, "safetensors") != 0)
        return error_set(err, ST_INVALID, "load format '%s' is not known: safetensors, dummy",
                         opts->load_format);
    if (!is_dummy(opts) && opts->n_overrides)
        return error_set(err, ST_INVALID,
                         "override '%s': only dummy weights can have another "
                         "configuration than config.json",
                         opts->overrides[0]);
    st = config_read(opts->model_dir, opts->overrides, opts->n_overrides, ret_config, err);
    if (st)
        return st;
    if (asprintf(&path, "%s/tokenizer.json", opts->model_dir) < 0)
        return no_room(err);
    st = tokenizer_open(path, ret_tokenizer, err);
    free(path);
    return st;
}

enum status model_peek(const struct engine_options *opts, struct arena *arena,
                       struct model_info *ret, struct error *err)
{
    struct engine_options o = *opts;
    struct tokenizer *t = NULL;
    struct model_info info;
    struct model_config c;
    enum status st;

    o.load_format = o.load_format ? o.load_format : "safetensors";
    st = read_texts(&o, &c, &t, err);
    if (!st)
        st = fill_info(&o, &c, t, arena, &info, err);
    if (!st)
        *ret = info;
    tokenizer_close(t);
    return st;
}

/* ---- options ----------------------------------------------------------------------------- */

static enum status copy_options(struct model *m, const struct engine_options *opts,
                                struct error *err)
{
    const char *format = opts->load_format ? opts->load_format : "safetensors";

    m->opts = *opts;
    m->opts.overrides = NULL; /* they have gone into the configuration */
    m->opts.n_overrides = 0;
    m->opts.model_dir = arena_strdup(&m->arena, opts->model_dir, strlen(opts->model_dir));
    m->opts.load_format = arena_strdup(&m->arena, format, strlen(format));
    if (opts->backend)
        m->opts.backend = arena_strdup(&m->arena, opts->backend, strlen(opts->backend));
    if (opts->isa)
        m->opts.isa = arena_strdup(&m->arena, opts->isa, strlen(opts->isa));
    if ((opts->isa && !m->opts.isa) || !m->opts.model_dir || !m->opts.load_format ||
        (opts->backend && !m->opts.backend))
        return no_room(err);
    return ST_OK;
}

/* max_canvas, max_batch and max_block against each other and the model. */
static enum status resolve_sizes(struct model *m, struct error *err)
{
    struct engine_options *o = &m->opts;

    if (o->max_canvas < 1 || o->max_batch < 1 || o->max_block < 0)
        return error_set(err, ST_INVALID,
                         "need max_canvas %d >= 1, max_batch %d >= 1, max_block %d "
                         ">= 0",
                         o->max_canvas, o->max_batch, o->max_block);
    if (o->max_canvas > m->c.max_positions)
        return error_set(err, ST_INVALID,
                         "a canvas of %d positions is more than "
                         "max_position_embeddings %d of '%s'",
                         o->max_canvas, m->c.max_positions, o->model_dir);
    if (o->max_batch > INT_MAX / o->max_canvas)
        return error_set(err, ST_INVALID, "max_batch %d times max_canvas %d is out of range",
                         o->max_batch, o->max_canvas);
    if (!o->max_block || o->max_block > o->max_canvas)
        o->max_block = o->max_canvas;
    m->max_tok = o->max_batch * o->max_canvas;
    m->max_rows = o->max_batch * o->max_block;
    return ST_OK;
}

/* ---- backend ----------------------------------------------------------------------------- */

/* The first op a forward needs that the backend does not have, or NULL. */
static const char *missing_op(const struct kernel_ops *o)
{
#define NEED(op)                                                                                   \
    if (!o->op)                                                                                    \
        return #op;
    NEED(alloc)
    NEED(free)
    NEED(upload)
    NEED(download)
    NEED(sync)
    NEED(weight_load)
    NEED(experts_load)
    NEED(embed)
    NEED(rms_norm)
    NEED(matmul)
    NEED(rope)
    NEED(kv_store)
    NEED(attention)
    NEED(add)
    NEED(router)
    NEED(route)
    NEED(l1_norm)
    NEED(rel_error)
    NEED(moe)
#undef NEED
    return NULL;
}

static struct kernel_params kernel_params(const struct engine_options *opts)
{
    return (struct kernel_params){ .n_threads = opts->n_threads,
                                   .isa = opts->isa,
                                   .is_unpinned = opts->is_unpinned,
                                   .numeric = opts->is_fast ? KERNEL_FAST : KERNEL_INVARIANT };
}

static enum status find_backend(const char *name, const struct kernel_ops **ret, struct error *err)
{
    const struct kernel_ops *ops = name ? kernel_backend_find(name) : kernel_backend_best();
    const char *op;

    if (!ops && name)
        return error_set(err, ST_INVALID, "backend '%s' is not part of this build", name);
    if (!ops)
        return error_set(err, ST_UNSUPPORTED, "no backend of this build runs on this machine");
    op = missing_op(ops);
    if (op)
        return error_set(err, ST_UNSUPPORTED, "backend '%s' has no op '%s', which the model needs",
                         ops->name, op);
    *ret = ops;
    return ST_OK;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* A buffer of the workspace, of 4-byte elements. */
struct buffer {
    int rows, cols;
};

static void plan_buffers(const struct model *m, struct buffer ret[N_BUFFERS])
{
    const struct model_config *c = &m->c;
    int q = c->n_head * c->d_head, kv = c->n_kv_head * c->d_head, n = m->max_tok;
    int slots = c->n_exp < KERNEL_MAX_TOP_K ? c->n_exp : KERNEL_MAX_TOP_K; /* any selector's */

    ret[BUFFER_X] = (struct buffer){ n, c->d_model };
    ret[BUFFER_H] = (struct buffer){ n, c->d_model };
    ret[BUFFER_Q] = (struct buffer){ n, q };
    ret[BUFFER_KEY] = (struct buffer){ n, kv };
    ret[BUFFER_VALUE] = (struct buffer){ n, kv };
    ret[BUFFER_Y] = (struct buffer){ n, q > c->d_model ? q : c->d_model };
    ret[BUFFER_SCORES] = (struct buffer){ n, c->n_exp };
    ret[BUFFER_ROUTE_IDS] = (struct buffer){ n, slots };
    ret[BUFFER_ROUTE_W] = (struct buffer){ n, slots };
    ret[BUFFER_LOGITS] = (struct buffer){ m->max_rows, c->n_vocab };
    ret[BUFFER_ROUTER_LOGITS] = (struct buffer){ n, c->n_exp };
    ret[BUFFER_IMPORTANCE] = (struct buffer){ n, 1 };
    if (!m->opts.is_diagnosed)
        n = 0;
    ret[BUFFER_PLAIN_IDS] = (struct buffer){ n, c->top_k };
    ret[BUFFER_PLAIN_W] = (struct buffer){ n, c->top_k };
    ret[BUFFER_PLAIN_Y] = (struct buffer){ n, c->d_model };
}

static bool buffer_bytes(const struct buffer *b, size_t *ret)
{
    return size_mul((size_t)b->rows, (size_t)b->cols, ret) && size_mul(*ret, 4, ret);
}

/* What the backend takes of a device's memory by itself, and what there is. */
static enum status plan_device(const struct model *m, const struct kernel_ops *ops, size_t *ret_own,
                               size_t *ret_available, struct error *err)
{
    const struct kernel_params params = kernel_params(&m->opts);
    const struct model_config *c = &m->c;
    const struct kernel_sizes sizes = {
        .n_layer = c->n_layer,
        .d_model = c->d_model,
        .n_head = c->n_head,
        .n_kv_head = c->n_kv_head,
        .d_head = c->d_head,
        .d_ff = c->d_ff,
        .n_exp = c->n_exp,
        .n_vocab = c->n_vocab,
        .n_shared = c->n_shared,
        .n_dense_layer = c->n_dense_layer,
        .d_ff_dense = c->d_ff_dense,
        .max_slots = c->top_k, /* a selector may want more, for which there is a reserve */
        .max_tok = m->max_tok,
        .max_seqs = m->opts.max_batch,
        .max_kv = m->opts.max_canvas,
    };
    enum status st = ops->memory(&params, &sizes, ret_own, ret_available, err);

    if (st != ST_NOT_FOUND)
        return st;
    if (err) /* for a plan that is what weights are that are not there */
        err->status = ST_DEVICE;
    return error_prefix(err, ST_DEVICE, "backend '%s'", ops->name);
}

/* Tensors that are handed over together with tensor i, the first of them: a layer's experts. */
static size_t count_together(const struct model *m, size_t i)
{
    const struct tensor_spec *s = weights_spec(m->weights, i);

    if (s->role != TENSOR_GATE)
        return 1;
    return s->layer < m->c.n_dense_layer ? 3 : 3 * (size_t)(m->c.n_exp + m->c.n_shared);
}

/* Bytes of the largest of those. */
static size_t most_together(const struct model *m)
{
    size_t most = 0;

    for (size_t i = 0, n = 0; i < weights_count(m->weights); i += n) {
        size_t bytes = 0;

        n = count_together(m, i);
        for (size_t k = i; k < i + n; k++) {
            const struct host_matrix *w = weights_at(m->weights, k);

            bytes += (size_t)(w->rows * w->cols) * dtype_size(w->dtype);
        }
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* The weights of a checkpoint count as a whole: mapped pages that do not fit would be read again
 * and again. ops NULL: of a backend in host memory. */
static enum status plan_memory(const struct model *m, const struct kernel_ops *ops,
                               struct engine_memory *ret, struct error *err)
{
    size_t weights = (size_t)weights_bytes(m->weights), caches, work = 0, total, n, loading;
    size_t available = 0;
    struct buffer list[N_BUFFERS];
    bool fits, is_device = ops && ops->memory;
    enum status st = ST_OK;

    plan_buffers(m, list);
    fits = size_mul(kv_layer_size(m), (size_t)m->c.n_layer * 2 * sizeof(float), &caches) &&
           size_mul(caches, (size_t)m->opts.max_batch, &caches);
    for (int i = 0; i < N_BUFFERS && fits; i++)
        fits = buffer_bytes(&list[i], &n) && size_add(work, n, &work);
    /* while it loads: the most that is made up before the backend has its copy */
    loading = is_dummy(&m->opts) ? most_together(m) : 0;
    if (is_device) /* those are in host memory then */
        st = plan_device(m, ops, &loading, &available, err);
    if (st)
        return st;
    fits = fits && size_add(work, loading, &work) && size_add(weights, caches, &total) &&
           size_add(total, work, &total);
    if (!fits)
        return error_set(err, ST_NOMEM,
                         "the caches and workspace of max_batch %d, max_canvas %d do "
                         "not fit an address space",
                         m->opts.max_batch, m->opts.max_canvas);
    *ret = (struct engine_memory){ .weights_bytes = weights,
                                   .caches_bytes = caches,
                                   .workspace_bytes = work,
                                   .total_bytes = total,
                                   .available_bytes = is_device ? available : memory_available(""),
                                   .is_device = is_device };
    return ST_OK;
}

enum status engine_check_memory(const struct engine_memory *need, const char *model_dir,
                                struct error *err)
{
    if (need->total_bytes <= need->available_bytes)
        return ST_OK;
    return error_set(err, ST_NOMEM,
                     "'%s' needs %zu bytes%s (weights %zu, caches %zu, workspace "
                     "%zu), %zu are available",
                     model_dir, need->total_bytes, need->is_device ? " of GPU memory" : "",
                     need->weights_bytes, need->caches_bytes, need->workspace_bytes,
                     need->available_bytes);
}

static enum status check_memory(const struct model *m, const struct kernel_ops *ops,
                                struct error *err)
{
    struct engine_memory need;
    enum status st = plan_memory(m, ops, &need, err);

    return st ? st : engine_check_memory(&need, m->opts.model_dir, err);
}

static enum status make_workspace(struct model *m, struct error *err)
{
    size_t n_batch = (size_t)m->opts.max_batch, n_stats = 0, n_counts = 0, bytes = 0;
    size_t n_segs = 0;
    struct buffer list[N_BUFFERS];

    plan_buffers(m, list);
    for (int i = 0; i < N_BUFFERS; i++) {
        enum status st;

        if (!buffer_bytes(&list[i], &bytes))
            return no_room(err);
        if (!bytes)
            continue;
        st = m->k->ops->alloc(m->k, bytes, &m->buffers[i], err);
        if (st)
            return st;
    }
    m->x = m->buffers[BUFFER_X];
    m->h = m->buffers[BUFFER_H];
    m->q = m->buffers[BUFFER_Q];
    m->key = m->buffers[BUFFER_KEY];
    m->value = m->buffers[BUFFER_VALUE];
    m->y = m->buffers[BUFFER_Y];
    m->scores = m->buffers[BUFFER_SCORES];
    m->route_ids = m->buffers[BUFFER_ROUTE_IDS];
    m->route_w = m->buffers[BUFFER_ROUTE_W];
    m->logits = m->buffers[BUFFER_LOGITS];
    m->router_logits = m->buffers[BUFFER_ROUTER_LOGITS];
    m->importance = m->buffers[BUFFER_IMPORTANCE];
    m->plain_ids = m->buffers[BUFFER_PLAIN_IDS];
    m->plain_w = m->buffers[BUFFER_PLAIN_W];
    m->plain_y = m->buffers[BUFFER_PLAIN_Y];
    if (!size_mul(n_batch, (size_t)m->info.n_moe_layer, &n_stats) ||
        !size_mul(n_stats, (size_t)m->c.n_exp, &n_counts))
        return no_room(err);
    m->ids = arena_array(&m->arena, (size_t)m->max_tok, sizeof(*m->ids));
    m->positions = arena_array(&m->arena, (size_t)m->max_tok, sizeof(*m->positions));
    m->segs = arena_array(&m->arena, n_batch, sizeof(*m->segs));
    if (!size_mul(n_batch, m->k->ops->forward ? (size_t)m->info.n_moe_layer : 1, &n_segs))
        return no_room(err);
    m->route_segs = arena_array(&m->arena, n_segs, sizeof(*m->route_segs));
    m->seqs = arena_array(&m->arena, n_batch, sizeof(*m->seqs));
    m->attn_segs = arena_array(&m->arena, n_batch, sizeof(*m->attn_segs));
    m->stats = arena_array(&m->arena, n_stats, sizeof(*m->stats));
    m->counts = arena_array(&m->arena, n_counts, sizeof(*m->counts));
    m->errors = arena_array(&m->arena, n_stats, sizeof(*m->errors));
    m->errors_by_layer = arena_array(&m->arena, n_stats, sizeof(*m->errors));
    m->plain_counts = arena_array(&m->arena, (size_t)m->c.n_exp, sizeof(*m->plain_counts));
    if (!m->ids || !m->positions || !m->segs || !m->seqs || !m->route_segs || !m->attn_segs ||
        !m->stats || !m->counts || !m->errors || !m->errors_by_layer || !m->plain_counts)
        return no_room(err);
    return ST_OK;
}

/* Let a backend that has a pass of its own prepare it. */
static enum status prepare_forward(struct model *m, struct error *err)
{
    const struct model_config *c = &m->c;
    const struct forward_model f = { .n_layer = c->n_layer,
                                     .n_moe_layer = m->info.n_moe_layer,
                                     .d_model = c->d_model,
                                     .n_head = c->n_head,
                                     .n_kv_head = c->n_kv_head,
                                     .d_head = c->d_head,
                                     .d_rot = c->d_rot,
                                     .n_exp = c->n_exp,
                                     .n_vocab = c->n_vocab,
                                     .rms_eps = (float)c->rms_eps,
                                     .rope_theta = c->rope_theta,
                                     .score = c->score,
                                     .embed = m->embed,
                                     .norm_out = m->norm_out,
                                     .head = m->head,
                                     .layers = m->layers,
                                     .kv_layer_size = kv_layer_size(m),
                                     .max_position = m->opts.max_canvas,
                                     .max_tok = m->max_tok,
                                     .max_rows = m->max_rows,
                                     .max_seqs = m->opts.max_batch,
                                     .x = m->x,
                                     .h = m->h,
                                     .y = m->y,
                                     .q = m->q,
                                     .key = m->key,
                                     .value = m->value,
                                     .scores = m->scores,
                                     .router_logits = m->router_logits,
                                     .importance = m->importance,
                                     .route_ids = m->route_ids,
                                     .route_w = m->route_w };

    if (!m->k->ops->forward)
        return ST_OK;
    return m->k->ops->forward_new(m->k, &f, &m->forward, err);
}

/* ---- weights ----------------------------------------------------------------------------- */

/* Where the weight of a tensor goes that is handed over by itself; NULL: it is not. */
static struct weight **place_of(struct model *m, const struct tensor_spec *s)
{
    struct forward_layer *l = s->layer < 0 ? NULL : &m->layers[s->layer];

    switch (s->role) {
    case TENSOR_EMBED: return &m->embed;
    case TENSOR_NORM_OUT: return &m->norm_out;
    case TENSOR_HEAD: return &m->head;
    case TENSOR_NORM_IN: return &l->norm_in;
    case TENSOR_Q: return &l->q;
    case TENSOR_K: return &l->k;
    case TENSOR_V: return &l->v;
    case TENSOR_O: return &l->o;
    case TENSOR_Q_NORM: return &l->q_norm;
    case TENSOR_K_NORM: return &l->k_norm;
    case TENSOR_NORM_FFN: return &l->norm_ffn;
    case TENSOR_ROUTER: return &l->router;
    case TENSOR_ROUTER_BIAS: return &l->router_bias;
    case TENSOR_QKV:
    case TENSOR_GATE:
    case TENSOR_UP: /* taken with their gates */
    case TENSOR_DOWN: break;
    }
    return NULL;
}

/* Queries, keys and values, one below the other in tensor i: from made, or else from host memory.
 */
static enum status load_qkv(struct model *m, size_t i, const struct made_matrix *made,
                            struct error *err)
{
    const struct host_matrix *w = weights_at(m->weights, i);
    struct forward_layer *l = &m->layers[weights_spec(m->weights, i)->layer];
    struct weight **const ret[3] = { &l->q, &l->k, &l->v };
    const int heads[3] = { m->c.n_head, m->c.n_kv_head, m->c.n_kv_head };
    int64_t first = 0; /* element */
    enum status st = ST_OK;

    for (int k = 0; k < 3 && !st; k++) {
        const int64_t rows = (int64_t)heads[k] * m->c.d_head;
        const struct host_matrix part = {
            (const char *)w->data + (size_t)first * dtype_size(w->dtype), w->dtype, rows, w->cols
        };

        if (made) {
            struct made_matrix of_part = *made;

            of_part.rows = rows;
            of_part.first += first;
            st = m->k->ops->weight_make(m->k, &of_part, ret[k], err);
        } else {
            st = m->k->ops->weight_load(m->k, &part, ret[k], err);
        }
        first += rows * w->cols;
    }
    return st;
}

/* Routed experts among those of which tensor i is the first. */
static int count_routed(const struct model *m, size_t i)
{
    return weights_spec(m->weights, i)->expert == EXPERT_SHARED ? 0 : m->c.n_exp;
}

/* The experts of a layer, whose first tensor is i. */
static enum status load_experts(struct model *m, size_t i, struct error *err)
{
    const struct host_matrix *w = weights_at(m->weights, i);
    struct forward_layer *l = &m->layers[weights_spec(m->weights, i)->layer];
    size_t n = count_together(m, i) / 3;
    int n_exp = count_routed(m, i);

    for (size_t k = 1; k < 3 * n; k++)
        if (w[k].dtype != w[0].dtype)
            return error_set(err, ST_UNSUPPORTED,
                             "tensor '%s' is %s and '%s' is %s: the experts of a layer must be of "
                             "one type",
                             weights_spec(m->weights, i)->name, dtype_name(w[0].dtype),
                             weights_spec(m->weights, i + k)->name, dtype_name(w[k].dtype));
    return m->k->ops->experts_load(m->k, n_exp, (int)n - n_exp, w, w + n, w + 2 * n, &l->experts,
                                   err);
}

/* The same, made up. */
static enum status make_experts(struct model *m, size_t i, struct error *err)
{
    struct forward_layer *l = &m->layers[weights_spec(m->weights, i)->layer];
    const size_t n = count_together(m, i) / 3;
    const int n_exp = count_routed(m, i);
    struct made_matrix *w = calloc(3 * n, sizeof(*w));
    enum status st = w ? ST_OK : no_room(err);

    for (size_t k = 0; k < 3 * n && !st; k++)
        if (!weights_made(m->weights, i + k, &w[k]))
            st = error_set(err, ST_INTERNAL, "tensor '%s' is not made up",
                           weights_spec(m->weights, i + k)->name);
    if (!st)
        st = m->k->ops->experts_make(m->k, n_exp, (int)n - n_exp, w, w + n, w + 2 * n, &l->experts,
                                     err);
    free(w);
    return st;
}

/* Hand tensor i, and those that go with it, to the backend where its role says. */
static enum status load_tensor(struct model *m, size_t i, struct error *err)
{
    const struct tensor_spec *s = weights_spec(m->weights, i);
    const struct host_matrix *w = weights_at(m->weights, i);
    struct weight **place = place_of(m, s);

    if (s->role == TENSOR_QKV)
        return load_qkv(m, i, NULL, err);
    if (s->role == TENSOR_GATE)
        return load_experts(m, i, err);
    if (!place)
        return error_set(err, ST_INTERNAL, "tensor '%s' has no place in the forward pass", s->name);
    if (s->role == TENSOR_ROUTER_BIAS)
        dtype_to_f32(w->data, w->dtype, (size_t)w->cols,
                     m->router_bias + (size_t)(s->layer - m->c.n_dense_layer) * (size_t)w->cols);
    return m->k->ops->weight_load(m->k, w, place, err);
}

/* Can the backend make tensor i up, and those that go with it? */
static bool is_made(const struct model *m, size_t i, size_t n, struct made_matrix *ret_first)
{
    bool is = m->k->ops->weight_make && weights_made(m->weights, i, ret_first);

    for (size_t k = 1; k < n && is; k++) {
        struct made_matrix other;

        is = weights_made(m->weights, i + k, &other);
    }
    return is;
}

/* As load_tensor(), of one that is made up as `made` says. */
static enum status make_tensor(struct model *m, size_t i, const struct made_matrix *made,
                               struct error *err)
{
    const struct tensor_spec *s = weights_spec(m->weights, i);
    struct weight **place = place_of(m, s);

    if (s->role == TENSOR_QKV)
        return load_qkv(m, i, made, err);
    if (s->role == TENSOR_GATE)
        return make_experts(m, i, err);
    if (!place)
        return error_set(err, ST_INTERNAL, "tensor '%s' has no place in the forward pass", s->name);
    return m->k->ops->weight_make(m->k, made, place, err);
}

static enum status load_weights(struct model *m, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    struct made_matrix made;
    enum status st = ST_OK;

    m->layers = arena_array(&m->arena, (size_t)m->c.n_layer, sizeof(*m->layers));
    if (m->c.has_expert_bias)
        m->router_bias =
            arena_array(&m->arena, (size_t)m->info.n_moe_layer * (size_t)m->c.n_exp, sizeof(float));
    if (!m->layers || (m->c.has_expert_bias && !m->router_bias))
        return no_room(err);
    m->info.router_bias = m->router_bias;
    /* bit by bit, so that a backend with a copy of its own needs the memory of one */
    for (size_t i = 0, n = 0; i < weights_count(m->weights) && !st; i += n) {
        if (m->opts.n_stops && *m->opts.n_stops)
            return error_set(err, ST_INTERRUPTED, "interrupted loading '%s'", m->opts.model_dir);
        n = count_together(m, i);
        if (is_made(m, i, n, &made)) {
            st = make_tensor(m, i, &made, err);
            continue;
        }
        weights_fill(m->weights, i, n, m->opts.n_threads, m->opts.n_stops);
        st = load_tensor(m, i, err);
        if (!st && ops->keeps_host && !ops->keeps_host(m->k, weights_at(m->weights, i)))
            weights_drop(m->weights, i, n);
    }
    return st ? st : weights_check_files(m->weights, err);
}

static enum status open_weights(struct model *m, struct error *err)
{
    enum status st;

    if (is_dummy(&m->opts))
        st = weights_open_dummy(&m->c, m->opts.dummy_seed, &m->weights, err);
    else
        st = weights_open(m->opts.model_dir, &m->c, &m->weights, err);
    if (st)
        return st;
    for (size_t i = 0; i < weights_count(m->weights); i++) {
        const struct tensor_spec *s = weights_spec(m->weights, i);

        if (s->role == TENSOR_GATE || s->role == TENSOR_UP || s->role == TENSOR_DOWN) {
            if (s->expert == 0)
                m->info.expert_bytes +=
                    s->rows * s->cols * (int64_t)dtype_size(weights_at(m->weights, i)->dtype);
            if (s->expert == 0 && s->role == TENSOR_DOWN)
                break; /* one layer's; they are all alike */
        }
    }
    m->info.weight_bytes = weights_bytes(m->weights);
    return ST_OK;
}

/* ---- open and close ---------------------------------------------------------------------- */

/* Options, config.json and tokenizer. */
static enum status read_configuration(struct model *m, const struct engine_options *opts,
                                      struct error *err)
{
    enum status st;

    st = copy_options(m, opts, err);
    if (!st)
        st = read_texts(&(struct engine_options){ .model_dir = m->opts.model_dir,
                                                  .load_format = m->opts.load_format,
                                                  .overrides = opts->overrides,
                                                  .n_overrides = opts->n_overrides },
                        &m->c, &m->tokenizer, err);
    return st;
}

static enum status open_parts(struct model *m, const struct engine_options *opts, struct error *err)
{
    const struct kernel_ops *ops = NULL;
    const struct kernel_params params = kernel_params(opts);
    enum status st;

    st = read_configuration(m, opts, err);
    if (!st)
        st = fill_info(&m->opts, &m->c, m->tokenizer, &m->arena, &m->info, err);
    if (st)
        return st;
    st = find_backend(opts->backend, &ops, err);
    if (!st)
        st = kernel_check_params(ops, &params, err);
    if (!st)
        st = resolve_sizes(m, err);
    if (!st)
        st = open_weights(m, err);
    if (!st)
        st = check_memory(m, ops, err);
    if (!st)
        st = weights_sha256(m->weights, opts->n_stops, m->info.weights_sha256, err);
    if (!st)
        st = ops->open(&params, &m->k, err);
    if (st)
        return st;
    m->route = (struct route_params){ .n_exp = m->c.n_exp,
                                      .top_k = m->c.top_k,
                                      .top_k_base = m->c.top_k,
                                      .renorm = m->c.renorm,
                                      .scale = (float)m->c.scale,
                                      .n_group = m->info.routing.n_group,
                                      .topk_group = m->info.routing.topk_group };
    m->info.backend = ops->name;
    m->info.backend_details = ops->describe(m->k);
    m->info.isa = ops->isa ? ops->isa(m->k) : NULL;
    m->info.is_fast = opts->is_fast;
    st = load_weights(m, err);
    if (!st)
        st = make_workspace(m, err);
    return st ? st : prepare_forward(m, err);
}

enum status engine_plan_memory(const struct engine_options *opts, struct engine_memory *ret,
                               struct error *err)
{
    const struct kernel_ops *ops =
        opts->backend ? kernel_backend_find(opts->backend) : kernel_backend_best();
    const struct kernel_params params = kernel_params(opts);
    struct model *m = calloc(1, sizeof(*m));
    struct engine_memory need = { 0 };
    enum status st;

    if (!m)
        return no_room(err);
    st = read_configuration(m, opts, err);
    if (!st && ops)
        st = kernel_check_params(ops, &params, err);
    if (!st)
        st = resolve_sizes(m, err);
    if (!st)
        st = open_weights(m, err); /* maps them: not a page of it is read but headers */
    if (!st)
        st = plan_memory(m, ops, &need, err);
    model_close(m);
    if (!st)
        *ret = need;
    return st;
}

enum status model_open(const struct engine_options *opts, struct model **ret, struct error *err)
{
    struct model *m = calloc(1, sizeof(*m));
    enum status st;

    if (!m)
        return no_room(err);
    trace_push("load", 0);
    st = open_parts(m, opts, err);
    trace_pop();
    if (st)
        model_close(m);
    else
        *ret = m;
    return st;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    profile_free(m->profile);
    if (m->k) {
        for (int i = 0; i < N_BUFFERS; i++)
            m->k->ops->free(m->k, m->buffers[i]);
        m->k->ops->close(m->k);
    }
    observing_free(m->observing);
    weights_close(m->weights); /* the backend may have borrowed them */
    tokenizer_close(m->tokenizer);
    arena_release(&m->arena);
    free(m);
}
