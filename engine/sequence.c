/*
 * Sequences and the denoising step.
 *
 * Everything a sequence needs is allocated by sequence_start(): each step commits at least one
 * position or is one of a bounded number that may edit a complete block, which bounds the forwards
 * and with them the telemetry.
 */
#include "engine/sequence.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/size.h"
#include "base/trace.h"
#include "engine/decode_options.h"
#include "engine/selection.h"
#include "engine/sequence_impl.h"

/* ---- engine ----------------------------------------------------------------------------- */

enum status engine_new(struct model *m, struct engine **ret, struct error *err)
{
    const struct engine_options *opts = model_options(m);
    struct engine *e;
    enum status st = ST_OK;

    if (!model_kernels(m)->ops->pick)
        return error_set(err, ST_UNSUPPORTED, "backend '%s' has no op 'pick'",
                         model_kernels(m)->ops->name);
    if (opts->max_canvas < 1 || opts->max_canvas > UINT16_MAX)
        return error_set(err, ST_INVALID, "max_canvas %d is not within 1 .. %d", opts->max_canvas,
                         UINT16_MAX); /* tokens_per_expert is 16 bits wide */
    if (opts->max_batch < 1)
        return error_set(err, ST_INVALID, "max_batch %d must be at least 1", opts->max_batch);
    e = calloc(1, sizeof(*e));
    if (!e)
        return error_set(err, ST_NOMEM, "out of memory");
    e->info = model_get_info(m);
    e->tokenizer = model_tokenizer(m);
    e->limits.route = *model_route(m);
    e->limits.max_canvas = opts->max_canvas;
    e->limits.max_block = opts->max_block;
    e->limits.is_block_causal = e->info->mask_block > 0;
    e->max_batch = opts->max_batch;
    e->answer_end_id = -1;
    e->positions = calloc((size_t)opts->max_canvas, sizeof(*e->positions));
    e->free = calloc((size_t)e->max_batch, sizeof(struct kv_cache *));
    e->active = calloc((size_t)e->max_batch, sizeof(struct sequence *));
    e->items = calloc((size_t)e->max_batch, sizeof(*e->items));
    if (!e->positions || !e->free || !e->active || !e->items) {
        st = error_set(err, ST_NOMEM, "out of memory");
        goto out;
    }
    for (int i = 0; i < opts->max_canvas; i++)
        e->positions[i] = i;
    while (e->n_free < e->max_batch) {
        st = kv_cache_new(m, &e->free[e->n_free], err);
        if (st)
            goto out;
        e->n_free++;
    }
    e->model = m;
    *ret = e;
    e = NULL;
out:
    engine_close(e);
    return st;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->n_free; i++)
        kv_cache_free(e->free[i]);
    free(e->parts);
    free(e->unique);
    free(e->items);
    free(e->active);
    free(e->free);
    free(e->positions);
    popularity_free(e->popularity);
    model_close(e->model);
    tokenizer_close(e->text_tokenizer);
    arena_release(&e->text_arena);
    free(e);
}

const struct model_info *engine_info(const struct engine *e)
{
    return e->info;
}

int engine_max_batch(const struct engine *e)
{
    return e->max_batch;
}

void engine_decode_defaults(const struct engine *e, struct decode_options *ret)
{
    *ret = e->defaults;
}

/* Options looked up and checked; a file of the selector's is read into list. */
static enum status resolve(const struct engine *e, const struct decode_options *opts,
                           size_t n_prompt, struct popularity **list, struct decode_setup *ret,
                           const double **ret_popularity, struct error *err)
{
    enum status st = decode_options_resolve(opts, &e->limits, n_prompt, ret, err);
    const struct selector *s = &ret->selector;

    if (!st && s->file)
        st = popularity_get(list, s->file, s->file_len, e->info, ret_popularity, err);
    return st;
}

struct canvas_shape engine_canvas(const struct engine *e, const struct decode_options *opts,
                                  size_t n_prompt)
{
    bool is_on_grid = decoder_find(opts->decoder)->is_on_grid || e->limits.is_block_causal;

    return decode_canvas(opts, is_on_grid, n_prompt);
}

enum status engine_check_decode(const struct engine *e, const struct decode_options *opts,
                                size_t n_prompt, struct error *err)
{
    struct popularity *list = NULL;
    const double *popularity;
    struct decode_setup setup;
    enum status st = resolve(e, opts, n_prompt, &list, &setup, &popularity, err);

    popularity_free(list);
    return st;
}

