/* What is kept and saved: estimates from made-up answers, and pairs from a file. */
#include "results/relative.h"
#include "tests/base/fail_malloc.h"
#include "tests/results/fixture.h"

static struct error err;

/* n answers of a model to a task; the first n_lost only the baseline has right, the next n_gained
 * only the candidate, all others both. Costs as given, half of them in forwards that fill a cache.
 */
static size_t put(struct relative_answer *x, const char *task, size_t model, int n, int n_lost,
                  int n_gained, double base_unique, double cand_unique)
{
    static char ids[1000][8];

    for (int i = 0; i < n; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%d", i);
        x[i] = (struct relative_answer){
            .task = task,
            .task_id = ids[i],
            .model = model,
            .is_base_right = i < n_lost || i >= n_lost + n_gained,
            .is_cand_right = i >= n_lost,
            .base = { 100 + base_unique, 20, base_unique, 10 },
            .cand = { 100 + cand_unique, 20, cand_unique, 10 },
        };
    }
    return (size_t)n;
}

static struct relative estimate(const struct relative_answer *x, size_t n, double alpha)
{
    struct relative r = { 0 };

    cr_assert_eq(relative_estimate(x, n, alpha, STATS_MIN_DRAWS, 0, &r, &err), ST_OK, "%s",
                 err.text);
    return r;
}

Test(relative, accuracy_is_the_mean_over_tasks_and_kept_is_pooled)
{
    struct relative_answer x[400];
    size_t n = put(x, "gsm8k", 0, 100, 20, 0, 100, 50);
    struct relative r;

    n += put(x + n, "mbpp", 0, 300, 0, 100, 100, 50);
    r = estimate(x, n, 0.05);
    cr_expect(r.n == 400 && r.a == 280 && r.b == 20 && r.c == 100 && r.d == 0);
    cr_expect_float_eq(r.accuracy, (80.0 / 100 + 300.0 / 200) / 2, 1e-12);
    cr_expect_float_eq(r.kept, 380.0 / 300, 1e-12);
    cr_expect(r.accuracy_low < r.accuracy && r.accuracy < r.accuracy_high);
    cr_expect(r.kept_low < r.kept && r.kept < r.kept_high);
}

Test(relative, no_changed_verdict_is_no_proof_of_more_than_the_items_can_show)
{
    struct relative_answer x[330];
    struct relative few, many;

    put(x, "gsm8k", 0, 160, 0, 0, 100, 50);
    few = estimate(x, 160, 0.05);
    cr_expect(few.accuracy_low == 1 && few.accuracy_high == 1, "drawing items again shows nothing");
    cr_expect_float_eq(few.kept_low, 160 / (160 + 1.959964 * 1.959964), 1e-6);
    cr_expect_eq(relative_decide(&few, 0.99, 0.45), RELATIVE_OPEN);
    cr_expect_eq(relative_decide(&few, 0.97, 0.45), RELATIVE_YES);
    put(x, "gsm8k", 0, 330, 0, 0, 100, 50);
    many = estimate(x, 330, 0.05);
    cr_expect_lt(few.kept_low, many.kept_low);
}

Test(relative, both_bounds_decide)
{
    struct relative r = { .kept_low = 0.995,
                          .kept_high = 1.01,
                          .saved_block_low = { 0.5, 0.46 },
                          .saved_block_high = { 0.5, 0.5 } };

    cr_expect_eq(relative_decide(&r, 0.99, 0.45), RELATIVE_YES);
    cr_expect_eq(relative_decide(&r, 0.999, 0.45), RELATIVE_OPEN);
    cr_expect_eq(relative_decide(&r, 1.02, 0.45), RELATIVE_NO);
    cr_expect_eq(relative_decide(&r, 0.99, 0.48), RELATIVE_OPEN, "the bound at alpha");
    cr_expect_eq(relative_decide(&r, 0.99, 0.51), RELATIVE_NO);
    r.saved_block_low[1] = r.saved_block_high[1] = NAN;
    cr_expect_eq(relative_decide(&r, 0.99, 0.45), RELATIVE_OPEN, "nothing was measured");
}

Test(relative, models_count_alike_in_what_is_saved_and_their_answers_to_an_item_stay_together)
{
    struct relative_answer x[200];
    size_t n = put(x, "gsm8k", 0, 100, 12, 0, 60, 30);
    struct relative one = estimate(x, n, 0.05), two;

    n += put(x + n, "gsm8k", 1, 100, 12, 0, 16, 12);
    two = estimate(x, n, 0.05);
    cr_expect_float_eq(one.saved_block, 0.5, 1e-12);
    cr_expect_float_eq(two.saved_block, (0.5 + 0.25) / 2, 1e-12);
    cr_expect_float_eq(one.saved, 1 - 130.0 / 160, 1e-12);
    cr_expect_float_eq(two.saved_block_low[1], two.saved_block, 1e-12, "no item differs in it");
    /* a second model that answers each item as the first did adds nothing to what is known */
    cr_expect_float_eq(two.accuracy, one.accuracy, 1e-12);
    cr_expect_float_eq(two.accuracy_low, one.accuracy_low, 0.01);
    cr_expect_float_eq(two.deff, 2, 0.1);
    cr_expect_float_eq(two.kept_low, one.kept_low, 0.005);
}

