/* Sweep plan: options of each run, sessions, groups. */
#include "harness/sweep_plan.h"

#include <string.h>

#include "harness/paths.h"
#include "harness/plan_file.h"
#include "harness/ranges.h"
#include "harness/stops.h"
#include "kernels/kernels.h"

enum { MAX_RUNS = 10000 };

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory planning the sweep");
}

/* ---- options ---------------------------------------------------------------------------- */

/* What the environment and the command line say, over the plan. */
static enum status lay_over(const struct options *c, struct options *o, struct error *err)
{
    enum status st = ST_OK;

    for (int i = 0; i < N_OPTIONS && !st; i++) {
        const struct option_value *v = &c->values[i];

        if ((option_table[i].verbs & VERB_RUN) && v->source >= SOURCE_ENV)
            st = options_set(o, (enum option_id)i, v->texts, v->n, v->source, NULL, err);
    }
    return st;
}

/* The options of an entry's runs but for model and seed, which may be lists still. */
static enum status entry_options(const struct options *c, const struct plan_file *f,
                                 const struct plan_settings *entry, struct options *ret,
                                 struct error *err)
{
    static const char *const on = "true";
    enum status st = options_defaults(VERB_RUN, ret, err);

    if (!st)
        st = plan_file_apply(f, &f->common, ret, err);
    if (!st && entry)
        st = plan_file_apply(f, entry, ret, err);
    if (!st)
        st = lay_over(c, ret, err);
    if (!st) /* so that the stored configuration names it */
        st = options_set(ret, OPT_CONFIG, &f->name, 1, SOURCE_COMMAND_LINE, NULL, err);
    if (!st)
        st = options_set(ret, OPT_SKIP_STORED, &on, 1, SOURCE_COMMAND_LINE, NULL, err);
    return st;
}

static enum status add_run(struct sweep *w, const struct options *c, const struct plan_file *f,
                           const struct plan_settings *entry, const char *model, const char *seed,
                           struct error *err)
{
    struct sweep_run *r = &w->runs[w->n_runs];
    enum status st;

    *r = (struct sweep_run){ 0 };
    st = entry_options(c, f, entry, &r->options, err);
    w->n_runs++;
    if (!st && model)
        st = options_set(&r->options, OPT_MODEL, &model, 1, r->options.values[OPT_MODEL].source,
                         r->options.values[OPT_MODEL].origin, err);
    if (!st)
        st = options_set(&r->options, OPT_SEED, &seed, 1, r->options.values[OPT_SEED].source,
                         r->options.values[OPT_SEED].origin, err);
    r->session = (struct session){ .c = &r->options, .is_shared = true };
    r->model = options_has(&r->options, OPT_MODEL) ? options_text(&r->options, OPT_MODEL) : "";
    return st;
}

/* The runs of an entry, NULL: of the plan as a whole. */
static enum status add_entry(struct sweep *w, const struct options *c, const struct plan_file *f,
                             const struct plan_settings *entry, struct error *err)
{
    const struct plan_setting *models = entry ? plan_settings_find(entry, OPT_MODEL) : NULL;
    const char *const *seeds;
    struct options o = { 0 };
    size_t n_seeds = 0, n_models;
    enum status st = entry_options(c, f, entry, &o, err);

    if (!models)
        models = plan_settings_find(&f->common, OPT_MODEL);
    if (o.values[OPT_MODEL].source != SOURCE_PLAN)
        models = NULL; /* the command line has one */
    n_models = models ? models->n : 1;
    if (!st)
        st = ranges_expand(options_text(&o, OPT_SEED), &w->arena, &seeds, &n_seeds, err);
    for (size_t i = 0; i < n_models && !st; i++) {
        for (size_t k = 0; k < n_seeds && !st; k++) {
            if (w->n_runs == MAX_RUNS)
                st = error_set(err, ST_INVALID, "the plan has more than %d runs", MAX_RUNS);
            else
                st = add_run(w, c, f, entry, models ? models->values[i].text : NULL, seeds[k], err);
        }
    }
    options_release(&o);
    return st;
}

static enum status read_runs(struct sweep *w, const struct options *c, struct error *err)
{
    struct plan_file f = { 0 };
    const char *path;
    enum status st = path_plan(c->args[0], &w->arena, &path, err);

    if (!st)
        st = plan_file_read(path, VERB_SWEEP, &f, err);
    if (!st) {
        w->runs = arena_array(&w->arena, MAX_RUNS, sizeof(*w->runs));
        if (!w->runs)
            st = no_memory(err);
    }
    if (!st && !f.n_runs)
        st = add_entry(w, c, &f, NULL, err);
    for (size_t i = 0; i < f.n_runs && !st; i++)
        st = add_entry(w, c, &f, &f.runs[i], err);
    plan_file_release(&f);
    return st;
}

