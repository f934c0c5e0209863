/* `desbench doctor`: what this machine offers, and what is missing for which use. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/engine.h"
#include "harness/judge/judge.h"
#include "harness/paths.h"
#include "harness/table.h"
#include "harness/verb.h"
#include "kernels/devices.h"
#include "kernels/kernels.h"
#include "results/results.h"
#include "tasks/task.h"

struct check {
    struct table table;
    struct buf json;
    size_t n;
    bool is_ok; /* nothing needed is missing */
};

/* state: "ok", "absent" (not needed), "missing" (needed). */
static void add(struct check *k, const char *area, const char *what, const char *state,
                const char *details)
{
    table_row(&k->table);
    table_cell(&k->table, "%s", area);
    table_cell(&k->table, "%s", what);
    table_cell(&k->table, "%s", state);
    table_cell(&k->table, "%s", details);
    buf_puts(&k->json, k->n++ ? ",\n  {\"area\": " : "\n  {\"area\": ");
    json_put_str(&k->json, area, strlen(area));
    buf_puts(&k->json, ", \"what\": ");
    json_put_str(&k->json, what, strlen(what));
    buf_printf(&k->json, ", \"state\": \"%s\", \"details\": ", state);
    json_put_str(&k->json, details, strlen(details));
    buf_putc(&k->json, '}');
    k->is_ok &= strcmp(state, "missing") != 0;
}

static void check_backends(struct check *k)
{
    for (const struct kernel_ops *const *ops = kernel_backends; *ops; ops++) {
        struct kernel_params params = { 0 };
        struct kernels *b = NULL;
        struct error why = { 0 };
        enum status st = (*ops)->open(&params, &b, &why);

        add(k, "backend", (*ops)->name, st ? "absent" : "ok", st ? why.text : (*ops)->describe(b));
        (*ops)->close(b);
    }
}

static void check_gpus(struct check *k)
{
    struct gpu_device gpus[16];
    struct error why = { 0 };
    char text[160];
    size_t n = 0;

    if (!gpu_is_built())
        add(k, "gpu", "CUDA", "absent", "built without it");
    else if (gpu_list(gpus, 16, &n, &why))
        add(k, "gpu", "CUDA", "absent", why.text);
    else if (!n)
        add(k, "gpu", "CUDA", "absent", "no device or no driver");
    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%s, %.1f GiB, compute %d.%d, driver CUDA %d.%d", gpus[i].uuid,
                 (double)gpus[i].memory_bytes / 0x1p30, gpus[i].compute_major,
                 gpus[i].compute_minor, gpus[i].driver_version / 1000,
                 gpus[i].driver_version % 1000 / 10);
        add(k, "gpu", gpus[i].name, "ok", text);
    }
}

static void check_sandbox(struct check *k, enum sandbox_level *ret_level)
{
    struct judge_options o;
    struct sandbox_report r;
    struct error why = { 0 };

    judge_default_options(&o);
    *ret_level = SANDBOX_NONE;
    if (sandbox_probe(&o, &r, &why)) {
        add(k, "sandbox", "probe", "missing", why.text);
        return;
    }
    *ret_level = r.level;
    for (size_t i = 0; i < r.n_layers; i++) {
        const struct sandbox_layer *l = &r.layers[i];

        add(k, "sandbox", l->name,
            l->is_present       ? "ok"
            : l->is_needed_user ? "missing"
                                : "absent",
            l->details);
    }
}

static void check_data(struct check *k, const struct options *c)
{
    struct arena a = { 0 };

    for (const struct task_def *const *d = task_table(); *d; d++) {
        struct error why = { 0 };
        struct task *t = NULL;
        const char *dir, *details = why.text;
        enum status st = path_task_dir(c, *d, &a, &dir, &why);

        if (!st)
            st = task_open(*d, dir, true, &t, &why);
        if (!st)
            details = arena_printf(&a, "%zu items in %s/%s, sha256 %.16s", task_n_items(t), dir,
                                   (*d)->file, task_sha256(t));
        add(k, "data", (*d)->name,
            !st                ? "ok"
            : (*d)->is_bundled ? "missing"
                               : "absent",
            details ? details : "");
        task_close(t);
        arena_clear(&a);
    }
    arena_release(&a);
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct check k = { .is_ok = true };
    struct buf env = { 0 }, b = { 0 };
    struct arena a = { 0 };
    enum sandbox_level level;
    struct error why = { 0 };
    const char *share;
    enum status st;

    table_init(&k.table, "area|what|state|details");
    if (path_share(&a, &share, &why) == ST_OK)
        add(&k, "program", "own files", "ok", share);
    else
        add(&k, "program", "own files", "missing", why.text);
    check_backends(&k);
    check_gpus(&k);
    check_sandbox(&k, &level);
    check_data(&k, c);
    st = env_capture_json(&env, err);
    if (!st && verb_wants_json(c)) {
        buf_printf(
            &b,
            "{\"version\": \"%s\", \"commit\": \"%s\", \"ok\": %s, \"sandbox_level\": \"%s\",\n"
            " \"environment\": %s,\n \"checks\": [%s\n ]}\n",
            build_version, build_commit, k.is_ok ? "true" : "false", sandbox_level_name(level),
            buf_str(&env), buf_str(&k.json));
    } else if (!st) {
        buf_printf(&b, "desbench %s (%s)\n%s\n\n", build_version, build_commit, buf_str(&env));
        if (!table_put(&k.table, &b))
            st = error_set(err, ST_NOMEM, "out of memory checking");
        buf_printf(&b, "\nsandbox level: %s; %s\n", sandbox_level_name(level),
                   k.is_ok ? "everything needed is there" : "something needed is missing");
    }
    if (!st && !buf_ok(&k.json))
        st = error_set(err, ST_NOMEM, "out of memory checking");
    if (!st)
        st = verb_print(&b, err);
    if (!k.is_ok)
        *ret_exit = EXIT_ENVIRONMENT;
    buf_release(&env);
    buf_release(&b);
    buf_release(&k.json);
    table_release(&k.table);
    arena_release(&a);
    return st;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .bit = VERB_DOCTOR,
    .args = "",
    .summary = "check this machine: backends, sandbox layers, data sets",
    .help = "Tries everything a run needs, by doing it, and says what is there, what is absent but "
            "not\n"
            "needed, and what is missing. Exit code 3 when something needed is missing.\n",
    .run = run,
};