/* ---- start and end ---------------------------------------------------------------------- */

int sequence_block_start(const struct sequence *s)
{
    return s->first_block + s->block * s->block_length;
}

/* The block's first row that is not the prompt's. */
static int first_row(const struct sequence *s)
{
    int start = sequence_block_start(s);

    return start < s->n_prompt ? s->n_prompt - start : 0;
}

static void block_enter(struct sequence *s)
{
    int first = first_row(s);

    s->step = 0;
    s->n_post = 0;
    s->n_masked = s->block_length - first;
    s->n_masked_start = s->n_masked;
    s->has_core = false;
    for (int i = 0; i < s->block_length; i++)
        s->is_masked[i] = i >= first;
    step_forget_logits(s);
}

/* The most forwards that decoding can take. */
static size_t most_forwards(const struct sequence *s)
{
    size_t n_blocks = (size_t)(s->n_canvas - s->first_block) / (size_t)s->block_length;
    size_t n_post = s->setup.decoder->has_edits ? (size_t)s->setup.rule.max_post_steps : 0;

    return (size_t)(s->n_canvas - s->n_prompt) + n_blocks * n_post;
}

static enum status sequence_alloc(struct sequence *s, size_t n_gen, struct error *err)
{
    const struct model_info *info = s->engine->info;
    size_t n_forwards = most_forwards(s), n_denoised = (size_t)(s->n_canvas - s->n_prompt);
    size_t n_layers, n_counts;
    struct generation *g = &s->result;

    if (!size_mul(n_forwards, (size_t)info->n_moe_layer, &n_layers) ||
        !size_mul(n_layers, (size_t)info->n_exp, &n_counts))
        return error_set(err, ST_NOMEM, "telemetry of %zu forwards exceeds the address space",
                         n_forwards);
    s->canvas = arena_array(&s->arena, (size_t)s->n_canvas, sizeof(*s->canvas));
    s->picks = arena_array(&s->arena, (size_t)s->block_length, sizeof(*s->picks));
    s->is_masked = arena_array(&s->arena, (size_t)s->block_length, sizeof(*s->is_masked));
    s->is_taken = arena_array(&s->arena, (size_t)s->block_length, sizeof(*s->is_taken));
    s->commit_step = arena_array(&s->arena, n_denoised, sizeof(*s->commit_step));
    s->forwards = arena_array(&s->arena, n_forwards, sizeof(*s->forwards));
    s->layers = arena_array(&s->arena, n_layers, sizeof(*s->layers));
    s->tokens_per_expert = arena_array(&s->arena, n_counts, sizeof(*s->tokens_per_expert));
    if (!s->canvas || !s->picks || !s->is_masked || !s->is_taken || !s->commit_step ||
        !s->forwards || !s->layers || !s->tokens_per_expert)
        return error_set(err, ST_NOMEM, "out of memory for a sequence of %d positions",
                         s->n_canvas);
    g->tokens = s->canvas + s->n_prompt;
    g->commit_step = s->commit_step;
    g->forwards = s->forwards;
    g->layers = s->layers;
    g->tokens_per_expert = s->tokens_per_expert;
    g->n_positions = n_gen;
    g->n_prompt = (size_t)s->n_prompt;
    g->first_block = (size_t)s->first_block;
    g->n_moe_layer = info->n_moe_layer;
    g->n_exp = info->n_exp;
    return ST_OK;
}

/* What its selector needs beside its settings. */
static enum status selector_alloc(struct sequence *s, struct error *err)
{
    const struct selector *sel = &s->setup.selector;
    const struct model_info *info = s->engine->info;
    struct kernels *k = model_kernels(s->engine->model);
    size_t bytes = (size_t)info->n_moe_layer * (size_t)info->n_exp;
    struct buf text = { 0 };
    enum status st = ST_OK;

    if (s->setup.route.is_joint) {
        selector_put(sel, &text);
        if (buf_ok(&text))
            s->joint = arena_strdup(&s->arena, buf_str(&text), text.len);
        buf_release(&text);
        if (!s->joint)
            return error_set(err, ST_NOMEM, "out of memory for a selector");
    }
    if (selection_has_voters(sel)) {
        s->is_voter = arena_array(&s->arena, (size_t)s->n_canvas, 1);
        if (!s->is_voter)
            return error_set(err, ST_NOMEM, "out of memory for a selector");
    }
    for (int i = 0; i < 2 && s->setup.route.is_lagged && !st; i++) {
        void *core = NULL;

        st = k->ops->alloc(k, bytes, &core, err);
        s->cores[i] = core;
    }
    return st;
}

