/* `desbench sandbox`: what holds programs on this machine, and one program held by hand. */
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "harness/judge/judge.h"
#include "harness/judging.h"
#include "harness/table.h"
#include "harness/verb.h"

enum { MAX_PROGRAM_BYTES = 64 << 20 };

/* --- check --------------------------------------------------------------------------------------
 */

static const char *needed_for(const struct sandbox_layer *l)
{
    if (l->is_needed_user && l->is_needed_full)
        return "user, full";
    return l->is_needed_user ? "user" : l->is_needed_full ? "full" : "-";
}

static void put_layers_json(const struct sandbox_report *r, struct buf *b)
{
    buf_printf(b, "{\"sandbox_level\": \"%s\", \"layers\": [", sandbox_level_name(r->level));
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct sandbox_layer *l = &r->layers[i];

        buf_printf(b,
                   "%s\n  {\"name\": \"%s\", \"is_present\": %s, \"is_needed_user\": %s,"
                   " \"is_needed_full\": %s, \"details\": ",
                   i ? "," : "", l->name, l->is_present ? "true" : "false",
                   l->is_needed_user ? "true" : "false", l->is_needed_full ? "true" : "false");
        json_put_str(b, l->details, strlen(l->details));
        buf_putc(b, '}');
    }
    buf_puts(b, "\n]}\n");
}

static bool put_layers_text(const struct sandbox_report *r, struct buf *b)
{
    struct table t;
    bool is_ok;

    table_init(&t, "layer|needed for|state|seen");
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct sandbox_layer *l = &r->layers[i];

        table_row(&t);
        table_cell(&t, "%s", l->name);
        table_cell(&t, "%s", needed_for(l));
        table_cell(&t, "%s",
                   l->is_present                            ? "ok"
                   : l->is_needed_user || l->is_needed_full ? "missing"
                                                            : "absent");
        table_cell(&t, "%s", l->details);
    }
    is_ok = table_put(&t, b);
    table_release(&t);
    buf_printf(b, "\nsandbox level: %s\n", sandbox_level_name(r->level));
    return is_ok;
}

static enum status check(const struct options *c, const struct judge_options *o,
                         enum exit_code *ret_exit, struct error *err)
{
    const enum sandbox_level wanted = o->is_level_auto ? SANDBOX_USER : o->level;
    struct sandbox_report r;
    struct buf b = { 0 };
    enum status st = sandbox_probe(o, &r, err);

    if (st)
        return st;
    if (verb_wants_json(c))
        put_layers_json(&r, &b);
    else if (!put_layers_text(&r, &b))
        st = error_set(err, ST_NOMEM, "out of memory checking the sandbox");
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    if (r.level < wanted)
        *ret_exit = EXIT_ENVIRONMENT;
    return st;
}

/* --- exec ---------------------------------------------------------------------------------------
 */

static void put_verdict(const struct judge_result *r, enum verdict v, struct buf *b)
{
    buf_puts(b, verdict_name(v));
    if (v == VERDICT_SIGNAL)
        buf_printf(b, ":%d", r->signal);
}

static void put_tail(const char *name, const char *text, struct buf *b)
{
    size_t len = strlen(text);

    if (len == 0)
        return;
    buf_printf(b, "\n%s, its end:\n%s%s", name, text, text[len - 1] == '\n' ? "" : "\n");
}

static void put_result_text(const struct judge *j, const struct judge_options *o,
                            const struct judge_result *r, struct buf *b)
{
    const double s = 1e-9, mib = 0x1p-20;

    buf_puts(b, "verdict    ");
    put_verdict(r, r->verdict, b);
    buf_printf(b, ": %s%s\n", r->details, r->is_near_limit ? " (close to a limit)" : "");
    if (r->attempts > 1)
        buf_printf(b, "before     %s, and tried again alone\n", verdict_name(r->first_verdict));
    buf_printf(b, "held       sandbox %s, %s, Python %s\n", sandbox_level_name(judge_level(j)),
               judge_mode_name(r->mode), judge_python_version(j));
    buf_printf(b, "CPU time   %.3f s of %g s\n", (double)r->cpu_ns * s,
               (double)o->cpu_limit_ns * s);
    buf_printf(b, "wall time  %.3f s of %g s\n", (double)r->wall_ns * s,
               (double)o->wall_limit_ns * s);
    buf_printf(b, "memory     %.1f MiB of %g MiB\n", (double)r->max_rss_bytes * mib,
               (double)o->memory_bytes * mib);
    buf_printf(b, "limits     %d processes, %g MiB of files, %g MiB of output\n", o->max_pids,
               (double)o->disk_bytes * mib, (double)o->output_bytes * mib);
    put_tail("standard output", r->stdout_tail, b);
    put_tail("standard error", r->stderr_tail, b);
}

