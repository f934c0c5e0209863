/* Sums over groups of samples: by class of item, by cell. */
#include "tests/results/fixture.h"

static struct scratch scratch;
static struct store *store;
static struct arena arena;
static char key[65];
static struct error err;

/* A sample of run-1: an item of a level and subject, and how it was graded. */
static void put(const char *run_id, const char *task_id, int idx, int level, const char *subject,
                const char *verdict)
{
    struct sample_row s = a_sample(run_id, key, task_id, idx);

    s.item.level = level;
    s.item.subject = subject;
    s.verdict.verdict = verdict;
    s.verdict.is_passed = strcmp(verdict, "pass") == 0;
    if (level == 10)
        s.stop_reason = "length";
    cr_assert_eq(store_put_sample(store, &s, &err), ST_OK, "%s", err.text);
}

static void setup(void)
{
    scratch_open(&scratch);
    store = store_with_run(scratch.path, "run-1", key);
    put("run-1", "a", 0, 10, "rare", "pass");
    put("run-1", "b", 0, 2, "common", "fail");
    put("run-1", "c", 0, 2, "rare", "pass");
    put("run-1", "d", 0, 2, "rare", "internal");
    put("run-1", "e", 0, 0, NULL, "pass");
}

static void teardown(void)
{
    arena_release(&arena);
    store_close(store);
    scratch_close(&scratch);
}

TestSuite(store_groups, .init = setup, .fini = teardown);

static size_t by(enum stratum_by field, struct stratum_summary **ret)
{
    size_t n = 99;

    cr_assert_eq(store_summarise_by(store, "run-1", field, &arena, ret, &n, &err), ST_OK, "%s",
                 err.text);
    return n;
}

Test(store_groups, levels_are_in_the_order_of_numbers_and_items_without_one_are_in_none)
{
    struct stratum_summary *rows;

    cr_assert_eq(by(STRATUM_LEVEL, &rows), 2);
    cr_expect_str_eq(rows[0].value, "2");
    cr_expect_str_eq(rows[1].value, "10");
    cr_expect_str_eq(rows[0].task, "humaneval");
    cr_expect_str_eq(rows[0].selector, "vanilla");
    cr_expect_eq(rows[0].sums.n_items, 2, "the internal verdict counts nowhere");
    cr_expect_eq(rows[0].sums.n_samples, 2);
    cr_expect_eq(rows[0].sums.n_passed, 1);
    cr_expect_eq(rows[0].sums.sum_score, 1.0);
    cr_expect_eq(rows[0].sums.n_forwards, 4);
    cr_expect_eq(rows[0].sums.sum_unique, 20, "4 + 3 + 2 + 1 each");
    cr_expect_eq(rows[0].sums.n_layer_forwards, 8);
    cr_expect_eq(rows[0].sums.sum_unique_cache, 14,
                 "4 + 3 each: the first forward fills the cache");
    cr_expect_eq(rows[0].sums.n_layer_forwards_cache, 4);
    cr_expect_eq(score_sums_unique(&rows[0].sums), 2.5);
    cr_expect_eq(score_sums_unique_block(&rows[0].sums), 1.5);
    cr_expect_eq(rows[0].sums.n_tokens_before_eos, 6);
    cr_expect_eq(rows[0].sums.sum_expert_bytes, 2 * 10 * 1536);
}

Test(store_groups, subjects_and_ways_to_end_are_classes_too)
{
    struct stratum_summary *rows;

    cr_assert_eq(by(STRATUM_SUBJECT, &rows), 2);
    cr_expect_str_eq(rows[0].value, "common");
    cr_expect_str_eq(rows[1].value, "rare");
    cr_expect_eq(rows[1].sums.n_passed, 2);
    cr_assert_eq(by(STRATUM_STOP_REASON, &rows), 2);
    cr_expect_str_eq(rows[0].value, "eos");
    cr_expect_eq(rows[0].sums.n_items, 3, "of items without a class as well");
    cr_assert_eq(by(STRATUM_EXTRACTION_METHOD, &rows), 1);
    cr_expect_eq(rows[0].sums.n_items, 4);
}

