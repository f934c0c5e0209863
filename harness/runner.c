/* Runner: a small state machine over samples; each is a struct sample that owns an arena. */
#include "harness/runner.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "harness/energy.h"
#include "harness/judging.h"
#include "harness/kernel_times.h"
#include "harness/progress.h"

/* A sample in flight; spent ones are kept for reuse with their arenas. */
struct sample {
    struct sample *next; /* in the list of spent ones */
    struct arena arena;
    const struct plan_cell *cell;
    const char *cell_key;
    size_t item;
    struct task_item facts;
    struct sequence *seq; /* while generating */
    int n_committed;      /* positions of it so far, for the progress */
    int64_t queued_ns;    /* when it could have begun; the clock's own time */
    struct sample_row row;
    struct answer answer; /* while being judged */
};

struct runner {
    const struct runner_options *o;
    char (*cell_keys)[65];
    struct sample **slots; /* (n_slots) NULL where free */
    struct sample *spent;
    struct judging judging;
    size_t next_work;
    bool *is_kept;           /* (n_work) of a resumed run; NULL: none is */
    double n_positions_kept; /* that they stand for */
    int64_t start_ns, n_tokens, n_forwards;
    double n_positions; /* done, of the plan's n_positions */
    size_t *n_left;     /* (n_cells) samples that a cell still lacks */
    size_t n_cells_done;
    struct progress progress;
    struct runner_totals totals;
    struct kernel_times *times; /* NULL: not asked for */
    struct rng times_rng;       /* draws the step of each kernel_times that is timed */
    int times_left, times_at;   /* steps until the next draw; the step that is timed */
    int64_t times_stored_ns;
    struct energy energy;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory running samples");
}

/* ---- preparation ------------------------------------------------------------------------ */

/* What put() writes of d, in the arena; NULL: out of memory. */
static const char *settings_text(void (*put)(const struct decode_options *, struct buf *),
                                 const struct decode_options *d, struct arena *a)
{
    struct buf text = { 0 };
    const char *ret = NULL;

    put(d, &text);
    if (buf_ok(&text))
        ret = arena_strdup(a, buf_str(&text), text.len);
    buf_release(&text);
    return ret;
}

/* Which arithmetic makes the answers, beyond the backend's name; in the arena; NULL: out of memory.
 * Two instruction sets of one backend round differently; coresets of a whole batch, and what mode
 * fast rounds, differ with the batch. */
static const char *numeric_mode(const struct engine *e, const struct decode_options *d,
                                struct arena *a)
{
    const struct model_info *m = engine_info(e);
    const char *isa = m->isa ? m->isa : m->is_fast ? "fast" : NULL;

    if (m->is_fast || strstr(d->selector, "scope=batch"))
        return arena_printf(a, "batch-of-%d%s%s", engine_max_batch(e), isa ? ":" : "",
                            isa ? isa : "");
    return m->isa ? arena_printf(a, "invariant:%s", m->isa) : "invariant";
}

static enum status fill_cell(const struct plan_cell *cell, const struct engine *e, struct arena *a,
                             struct cell_row *ret, struct error *err)
{
    const struct model_info *m = engine_info(e);
    const struct decode_options *d = &cell->decode;
    char *prompt_sha256 = arena_alloc(a, SHA256_HEX_SIZE);
    const char *text, *decoder, *cache, *mode, *budget;
    struct buf b = { 0 };
    size_t len;
    enum status st = plan_prompt(e, cell->task, 0, a, &text, &len, err);