/* ---- sessions --------------------------------------------------------------------------- */

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Is it the same model, opened in the same way? */
static bool is_same_engine(const struct engine_options *a, const struct engine_options *b)
{
    if (strcmp(a->model_dir, b->model_dir) != 0 || strcmp(a->load_format, b->load_format) != 0 ||
        a->dummy_seed != b->dummy_seed || !is_same_text(a->backend, b->backend) ||
        !is_same_text(a->isa, b->isa) || a->is_fast != b->is_fast || a->n_threads != b->n_threads ||
        a->is_unpinned != b->is_unpinned || a->is_diagnosed != b->is_diagnosed ||
        a->max_batch != b->max_batch || a->n_overrides != b->n_overrides)
        return false;
    for (size_t i = 0; i < a->n_overrides; i++)
        if (strcmp(a->overrides[i], b->overrides[i]) != 0)
            return false;
    return true;
}

static enum status find_group(struct sweep *w, struct sweep_run *r, struct error *err)
{
    struct engine_options o, text_only;
    struct sweep_group *g;
    enum status st = session_model(&r->options, &w->arena, &o, err);

    if (st)
        return st;
    for (size_t i = 0; i < w->n_groups; i++) {
        if (is_same_engine(&w->groups[i].options, &o)) {
            r->group = i;
            return ST_OK;
        }
    }
    g = &w->groups[w->n_groups];
    *g = (struct sweep_group){ .options = o };
    text_only = o;
    text_only.is_text_only = true;
    st = engine_open(&text_only, &g->engine, err);
    if (!st)
        r->group = w->n_groups++;
    return st;
}

/* The backend that is asked for must be of this build, have what is asked of it, and open here. */
static enum status check_backend(const struct engine_options *o, struct error *err)
{
    struct kernel_params params = { .n_threads = 1,
                                    .isa = o->isa,
                                    .numeric = o->is_fast ? KERNEL_FAST : KERNEL_INVARIANT };
    const struct kernel_ops *ops;
    struct kernels *k = NULL;
    enum status st;

    if (!o->backend && !o->isa && !o->is_fast)
        return ST_OK;
    ops = o->backend ? kernel_backend_find(o->backend) : kernel_backend_best();
    if (!ops)
        return error_set(err, ST_UNSUPPORTED,
                         "backend '%s' is not in this build; `desbench ls backends` lists them",
                         o->backend);
    st = kernel_check_params(ops, &params, err);
    if (st == ST_INVALID) /* a machine, or a run's backend, without it: no mistake of the plan's */
        st = ST_UNSUPPORTED;
    if (!st)
        st = ops->open(&params, &k, err);
    if (k)
        ops->close(k);
    return st;
}

/* Plan a run. Weights that do not fit or are not there are as good as no model. */
static enum status plan_run(struct sweep *w, struct sweep_run *r, struct error *err)
{
    struct session *s = &r->session;
    struct sweep_group *g;
    enum status st = find_group(w, r, err);

    if (!st)
        st = check_backend(&w->groups[r->group].options, err);
    if (st)
        return st;
    g = &w->groups[r->group];
    s->engine = g->engine;
    st = session_plan(s, err);
    if (!st)
        st = engine_plan_memory(&s->engine_options, &s->memory, err);
    if (!st) {
        s->has_memory = true;
        st = engine_check_memory(&s->memory, s->engine_options.model_dir, err);
    }
    if (!st) {
        if (s->engine_options.max_canvas > g->options.max_canvas)
            g->options.max_canvas = s->engine_options.max_canvas;
        if (s->engine_options.max_block > g->options.max_block)
            g->options.max_block = s->engine_options.max_block;
    }
    return st;
}

enum status sweep_plan(const struct options *c, struct sweep *ret, struct error *err)
{
    struct sweep *w = ret;
    enum status st;

    *w = (struct sweep){ 0 };
    st = read_runs(w, c, err);
    if (st)
        return st;
    w->groups = arena_array(&w->arena, w->n_runs, sizeof(*w->groups));
    if (!w->groups)
        return no_memory(err);
    for (size_t i = 0; i < w->n_runs && !st; i++) {
        struct sweep_run *r = &w->runs[i];
        struct error why = { 0 };

        st = plan_run(w, r, &why);
        if (st == ST_NOT_FOUND || st == ST_UNSUPPORTED || st == ST_NOMEM || st == ST_DEVICE ||
            st == ST_IO) {
            r->why_not = arena_strdup(&w->arena, why.text, strlen(why.text));
            st = r->why_not ? ST_OK : no_memory(err);
        } else if (st) {
            st = error_set(err, st, "%s", why.text);
        }
    }
    for (size_t i = 0; i < w->n_groups; i++)
        w->groups[i].options.n_stops = stops_catch();
    return st;
}

void sweep_release(struct sweep *w)
{
    for (size_t i = 0; i < w->n_runs; i++) {
        session_close(&w->runs[i].session);
        options_release(&w->runs[i].options);
    }
    for (size_t i = 0; i < w->n_groups; i++)
        engine_close(w->groups[i].engine);
    arena_release(&w->arena);
    *w = (struct sweep){ 0 };
}
