/* Record: a run's row, and the scores computed when it ends. */
#include "harness/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "harness/verb.h"
#include "tasks/task.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory starting the run");
}

enum status record_new_id(struct store *s, struct arena *a, const char **ret, struct error *err)
{
    enum status st;

    do {
        struct timespec ts;
        struct tm tm;
        uint64_t x;

        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        x = (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)getpid();
        *ret = arena_printf(a, "%04d%02d%02d-%02d%02d%02d-%04x", tm.tm_year + 1900, tm.tm_mon + 1,
                            tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                            (unsigned)(splitmix64(&x) & 0xffff));
        if (!*ret)
            return no_memory(err);
        st = store_get_run(s, *ret, a, NULL, NULL, err);
    } while (st == ST_OK);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* The process's own command line with words quoted for a shell. */
void record_put_command(struct buf *b)
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

enum status record_begin(struct store *s, const struct options *c, const char *run_id,
                         const char *parent_run, const struct judge *judge, struct error *err)
{
    struct buf command = { 0 }, config = { 0 }, env = { 0 };
    char started[32], config_sha256[SHA256_HEX_SIZE];
    size_t n = strlen(build_commit);
    bool is_dirty = n > 6 && strcmp(build_commit + n - 6, "-dirty") == 0;
    enum status st;

    clock_utc(started, sizeof(started));
    record_put_command(&command);
    options_put_json(c, &config);
    st = env_capture_json(&env, err);
    if (!st)
        st = sha256_hex(buf_str(&config), config.len, config_sha256, err);
    if (!st && (!buf_ok(&command) || !buf_ok(&config)))
        st = no_memory(err);
    if (!st)
        st = store_begin_run(
            s,
            &(struct run_row){
                .run_id = run_id,
                .parent_run = parent_run,
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
                .sandbox_level = judge ? sandbox_level_name(judge_level(judge)) : NULL,
                .judge_mode = judge ? judge_mode_name(JUDGE_TWO_PROCESS) : NULL,
                .python_version = judge ? judge_python_version(judge) : NULL,
            },
            err);
    buf_release(&command);
    buf_release(&config);
    buf_release(&env);
    return st;
}

enum status record_resume(struct store *s, const char *run_id, struct error *err)
{
    struct buf command = { 0 }, env = { 0 }, text = { 0 };
    char now[32];
    enum status st = env_capture_json(&env, err);

    clock_utc(now, sizeof(now));
    record_put_command(&command);
    buf_printf(&text, "{\"at\":\"%s\",\"version\":\"%s\",\"git_commit\":\"%s\",\"command\":", now,
               build_version, build_commit);
    json_put_str(&text, buf_str(&command), command.len);
    buf_printf(&text, ",\"env\":%s}", buf_str(&env));
    if (!st && (!buf_ok(&command) || !buf_ok(&text)))
        st = no_memory(err);
    if (!st)
        st = store_reopen_run(s, run_id, buf_str(&text), err);
    buf_release(&command);
    buf_release(&env);
    buf_release(&text);
    return st;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* n_passed of n: what the interval is of, where the value is their ratio. */
static enum status put_metric(struct store *s, const char *run_id, const struct task_summary *t,
                              const char *name, double value, int64_t n_passed, int64_t n,
                              bool has_interval, struct error *err)
{
    struct metric_row row = { .run_id = run_id,
                              .task = t->task,
                              .cell_key = t->cell_key,
                              .metric = name,
                              .value = value,
                              .ci_low = NAN,
                              .ci_high = NAN,
                              .n = n };

    if (has_interval) {
        stats_wilson(n_passed, n, 0.05, &row.ci_low, &row.ci_high);
        row.ci_method = "wilson-95";
    }
    return store_put_metric(s, &row, err);
}

/* The default metric first: the first one stored is the one a task is known by. */
static enum status put_metrics(struct store *s, const char *run_id, const struct task_summary *t,
                               struct error *err)
{
    enum status st = ST_OK;

    if (t->n_items)
        st = put_metric(s, run_id, t, task_find(t->task)->metric, t->score, t->n_passed,
                        t->n_samples - t->n_internal, t->max_per_item == 1, err);
    for (size_t i = 0; i < t->n_also && !st; i++)
        st = put_metric(s, run_id, t, t->also[i].name, t->also[i].value, t->also[i].n_passed,
                        t->also[i].n,
                        t->also[i].n_passed >= 0 &&
                            (t->max_per_item == 1 || strncmp(t->also[i].name, "pass@", 5) == 0),
                        err);
    return st;
}

enum status record_finish(struct store *s, const char *run_id, const char *status,
                          const char *invalid, struct arena *a, struct task_summary **ret,
                          size_t *ret_n, struct error *err)
{
    const char *validity = invalid ? arena_printf(a, "INVALID: %s", invalid) : "VALID";
    struct task_summary *rows;
    size_t n;
    enum status st;

    if (!validity)
        return no_memory(err);
    st = store_summarise(s, run_id, a, &rows, &n, err);
    for (size_t i = 0; !st && i < n; i++)
        st = put_metrics(s, run_id, &rows[i], err);
    if (!st)
        st = store_finish_run(s, run_id, status, validity, err);
    if (st)
        return st;
    *ret = rows;
    *ret_n = n;
    return ST_OK;
}