    if (st)
        return st;
    decoder = settings_text(engine_decoder_text, d, a);
    cache = settings_text(engine_cache_text, d, a);
    st = engine_selector_budget(d->selector, &b, err);
    if (st)
        goto out;
    budget = arena_strdup(a, buf_str(&b), b.len);
    mode = numeric_mode(e, d, a);
    if (!decoder || !cache || !mode || !budget || !prompt_sha256) {
        st = no_memory(err);
        goto out;
    }
    *ret = (struct cell_row){
        .task = cell->task->def->name,
        .dataset_sha256 = task_sha256(cell->task->task),
        .prompt_form = cell->task->form,
        .prompt_sha256 = prompt_sha256,
        .model = m->name,
        .architecture = m->architecture,
        .load_format = m->load_format,
        .weights_sha256 = m->weights_sha256,
        .config_sha256 = m->config_sha256,
        .tokenizer_sha256 = m->tokenizer_sha256,
        .template_sha256 = m->template_sha256,
        .selector = d->selector,
        .budget = budget,
        .decoder = decoder,
        .cache = cache,
        .backend = m->backend,
        .numeric_mode = mode,
        .gen_length = d->gen_length,
        .block_length = d->block_length,
        .engine_results_version = ENGINE_RESULTS_VERSION,
        .temperature = d->temperature,
        .n_layer = m->n_layer,
        .n_moe_layer = m->n_moe_layer,
        .n_exp = m->n_exp,
        .top_k = m->top_k,
        .expert_bytes = m->expert_bytes,
        .weight_bytes = m->weight_bytes,
    };
    st = sha256_hex(text, len, prompt_sha256, err);
out:
    buf_release(&b);
    return st;
}

enum status runner_cells(const struct plan *p, const struct engine *e, struct arena *a,
                         struct cell_row **ret, struct error *err)
{
    struct cell_row *rows = arena_array(a, p->n_cells, sizeof(*rows));
    enum status st = rows ? ST_OK : no_memory(err);

    for (size_t i = 0; i < p->n_cells && !st; i++)
        st = fill_cell(&p->cells[i], e, a, &rows[i], err);
    if (!st)
        *ret = rows;
    return st;
}

struct item_row runner_item(const struct plan_task *t, size_t item, struct task_item *facts)
{
    task_get_item(t->task, item, facts);
    return (struct item_row){ .dataset_sha256 = task_sha256(t->task),
                              .task_id = facts->id,
                              .item_sha256 = facts->sha256,
                              .reference_sha256 = facts->reference_sha256,
                              .subject = facts->subject,
                              .level = facts->level };
}

static enum status put_cells(struct runner *r, struct error *err)
{
    const struct plan *p = r->o->plan;
    struct arena a = { 0 };
    struct cell_row *rows;
    enum status st = runner_cells(p, r->o->engine, &a, &rows, err);

    for (size_t i = 0; i < p->n_tasks && !st; i++) {
        const struct task_def *def = p->tasks[i].def;
        struct dataset_row row = { .name = def->name,
                                   .sha256 = task_sha256(p->tasks[i].task),
                                   .licence = def->licence,
                                   .source = task_source(def),
                                   .n_items = (int64_t)task_n_items(p->tasks[i].task) };
        st = store_put_dataset(r->o->store, &row, err);
    }
    for (size_t i = 0; i < p->n_cells && !st; i++)
        st = store_put_cell(r->o->store, &rows[i], r->cell_keys[i], err);
    arena_release(&a);
    return st;
}

/* A sample of a cell is stored. */
static void count_cell(struct runner *r, size_t cell)
{
    if (--r->n_left[cell] == 0)
        r->n_cells_done++;
}

/* What a resumed run has: it is not computed again. */
static enum status find_kept(struct runner *r, struct error *err)
{
    const struct plan *p = r->o->plan;
    size_t work = 0;
    enum status st = ST_OK;

    for (size_t c = 0; c < p->n_cells; c++) {
        const struct plan_task *t = p->cells[c].task;

        for (size_t i = 0; i < t->n_items; i++) {
            struct task_item facts;
            struct item_row row = runner_item(t, t->items[i], &facts);

            for (int idx = 0; idx < p->n_samples && !st; idx++, work++) {
                st = store_has_sample(r->o->store, r->o->run_id, r->cell_keys[c], &row, idx,
                                      &r->is_kept[work], err);
                if (!st && r->is_kept[work]) {
                    r->totals.n_kept++;
                    r->n_positions_kept += p->cells[c].decode.gen_length;
                    count_cell(r, c);
                }
            }
            if (st)
                return error_prefix(err, st, "task '%s'", t->def->name);
        }
    }
    return ST_OK;
}

