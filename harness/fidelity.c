/*
 * `desbench fidelity`: what a selector does to single forwards.
 *
 * Every item is decoded under the model's own routing. At each step the same forward (tokens with
 * their masks, cache as it stands) is run under each selector too, and its proposals are held
 * against the model's own: the error of the selector itself, without the drift of a text that went
 * another way. As llama.cpp's --kl-divergence does for quantisation.
 */
#include "harness/fidelity.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "harness/progress.h"
#include "harness/runner.h"
#include "harness/session.h"

enum { MAX_SELECTORS = 64 };

struct job {
    struct session s;
    struct fidelity f;
    const struct plan_task *tasks;
    struct decode_options *decodes; /* (n_tasks) under the model's own routing */
    float *scratch;                 /* (max_block, n_vocab) */
    size_t n_done;
    double n_positions;
    struct progress progress;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory comparing selectors");
}

/* ---- a step ----------------------------------------------------------------------------- */

static enum status keep_kl(struct fidelity_selector *s, double kl, int task, int bucket,
                           struct error *err)
{
    if (s->n_kls == s->cap_kls) {
        size_t cap = s->cap_kls ? 2 * s->cap_kls : 1024;
        struct fidelity_kl *p = NULL;
        size_t bytes;

        if (size_mul(cap, sizeof(*p), &bytes))
            p = realloc(s->kls, bytes);
        if (!p)
            return no_memory(err);
        s->kls = p;
        s->cap_kls = cap;
    }
    s->kls[s->n_kls++] =
        (struct fidelity_kl){ .kl = (float)kl, .task = (uint8_t)task, .bucket = (uint8_t)bucket };
    return ST_OK;
}

static enum status add_step(struct job *j, struct fidelity_selector *s, size_t item,
                            const struct rival_view *v, int bucket, struct error *err)
{
    struct fidelity_item *x = &s->items[item];
    double *b = x->buckets[bucket];
    enum status st = ST_OK;

    for (int i = 0; i < v->n_positions && !st; i++) {
        const struct position_comparison *p = &v->positions[i];

        b[FID_POSITIONS]++;
        b[FID_KL] += p->kl;
        b[FID_DELTA_P] += p->delta_p;
        b[FID_SAME] += p->is_same_token;
        b[FID_FLIPS] += p->is_flip;
        st = keep_kl(s, p->kl, x->task, bucket, err);
    }
    for (int l = 0; l < j->f.n_layer; l++) {
        double *layer = x->layers + l * N_FID, unique = v->layers[l].n_unique;

        layer[FID_LAYERS]++;
        layer[FID_ERROR] += v->output_errors[l];
        layer[FID_UNIQUE] += unique;
        b[FID_LAYERS]++;
        b[FID_ERROR] += v->output_errors[l];
        b[FID_UNIQUE] += unique;
    }
    return st;
}

static int bucket_of(int n_masked, int block_length)
{
    return n_masked ? (n_masked * FIDELITY_BUCKETS - 1) / block_length : 0;
}

/* ---- an item ---------------------------------------------------------------------------- */

static enum status step_item(struct job *j, struct sequence *seq, struct rival **rivals,
                             size_t item, int block_length, struct error *err)
{
    const struct generation *g = sequence_result(seq);
    const struct forward_record *f;
    enum status st =
        engine_step_rivals(j->s.engine, seq, rivals, j->f.n_selectors, j->scratch, err);

    if (st)
        return st;
    f = &g->forwards[g->n_forwards - 1];
    for (size_t i = 0; i < j->f.n_selectors && !st; i++)
        st = add_step(j, &j->f.selectors[i], item, rival_result(rivals[i]),
                      bucket_of(f->n_masked_before, block_length), err);
    j->f.n_forwards++;
    j->f.n_refresh += f->is_cache_refresh;
    j->n_positions += f->n_committed;
    progress_update(&j->progress, j->n_done, j->n_positions, "%lld forwards of %zu selectors",
                    (long long)j->f.n_forwards, j->f.n_selectors);
    return st;
}

