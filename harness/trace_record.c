/* `trace record`: items one after the other through a model, and an observer that writes. */
#include "harness/trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "harness/listing.h"
#include "harness/progress.h"
#include "harness/runner.h"
#include "harness/session.h"
#include "harness/trace_file.h"

struct recording {
    const struct options *c;
    struct session s;
    struct trace_writer *writer;
    uint8_t *executed; /* bits of a layer */
    const char *path;
    int64_t n_sequences, n_forwards;
    double n_positions; /* denoised */
    struct progress progress;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory recording");
}

/* A layer of the forward under way; the first one brings the forward. */
static enum status put_layer(void *arg, const struct sequence *s, const struct layer_view *v,
                             struct error *err)
{
    struct recording *rec = arg;
    const struct generation *g = sequence_result(s);
    const struct forward_record *f = &g->forwards[g->n_forwards];
    struct trace_layer l = { .scores = v->scores,
                             .importance = v->importance,
                             .executed = rec->executed };
    enum status st = ST_OK;

    if (v->layer == 0) {
        struct trace_forward forward = { .block = f->block,
                                         .step = f->step,
                                         .is_cache_refresh = f->is_cache_refresh,
                                         .is_merged = f->is_merged,
                                         .n_tok = v->n_tok,
                                         .ids = v->ids,
                                         .positions = v->positions };

        st = trace_put_forward(rec->writer, &forward, err);
        rec->n_forwards++;
    }
    memset(rec->executed, 0, trace_executed_bytes(v->n_exp));
    for (size_t i = 0; i < (size_t)v->n_tok * (size_t)v->n_slot; i++) {
        int32_t e = v->experts[i];

        if (e >= 0)
            rec->executed[e / 8] |= (uint8_t)(1 << e % 8);
    }
    return st ? st : trace_put_layer(rec->writer, &l, err);
}

/* ---- items ------------------------------------------------------------------------------ */

static void show_progress(struct recording *rec)
{
    progress_update(&rec->progress, (size_t)rec->n_sequences, rec->n_positions,
                    "%lld forwards, %.1f MB", (long long)rec->n_forwards,
                    (double)trace_bytes(rec->writer) * 1e-6);
}

static enum status record_sequence(struct recording *rec, struct sequence *seq, struct error *err)
{
    const struct generation *g = sequence_result(seq);
    double before = rec->n_positions;
    enum status st = ST_OK;

    while (!st && !sequence_is_done(seq)) {
        if (*rec->s.n_stops)
            return error_set(err, ST_INTERRUPTED, "interrupted: '%s' is not written", rec->path);
        st = engine_step(rec->s.engine, &seq, 1, err);
        if (st)
            break;
        rec->n_positions += g->forwards[g->n_forwards - 1].n_committed;
        show_progress(rec);
    }
    rec->n_positions = before + (double)g->n_positions; /* an early stop skips some */
    return st;
}

static enum status record_item(struct recording *rec, const struct plan_cell *cell, size_t item,
                               struct error *err)
{
    struct engine *e = rec->s.engine;
    struct decode_options decode = cell->decode;
    struct trace_sequence s = { 0 };
    struct sequence *seq = NULL;
    struct canvas_shape shape;
    struct task_item facts;
    struct arena a = { 0 };
    const char *text, *name;
    size_t len, n_ids;
    int32_t *ids;
    enum status st;

    task_get_item(cell->task->task, item, &facts);
    name = arena_printf(&a, "%s/%s", cell->task->def->name, facts.id);
    st = name ? plan_prompt(e, cell->task, item, &a, &text, &len, err) : no_memory(err);
    if (!st)
        st = engine_tokenize(e, text, len, &a, &ids, &n_ids, err);
    if (st)
        goto out;
    decode.seed =
        runner_seed((uint64_t)options_int(rec->c, OPT_SEED), cell->task->def->name, facts.id, 0);
    shape = engine_canvas(e, &decode, n_ids);
    s = (struct trace_sequence){ .item = name,
                                 .item_len = strlen(name),
                                 .seed = decode.seed,
                                 .n_prompt = (int)shape.first_block,
                                 .n_gen = (int)(shape.n_positions - shape.first_block),
                                 .block_length = decode.block_length };
    st = trace_put_sequence(rec->writer, &s, err);
    if (!st)
        st = sequence_start(e, &decode, ids, n_ids, &seq, err);
    if (!st)
        st = record_sequence(rec, seq, err);
    if (st && st != ST_INTERRUPTED)
        error_prefix(err, st, "item '%s'", name);
    rec->n_sequences++;
out:
    sequence_free(seq);
    arena_release(&a);
    return st;
}

static enum status record_items(struct recording *rec, struct error *err)
{
    const struct plan *p = &rec->s.plan;
    const struct engine_observer o = { put_layer, rec };
    enum status st = engine_observe(rec->s.engine, &o, err);
    size_t n_items = 0;
    double n_positions = 0;

    for (size_t c = 0; c < p->n_cells; c++) {
        n_items += p->cells[c].task->n_items;
        n_positions += (double)p->cells[c].task->n_items * p->cells[c].decode.gen_length;
    }
    progress_start(&rec->progress, options_text(rec->c, OPT_PROGRESS),
                   options_flag(rec->c, OPT_QUIET), n_items, n_positions);
    for (size_t c = 0; c < p->n_cells && !st; c++)
        for (size_t i = 0; i < p->cells[c].task->n_items && !st; i++) {
            st = record_item(rec, &p->cells[c], p->cells[c].task->items[i], err);
            show_progress(rec);
        }
    progress_stop(&rec->progress);
    return st;
}