/* ---- a sample's way --------------------------------------------------------------------- */

static struct sample *sample_take(struct runner *r)
{
    struct sample *s = r->spent;

    if (s) {
        struct arena arena = s->arena;

        r->spent = s->next;
        arena_clear(&arena);
        *s = (struct sample){ .arena = arena };
    } else {
        s = calloc(1, sizeof(*s));
    }
    return s;
}

static void sample_give(struct runner *r, struct sample *s)
{
    sequence_free(s->seq);
    s->seq = NULL;
    s->next = r->spent;
    r->spent = s;
}

/* Which sample is number `work` of the plan: cells in order, their items (by their place in the
 * task's choice), their repetitions. */
static void find_work(const struct plan *p, size_t work, size_t *ret_cell, size_t *ret_chosen,
                      int *ret_idx)
{
    size_t cell = 0, n;

    for (;; cell++) {
        n = p->cells[cell].task->n_items * (size_t)p->n_samples;
        if (work < n)
            break;
        work -= n;
    }
    *ret_cell = cell;
    *ret_chosen = work / (size_t)p->n_samples;
    *ret_idx = (int)(work % (size_t)p->n_samples);
}

uint64_t runner_seed(uint64_t seed, const char *task, const char *id, int idx)
{
    uint64_t x = seed;

    x = splitmix64(&x) ^ rng_hash(task, strlen(task));
    x = splitmix64(&x) ^ rng_hash(id, strlen(id));
    x = splitmix64(&x) ^ (uint64_t)idx;
    return splitmix64(&x) >> 1; /* SQLite integers are signed */
}

static enum status sample_start(struct runner *r, struct sample *s, struct error *err)
{
    const struct runner_options *o = r->o;
    const struct plan_input *in;
    struct decode_options decode;
    struct item_row item;
    size_t cell, chosen;
    int idx;

    find_work(o->plan, r->next_work++, &cell, &chosen, &idx);
    s->cell = &o->plan->cells[cell];
    s->cell_key = r->cell_keys[cell];
    s->item = s->cell->task->items[chosen];
    in = &s->cell->task->inputs[chosen];
    s->queued_ns = clock_mono_ns();
    item = runner_item(s->cell->task, s->item, &s->facts);
    decode = s->cell->decode;
    decode.seed = runner_seed(o->seed, s->cell->task->def->name, s->facts.id, idx);
    s->row = (struct sample_row){
        .run_id = o->run_id,
        .cell_key = s->cell_key,
        .item = item,
        .sample_idx = idx,
        .seed = (int64_t)decode.seed,
        .prompt = in->text,
        .prompt_sha256 = in->sha256,
        .n_prompt = (int64_t)in->n_ids,
        .queue_ns = clock_mono_ns() - s->queued_ns,
    };
    return sequence_start(o->engine, &decode, in->ids, in->n_ids, &s->seq, err);
}

/* Copy what the sequence did into the sample's arena, so that the engine slot is free again. */
static enum status copy_generation(struct sample *s, const struct generation *g, struct error *err)
{
    size_t n_rows = g->n_forwards * (size_t)g->n_moe_layer, n_counts = n_rows * (size_t)g->n_exp;
    bool has_error = n_rows && !isnan(g->layers[0].output_error);
    struct telemetry_forward *forwards;
    struct telemetry_layer *layers;
    uint16_t *counts;
    int32_t *tokens, *commits;