Test(relative, more_rows_at_once_widen_what_decides_and_nothing_else)
{
    struct relative_answer x[100];
    size_t n = put(x, "gsm8k", 0, 100, 5, 2, 60, 30);
    struct relative one, many;

    for (size_t i = 0; i < n; i++)
        x[i].cand.block_unique += (double)(i % 7);
    one = estimate(x, n, 0.05);
    many = estimate(x, n, 0.05 / 24);
    cr_expect(many.kept_low < one.kept_low && many.kept_high > one.kept_high);
    cr_expect(many.saved_block_low[1] < many.saved_block_low[0]);
    cr_expect_eq(many.saved_block_low[0], one.saved_block_low[0]);
    cr_expect_eq(one.saved_block_low[1], one.saved_block_low[0]);
    cr_expect_eq(many.accuracy_low, one.accuracy_low);
}

Test(relative, what_was_not_measured_or_has_no_base_is_absent)
{
    struct relative_answer x[20];
    size_t n = put(x, "gsm8k", 0, 20, 0, 20, 0, 0);
    struct relative r;

    for (size_t i = 0; i < n; i++)
        x[i].base = x[i].cand = (struct relative_cost){ 0 };
    r = estimate(x, n, 0.05);
    cr_expect(isnan(r.accuracy) && isnan(r.kept) && isnan(r.kept_low));
    cr_expect(isnan(r.saved) && isnan(r.saved_block) && isnan(r.saved_block_low[1]));
    cr_expect_eq(relative_decide(&r, 0.5, 0.1), RELATIVE_OPEN);
}

static enum status estimate_once(void *arg, struct error *e)
{
    struct relative_answer x[8];
    struct relative r;

    (void)arg;
    return relative_estimate(x, put(x, "gsm8k", 0, 8, 1, 1, 8, 4), 0.05, STATS_MIN_DRAWS, 0, &r, e);
}

Test(relative, memory_that_runs_out_is_an_error_and_no_leak)
{
    cr_expect_gt(
        fail_malloc_sweep(&(struct fail_sweep){ "estimating", estimate_once, NULL, 0, NULL }), 10);
}

/* ---- from a file ------------------------------------------------------------------------ */

static struct store *store;

static void answer(const char *run_id, const char *key, const char *task_id, const char *verdict,
                   const char *checker)
{
    struct sample_row s = a_sample(run_id, key, task_id, 0);

    s.verdict.verdict = verdict;
    s.verdict.is_passed = strcmp(verdict, "pass") == 0;
    s.verdict.checker_version = checker;
    cr_assert_eq(store_put_sample(store, &s, &err), ST_OK, "%s", err.text);
}

static size_t pairs(const char *base, const char *cand, struct relative_list *ret)
{
    static struct arena arena;

    *ret = (struct relative_list){ 0 };
    cr_assert_eq(store_cell_pairs(store, base, cand, 3, &arena, ret, &err), ST_OK, "%s", err.text);
    return ret->n;
}

Test(relative, pairs_are_of_the_same_items_graded_alike_in_the_fullest_runs)
{
    struct scratch scratch;
    struct run_row second = a_run("run-2"), third = a_run("run-3");
    struct cell_row other = a_cell("topk:k=1");
    struct relative_list list;
    char base[65], cand[65];

    scratch_open(&scratch);
    store = store_with_run(scratch.path, "run-1", base);
    cr_assert_eq(store_put_cell(store, &other, cand, &err), ST_OK);
    cr_assert_eq(store_begin_run(store, &second, &err), ST_OK);
    cr_assert_eq(store_begin_run(store, &third, &err), ST_OK);
    answer("run-1", base, "a", "pass", "code-1");
    answer("run-1", base, "b", "pass", "code-1");
    answer("run-1", base, "c", "internal", "code-1");
    answer("run-1", base, "d", "fail", "code-1");
    answer("run-2", cand, "a", "fail", "code-1");
    answer("run-2", cand, "c", "pass", "code-1");
    answer("run-2", cand, "d", "pass", "code-2");
    answer("run-2", cand, "e", "pass", "code-1");
    answer("run-3", cand, "b", "pass", "code-1");
    cr_expect_eq(pairs(base, cand, &list), 0, "no run is done");
    cr_assert_eq(store_finish_run(store, "run-1", "done", "VALID", &err), ST_OK);
    cr_assert_eq(store_finish_run(store, "run-3", "done", "VALID", &err), ST_OK);
    cr_expect_eq(pairs(base, cand, &list), 1, "b alone");
    cr_assert_eq(store_finish_run(store, "run-2", "done", "VALID", &err), ST_OK);
    cr_assert_eq(pairs(base, cand, &list), 1, "run-2 has more; a alone is there in both alike");
    cr_expect_str_eq(list.answers[0].task_id, "a");
    cr_expect_str_eq(list.answers[0].task, "humaneval");
    cr_expect_eq(list.answers[0].model, 3);
    cr_expect_str_eq(list.answers[0].cand_run, "run-2");
    cr_expect(list.answers[0].is_base_right && !list.answers[0].is_cand_right);
    cr_expect_eq(list.answers[0].base.unique, 10, "4 + 3 + 2 + 1");
    cr_expect_eq(list.answers[0].base.layers, 4);
    cr_expect_eq(list.answers[0].cand.block_unique, 3, "the first forward fills the cache");
    cr_expect_eq(list.answers[0].cand.block_layers, 2);
    store_close(store);
    scratch_close(&scratch);
}
