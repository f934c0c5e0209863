/*
 * `desbench routing`: decoding with an eye on the router.
 *
 * The prompts of the tasks are decoded as `run` would, once for each of several block lengths N,
 * and the observer of the engine (engine/engine.h) adds up what the router does with the N tokens
 * of the block under way (routing_facts.h). So U(N) is what a forward of a block of N tokens
 * executes, masks in it as decoding leaves them; rows of a forward outside the block (a cache's
 * refresh) do not count. Everything but U(N) is of the model's own block length.
 */
#include "harness/routing.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "harness/paths.h"
#include "harness/plan.h"
#include "harness/record.h"
#include "harness/routing_facts.h"
#include "harness/session.h"
#include "harness/verb.h"

/* Block lengths whose U(N) is measured, besides the model's own. */
static const int block_lengths[] = { 8, 16, 24, 32, 48, 64 };
enum { N_BLOCK_LENGTHS = sizeof(block_lengths) / sizeof(block_lengths[0]) };

struct job {
    const struct options *c;
    struct arena arena;
    struct engine_options engine_options;
    struct engine *engine;
    struct plan plan;
    int own_block;
    int blocks[N_BLOCK_LENGTHS + 1];
    int n_blocks;
    struct routing_facts *facts[N_BLOCK_LENGTHS + 1];
    int current; /* index of the block length under way */
    size_t n_prompts;
};

/* ---- preparing -------------------------------------------------------------------------- */

/* The lengths in order, the model's own among them once. */
static void fill_blocks(struct job *j)
{
    bool has_own = false;

    for (int i = 0; i < N_BLOCK_LENGTHS; i++) {
        if (!has_own && j->own_block <= block_lengths[i]) {
            has_own = true;
            if (j->own_block < block_lengths[i])
                j->blocks[j->n_blocks++] = j->own_block;
        }
        j->blocks[j->n_blocks++] = block_lengths[i];
    }
    if (!has_own)
        j->blocks[j->n_blocks++] = j->own_block;
}

/* A cell's decoding in blocks of n positions: as many positions, in whole blocks. */
static struct decode_options decode_in_blocks(const struct decode_options *own, int n)
{
    struct decode_options d = *own;
    bool is_one_each;

    if (n == own->block_length)
        return d;
    d.steps = 0;
    is_one_each = engine_decode_steps(&d) == own->steps; /* a step for each position */
    d.block_length = n;
    d.gen_length = (own->gen_length + n - 1) / n * n;
    d.steps = is_one_each ? engine_decode_steps(&d) : own->steps;
    return d;
}

/* Everything that can be refused before weights are read. */
static enum status prepare(struct job *j, struct error *err)
{
    struct engine_options text_only = j->engine_options;
    struct engine_options *o = &j->engine_options;
    enum status st;

    text_only.is_text_only = true;
    st = plan_tasks(j->c, session_default_tasks(j->c), &j->plan, err);
    if (!st)
        st = engine_open(&text_only, &j->engine, err);
    if (!st)
        st = plan_decode(j->c, j->engine, &j->plan, err);
    if (st)
        return st;
    j->own_block = j->plan.cells[0].decode.block_length;
    fill_blocks(j);
    for (size_t i = 0; i < j->plan.n_cells; i++)
        for (int k = 0; k < j->n_blocks; k++) {
            struct decode_options d = decode_in_blocks(&j->plan.cells[i].decode, j->blocks[k]);

            int n;

            st = engine_check_decode(j->engine, &d, j->plan.max_prompt, err);
            if (st)
                return error_prefix(err, st, "in blocks of %d", j->blocks[k]);
            n = (int)engine_canvas(j->engine, &d, j->plan.max_prompt).n_positions;
            if (n > o->max_canvas)
                o->max_canvas = n;
            if (d.block_length > o->max_block)
                o->max_block = d.block_length;
        }
    return ST_OK;
}

/* ---- measuring -------------------------------------------------------------------------- */