enum status sequence_make(struct engine *e, const struct decode_options *opts,
                          const int32_t *prompt, size_t n_prompt, struct sequence **ret,
                          struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    const double *popularity = NULL;
    struct decode_setup setup;
    struct canvas_shape shape;
    struct sequence *s;
    enum status st;

    if (!e->model)
        return error_set(err, ST_UNSUPPORTED, "model '%s' was opened for text only", e->info->name);
    st = resolve(e, opts, n_prompt, &e->popularity, &setup, &popularity, err);
    if (st)
        return st;
    for (size_t i = 0; i < n_prompt; i++)
        if (prompt[i] < 0 || prompt[i] >= e->info->n_vocab)
            return error_set(err, ST_INVALID, "prompt token %zu is %d, not within 0 .. %d", i,
                             prompt[i], e->info->n_vocab - 1);
    shape = decode_canvas(opts, setup.is_on_grid, n_prompt);
    s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(err, ST_NOMEM, "out of memory");
    s->engine = e;
    s->setup = setup;
    s->n_prompt = (int)n_prompt;
    s->n_canvas = (int)shape.n_positions;
    s->first_block = (int)shape.first_block;
    s->block_length = opts->block_length;
    s->prefix_look = opts->prefix_look;
    s->after_look = opts->after_look;
    s->cache_warmup = opts->cache_warmup;
    s->temperature = opts->temperature;
    s->top_k = opts->top_k;
    s->top_p = opts->top_p;
    s->seed = opts->seed;
    s->is_eos_early_stop = opts->is_eos_early_stop;
    s->start_ns = start_ns;
    s->popularity = popularity;
    st = sequence_alloc(s, (size_t)opts->gen_length, err);
    if (!st)
        st = selector_alloc(s, err);
    if (!st)
        st = sequence_alloc_credit(s, err);
    s->setup.selector.file = NULL; /* the caller's text ends here */
    if (st)
        goto out;
    if (n_prompt)
        memcpy(s->canvas, prompt, n_prompt * sizeof(*prompt));
    for (int i = s->n_prompt; i < s->n_canvas; i++) {
        s->canvas[i] = e->info->mask_id;
        s->commit_step[i - s->n_prompt] = -1;
    }
    block_enter(s);
    *ret = s;
    s = NULL;
out:
    sequence_free(s);
    return st;
}

enum status sequence_start(struct engine *e, const struct decode_options *opts,
                           const int32_t *prompt, size_t n_prompt, struct sequence **ret,
                           struct error *err)
{
    struct sequence *s = NULL;
    enum status st;

    if (e->model && !e->n_free)
        return error_set(err, ST_INVALID, "all %d sequences that the model was opened for exist",
                         e->max_batch);
    st = sequence_make(e, opts, prompt, n_prompt, &s, err);
    if (st)
        return st;
    st = sequence_alloc_smoothing(s, err);
    if (st) {
        sequence_free(s);
        return st;
    }
    s->cache = e->free[--e->n_free];
    *ret = s;
    return ST_OK;
}

void sequence_free(struct sequence *s)
{
    if (!s)
        return;
    if (s->cache)
        s->engine->free[s->engine->n_free++] = s->cache;
    for (int i = 0; i < 2 && s->cores[i]; i++)
        model_kernels(s->engine->model)->ops->free(model_kernels(s->engine->model), s->cores[i]);
    for (int i = 0; i < 2 && s->smooth[i]; i++)
        model_kernels(s->engine->model)->ops->free(model_kernels(s->engine->model), s->smooth[i]);
    arena_release(&s->arena);
    free(s);
}

void sequence_set_temperature(struct sequence *s, double temperature)
{
    s->temperature = temperature;
}

bool sequence_is_done(const struct sequence *s)
{
    return s->is_done;
}

const struct generation *sequence_result(const struct sequence *s)
{
    return &s->result;
}

static bool is_answer_end(const struct engine *e, int32_t id)
{
    return id == e->info->eos_id || id == e->answer_end_id;
}

