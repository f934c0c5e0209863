/* `desbench run`: plan, generate, judge, store, print a table. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "harness/judging.h"
#include "harness/paths.h"
#include "harness/plan.h"
#include "harness/runner.h"
#include "harness/table.h"
#include "harness/verb.h"

static const char sample_tasks[] =
    "sample_humaneval,sample_humaneval_pro,sample_mbpp,sample_gsm8k,sample_math500";
static const char default_model[] = "tiny-llada-moe";

static volatile sig_atomic_t n_stops; /* signals can reach nothing but a global */

static void on_stop(int sig)
{
    (void)sig;
    n_stops++;
}

/*
 * From here on a signal asks for an end instead of making one. SIGINT is caught even where it was
 * ignored, as a shell does to jobs in the background: who sends it means it. SIGHUP stays ignored
 * under nohup.
 */
static void catch_stops(void)
{
    struct sigaction sa = { .sa_handler = on_stop }, old;

    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &sa, NULL);
}

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
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory starting the run");
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

/* For --dry-run: the plan as a table. */
static enum status print_plan(const struct session *s, struct error *err)
{
    const struct model_info *m = engine_info(s->engine);
    struct table t;
    struct buf b = { 0 };
    enum status st = ST_OK;

    table_init(&t, "task|prompt form|selector|decoder|cache|>block|>gen length|>items|>samples");
    for (size_t i = 0; i < s->plan.n_cells; i++) {
        const struct plan_cell *cell = &s->plan.cells[i];

        table_row(&t);
        table_cell(&t, "%s", cell->task->def->name);
        table_cell(&t, "%s", cell->task->form);
        table_cell(&t, "%s", cell->decode.selector);
        table_cell(&t, "%s", cell->decode.decoder);
        table_cell(&t, "%s", cell->decode.cache);
        table_cell(&t, "%d", cell->decode.block_length);
        table_cell(&t, "%d", cell->decode.gen_length);
        table_cell(&t, "%zu", cell->task->n_items);
        table_cell(&t, "%zu", cell->task->n_items * (size_t)s->plan.n_samples);
    }
    buf_printf(&b,
               "model %s (%s, %s weights): %" PRId64 " parameters, %.2f GB, %d layers, %d experts, "
               "top-%d\n",
               m->name, m->architecture, s->engine_options.load_format, m->n_params,
               (double)m->weight_bytes * 1e-9, m->n_layer, m->n_exp, m->top_k);
    buf_printf(&b, "longest prompt %zu tokens, canvas %d positions, %zu samples in all\n\n",
               s->plan.max_prompt, s->engine_options.max_canvas, s->plan.n_work);
    if (!table_put(&t, &b))
        st = no_memory(err);
    table_release(&t);
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

/* Time of day and a random tail: sorts by time, and is of no other run in the results file. */
static enum status make_run_id(struct session *s, struct error *err)
{
    enum status st;

    do {
        struct timespec ts;
        struct tm tm;
        uint64_t x;

        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        x = (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)getpid();
        s->run_id = arena_printf(&s->arena, "%04d%02d%02d-%02d%02d%02d-%04x", tm.tm_year + 1900,
                                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                                 (unsigned)(splitmix64(&x) & 0xffff));
        if (!s->run_id)
            return no_memory(err);
        st = store_get_run(s->store, s->run_id, &s->arena, NULL, NULL, err);
    } while (st == ST_OK);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* The process's own command line with words quoted for a shell. */
static void put_command_line(struct buf *b)
{
    struct buf raw = { 0 };

    if (file_read("/proc/self/cmdline", 1 << 22, &raw, NULL) == ST_OK) {
        for (size_t i = 0; i < raw.len; i += strlen(raw.data + i) + 1) {
            const char *w = raw.data + i;

            if (i)
                buf_putc(b, ' ');
            if (*w && strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./=,:+@%") == strlen(w)) {
                buf_puts(b, w);
                continue;
            }
            buf_putc(b, '\'');
            for (; *w; w++) {
                if (*w == '\'')
                    buf_puts(b, "'\\''");
                else
                    buf_putc(b, *w);
            }
            buf_putc(b, '\'');
        }
    }
    buf_release(&raw);
}

static enum status begin_run(struct session *s, struct error *err)
{
    struct buf command = { 0 }, config = { 0 }, env = { 0 };
    char started[32], config_sha256[SHA256_HEX_SIZE];
    size_t n = strlen(build_commit);
    bool is_dirty = n > 6 && strcmp(build_commit + n - 6, "-dirty") == 0;
    enum status st;