/* The rows of a layer that are the block's. */
static enum status add_layer(void *arg, const struct sequence *s, const struct layer_view *v,
                             struct error *err)
{
    struct job *j = arg;
    const struct generation *g = sequence_result(s);
    const struct forward_record *f = &g->forwards[g->n_forwards];
    int n = j->blocks[j->current], start = (int)g->first_block + f->block * n, row = 0, n_rows = 0;

    (void)err;
    while (row < v->n_tok && v->positions[row] < start)
        row++;
    while (row + n_rows < v->n_tok && v->positions[row + n_rows] < start + n)
        n_rows++;
    routing_facts_add(j->facts[j->current], v->layer, f->step == 0, n_rows, v->n_slot,
                      v->scores + (size_t)row * (size_t)v->n_exp,
                      v->experts + (size_t)row * (size_t)v->n_slot);
    return ST_OK;
}

static enum status decode_one(struct job *j, const struct plan_cell *cell, size_t item,
                              struct error *err)
{
    struct decode_options d = decode_in_blocks(&cell->decode, j->blocks[j->current]);
    struct sequence *s = NULL;
    struct arena a = { 0 };
    const char *text;
    int32_t *ids;
    size_t len, n;
    enum status st = plan_prompt(j->engine, cell->task, item, &a, &text, &len, err);

    if (!st)
        st = engine_tokenize(j->engine, text, len, &a, &ids, &n, err);
    if (!st)
        st = sequence_start(j->engine, &d, ids, n, &s, err);
    while (!st && !sequence_is_done(s))
        st = engine_step(j->engine, &s, 1, err);
    sequence_free(s);
    arena_release(&a);
    return st;
}

static enum status measure(struct job *j, struct error *err)
{
    const struct model_info *m = engine_info(j->engine);
    struct engine_observer observer = { add_layer, j };
    enum status st = engine_observe(j->engine, &observer, err);

    for (int k = 0; k < j->n_blocks && !st; k++) {
        j->current = k;
        j->n_prompts = 0;
        st = routing_facts_new(m->n_moe_layer, m->n_exp, m->top_k, &j->facts[k], err);
        log_info("decoding in blocks of %d", j->blocks[k]);
        for (size_t i = 0; i < j->plan.n_cells && !st; i++) {
            const struct plan_cell *cell = &j->plan.cells[i];

            for (size_t n = 0; n < cell->task->n_items && !st; n++) {
                st = decode_one(j, cell, cell->task->items[n], err);
                j->n_prompts++;
            }
        }
    }
    return st;
}

/* ---- the record ------------------------------------------------------------------------- */

static double share(double a, int64_t n)
{
    return a / (double)n; /* of nothing: NaN */
}

/* Members, all or none: false when out of memory. JSON has no NaN: what cannot be told is null. */
static bool put(json_t *obj, const char *key, json_t *value)
{
    return json_object_set_new(obj, key, value) == 0;
}

static bool put_real(json_t *obj, const char *key, double v)
{
    return put(obj, key, isfinite(v) ? json_real(v) : json_null());
}

static bool put_int(json_t *obj, const char *key, int64_t v)
{
    return put(obj, key, json_integer(v));
}

static bool put_text(json_t *obj, const char *key, const char *v)
{
    return put(obj, key, json_string(v));
}

/* An object at the end of a list, which owns it; NULL: out of memory. */
static json_t *append_object(json_t *list)
{
    return json_array_append_new(list, json_object())
               ? NULL
               : json_array_get(list, json_array_size(list) - 1);
}

static bool put_block(json_t *list, const struct routing_facts *f, int n)
{
    json_t *x = append_object(list);
    double sum = 0, sum2 = 0, least = INFINITY, most = 0, mean, uniform;
    int64_t n_samples = 0;

    for (int l = 0; l < f->n_layer; l++) {
        const struct layer_facts *y = &f->layers[l];
        double m = share(y->sum_unique, y->n_samples);

        sum += y->sum_unique;
        sum2 += y->sum_unique2;
        n_samples += y->n_samples;
        least = fmin(least, m);
        most = fmax(most, m);
    }
    mean = share(sum, n_samples);
    uniform = routing_uniform(n, f->n_exp, f->top_k);
    return put_int(x, "block_length", n) && put_int(x, "n_samples", n_samples) &&
           put_real(x, "mean_unique", mean) &&
           put_real(x, "sd_unique", sqrt(fmax(0, share(sum2, n_samples) - mean * mean))) &&
           put_real(x, "uniform", uniform) && put_real(x, "ratio", mean / uniform) &&
           put_real(x, "least_layer", least) && put_real(x, "most_layer", most);
}