static void sequence_finish(struct sequence *s, int64_t now_ns)
{
    struct generation *g = &s->result;
    size_t n = 0;

    while (n < g->n_positions && !is_answer_end(s->engine, g->tokens[n]))
        n++;
    g->n_before_eos = n;
    g->stop = n < g->n_positions ? STOP_EOS : STOP_LENGTH;
    g->total_ns = now_ns - s->start_ns;
    s->is_done = true;
}

/* The first position from `from` on, and before `end`, that ends an answer; end: none. */
static int find_end(const struct sequence *s, int from, int end)
{
    while (from < end && !is_answer_end(s->engine, s->canvas[from]))
        from++;
    return from;
}

/* Nothing is denoised from here on: what is left of the canvas is EOS. */
static void sequence_stop(struct sequence *s, int64_t now_ns)
{
    int start = sequence_block_start(s);

    for (int i = start; i < s->n_canvas; i++)
        if (i >= start + s->block_length || s->is_masked[i - start])
            s->canvas[i] = s->engine->info->eos_id;
    sequence_finish(s, now_ns);
}

/* Is the answer over, although its block is not complete? No mask is left before its end. */
static bool is_cut(const struct sequence *s)
{
    int start = sequence_block_start(s), i = first_row(s), end;

    if (!s->setup.decoder->is_cut || !s->is_eos_early_stop)
        return false;
    end = find_end(s, start + i, start + s->block_length) - start;
    while (i < end && !s->is_masked[i])
        i++;
    return i == end && end < s->block_length;
}

/* The block is complete: stop, or go to the next. */
static void block_leave(struct sequence *s, int64_t now_ns)
{
    int start = sequence_block_start(s), end = start + s->block_length;
    bool has_end = find_end(s, start + first_row(s), end) < end;

    if ((has_end && s->is_eos_early_stop) || end == s->n_canvas) {
        sequence_stop(s, now_ns);
    } else {
        s->block++;
        block_enter(s);
    }
}

/* ---- the step --------------------------------------------------------------------------- */

/* How the forward's tokens are routed. */
static void step_route(struct sequence *s, const struct canvas_view *v,
                       const struct forward_plan *p, struct forward_item *it)
{
    const struct selection_view view = { .seed = s->seed,
                                         .forward = s->result.n_forwards,
                                         .is_refresh = p->is_refresh,
                                         .is_merged = p->is_merged,
                                         .block_start = v->block_start,
                                         .block_length = s->block_length,
                                         .n_tok = it->n_tok,
                                         .ids = it->ids,
                                         .positions = it->positions,
                                         .mask_id = s->engine->info->mask_id };
    struct selection sel = selection_of(&s->setup.selector, &s->engine->limits.route,
                                        &s->setup.route, &view, s->is_voter);

    it->route = sel.route;
    it->n_plain = sel.n_plain;
    it->group = sel.group;
    it->is_voter = sel.is_voter;
    it->key = sel.key;
    it->popularity = s->popularity;
    it->ret_cores = s->cores[0];
    it->cores_before = s->has_core ? s->cores[1] : NULL;
}

/* Rows that get logits. */
static void choose_rows(struct sequence *s)
{
    int first = first_row(s), last = s->block_length - 1;

    while (!s->setup.decoder->has_edits && !s->is_masked[first])
        first++;
    while (!s->setup.decoder->has_edits && !s->is_masked[last])
        last--;
    s->row_first = first;
    s->n_rows = last - first + 1;
}

/* What goes through the model next, and its record. */
void step_plan(struct sequence *s, struct forward_item *ret)
{
    struct canvas_view v = {
        .n_visible = s->n_canvas,
        .n_final = s->n_final,
        .step = s->step,
        .forward = (int)s->result.n_forwards,
        .prefix_look = s->prefix_look,
        .after_look = s->after_look,
        .cache_warmup = s->cache_warmup,
    };
    struct forward_plan p;

    v.block_start = sequence_block_start(s);
    v.block_end = v.block_start + s->block_length;
    if (s->engine->limits.is_block_causal)
        v.n_visible = v.block_end;
    p = s->setup.cache->plan(&v);
    choose_rows(s);
    *ret = (struct forward_item){
        .cache = s->cache,
        .ids = s->canvas + p.first,
        .positions = s->engine->positions + p.first,
        .n_tok = p.n_tok,
        .n_kv = p.n_kv,
        .mask_block = s->block_length,
        .logits_row = v.block_start + s->row_first - p.first,
        .n_logits = s->n_rows,
        .added = s->smooth[0],
        .is_added = s->is_smooth,
        .added_row = v.block_start - p.first,
        .n_added = s->block_length,
    };
    step_route(s, &v, &p, ret);
    assert(ret->logits_row >= 0 && ret->logits_row + ret->n_logits <= ret->n_tok);
    s->forwards[s->result.n_forwards] = (struct forward_record){
        .block = s->block,
        .step = s->step,
        .n_tok = p.n_tok,
        .n_masked_before = s->n_masked,
        .is_cache_refresh = p.is_refresh,
        .is_merged = p.is_merged,
    };
}