static void put_str(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, ", \"%s\": ", name);
    json_put_str(b, text, strlen(text));
}

static void put_result_json(const struct judge *j, const struct judge_options *o,
                            const struct judge_result *r, struct buf *b)
{
    buf_puts(b, "{\"verdict\": \"");
    put_verdict(r, r->verdict, b);
    buf_puts(b, "\"");
    put_str(b, "details", r->details);
    if (r->attempts > 1)
        put_str(b, "first_verdict", verdict_name(r->first_verdict));
    put_str(b, "judge_mode", judge_mode_name(r->mode));
    put_str(b, "sandbox_level", sandbox_level_name(judge_level(j)));
    put_str(b, "python_version", judge_python_version(j));
    buf_printf(b,
               ", \"attempts\": %d, \"cpu_ns\": %" PRId64 ", \"wall_ns\": %" PRId64
               ", \"max_rss_bytes\": %" PRId64,
               r->attempts, r->cpu_ns, r->wall_ns, r->max_rss_bytes);
    buf_printf(b,
               ", \"limits\": {\"cpu_ns\": %" PRId64 ", \"wall_ns\": %" PRId64
               ", \"memory_bytes\": %" PRId64 ", \"max_pids\": %d, \"output_bytes\": %" PRId64
               ", \"disk_bytes\": %" PRId64 "}",
               o->cpu_limit_ns, o->wall_limit_ns, o->memory_bytes, o->max_pids, o->output_bytes,
               o->disk_bytes);
    put_str(b, "stdout_tail", r->stdout_tail);
    put_str(b, "stderr_tail", r->stderr_tail);
    buf_puts(b, "}\n");
}

static enum status exec(const struct options *c, struct judge_options *o, enum exit_code *ret_exit,
                        struct error *err)
{
    struct buf code = { 0 }, tests = { 0 }, b = { 0 };
    struct judge_result r = { 0 };
    struct judge_job job;
    struct judge *j = NULL;
    bool has = false;
    enum status st = file_read(c->args[1], MAX_PROGRAM_BYTES, &code, err);

    if (!st && c->n_args > 2)
        st = file_read(c->args[2], MAX_PROGRAM_BYTES, &tests, err);
    o->n_workers = 1;
    if (!st)
        st = judging_open_with(o, &j, err);
    if (st)
        goto out;
    job = (struct judge_job){ .code = buf_str(&code),
                              .code_len = code.len,
                              .tests = buf_str(&tests),
                              .tests_len = tests.len,
                              .entry_point = options_text(c, OPT_ENTRY_POINT),
                              .mode = options_flag(c, OPT_ONE_PROCESS) ? JUDGE_ONE_PROCESS
                                                                       : JUDGE_TWO_PROCESS };
    st = judge_submit(j, &job, err);
    if (!st)
        st = judge_wait(j, -1, &r, &has, err);
    if (st)
        goto out;
    if (verb_wants_json(c))
        put_result_json(j, o, &r, &b);
    else
        put_result_text(j, o, &r, &b);
    st = verb_print(&b, err);
    if (r.verdict == VERDICT_INTERNAL)
        *ret_exit = EXIT_INTERNAL;
    else if (r.verdict != VERDICT_PASS)
        *ret_exit = EXIT_CHECK_FAILED;
out:
    judge_close(j);
    buf_release(&code);
    buf_release(&tests);
    buf_release(&b);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct judge_options o;
    enum status st = judging_options(c, &o, err);

    if (st)
        return st;
    if (strcmp(c->args[0], "check") == 0 && c->n_args == 1)
        return check(c, &o, ret_exit, err);
    if (strcmp(c->args[0], "exec") == 0 && c->n_args >= 2)
        return exec(c, &o, ret_exit, err);
    return error_set(err, ST_INVALID,
                     "`sandbox` takes 'check', or 'exec' with a program and perhaps its tests");
}

const struct verb verb_sandbox = {
    .name = "sandbox",
    .bit = VERB_SANDBOX,
    .args = "check | exec PROGRAM [TESTS]",
    .min_args = 1,
    .max_args = 3,
    .summary = "check what holds programs here, or run one held",
    .help = "check tries every layer that is to hold generated programs, by what it does, and\n"
            "prints what it saw; exit code 3 when a layer is missing that the level needs.\n"
            "\n"
            "exec runs one Python file as an answer is run: verdict, what it used of its limits,\n"
            "and the end of what it wrote, the traceback among it. Tests, where given, run in a\n"
            "process of their own and see of the program the entry point only. Exit code 1 when\n"
            "the verdict is not 'pass'.\n"
            "\n"
            "  desbench sandbox check\n"
            "  desbench sandbox exec tests/hostile/38_fork_bomb.py\n"
            "  desbench sandbox exec answer.py tests.py --entry-point add --timeout 3\n",
    .run = run,
};