static bool put_layer(json_t *x, const struct layer_facts *y, double max_over_mean, int dead)
{
    return put_real(x, "mean_unique", share(y->sum_unique, y->n_samples)) &&
           put_real(x, "top1_mass", share(y->sum_top1, y->n_tok)) &&
           put_real(x, "topk_mass", share(y->sum_topk, y->n_tok)) &&
           put_real(x, "load_max_over_mean", max_over_mean) && put_int(x, "dead", dead) &&
           put_real(x, "overlap", share(y->sum_overlap, y->n_pairs));
}

/* `layers` and `all`, whose load is the mean of the layers' and whose dead are their sum. */
static bool put_layers(json_t *record, const struct routing_facts *f)
{
    struct layer_facts sum = { 0 };
    double sum_load = 0;
    int sum_dead = 0;
    bool is_ok = put(record, "layers", json_array()) && put(record, "all", json_object());

    for (int l = 0; l < f->n_layer && is_ok; l++) {
        const struct layer_facts *y = &f->layers[l];
        json_t *x = append_object(json_object_get(record, "layers"));
        int64_t most = 0, total = 0;
        int dead = 0;
        double load;

        for (int i = 0; i < f->n_exp; i++) {
            most = y->load[i] > most ? y->load[i] : most;
            total += y->load[i];
            dead += y->load[i] == 0;
        }
        load = (double)most * f->n_exp / (double)total;
        is_ok = put_int(x, "layer", l) && put_layer(x, y, load, dead);
        sum.n_samples += y->n_samples;
        sum.n_tok += y->n_tok;
        sum.sum_unique += y->sum_unique;
        sum.sum_top1 += y->sum_top1;
        sum.sum_topk += y->sum_topk;
        sum.n_pairs += y->n_pairs;
        sum.sum_overlap += y->sum_overlap;
        sum_load += load;
        sum_dead += dead;
    }
    return is_ok &&
           put_layer(json_object_get(record, "all"), &sum, sum_load / f->n_layer, sum_dead);
}

static bool put_votes(json_t *record, const struct routing_facts *f)
{
    bool is_ok = put(record, "votes", json_array());

    for (int c = 0; c < ROUTING_N_CORES && is_ok; c++) {
        json_t *x = append_object(json_object_get(record, "votes"));
        struct vote_gap g = { 0 };

        for (int l = 0; l < f->n_layer; l++) {
            g.n_samples += f->layers[l].votes[c].n_samples;
            g.sum_differs += f->layers[l].votes[c].sum_differs;
            g.sum_mass_lost += f->layers[l].votes[c].sum_mass_lost;
        }
        is_ok = put_int(x, "n_core", routing_core_size(c, f->n_exp)) &&
                put_int(x, "n_samples", g.n_samples) &&
                put_real(x, "differs", share(g.sum_differs, g.n_samples)) &&
                put_real(x, "mass_lost", share(g.sum_mass_lost, g.n_samples));
    }
    return is_ok;
}