    forwards = arena_array(&s->arena, g->n_forwards, sizeof(*forwards));
    layers = arena_array(&s->arena, n_rows, sizeof(*layers));
    counts = arena_array(&s->arena, n_counts, sizeof(*counts));
    tokens = arena_array(&s->arena, g->n_positions, sizeof(*tokens));
    commits = arena_array(&s->arena, g->n_positions, sizeof(*commits));
    if (!forwards || !layers || !counts || !tokens || !commits)
        return no_memory(err);
    for (size_t i = 0; i < g->n_forwards; i++) {
        const struct forward_record *f = &g->forwards[i];

        forwards[i] = (struct telemetry_forward){ .block = f->block,
                                                  .step = f->step,
                                                  .n_tok = f->n_tok,
                                                  .n_masked_before = f->n_masked_before,
                                                  .n_committed = f->n_committed,
                                                  .n_edited = f->n_edited,
                                                  .is_cache_refresh = f->is_cache_refresh,
                                                  .wall_ns = f->wall_ns };
    }
    for (size_t i = 0; i < n_rows; i++) {
        const struct layer_record *l = &g->layers[i];

        layers[i] =
            (struct telemetry_layer){ .n_unique = l->n_unique,
                                      .n_rerouted = l->n_rerouted,
                                      .n_lost_top1 = l->n_lost_top1,
                                      .n_natural = l->n_natural,
                                      .n_core = l->n_core,
                                      .kept_mass = (float)l->kept_mass,
                                      .output_error = has_error ? (float)l->output_error : 0,
                                      .expert_bytes = l->expert_bytes };
    }
    if (n_counts)
        memcpy(counts, g->tokens_per_expert, n_counts * sizeof(*counts));
    if (g->n_positions) {
        memcpy(tokens, g->tokens, g->n_positions * sizeof(*tokens));
        memcpy(commits, g->commit_step, g->n_positions * sizeof(*commits));
    }
    s->row.tokens = tokens;
    s->row.n_tokens_blob = (int64_t)g->n_positions;
    for (size_t i = 0; i < g->n_positions; i++)
        s->row.n_gen_positions += g->commit_step[i] >= 0;
    s->row.n_tokens_before_eos = (int64_t)g->n_before_eos;
    s->row.stop_reason = g->stop == STOP_EOS ? "eos" : "length";
    s->row.n_forwards = (int64_t)g->n_forwards;
    s->row.n_forwards_cache = (int64_t)g->n_forwards_cache;
    s->row.first_block_ns = g->first_block_ns;
    s->row.total_ns = g->total_ns;
    s->row.telemetry = (struct telemetry){ .n_forwards = (int32_t)g->n_forwards,
                                           .n_layer = g->n_moe_layer,
                                           .n_exp = g->n_exp,
                                           .has_output_error = has_error,
                                           .n_positions = (int32_t)g->n_positions,
                                           .forwards = forwards,
                                           .layers = layers,
                                           .tokens_per_expert = counts,
                                           .commit_step = commits };
    return ST_OK;
}

/* Hash of ids as little-endian i32, positions denoised in vain, and the text up to the first EOS.
 */
static enum status describe_output(struct runner *r, struct sample *s, struct error *err)
{
    struct sample_row *row = &s->row;
    const int32_t *commit_step = row->telemetry.commit_step;
    char *sha256 = arena_alloc(&s->arena, SHA256_HEX_SIZE);
    struct sha256 *h = sha256_new();
    struct buf text = { 0 };
    enum status st;

    if (!sha256 || !h) {
        if (h)
            sha256_finish(h, (char[SHA256_HEX_SIZE]){ 0 });
        return no_memory(err);
    }
    for (int64_t i = 0; i < row->n_tokens_blob; i++) {
        uint32_t id = (uint32_t)row->tokens[i];
        unsigned char le[4];

        for (int k = 0; k < 4; k++)
            le[k] = (unsigned char)(id >> 8 * k);
        sha256_add(h, le, sizeof(le));
        row->n_tokens_after_stop += i > row->n_tokens_before_eos && commit_step[i] >= 0;
    }
    sha256_finish(h, sha256);
    row->tokens_sha256 = sha256;
    st = engine_detokenize(r->o->engine, row->tokens, (size_t)row->n_tokens_before_eos, false,
                           &text, err);
    if (!st) {
        row->raw_output = arena_strdup(&s->arena, buf_str(&text), text.len);
        row->raw_output_len = text.len;
        if (!row->raw_output)
            st = no_memory(err);
    }
    buf_release(&text);
    return st;
}

