/* `desbench run`: plan, generate, judge, store, print a table. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "harness/judging.h"
#include "harness/paths.h"
#include "harness/plan.h"
#include "harness/record.h"
#include "harness/run_print.h"
#include "harness/runner.h"
#include "harness/stops.h"
#include "harness/verb.h"

static const char sample_tasks[] =
    "sample_humaneval,sample_humaneval_pro,sample_mbpp,sample_gsm8k,sample_math500";
static const char default_model[] = "tiny-llada-moe";

/* Everything one run holds open; released by close_all() whatever has been reached. */
struct session {
    const struct options *c;
    struct arena arena;
    struct plan plan;
    struct engine *engine;
    struct judge *judge;
    struct store *store;
    struct engine_options engine_options;
    const char *results_path, *run_id;
    const volatile sig_atomic_t *n_stops;
};

/* What printing needs to know. */
static struct run_facts run_facts(const struct session *s)
{
    return (struct run_facts){ .plan = &s->plan,
                               .engine = s->engine,
                               .judge = s->judge,
                               .run_id = s->run_id,
                               .results_path = s->results_path,
                               .load_format = s->engine_options.load_format,
                               .max_batch = s->engine_options.max_batch,
                               .is_json = verb_wants_json(s->c) };
}

static enum status engine_options_fill(struct session *s, struct error *err)
{
    const struct options *c = s->c;
    const char *name = options_text(c, OPT_MODEL);
    struct engine_options *o = &s->engine_options;

    /* without a model, random weights of a tiny shape: --load-format is not asked then */
    o->load_format = options_text(c, OPT_LOAD_FORMAT);
    if (!name) {
        name = default_model;
        if (!options_is_given(c, OPT_LOAD_FORMAT))
            o->load_format = "dummy";
    }
    o->dummy_seed = (uint64_t)options_int(c, OPT_DUMMY_SEED);
    o->backend = options_text(c, OPT_BACKEND);
    o->n_threads = options_has(c, OPT_THREADS) ? (int)options_int(c, OPT_THREADS) : 0;
    o->max_batch = (int)options_int(c, OPT_BATCH_SIZE);
    o->overrides = c->values[OPT_OVERRIDE].texts;
    o->n_overrides = c->values[OPT_OVERRIDE].n;
    return path_model(name, &s->arena, &o->model_dir, err);
}

/* The plan with tokens counted, by tokenizer and config.json alone. */
static enum status make_plan(struct session *s, struct error *err)
{
    struct engine_options text_only = s->engine_options;
    struct engine *e = NULL;
    enum status st;

    text_only.is_text_only = true;
    st = plan_tasks(s->c, sample_tasks, &s->plan, err);
    if (!st)
        st = engine_open(&text_only, &e, err);
    if (!st)
        st = plan_decode(s->c, e, &s->plan, err);
    s->engine_options.max_canvas = s->plan.max_canvas;
    s->engine_options.max_block = s->plan.max_block;
    if (st) {
        engine_close(e);
        return st;
    }
    s->engine = e;
    return ST_OK;
}

static enum status open_all(struct session *s, struct error *err)
{
    bool has_code = false;
    enum status st;

    for (size_t i = 0; i < s->plan.n_tasks; i++)
        has_code |= s->plan.tasks[i].def->kind == TASK_CODE;
    st = path_results(s->c, true, &s->arena, &s->results_path, err);
    if (!st && has_code) /* before the model: it refuses quickly */
        st = judging_open(s->c, &s->judge, err);
    if (!st)
        st = store_open(s->results_path, STORE_WRITE, &s->store, err);
    if (!st)
        st = record_new_id(s->store, &s->arena, &s->run_id, err);
    if (st)
        return st;
    engine_close(s->engine);
    s->engine = NULL;
    log_info("loading %s (%s weights)", s->engine_options.model_dir, s->engine_options.load_format);
    st = engine_open(&s->engine_options, &s->engine, err);
    if (st)
        return st;
    log_info("backend %s (%s), sandbox %s; run %s in %s", engine_info(s->engine)->backend,
             engine_info(s->engine)->backend_details,
             s->judge ? sandbox_level_name(judge_level(s->judge)) : "not needed", s->run_id,
             s->results_path);
    if (strcmp(s->engine_options.load_format, "dummy") == 0)
        log_warn("dummy weights: speed and plumbing are real, the answers are noise");
    s->n_stops = stops_catch(); /* until now there was nothing to keep */
    return record_begin(s->store, s->c, s->run_id, NULL, s->judge, err);
}

static void close_all(struct session *s)
{
    judge_close(s->judge);
    store_close(s->store);
    engine_close(s->engine);
    plan_release(&s->plan);
    arena_release(&s->arena);
}