void step_decide(struct sequence *s)
{
    struct forward_record *f = &s->forwards[s->result.n_forwards];
    const struct decode_rule rule = step_rule(s);
    const struct decode_block b = {
        .rule = &rule,
        .picks = s->picks,
        .is_masked = s->is_masked,
        .ids = s->canvas + sequence_block_start(s),
        .n = s->block_length,
        .first = first_row(s),
        .n_masked_start = s->n_masked_start,
        .step = s->step,
        .n_post = s->n_post,
    };

    s->outcome = decoder_decide(s->setup.decoder, &b, s->is_taken);
    f->n_committed = s->outcome.n_committed;
    f->n_edited = s->outcome.n_edited;
}

void step_commit(struct sequence *s)
{
    int start = sequence_block_start(s);

    s->n_post += !s->n_masked;
    for (int i = 0; i < s->block_length; i++) {
        if (!s->is_taken[i])
            continue;
        s->is_masked[i] = false;
        s->canvas[start + i] = s->picks[i].id;
        s->commit_step[start + i - s->n_prompt] = (int32_t)s->result.n_forwards;
    }
    s->n_masked -= s->outcome.n_committed;
}

/* Counts of tokens as records keep them. A batch has tens of thousands a step: the inner length is
 * one that the compiler knows, so that it takes them in vectors. */
static void keep_counts(uint16_t *restrict to, const int32_t *restrict from, size_t n)
{
    enum { LANES = 16 };
    size_t i = 0;

    for (; n - i >= LANES; i += LANES)
        for (int j = 0; j < LANES; j++)
            to[i + (size_t)j] = (uint16_t)from[i + (size_t)j];
    for (; i < n; i++)
        to[i] = (uint16_t)from[i];
}

/* Routing of item number `item` of the forward. */
void step_record(struct sequence *s, const struct forward_result *r, int item)
{
    size_t n_layer = (size_t)s->result.n_moe_layer, n_exp = (size_t)s->result.n_exp;
    size_t from = (size_t)item * n_layer, to = s->result.n_forwards * n_layer;

    for (size_t l = 0; l < n_layer; l++) {
        const struct route_stats *in = &r->stats[from + l];

        s->layers[to + l] = (struct layer_record){
            .n_unique = in->n_unique,
            .n_rerouted = in->n_rerouted,
            .n_lost_top1 = in->n_lost_top1,
            .n_natural = in->n_natural,
            .n_core = in->n_core,
            .kept_mass = in->kept_mass,
            .output_error = r->output_errors ? r->output_errors[from + l] : (double)NAN,
            .expert_bytes = in->n_unique * s->engine->info->expert_bytes,
        };
    }
    keep_counts(s->tokens_per_expert + to * n_exp, r->tokens_per_expert + from * n_exp,
                n_layer * n_exp);
}

/* The item of a forward is the active sequence of that number. */
static enum status tell_layer(void *arg, int item, const struct layer_view *v, struct error *err)
{
    const struct engine *e = arg;

    return e->observer.layer(e->observer.arg, e->active[item], v, err);
}

enum status engine_observe(struct engine *e, const struct engine_observer *o, struct error *err)
{
    struct model_observer m = { tell_layer, e };
    enum status st;

    if (!e->model)
        return error_set(err, ST_UNSUPPORTED, "model '%s' was opened for text only", e->info->name);
    st = model_observe(e->model, o ? &m : NULL, err);
    if (!st && o)
        e->observer = *o;
    return st;
}