    clock_utc(started, sizeof(started));
    put_command_line(&command);
    options_put_json(s->c, &config);
    st = env_capture_json(&env, err);
    if (!st)
        st = sha256_hex(buf_str(&config), config.len, config_sha256, err);
    if (!st && (!buf_ok(&command) || !buf_ok(&config)))
        st = no_memory(err);
    if (!st)
        st = store_begin_run(
            s->store,
            &(struct run_row){
                .run_id = s->run_id,
                .started = started,
                .command = buf_str(&command),
                .config_json = buf_str(&config),
                .config_sha256 = config_sha256,
                .version = build_version,
                .git_commit = strcmp(build_commit, "unknown") == 0 ? NULL : build_commit,
                .git_dirty = is_dirty,
                .build_flags = build_flags,
                .compiler = build_compiler,
                .env_json = buf_str(&env),
                .sandbox_level = s->judge ? sandbox_level_name(judge_level(s->judge)) : NULL,
                .judge_mode = s->judge ? judge_mode() : NULL,
                .python_version = s->judge ? judge_python_version(s->judge) : NULL,
            },
            err);
    buf_release(&command);
    buf_release(&config);
    buf_release(&env);
    return st;
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
        st = make_run_id(s, err);
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
    catch_stops(); /* until now there was nothing to keep */
    return begin_run(s, err);
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

/* Rate with its interval: Wilson over items when there is one sample each. */
static void rate(const struct task_summary *t, int n_samples, double *ret_value, double *ret_low,
                 double *ret_high)
{
    int64_t n = t->n_samples - t->n_internal; /* our own faults are not the model's */

    *ret_value = n ? (double)t->n_passed / (double)n : NAN;
    *ret_low = *ret_high = NAN;
    if (n && n_samples == 1)
        stats_wilson(t->n_passed, n, 0.05, ret_low, ret_high);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static enum status store_metrics(const struct session *s, const struct task_summary *t, size_t n,
                                 struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < n && !st; i++) {
        double value, low, high;

        rate(&t[i], s->plan.n_samples, &value, &low, &high);
        if (!isnan(value))
            st = store_put_metric(s->store,
                                  &(struct metric_row){ .run_id = s->run_id,
                                                        .task = t[i].task,
                                                        .cell_key = t[i].cell_key,
                                                        .metric = task_find(t[i].task)->metric,
                                                        .ci_method = isnan(low) ? NULL : "wilson95",
                                                        .value = value,
                                                        .ci_low = low,
                                                        .ci_high = high,
                                                        .n = t[i].n_samples - t[i].n_internal },
                                  err);
    }
    return st;
}

static void put_rate(struct table *t, double v, const char *fmt_ok)
{
    if (isnan(v))
        table_cell(t, "-");
    else if (strcmp(fmt_ok, "%.1f") == 0)
        table_cell(t, "%.1f", v);
    else
        table_cell(t, "%.3f", v);
}

static enum status print_table(const struct session *s, const struct task_summary *rows, size_t n,
                               struct error *err)
{
    const struct model_info *m = engine_info(s->engine);
    struct table t;
    struct buf b = { 0 };
    enum status st = ST_OK;

