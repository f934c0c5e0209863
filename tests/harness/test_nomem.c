/* Options, plans and a whole run with each allocation failing once. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "harness/options.h"
#include "harness/plan.h"
#include "harness/verb.h"
#include "results/results.h"
#include "tests/base/fail_malloc.h"

/* The tiny shape's configuration and tokenizer. */
static struct engine *open_engine(void)
{
    char dir[4096];
    struct engine_options o = { .model_dir = dir, .is_text_only = true };
    struct engine *e = NULL;
    struct error err = { 0 };

    snprintf(dir, sizeof(dir), "%s/models/shapes/tiny-llada-moe", getenv("DESBENCH_SOURCE"));
    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    return e;
}

static enum status try_plan(void *engine, struct error *err)
{
    static char *const argv[] = { "--tasks",        "sample_gsm8k,sample_humaneval",
                                  "--limit=2",      "--selector=vanilla",
                                  "--selector",     "topk:k=2",
                                  "--gen-length=32" };
    struct options c = { 0 };
    struct plan p = { 0 };
    enum status st = options_parse(VERB_RUN, sizeof(argv) / sizeof(argv[0]), argv, &c, err);

    if (!st)
        st = plan_tasks(&c, "sample_mbpp", &p, err);
    if (!st)
        st = plan_decode(&c, engine, &p, err);
    if (!st)
        cr_expect(p.n_tasks == 2 && p.n_cells == 4 && p.n_work == 8 && p.max_prompt > 10);
    plan_release(&p);
    options_release(&c);
    return st;
}

Test(nomem, options_and_plan)
{
    struct engine *e = open_engine();
    struct fail_sweep s = { .what = "plan", .f = try_plan, .arg = e };

    cr_expect_gt(fail_malloc_sweep(&s), 100);
    engine_close(e);
}

/* ---- a run: opens judge, store and model, loads, generates, grades, stores and prints ---------
 */

/* Two answers of the tiny shape in a batch, into the results file at path. */
static enum status try_run(void *path, struct error *err)
{
    const char *argv[] = {
        "--tasks",     "sample_gsm8k", "--output",
        path,          "--backend",    "cpu",
        "--limit=2",   "-b2",          "--gen-length=16",
        "-j1",         "--cache",      "dual",
        "--threads=2", "--json",       "--block-length=8",
        "--progress",  "never",        "--load-format=dummy",
    };
    enum exit_code code = EXIT_DONE;
    struct options c = { 0 };
    enum status st =
        options_parse(VERB_RUN, sizeof(argv) / sizeof(argv[0]), (char *const *)argv, &c, err);

    if (!st)
        st = verb_run.run(&c, &code, err);
    options_release(&c);
    return st;
}

/* json_valid() of SQLite 3.40 takes its own lack of memory for invalid JSON. */
static bool is_excused(enum status st, const struct error *err)
{
    return st == ST_INVALID && strstr(err->text, "json_valid");
}

/* The file that so many runs have failed in is whole, and so are those that were not hindered. */
static void check_runs(const char *path)
{
    struct store *s = NULL;
    struct arena a = { 0 };
    struct run_summary *runs;
    struct error err = { 0 };
    size_t n, n_done = 0;

    cr_assert_eq(store_open(path, STORE_READ, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_list_runs(s, &a, &runs, &n, &err), ST_OK, "%s", err.text);
    for (size_t i = 0; i < n; i++) {
        bool is_done = strcmp(runs[i].status, "done") == 0;

        n_done += is_done;
        cr_expect(!is_done || runs[i].n_samples == 2, "run %s: %d samples", runs[i].run_id,
                  (int)runs[i].n_samples);
    }
    cr_expect_geq(n_done, 2);
    store_close(s);
    arena_release(&a);
}

Test(nomem, a_run_and_its_file)
{
    char dir[] = "/tmp/desbench-nomem-XXXXXX", path[64];
    struct fail_sweep s = {
        .what = "run", .f = try_run, .arg = path, .n_dense = 1000, .is_excused = is_excused
    };

    log_set_level(LOG_ERROR);
    cr_assert_not_null(freopen("/dev/null", "w", stdout));
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/r.sqlite", dir);
    cr_expect_gt(fail_malloc_sweep(&s), 300);
    check_runs(path);
    cr_expect(unlink(path) == 0 && rmdir(dir) == 0, "a file was left in '%s'", dir);
}