/* A sample has its verdict; the queue's. */
static enum status sample_store(void *owner, void *arg, struct error *err)
{
    struct sample *s = owner;
    struct runner *r = arg;
    enum status st = store_put_sample(r->o->store, &s->row, err);

    if (st)
        return st;
    r->totals.n_stored++;
    count_cell(r, (size_t)(s->cell - r->o->plan->cells));
    r->totals.n_passed += s->row.verdict.is_passed;
    r->totals.n_internal += strcmp(s->row.verdict.verdict, verdict_name(VERDICT_INTERNAL)) == 0;
    sample_give(r, s);
    return ST_OK;
}

/* A sequence is done: its text goes to be judged. */
static enum status sample_finish(struct runner *r, struct sample *s, struct error *err)
{
    const struct task *task = s->cell->task->task;
    struct task_prompt prompt;
    enum status st;

    st = copy_generation(s, sequence_result(s->seq), err);
    sequence_free(s->seq);
    s->seq = NULL;
    if (!st)
        st = describe_output(r, s, err);
    if (!st)
        st = task_make_prompt(task, s->item, s->cell->task->form, &s->arena, &prompt, err);
    if (st)
        return st;
    r->n_positions += s->cell->decode.gen_length - s->n_committed; /* an early stop skips some */
    r->n_tokens += s->row.n_tokens_before_eos;
    r->n_forwards += s->row.n_forwards;
    s->answer = (struct answer){ .owner = s,
                                 .task = task,
                                 .item = s->item,
                                 .how = { .prompt = &prompt, .compat = r->o->compat },
                                 .arena = &s->arena,
                                 .row = &s->row };
    return judging_put(&r->judging, &s->answer, err);
}

/* ---- the loop --------------------------------------------------------------------------- */

static void show(struct runner *r)
{
    double s = (double)(clock_mono_ns() - r->start_ns) * 1e-9;
    const struct runner_totals *t = &r->totals;
    const struct runner_series *x = &r->o->series;

    progress_update(&r->progress, x->n_samples_before + t->n_stored, r->n_positions,
                    "cells %zu/%zu, %zu passed, %.1f tok/s, %.2f tok/forward, %zu being judged",
                    x->n_cells_before + r->n_cells_done,
                    x->n_cells_before + r->o->plan->n_cells + x->n_cells_after, t->n_passed,
                    s > 0 ? (double)r->n_tokens / s : 0.0,
                    r->n_forwards ? (double)r->n_tokens / (double)r->n_forwards : 0.0,
                    r->judging.n_waiting);
}

/* Positions that the last step of a sequence committed. */
static int count_committed(struct runner *r, struct sample *s)
{
    const struct generation *g = sequence_result(s->seq);
    int n = g->n_forwards ? g->forwards[g->n_forwards - 1].n_committed : 0;

    s->n_committed += n;
    r->n_positions += n;
    return n;
}

/* The cell of all samples in flight, or NULL where they are of several. */
static const char *common_cell(const struct runner *r)
{
    const char *key = NULL;

    for (int i = 0; i < r->o->n_slots; i++) {
        const struct sample *s = r->slots[i];

        if (s && key && s->cell_key != key)
            return NULL;
        if (s)
            key = s->cell_key;
    }
    return key;
}

/* Of each kernel_times steps a random one, as steps have a rhythm: caches are filled, blocks end.
 */