/* Sequences of equal selectors that share coresets get one number, from 1. */
static void number_joint(const struct engine *e, int n_active)
{
    for (int i = 0; i < n_active; i++) {
        const struct sequence *s = e->active[i];

        e->items[i].joint = 0;
        if (!e->items[i].route->is_joint)
            continue;
        for (int j = 0; j < i && !e->items[i].joint; j++)
            if (e->items[j].joint && strcmp(e->active[j]->joint, s->joint) == 0)
                e->items[i].joint = e->items[j].joint;
        if (!e->items[i].joint)
            e->items[i].joint = i + 1;
    }
}

/* Collect the sequences that are not done in e->active, their forwards in e->items. */
static enum status step_gather(struct engine *e, struct sequence *const *seqs, size_t n, int *ret_n,
                               struct error *err)
{
    int n_active = 0;

    for (size_t i = 0; i < n; i++) {
        struct sequence *s = seqs[i];

        if (s->engine != e)
            return error_set(err, ST_INTERNAL, "a sequence of another engine in a step");
        for (int j = 0; j < n_active; j++)
            if (e->active[j] == s)
                return error_set(err, ST_INTERNAL, "a sequence twice in one step");
        if (s->is_done)
            continue;
        e->active[n_active] = s;
        step_plan(s, &e->items[n_active]);
        n_active++;
    }
    *ret_n = n_active;
    return ST_OK;
}

void step_keep_core(struct sequence *s, const struct forward_record *f)
{
    s->has_core = selection_keeps_core(&s->setup.selector, &s->setup.route, f->is_cache_refresh,
                                       f->is_merged);
    if (s->has_core) {
        uint8_t *elected = s->cores[0];

        s->cores[0] = s->cores[1];
        s->cores[1] = elected;
    }
}

void step_end(struct sequence *s, int64_t start_ns, int64_t now_ns)
{
    struct forward_record *f = &s->forwards[s->result.n_forwards];
    bool is_final;

    f->wall_ns = now_ns - start_ns;
    s->result.n_forwards++;
    s->result.n_forwards_cache += f->is_cache_refresh;
    step_keep_core(s, f);
    step_keep_logits(s);
    s->step++;
    is_final = f->n_masked_before == 0 && f->n_edited == 0; /* it read what the block ends with */
    s->n_final = sequence_block_start(s) + (is_final ? s->block_length : 0);
    if (s->block == 0 && (s->outcome.is_complete || is_cut(s)))
        s->result.first_block_ns = now_ns - s->start_ns;
    if (s->outcome.is_complete)
        block_leave(s, now_ns);
    else if (is_cut(s))
        sequence_stop(s, now_ns);
}

static enum status step_all(struct engine *e, struct sequence *const *seqs, size_t n,
                            struct error *err)
{
    int64_t start_ns = clock_mono_ns(), now_ns;
    struct forward_result r;
    size_t row = 0;
    int n_active = 0;
    enum status st;

    st = step_gather(e, seqs, n, &n_active, err);
    if (st || !n_active)
        return st;
    number_joint(e, n_active);
    for (int i = 0; i < n_active; i++) {
        struct sequence *s = e->active[i];

        if (step_wants_logits(s))
            continue;
        s->pick = step_pick_params(s);
        e->items[i].pick = &s->pick;
        e->items[i].ret_picks = s->picks + s->row_first;
    }
    st = model_forward(e->model, e->items, n_active, &r, err);
    if (st)
        return st;
    for (int i = 0; i < n_active; i++) { /* all that can fail, before anything changes */
        if (r.is_picked)
            st = step_check_picks(e->active[i], err);
        else
            st = step_pick(e->active[i], r.logits + row * (size_t)e->info->n_vocab, err);
        if (st)
            return st;
        row += (size_t)e->active[i]->n_rows;
    }
    if (e->is_timed) {
        st = step_time(e, n_active, &start_ns, err);
        if (st)
            return st;
    }
    for (int i = 0; i < n_active; i++) {
        step_record(e->active[i], &r, i);
        step_decide(e->active[i]);
        step_commit(e->active[i]);
    }
    now_ns = clock_mono_ns();
    for (int i = 0; i < n_active; i++)
        step_end(e->active[i], start_ns, now_ns);
    return ST_OK;
}

enum status engine_step(struct engine *e, struct sequence *const *seqs, size_t n, struct error *err)
{
    const struct sequence *first = n ? seqs[0] : NULL; /* of a batch, ranges tell where it is */
    enum status st;

    trace_push("block", first ? first->block : -1);
    trace_push("step", first ? first->step : -1);
    st = step_all(e, seqs, n, err);
    trace_pop();
    trace_pop();
    return st;
}