/* ---- results ---------------------------------------------------------------------------- */

/* Run, then say what was found, also after an interruption. */
static enum status execute(struct session *s, enum exit_code *ret_exit, struct error *err)
{
    struct runner_options o = { .plan = &s->plan,
                                .engine = s->engine,
                                .judge = s->judge,
                                .store = s->store,
                                .run_id = s->run_id,
                                .seed = (uint64_t)options_int(s->c, OPT_SEED),
                                .compat = judging_compat(s->c),
                                .n_slots = s->engine_options.max_batch,
                                .progress = options_text(s->c, OPT_PROGRESS),
                                .is_quiet = options_flag(s->c, OPT_QUIET),
                                .n_stops = s->n_stops };
    struct runner_totals totals = { 0 };
    struct task_summary *rows;
    char invalid[64] = "";
    const char *status;
    size_t n;
    enum status ran, st;

    ran = runner_run(&o, &totals, err);
    status = !ran ? "done" : ran == ST_INTERRUPTED ? "interrupted" : "failed";
    if (totals.n_internal)
        snprintf(invalid, sizeof(invalid), "%zu internal verdicts", totals.n_internal);
    else if (ran)
        snprintf(invalid, sizeof(invalid), "%s", status);
    /* the run's own error comes first: what fails while tidying up after it is not told */
    st = record_finish(s->store, s->run_id, status, *invalid ? invalid : NULL, &s->arena, &rows, &n,
                       ran ? NULL : err);
    if (!st && (!ran || ran == ST_INTERRUPTED)) {
        struct run_facts facts = run_facts(s);

        st = run_print_results(&facts, &totals, rows, n, status, ran ? NULL : err);
    }
    if (totals.n_internal)
        *ret_exit = EXIT_INTERNAL;
    return ran ? ran : st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct session s = { .c = c };
    struct buf text = { 0 };
    enum status st;

    if (options_flag(c, OPT_SHOW_CONFIG)) {
        if (verb_wants_json(c)) {
            options_put_json(c, &text);
            buf_putc(&text, '\n');
        } else {
            options_put_text(c, &text);
        }
        st = verb_print(&text, err);
        buf_release(&text);
        return st;
    }
    st = engine_options_fill(&s, err);
    if (!st)
        st = make_plan(&s, err);
    if (!st && options_flag(c, OPT_DRY_RUN)) {
        struct run_facts facts = run_facts(&s);

        st = run_print_plan(&facts, err);
    } else if (!st) {
        st = open_all(&s, err);
        if (!st)
            st = execute(&s, ret_exit, err);
    }
    close_all(&s);
    return st;
}

const struct verb verb_run = {
    .name = "run",
    .bit = VERB_RUN,
    .args = "[PLAN]",
    .max_args = 1,
    .takes_plan = true,
    .summary = "ask a model, judge its answers, store everything, print a table",
    .help =
        "Drives the prompts of one or more tasks through a model, judges what it answers and "
        "stores every\n"
        "sample with its denoising steps, expert counts and verdict in an SQLite file. Then it "
        "prints a\n"
        "table, or with --json one object: `tasks` holds an entry a task and selector, `value` the "
        "score as\n"
        "a fraction, `also` other scores, and tokens, forwards and experts.\n\n"
        "  desbench run                                   samples, a tiny model of random weights\n"
        "  desbench run -m DIR -t humaneval,gsm8k -L 20   a checkpoint on 20 items of each\n"
        "  desbench run -m DIR -t gsm8k -E 0,7            two items by id (first item: 0)\n"
        "  desbench run -m DIR --selector vanilla --selector topk:k=4   two policies side by side\n"
        "  desbench run -m DIR -t mbpp -n 10 --temperature 0.7          pass@1 and pass@10\n"
        "  desbench run -m DIR -t math500 --dry-run       what it would do, with tokens counted\n"
        "  desbench run quick -m DIR                      settings of a plan file, and one more\n\n"
        "The real data sets are looked for in --data-dir; the sample_ tasks come with the "
        "program.\n"
        "`desbench show last` shows what was stored. Ctrl-C stops after what is being judged, "
        "twice at\n"
        "once; every finished sample is kept (exit code 130). Exit code 7: the judge failed on "
        "some\n"
        "sample, which then counts for nobody.\n\n"
        "PLAN is a YAML file with lines of `option: value`, or the name of one that comes with the "
        "program.\n"
        "Every option can be set in the environment too: DESBENCH_TASKS, DESBENCH_BATCH_SIZE, ... "
        "The\n"
        "command line wins over the environment and that over the plan; --show-config says what "
        "came\n"
        "from where.\n",
    .run = run,
};