/* ---- the file --------------------------------------------------------------------------- */

/* What is known of the model and of how it is run. Strings live as long as rec. */
static enum status fill_header(struct recording *rec, struct trace_header *ret, struct error *err)
{
    struct session *s = &rec->s;
    const struct model_info *m = engine_info(s->engine);
    const struct decode_options *d = &s->plan.cells[0].decode;
    struct buf decoder = { 0 }, cache = { 0 }, tasks = { 0 };
    struct trace_header h = { .n_layer = m->n_moe_layer,
                              .n_exp = m->n_exp,
                              .top_k = m->top_k,
                              .is_sigmoid = m->routing.is_sigmoid,
                              .is_renormed = m->routing.is_renormed,
                              .scale = m->routing.scale,
                              .n_group = m->routing.n_group,
                              .topk_group = m->routing.topk_group,
                              .bias = m->router_bias,
                              .mask_id = m->mask_id,
                              .n_top = m->n_exp,
                              .has_importance = true,
                              .has_executed = true };

    if (options_has(rec->c, OPT_TRACE_TOP) && options_int(rec->c, OPT_TRACE_TOP) < m->n_exp)
        h.n_top = (int)options_int(rec->c, OPT_TRACE_TOP);
    engine_decoder_text(d, &decoder);
    engine_cache_text(d, &cache);
    for (size_t i = 0; i < s->plan.n_tasks; i++)
        buf_printf(&tasks, "%s%s", i ? "," : "", s->plan.tasks[i].def->name);
    h.about =
        (struct trace_about){ .model = m->name,
                              .selector = d->selector,
                              .writer = arena_printf(&s->arena, "desbench %s (%s)", build_version,
                                                     build_commit),
                              .weights_sha256 = m->weights_sha256,
                              .task = arena_strdup(&s->arena, buf_str(&tasks), tasks.len),
                              .decoder = arena_strdup(&s->arena, buf_str(&decoder), decoder.len),
                              .cache = arena_strdup(&s->arena, buf_str(&cache), cache.len),
                              .backend = m->backend };
    *ret = h;
    if (!buf_ok(&decoder) || !buf_ok(&cache) || !buf_ok(&tasks) || !h.about.writer ||
        !h.about.task || !h.about.decoder || !h.about.cache) {
        buf_release(&decoder);
        buf_release(&cache);
        buf_release(&tasks);
        return no_memory(err);
    }
    buf_release(&decoder);
    buf_release(&cache);
    buf_release(&tasks);
    return ST_OK;
}

static enum status print_summary(const struct recording *rec, const struct trace_header *h,
                                 uint64_t n_bytes, struct error *err)
{
    struct listing l;

    listing_start(&l, rec->c,
                  "file|model|selector|>n_sequences=sequences|>n_forwards=forwards"
                  "|>n_layer=layers|>n_exp=experts|>n_top=scores a token|>bytes=bytes");
    listing_row(&l);
    listing_cell(&l, rec->path);
    listing_cell(&l, h->about.model);
    listing_cell(&l, h->about.selector);
    listing_number(&l, rec->n_sequences);
    listing_number(&l, rec->n_forwards);
    listing_number(&l, h->n_layer);
    listing_number(&l, h->n_exp);
    listing_number(&l, h->n_top);
    listing_number(&l, (int64_t)n_bytes);
    return listing_end(&l, ST_OK, err);
}

static enum status open_model(struct recording *rec, struct error *err)
{
    struct session *s = &rec->s;
    enum status st = session_plan(s, err);

    if (st)
        return st;
    if (s->plan.n_cells != s->plan.n_tasks)
        return error_set(err, ST_INVALID, "a trace is of one selector, %zu are given",
                         s->plan.n_cells / s->plan.n_tasks);
    engine_close(s->engine);
    s->engine = NULL;
    log_info("loading %s (%s weights)", s->engine_options.model_dir, s->engine_options.load_format);
    return engine_open(&s->engine_options, &s->engine, err);
}

enum status trace_record(const struct options *c, struct error *err)
{
    struct recording rec = { .c = c, .s = { .c = c }, .path = options_text(c, OPT_TRACE_OUTPUT) };
    struct trace_header h;
    uint64_t n_bytes = 0;
    enum status st;

    if (!rec.path)
        return error_set(err, ST_INVALID, "`trace record` needs --output FILE");
    if (file_exists(rec.path) && !options_flag(c, OPT_FORCE))
        return error_set(err, ST_INVALID, "'%s' exists; --force writes over it", rec.path);
    st = open_model(&rec, err);
    if (!st)
        st = fill_header(&rec, &h, err);
    if (!st)
        st = trace_create(rec.path, &h, &rec.writer, err);
    if (!st) {
        rec.executed = calloc(trace_executed_bytes(h.n_exp), 1);
        st = rec.executed ? record_items(&rec, err) : no_memory(err);
    }
    if (!st)
        st = trace_finish(rec.writer, err);
    if (!st)
        n_bytes = trace_bytes(rec.writer);
    trace_writer_free(rec.writer);
    if (!st)
        st = print_summary(&rec, &h, n_bytes, err);
    free(rec.executed);
    session_close(&rec.s);
    return st;
}