static bool is_step_timed(struct runner *r)
{
    if (r->times_left == 0) {
        r->times_left = r->o->kernel_times;
        r->times_at = 1 + (int)rng_below(&r->times_rng, (uint64_t)r->o->kernel_times);
    }
    return r->times_left-- == r->times_at;
}

/* One step of the sequences, with what is measured beside it. */
static enum status step(struct runner *r, struct sequence *const *active, size_t n_active,
                        struct error *err)
{
    const int64_t store_ns = 10000000000, start_ns = clock_mono_ns();
    const char *cell_key = common_cell(r);
    bool is_timed = r->times && is_step_timed(r) && cell_key;
    enum status st = is_timed ? engine_time_next(r->o->engine, err) : ST_OK;
    struct step_times times;

    energy_begin(&r->energy, cell_key);
    if (!st)
        st = engine_step(r->o->engine, active, n_active, err);
    r->totals.step_ns += clock_mono_ns() - start_ns;
    if (st || !is_timed)
        return st;
    times = engine_step_times(r->o->engine);
    r->totals.step_ns -= times.took_ns;
    st = kernel_times_add(r->times, cell_key, &times, err);
    if (!st && start_ns - r->times_stored_ns > store_ns) {
        st = kernel_times_store(r->times, r->o->store, r->o->run_id, err);
        r->times_stored_ns = start_ns;
    }
    return st;
}

/* Fill free slots, advance all sequences by one step, finish those that are done. */
static enum status advance(struct runner *r, bool *ret_is_busy, struct error *err)
{
    const struct runner_options *o = r->o;
    struct sequence *active[RUNNER_MAX_SLOTS];
    size_t n_active = 0;
    int64_t n_committed = 0;
    enum status st;

    assert(o->n_slots <= RUNNER_MAX_SLOTS);
    for (int i = 0; i < o->n_slots; i++) {
        while (r->is_kept && r->next_work < o->plan->n_work && r->is_kept[r->next_work])
            r->next_work++;
        if (!r->slots[i] && r->next_work < o->plan->n_work) {
            struct sample *s = sample_take(r);

            if (!s)
                return no_memory(err);
            r->slots[i] = s;
            st = sample_start(r, s, err);
            if (st)
                return error_prefix(err, st, "task '%s' item '%s'", s->cell->task->def->name,
                                    s->facts.id);
        }
        if (r->slots[i])
            active[n_active++] = r->slots[i]->seq;
    }
    *ret_is_busy = n_active > 0;
    if (!n_active)
        return ST_OK;
    st = step(r, active, n_active, err);
    for (int i = 0; i < o->n_slots && !st; i++)
        if (r->slots[i])
            n_committed += count_committed(r, r->slots[i]);
    if (!st)
        st = energy_end(&r->energy, n_committed, o->store, o->run_id, err);
    for (int i = 0; i < o->n_slots && !st; i++) {
        struct sample *s = r->slots[i];

        if (s && sequence_is_done(s->seq)) {
            r->slots[i] = NULL;
            st = sample_finish(r, s, err);
            if (st) {
                error_prefix(err, st, "task '%s' item '%s'", s->cell->task->def->name, s->facts.id);
                sample_give(r, s);
            }
        }
    }
    return st;
}

static enum status loop(struct runner *r, struct error *err)
{
    const int64_t poll_ns = 100000000;
    const struct runner_options *o = r->o;
    bool is_busy = true, has = true;
    enum status st = ST_OK;

