/*
 * The store with its n-th allocation failing, SQLite's own among them: the call reports it, what
 * was stored stays whole, and the same call works afterwards.
 */
#include "tests/base/fail_malloc.h"
#include "tests/results/fixture.h"

static struct scratch x;
static struct store *s;
static char key[65];
static int sample_idx;

static void set_up(void)
{
    struct error err = { 0 };
    struct sample_row row;

    scratch_open(&x);
    s = store_with_run(x.path, "run-1", key);
    row = a_sample("run-1", key, "first", 0);
    cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
}

static void tear_down(void)
{
    store_close(s);
    scratch_close(&x);
}

TestSuite(store_alloc, .init = set_up, .fini = tear_down);

/* json_valid() of SQLite 3.40 takes its own lack of memory for invalid JSON. */
static bool is_excused(enum status st, const struct error *err)
{
    return st == ST_INVALID && strstr(err->text, "json_valid");
}

static void sweep(const char *what, enum status (*f)(void *arg, struct error *err))
{
    struct fail_sweep x_sweep = { .what = what, .f = f, .n_dense = 64, .is_excused = is_excused };
    struct error err = { 0 };
    long n_failed = fail_malloc_sweep(&x_sweep);

    /* what is stored is allocated by SQLite alone */
    cr_expect(n_failed > 0 || !fail_malloc_is_total(), "%s: nothing failed", what);
    cr_expect_eq(f(NULL, &err), ST_OK, "after all failed: %s", err.text);
}

static enum status try_create(void *arg, struct error *err)
{
    (void)arg;
    struct store *t = NULL;
    char path[400];
    enum status st;

    snprintf(path, sizeof(path), "%s/new.sqlite", x.dir);
    st = store_open(path, STORE_WRITE, &t, err);
    store_close(t);
    remove(path);
    return st;
}

Test(store_alloc, creating)
{
    sweep("create", try_create);
}

static enum status try_open(void *arg, struct error *err)
{
    (void)arg;
    struct store *t = NULL;
    enum status st = store_open(x.path, STORE_READ, &t, err);

    store_close(t);
    return st;
}

Test(store_alloc, opening)
{
    sweep("open", try_open);
}

static enum status try_put(void *arg, struct error *err)
{
    (void)arg;
    struct sample_row row = a_sample("run-1", key, "second", ++sample_idx);

    return store_put_sample(s, &row, err);
}

static enum status count(void *arg, const struct stored_sample *row, struct error *err)
{
    struct sample_row want = a_sample("", "", "", 0);

    (void)err;
    cr_expect(is_same_telemetry(&row->telemetry, &want.telemetry));
    cr_expect_str_eq(row->verdict.verdict, "pass");
    ++*(int *)arg;
    return ST_OK;
}

Test(store_alloc, storing)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    struct task_summary *t = NULL;
    size_t n = 0;
    int n_samples = 0;

    sweep("put", try_put);
    cr_assert_eq(store_each_sample(s, "run-1", NULL, NULL, count, &n_samples, &err), ST_OK, "%s",
                 err.text);
    cr_expect_gt(n_samples, 2);
    cr_expect_leq(n_samples, sample_idx + 1);
    cr_assert_eq(store_summarise(s, "run-1", &arena, &t, &n, &err), ST_OK);
    cr_expect_eq(t[0].n_samples, n_samples);
    arena_release(&arena);
}

static enum status try_read(void *arg, struct error *err)
{
    (void)arg;
    int n = 0;
    enum status st = store_each_sample(s, "run-1", NULL, "first", count, &n, err);

    if (!st)
        cr_expect_eq(n, 1);
    return st;
}

Test(store_alloc, reading_samples)
{
    sweep("read", try_read);
}

static enum status try_lists(void *arg, struct error *err)
{
    (void)arg;
    struct arena arena = { 0 };
    struct run_summary *r = NULL, summary;
    struct task_summary *t = NULL;
    struct run_row run;
    const char *id = NULL;
    struct stratum_summary *strata = NULL;
    struct cell_summary *cells = NULL;
    size_t n = 0, n_tasks = 0, n_strata = 0, n_cells = 0;
    enum status st;

    if (!(st = store_list_runs(s, &arena, &r, &n, err)) &&
        !(st = store_find_run(s, "run", &arena, &id, err)) &&
        !(st = store_get_run(s, "run-1", &arena, &run, &summary, err)) &&
        !(st = store_summarise(s, "run-1", &arena, &t, &n_tasks, err)) &&
        !(st = store_summarise_by(s, id, STRATUM_LEVEL, &arena, &strata, &n_strata, err)) &&
        !(st = store_summarise_cells(s, &arena, &cells, &n_cells, err))) {
        cr_expect(n == 1 && n_tasks == 1 && n_strata == 1 && n_cells == 0, "the run is not done");
        cr_expect_str_eq(id, "run-1");
        cr_expect_str_eq(summary.tasks, "humaneval");
        cr_expect_str_eq(t[0].selector, "vanilla");
    }
    arena_release(&arena);
    return st;
}

Test(store_alloc, listing)
{
    sweep("lists", try_lists);
}

static enum status try_env(void *arg, struct error *err)
{
    (void)arg;
    struct buf b = { 0 };
    enum status st = env_capture_json(&b, err);

    buf_release(&b);
    return st;
}

Test(store_alloc, capturing_the_environment)
{
    sweep("env", try_env);
}