    table_init(&t, "task|selector|>samples|>score|>95 % interval|>tok/s|>tok/forward|>forwards|"
                   ">experts a layer|>of|>MB a forward");
    for (size_t i = 0; i < n; i++) {
        const struct task_summary *r = &rows[i];
        double value, low, high;

        rate(r, s->plan.n_samples, &value, &low, &high);
        table_row(&t);
        table_cell(&t, "%s", r->task);
        table_cell(&t, "%s", r->selector);
        table_cell(&t, "%" PRId64, r->n_samples);
        put_rate(&t, value, "%.3f");
        if (isnan(low))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.3f-%.3f", low, high);
        put_rate(&t, ratio((double)r->n_tokens_before_eos, (double)r->gen_ns * 1e-9), "%.1f");
        put_rate(&t, ratio((double)r->n_tokens_before_eos, (double)r->n_forwards), "%.3f");
        table_cell(&t, "%" PRId64, r->n_forwards);
        put_rate(&t, r->mean_unique, "%.1f");
        table_cell(&t, "%" PRId64, r->n_exp);
        put_rate(&t, r->mean_expert_bytes * 1e-6, "%.3f");
    }
    buf_printf(&b, "model %s (%s%s), backend %s (%s), sandbox %s, run %s\n\n", m->name,
               m->architecture,
               strcmp(m->load_format, "dummy") == 0 ? ", DUMMY WEIGHTS: scores mean nothing" : "",
               m->backend, m->backend_details,
               s->judge ? sandbox_level_name(judge_level(s->judge)) : "not needed", s->run_id);
    if (!table_put(&t, &b))
        st = no_memory(err);
    buf_puts(&b,
             "\nscore: pass@1 or accuracy; tok: tokens before the first end-of-text; experts a "
             "layer: unique\nrouted experts read in a forward, mean over layers and forwards\n");
    table_release(&t);
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

static void put_member(struct buf *b, const char *name, double v)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_num(b, v);
}

/* One entry a task and selector; `value` is the default metric as a fraction. */
static enum status print_json(const struct session *s, const struct runner_totals *totals,
                              const struct task_summary *rows, size_t n, const char *status,
                              struct error *err)
{
    const struct model_info *m = engine_info(s->engine);
    struct buf b = { 0 };
    enum status st;