static enum status run_item(struct job *j, size_t task, size_t item, size_t number,
                            struct error *err)
{
    const struct plan_task *t = &j->tasks[task];
    struct engine *e = j->s.engine;
    struct decode_options d = j->decodes[task];
    struct rival *rivals[MAX_SELECTORS] = { NULL };
    struct sequence *seq = NULL;
    struct task_item facts;
    struct arena a = { 0 };
    const char *text;
    size_t len, n_ids = 0;
    int32_t *ids;
    double before = j->n_positions;
    enum status st;

    task_get_item(t->task, item, &facts);
    st = plan_prompt(e, t, item, &a, &text, &len, err);
    if (!st)
        st = engine_tokenize(e, text, len, &a, &ids, &n_ids, err);
    d.seed = runner_seed((uint64_t)options_int(j->f.c, OPT_SEED), t->def->name, facts.id, 0);
    if (!st)
        st = sequence_start(e, &d, ids, n_ids, &seq, err);
    for (size_t i = 0; i < j->f.n_selectors && !st; i++) {
        d.selector = j->f.selectors[i].name;
        st = rival_new(e, &d, n_ids, &rivals[i], err);
    }
    while (!st && !sequence_is_done(seq)) {
        st = step_item(j, seq, rivals, number, d.block_length, err);
        if (!st && *j->s.n_stops)
            st = error_set(err, ST_INTERRUPTED, "interrupted after %zu of %zu items", j->n_done,
                           j->f.n_items);
    }
    if (st && st != ST_INTERRUPTED)
        error_prefix(err, st, "task '%s' item '%s'", t->def->name, facts.id);
    j->n_positions = before + d.gen_length;
    j->n_done++;
    for (size_t i = 0; i < j->f.n_selectors; i++)
        rival_free(rivals[i]);
    sequence_free(seq);
    arena_release(&a);
    return st;
}

static enum status run_items(struct job *j, struct error *err)
{
    size_t number = 0;
    double n_positions = 0;
    enum status st = ST_OK;

    for (size_t t = 0; t < j->f.n_tasks; t++)
        n_positions += (double)j->tasks[t].n_items * j->decodes[t].gen_length;
    progress_start(&j->progress, options_text(j->f.c, OPT_PROGRESS),
                   options_flag(j->f.c, OPT_QUIET), j->f.n_items, n_positions);
    for (size_t t = 0; t < j->f.n_tasks && !st; t++)
        for (size_t i = 0; i < j->tasks[t].n_items && !st; i++) {
            st = run_item(j, t, j->tasks[t].items[i], number++, err);
            progress_update(&j->progress, j->n_done, j->n_positions,
                            "%lld forwards of %zu selectors", (long long)j->f.n_forwards,
                            j->f.n_selectors);
        }
    progress_stop(&j->progress);
    return st;
}

/* ---- preparing -------------------------------------------------------------------------- */

static enum status alloc_sums(struct job *j, struct error *err)
{
    struct fidelity *f = &j->f;
    size_t n_layers;

    if (!size_mul((size_t)f->n_layer, N_FID, &n_layers))
        return no_memory(err);
    for (size_t i = 0; i < f->n_selectors; i++) {
        struct fidelity_selector *s = &f->selectors[i];
        size_t item = 0;

        s->name = j->s.plan.cells[i].decode.selector;
        s->items = arena_array(&f->arena, f->n_items, sizeof(*s->items));
        if (!s->items)
            return no_memory(err);
        for (size_t t = 0; t < f->n_tasks; t++)
            for (; item < f->task_end[t]; item++) {
                s->items[item].task = (int)t;
                s->items[item].layers = arena_array(&f->arena, n_layers, sizeof(double));
                if (!s->items[item].layers)
                    return no_memory(err);
            }
    }
    return ST_OK;
}

/* The keys under which runs of the same settings are stored. */
static enum status find_keys(struct job *j, struct error *err)
{
    struct fidelity *f = &j->f;
    size_t n = f->n_tasks * f->n_selectors;
    struct arena a = { 0 };
    struct cell_row *rows = NULL;
    enum status st = runner_cells(&j->s.plan, j->s.engine, &a, &rows, err);

    f->cell_keys = arena_array(&f->arena, n, sizeof(*f->cell_keys));
    if (!st && !f->cell_keys)
        st = no_memory(err);
    for (size_t i = 0; i < n && !st; i++) {
        char key[65];

        cell_key(&rows[i], key);
        f->cell_keys[i] = *key ? arena_strdup(&f->arena, key, strlen(key)) : NULL;
        if (!f->cell_keys[i])
            st = no_memory(err);
    }
    arena_release(&a);
    return st;
}