static bool put_identity(const struct job *j, json_t *r)
{
    const struct model_info *m = engine_info(j->engine);
    const struct decode_options *d = &j->plan.cells[0].decode;
    struct buf program = { 0 }, command = { 0 };
    char now[32];
    bool is_ok;

    clock_utc(now, sizeof(now));
    buf_printf(&program, "%s (%s)", build_version, build_commit);
    record_put_command(&command);
    is_ok = buf_ok(&program) && buf_ok(&command) && put_text(r, "format", ROUTING_FORMAT) &&
            put_text(r, "program", buf_str(&program)) &&
            put_text(r, "command", buf_str(&command)) && put_text(r, "made", now) &&
            put_text(r, "model", m->name) && put_text(r, "architecture", m->architecture) &&
            put_text(r, "load_format", m->load_format) &&
            put_text(r, "weights_sha256", m->weights_sha256) &&
            put_int(r, "n_moe_layers", m->n_moe_layer) && put_int(r, "n_experts", m->n_exp) &&
            put_int(r, "top_k", m->top_k) && put_text(r, "backend", m->backend_details) &&
            put(r, "tasks", json_array()) && put_int(r, "n_prompts", (int64_t)j->n_prompts) &&
            put_text(r, "decoder", d->decoder) && put_real(r, "threshold", d->threshold) &&
            put_text(r, "cache", d->cache) && put_int(r, "block_length", d->block_length);
    for (size_t i = 0; i < j->plan.n_tasks && is_ok; i++)
        is_ok = json_array_append_new(json_object_get(r, "tasks"),
                                      json_string(j->plan.tasks[i].def->name)) == 0;
    buf_release(&program);
    buf_release(&command);
    return is_ok;
}

static enum status make_record(const struct job *j, json_t **ret, struct error *err)
{
    json_t *r = json_object();
    bool is_ok = r && put_identity(j, r) && put(r, "blocks", json_array());

    for (int k = 0; k < j->n_blocks && is_ok; k++)
        is_ok = put_block(json_object_get(r, "blocks"), j->facts[k], j->blocks[k]);
    for (int k = 0; k < j->n_blocks && is_ok; k++)
        if (j->blocks[k] == j->own_block)
            is_ok = put_layers(r, j->facts[k]) && put_votes(r, j->facts[k]);
    if (!is_ok) {
        json_decref(r);
        return error_set(err, ST_NOMEM, "out of memory making a record");
    }
    *ret = r;
    return ST_OK;
}

/* ---- the verb --------------------------------------------------------------------------- */

static enum status measure_model(const struct options *c, json_t **ret, struct error *err)
{
    struct job j = { .c = c };
    enum status st = session_model(c, &j.arena, &j.engine_options, err);

    j.engine_options.max_batch = 1;
    if (!st)
        st = prepare(&j, err);
    engine_close(j.engine);
    j.engine = NULL;
    if (!st)
        log_info("loading %s (%s weights)", j.engine_options.model_dir,
                 j.engine_options.load_format);
    if (!st)
        st = engine_open(&j.engine_options, &j.engine, err);
    if (!st)
        st = measure(&j, err);
    if (!st)
        st = make_record(&j, ret, err);
    for (int k = 0; k < j.n_blocks; k++)
        routing_facts_free(j.facts[k]);
    engine_close(j.engine);
    plan_release(&j.plan);
    arena_release(&j.arena);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    enum { RECORD_BYTES_MAX = 1 << 24 };
    enum print_form form = print_form_of(c);
    json_t *record = NULL;
    enum status st;

    (void)ret_exit;
    if (form == PRINT_CSV)
        return error_set(err, ST_INVALID,
                         "option '--format': routing facts are several tables, which csv has no "
                         "form for");
    st = c->n_args ? json_read(c->args[0], RECORD_BYTES_MAX, &record, err)
                   : measure_model(c, &record, err);
    if (!st)
        st = routing_print(record, c->n_args ? c->args[0] : "the record", form, err);
    json_decref(record);
    return st;
}

const struct verb verb_routing = {
    .name = "routing",
    .bit = VERB_ROUTING,
    .args = "[RECORD]",
    .max_args = 1,
    .summary = "how a model's router behaves: unique experts by block length, load, overlap",
    .help =
        "Decodes prompts as `run` does, in blocks of 8 to 64 positions, and prints what the router "
        "does with\n"
        "the tokens of a block: unique experts beside the expectation of uniform routing and "
        "published\n"
        "values; router mass on the first expert, load, experts never chosen, overlap from step to "
        "step,\n"
        "and how far coresets elected by weight and by count differ. Nothing is judged or "
        "stored.\n\n"
        "  desbench routing -m DIR -t gsm8k -L 16\n"
        "  desbench routing -m DIR -t gsm8k -L 16 --json >record.json\n"
        "  desbench routing record.json --format markdown      print a record again\n",
    .run = run,
};