    buf_puts(&b, "{\"run_id\":");
    json_put_str(&b, s->run_id, strlen(s->run_id));
    buf_puts(&b, ",\"results\":");
    json_put_str(&b, s->results_path, strlen(s->results_path));
    buf_printf(&b, ",\"status\":\"%s\",\"version\":\"%s\",\"commit\":\"%s\"", status, build_version,
               build_commit);
    buf_puts(&b, ",\"model\":");
    json_put_str(&b, m->name, strlen(m->name));
    buf_printf(&b,
               ",\"load_format\":\"%s\",\"backend\":\"%s\",\"weights_sha256\":\"%s\",\"sandbox_"
               "level\":",
               m->load_format, m->backend, m->weights_sha256);
    if (s->judge)
        buf_printf(&b, "\"%s\"", sandbox_level_name(judge_level(s->judge)));
    else
        buf_puts(&b, "null");
    put_member(&b, "wall_s", (double)totals->wall_ns * 1e-9);
    buf_puts(&b, ",\"tasks\":[");
    for (size_t i = 0; i < n; i++) {
        const struct task_summary *r = &rows[i];
        const char *metric = task_find(r->task)->metric;
        double value, low, high;

        rate(r, s->plan.n_samples, &value, &low, &high);
        buf_puts(&b, i ? ",{\"task\":" : "{\"task\":");
        json_put_str(&b, r->task, strlen(r->task));
        buf_puts(&b, ",\"selector\":");
        json_put_str(&b, r->selector, strlen(r->selector));
        buf_puts(&b, ",\"metric\":");
        json_put_str(&b, metric, strlen(metric));
        put_member(&b, "value", value);
        put_member(&b, "ci_low", low);
        put_member(&b, "ci_high", high);
        buf_printf(&b,
                   ",\"n_samples\":%" PRId64 ",\"n_passed\":%" PRId64 ",\"n_internal\":%" PRId64
                   ",\"n_no_answer\":%" PRId64 ",\"n_timeouts\":%" PRId64 ",\"n_prompt\":%" PRId64
                   ",\"n_gen_positions\":%" PRId64 ",\"n_tokens_before_eos\":%" PRId64
                   ",\"n_forwards\":%" PRId64 ",\"n_forwards_cache\":%" PRId64
                   ",\"gen_ns\":%" PRId64,
                   r->n_samples, r->n_passed, r->n_internal, r->n_no_answer, r->n_timeouts,
                   r->n_prompt, r->n_gen_positions, r->n_tokens_before_eos, r->n_forwards,
                   r->n_forwards_cache, r->gen_ns);
        put_member(&b, "tokens_before_eos_per_s",
                   ratio((double)r->n_tokens_before_eos, (double)r->gen_ns * 1e-9));
        put_member(&b, "mean_unique_experts", r->mean_unique);
        put_member(&b, "mean_expert_bytes_per_forward", r->mean_expert_bytes);
        buf_printf(&b, ",\"n_experts\":%" PRId64 "}", r->n_exp);
    }
    buf_puts(&b, "]}\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

/* Run, then say what was found, also after an interruption. */
static enum status execute(struct session *s, enum exit_code *ret_exit, struct error *err)
{
    struct runner_options o = { .plan = &s->plan,
                                .engine = s->engine,
                                .judge = s->judge,
                                .store = s->store,
                                .run_id = s->run_id,
                                .seed = (uint64_t)options_int(s->c, OPT_SEED),
                                .n_slots = s->engine_options.max_batch,
                                .progress = options_text(s->c, OPT_PROGRESS),
                                .is_quiet = options_flag(s->c, OPT_QUIET),
                                .n_stops = &n_stops };
    struct runner_totals totals = { 0 };
    struct task_summary *rows;
    char validity[64] = "VALID";
    const char *status;
    size_t n;
    enum status ran, st;

    ran = runner_run(&o, &totals, err);
    status = !ran ? "done" : ran == ST_INTERRUPTED ? "interrupted" : "failed";
    if (totals.n_internal)
        snprintf(validity, sizeof(validity), "INVALID: %zu internal verdicts", totals.n_internal);
    else if (ran)
        snprintf(validity, sizeof(validity), "INVALID: %s", status);
    /* the run's own error comes first: what fails while tidying up after it is not told */
    st = store_finish_run(s->store, s->run_id, status, validity, ran ? NULL : err);
    if (!st)
        st = store_summarise(s->store, s->run_id, &s->arena, &rows, &n, ran ? NULL : err);
    if (!st)
        st = store_metrics(s, rows, n, ran ? NULL : err);
    if (!st && (!ran || ran == ST_INTERRUPTED))
        st = verb_wants_json(s->c) ? print_json(s, &totals, rows, n, status, ran ? NULL : err)
                                   : print_table(s, rows, n, ran ? NULL : err);
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
        st = print_plan(&s, err);
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
    .args = "",
    .summary = "ask a model, judge its answers, store everything, print a table",
    .help =
        "Drives the prompts of one or more tasks through a model, judges what it answers, stores\n"
        "every sample with its denoising steps and expert counts, and prints a table.\n\n"
        "  desbench run                                   samples, a tiny model of random weights\n"
        "  desbench run -t humaneval,gsm8k -L 20 -m DIR   a checkpoint on 20 items of each\n"
        "  desbench run -m DIR --selector vanilla --selector topk:k=4   two policies side by side\n"
        "  desbench run --dry-run -t math500 -m DIR       what it would do\n\n"
        "Every option can also be set in the environment: DESBENCH_TASKS, DESBENCH_MODEL, ...\n",
    .run = run,
};