static enum status prepare(struct job *j, struct error *err)
{
    const struct plan *p = &j->s.plan;
    struct fidelity *f = &j->f;
    const struct model_info *m = engine_info(j->s.engine);
    enum status st;
    size_t n;

    f->n_tasks = p->n_tasks;
    f->n_selectors = p->n_cells / p->n_tasks;
    f->n_layer = m->n_moe_layer;
    f->weights_sha256 = m->weights_sha256;
    j->tasks = p->tasks;
    f->tasks = arena_array(&f->arena, f->n_tasks, sizeof(*f->tasks));
    f->task_end = arena_array(&f->arena, f->n_tasks, sizeof(*f->task_end));
    f->selectors = arena_array(&f->arena, f->n_selectors, sizeof(*f->selectors));
    j->decodes = arena_array(&f->arena, f->n_tasks, sizeof(*j->decodes));
    if (!f->tasks || !f->task_end || !f->selectors || !j->decodes ||
        !size_mul((size_t)p->max_block, (size_t)m->n_vocab, &n))
        return no_memory(err);
    for (size_t t = 0; t < f->n_tasks; t++) {
        f->tasks[t] = p->tasks[t].def->name;
        f->n_items += p->tasks[t].n_items;
        f->task_end[t] = f->n_items;
        j->decodes[t] = p->cells[t * f->n_selectors].decode;
        j->decodes[t].selector = "vanilla";
    }
    j->scratch = calloc(n, sizeof(*j->scratch));
    if (!j->scratch)
        return no_memory(err);
    st = alloc_sums(j, err);
    return st ? st : find_keys(j, err);
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct job j = { .s = { .c = c }, .f = { .c = c } };
    enum status st = fidelity_check_results(&j.f, err);

    (void)ret_exit;
    if (!st)
        st = session_plan(&j.s, err);
    if (!st && j.s.plan.n_cells / j.s.plan.n_tasks > MAX_SELECTORS)
        st = error_set(err, ST_INVALID, "%zu selectors are more than %d",
                       j.s.plan.n_cells / j.s.plan.n_tasks, MAX_SELECTORS);
    if (!st && j.s.plan.n_tasks > UINT8_MAX)
        st = error_set(err, ST_INVALID, "%zu tasks are more than %d", j.s.plan.n_tasks, UINT8_MAX);
    if (!st) {
        engine_close(j.s.engine);
        j.s.engine = NULL;
        j.s.engine_options.is_diagnosed = true;
        log_info("loading %s (%s weights)", j.s.engine_options.model_dir,
                 j.s.engine_options.load_format);
        st = engine_open(&j.s.engine_options, &j.s.engine, err);
    }
    if (!st)
        st = prepare(&j, err);
    if (!st)
        st = run_items(&j, err);
    if (!st)
        st = fidelity_print(&j.f, err);
    for (size_t i = 0; j.f.selectors && i < j.f.n_selectors; i++)
        free(j.f.selectors[i].kls);
    free(j.scratch);
    arena_release(&j.f.arena);
    session_close(&j.s);
    return st;
}

const struct verb verb_fidelity = {
    .name = "fidelity",
    .bit = VERB_FIDELITY,
    .args = "",
    .summary = "what selectors do to single forwards, against the model's own routing",
    .help =
        "Decodes items under the model's own routing and runs each forward under every selector "
        "too, from\n"
        "the same tokens and cache: KL divergence of what is proposed at masked positions, how "
        "often "
        "the\n"
        "same token is, how often a position is committed by one and not by the other (a flip), "
        "and "
        "how far\n"
        "the experts' output is off; over all, by task, by share of the block that is masked, and "
        "by layer.\n"
        "Intervals are 95 %, drawn over items. It tells selectors apart with far fewer items than "
        "pass@1.\n\n"
        "  desbench fidelity -L 4 --selector des-vote:beta=0.4 --selector topk:k=4\n"
        "  desbench fidelity -m DIR -t gsm8k -L 8 --selector des-seq:k0=2 --json\n\n"
        "With --results it also says how scores stored there go with the divergence (Spearman's "
        "rank\n"
        "correlation over the selectors, with its interval).\n",
    .run = run,
};