Test(store_groups, several_answers_to_an_item_are_its_share_and_have_no_wilson_interval)
{
    struct stratum_summary *rows;
    double low, high;

    by(STRATUM_LEVEL, &rows);
    score_sums_interval(&rows[0].sums, &low, &high);
    cr_expect(low > 0 && low < 0.5 && high > 0.5 && high < 1, "%g %g", low, high);
    put("run-1", "b", 1, 2, "common", "pass");
    by(STRATUM_LEVEL, &rows);
    cr_expect_eq(rows[0].sums.n_items, 2);
    cr_expect_eq(rows[0].sums.n_samples, 3);
    cr_expect_eq(rows[0].sums.max_per_item, 2);
    cr_expect_eq(rows[0].sums.sum_score, 1.5);
    score_sums_interval(&rows[0].sums, &low, &high);
    cr_expect(isnan(low) && isnan(high));
    score_sums_add(&rows[1].sums, &rows[0].sums);
    cr_expect_eq(rows[1].sums.n_items, 3);
    cr_expect_eq(rows[1].sums.max_per_item, 2);
    cr_expect_eq(rows[1].sums.sum_score, 2.5);
}

Test(store_groups, of_a_cell_the_newest_valid_run_counts)
{
    struct run_row second = a_run("run-2"), third = a_run("run-3");
    struct cell_summary *cells;
    size_t n;

    cr_assert_eq(store_begin_run(store, &second, &err), ST_OK);
    put("run-2", "a", 0, 1, "rare", "fail");
    cr_assert_eq(store_begin_run(store, &third, &err), ST_OK);
    put("run-3", "b", 0, 1, "rare", "fail");
    cr_assert_eq(store_summarise_cells(store, &arena, &cells, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 0, "none is done");
    cr_assert_eq(store_finish_run(store, "run-1", "done", "VALID", &err), ST_OK);
    cr_assert_eq(store_finish_run(store, "run-2", "done", "VALID", &err), ST_OK);
    cr_assert_eq(store_finish_run(store, "run-3", "failed", "INVALID: failed", &err), ST_OK);
    cr_assert_eq(store_summarise_cells(store, &arena, &cells, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 1);
    cr_expect_str_eq(cells[0].run_id, "run-2");
    cr_expect_str_eq(cells[0].git_commit, "412fe1d");
    cr_expect_str_eq(cells[0].decoder, "threshold:threshold=0.95");
    cr_expect(cells[0].n_exp == 8 && cells[0].block_length == 32);
    cr_expect(cells[0].sums.n_items == 1 && cells[0].sums.n_passed == 0);
}

Test(store_groups, scores_of_a_cell_are_told_apart_by_run_and_item)
{
    struct run_row second = a_run("run-2"), third = a_run("run-3");
    struct cell_scores *runs;
    size_t n;

    cr_assert_eq(store_begin_run(store, &second, &err), ST_OK);
    put("run-2", "c", 0, 1, "rare", "fail");
    put("run-2", "a", 0, 10, "rare", "fail");
    put("run-2", "a", 1, 10, "rare", "pass");
    cr_assert_eq(store_begin_run(store, &third, &err), ST_OK);
    put("run-3", "a", 0, 10, "rare", "pass");
    cr_assert_eq(store_cell_scores(store, key, &arena, &runs, &n, &err), ST_OK, "%s", err.text);
    cr_expect_eq(n, 0, "none is done");
    cr_assert_eq(store_finish_run(store, "run-1", "done", "VALID", &err), ST_OK);
    cr_assert_eq(store_finish_run(store, "run-2", "done", "VALID", &err), ST_OK);
    cr_assert_eq(store_finish_run(store, "run-3", "failed", "INVALID: failed", &err), ST_OK);
    cr_assert_eq(store_cell_scores(store, key, &arena, &runs, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 2);
    cr_expect_str_eq(runs[0].run_id, "run-2", "newest first");
    cr_assert_eq(runs[0].n, 2);
    cr_expect_eq(runs[0].items[0], runs[1].items[0], "the same item, whatever run");
    cr_expect_lt(runs[0].items[0], runs[0].items[1]);
    cr_expect_eq(runs[0].scores[0], 0.5, "its share of right answers");
    cr_assert_eq(runs[1].n, 4, "the internal verdict counts nowhere");
    cr_expect_eq(runs[1].scores[1], 0.0);
    cr_assert_eq(store_cell_scores(store, HEX64("0"), &arena, &runs, &n, &err), ST_OK);
    cr_expect_eq(n, 0);
}