    while (is_busy && !*o->n_stops && !st) {
        st = advance(r, &is_busy, err);
        for (has = true; has && !st;)
            st = judging_collect(&r->judging, 0, &has, err);
        /* answers come faster than verdicts: wait, in turns, so that a signal is seen */
        while (r->judging.n_waiting > judging_room(&r->judging) && !*o->n_stops && !st) {
            st = judging_collect(&r->judging, poll_ns, &has, err);
            show(r);
        }
        show(r);
    }
    while (r->judging.n_waiting && *o->n_stops < 2 && !st) {
        st = judging_collect(&r->judging, poll_ns, &has, err);
        show(r);
    }
    if (!st && r->totals.n_kept + r->totals.n_stored < o->plan->n_work)
        st = error_set(err, ST_INTERRUPTED,
                       "interrupted: %zu of %zu samples stored in run '%s'; `desbench resume` goes "
                       "on with it",
                       r->totals.n_kept + r->totals.n_stored, o->plan->n_work, o->run_id);
    return st;
}

static void free_list(struct sample *s)
{
    while (s) {
        struct sample *next = s->next;

        sequence_free(s->seq);
        arena_release(&s->arena);
        free(s);
        s = next;
    }
}

enum status runner_run(const struct runner_options *opts, struct runner_totals *ret,
                       struct error *err)
{
    struct runner r = { .o = opts, .start_ns = clock_mono_ns() };
    enum status st;

    r.judging = (struct judging){ .judge = opts->judge, .done = sample_store, .arg = &r };
    r.cell_keys = calloc(opts->plan->n_cells + 1, sizeof(*r.cell_keys));
    r.slots = calloc((size_t)opts->n_slots, sizeof(*r.slots));
    r.n_left = calloc(opts->plan->n_cells + 1, sizeof(*r.n_left));
    if (!r.cell_keys || !r.slots || !r.n_left) {
        st = no_memory(err);
        goto out;
    }
    for (size_t i = 0; i < opts->plan->n_cells; i++)
        r.n_left[i] = opts->plan->cells[i].task->n_items * (size_t)opts->plan->n_samples;
    st = put_cells(&r, err);
    if (!st && opts->is_resumed) {
        r.is_kept = calloc(opts->plan->n_work + 1, sizeof(*r.is_kept));
        st = r.is_kept ? find_kept(&r, err) : no_memory(err);
        if (!st)
            log_info("%zu of %zu samples are there", r.totals.n_kept, opts->plan->n_work);
    }
    if (st)
        goto out;
    progress_start(&r.progress, opts->progress, opts->is_quiet,
                   opts->series.n_samples_before + opts->plan->n_work - r.totals.n_kept +
                       opts->series.n_samples_after,
                   opts->plan->n_positions - r.n_positions_kept + opts->series.n_positions_after);
    if (!opts->kernel_times) /* what is run twice costs twice */
        energy_open(&r.energy, engine_info(opts->engine)->backend);
    r.times_stored_ns = clock_mono_ns();
    rng_seed(&r.times_rng, opts->seed);
    if (opts->kernel_times)
        st = kernel_times_new(&r.times, err);
    if (!st)
        st = loop(&r, err);
    progress_stop(&r.progress);
    if (r.times) { /* whatever ended the run */
        struct error lost;
        enum status st_store = kernel_times_store(r.times, opts->store, opts->run_id, &lost);

        if (st_store && !st)
            st = error_set(err, st_store, "%s", lost.text);
    }
    if (st && st != ST_INTERRUPTED)
        log_warn(
            "stopped early: %zu of %zu samples are kept in run '%s'; `desbench resume` goes on "
            "with it",
            r.totals.n_kept + r.totals.n_stored, opts->plan->n_work, opts->run_id);
    r.totals.n_tokens_before_eos = r.n_tokens;
out:
    for (int i = 0; r.slots && i < opts->n_slots; i++)
        free_list(r.slots[i]);
    for (struct answer *a = r.judging.waiting, *next; a; a = next) {
        next = a->next;
        free_list(a->owner);
    }
    free_list(r.spent);
    kernel_times_free(r.times);
    energy_close(&r.energy);
    free(r.slots);
    free(r.cell_keys);
    free(r.n_left);
    free(r.is_kept);
    r.totals.wall_ns = clock_mono_ns() - r.start_ns;
    *ret = r.totals;
    return st;
}
