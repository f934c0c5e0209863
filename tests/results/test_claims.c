/* Claims: reading them, their statistics on rows written out here, and their verdicts. */
#include "results/claims.h"
#include "results/report_impl.h"
#include "tests/base/fail_malloc.h"
#include "tests/results/fixture.h"

static struct scratch x;
static struct store *s;
static struct arena arena;

static void set_up(void)
{
    struct error err = { 0 };
    struct sample_row row;
    char key[65];

    scratch_open(&x);
    s = store_with_run(x.path, "run-1", key);
    row = a_sample("run-1", key, "first", 0);
    cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
}

static void tear_down(void)
{
    arena_release(&arena);
    store_close(s);
    scratch_close(&x);
}

TestSuite(claims, .init = set_up, .fini = tear_down);

/* A file of one claim; more: further lines of it. */
static const char *a_file(const char *statistic, const char *expect, const char *query,
                          const char *more)
{
    return arena_printf(
        &arena,
        "claims:\n- id: 7\n  claim: c\n  metric: m\n  needs: rows\n  statistic: %s\n"
        "  expect: {%s}\n  query: \"%s\"\n%s",
        statistic, expect, query, more);
}

static struct claim_answer ask(const char *file)
{
    struct claims *c = arena_alloc(&arena, sizeof(*c));
    struct claim_answer *a = NULL;
    struct error err = { 0 };

    cr_assert_eq(claims_read(file, strlen(file), "f", &arena, c, &err), ST_OK, "%s", err.text);
    cr_assert_eq(claims_answer(c, s, 10000, 0, &arena, &a, &err), ST_OK, "%s", err.text);
    return a[0];
}

/* n rows of subject S, items 0 .. n - 1 of two tasks by turns, and numbers of i. */
#define ROWS(n, numbers)                                                                           \
    "WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i < " #n " - 1) "        \
    "SELECT 'S', iif(i % 2, 'odd', 'even'), i, " numbers " FROM r"

Test(claims, a_rate_is_that_of_the_sums_and_its_interval_holds_it)
{
    struct claim_answer a = ask(a_file("rate", "above: 0.5", ROWS(40, "i, 2 * i + 20"), ""));

    cr_assert_eq(a.n, 1);
    cr_expect_str_eq(a.cases[0].subject, "S");
    cr_expect_eq(a.cases[0].n_items, 40);
    cr_expect_float_eq(a.cases[0].value, 780.0 / (1560 + 800), 1e-12);
    cr_expect(a.cases[0].low < a.cases[0].value && a.cases[0].value < a.cases[0].high);
    cr_expect_eq(a.verdict, CLAIM_REFUTED); /* every row is below */
    cr_expect(a.cases[0].high < 0.5);
}

Test(claims, a_ratio_of_sums)
{
    struct claim_answer a =
        ask(a_file("ratio", "below: 1", ROWS(30, "i + 1, 2, 4 * i + 4, 1"), ""));

    cr_expect_float_eq(a.cases[0].value, 0.125, 1e-12);
    /* all rows alike: no draw differs, and nothing is said of other rows */
    cr_expect(isnan(a.cases[0].low) && a.verdict == CLAIM_NOT_TESTABLE);
}

Test(claims, relative_accuracy_is_a_mean_over_tasks_and_never_surer_than_tango)
{
    struct claim_answer a =
        ask(a_file("relative-accuracy", "above: 0.5", ROWS(80, "i % 4 <> 1, 1"), ""));
    double bound;

    /* even: 40 of 40; odd: i % 4 = 3, 20 of 40 */
    cr_expect_float_eq(a.cases[0].value, 0.75, 1e-12);
    cr_expect_eq(a.verdict, CLAIM_SUPPORTED);
    a = ask(a_file("relative-accuracy", "above: 0.99", ROWS(80, "i % 2, i % 2"), ""));
    cr_expect(isnan(a.cases[0].value)); /* none of a task right: not defined */
    a = ask(a_file("relative-accuracy", "above: 0.99", ROWS(80, "i % 8 > 1, i % 8 > 1"), ""));
    bound = stats_tango_bound(0, 0, 80, -stats_normal_upper_quantile(0.025));
    cr_expect_eq(a.cases[0].value, 1);
    cr_expect_float_eq(a.cases[0].low, 1 - bound / 0.75, 1e-9);
    cr_expect_eq(a.verdict, CLAIM_NOT_TESTABLE);
}

Test(claims, a_rule_is_broken_by_one_row)
{
    struct claim_answer a = ask(a_file("rate", "exactly: 1", ROWS(50, "10, 10"), ""));

    cr_expect_eq(a.verdict, CLAIM_SUPPORTED);
    cr_expect_float_eq(a.cases[0].resolution, 1 / 500.0, 1e-12);
    a = ask(a_file("rate", "exactly: 1", ROWS(50, "10 - (i = 17), 10"), ""));
    cr_expect_eq(a.verdict, CLAIM_REFUTED);
}

Test(claims, about_takes_an_interval_inside_and_is_refuted_by_one_outside)
{
    static const struct {
        const char *expect;
        enum claim_verdict verdict;
    } rows[] = { { "about: 0.5, within: 0.2", CLAIM_SUPPORTED },
                 { "about: 0.5, within: 0.001", CLAIM_NOT_TESTABLE },
                 { "about: 0.8, within: 0.1", CLAIM_REFUTED },
                 { "about: 0.2, within: 0.1", CLAIM_REFUTED } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(ask(a_file("rate", rows[i].expect, ROWS(100, "i % 4 < 2, 1"), "")).verdict,
                     rows[i].verdict, "%s", rows[i].expect);
}

/* Two subjects, one above and one below one half. */
#define TWO                                                                                        \
    "WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i < 99) "                \
    "SELECT 'low', 't', i, i % 5 = 0, 1 FROM r UNION ALL "                                         \
    "SELECT 'high', 't', i, i % 5 > 0, 1 FROM r"

Test(claims, every_subject_must_hold_or_some)
{
    struct claim_answer a = ask(a_file("rate", "above: 0.5", TWO, ""));

    cr_assert_eq(a.n, 2);
    cr_expect_str_eq(a.cases[0].subject, "low");
    cr_expect_eq(a.verdict, CLAIM_REFUTED);
    cr_expect(strstr(a.why, "1 of 2: low"), "%s", a.why);
    a = ask(a_file("rate", "above: 0.5", TWO, "  holds: some\n"));
    cr_expect_eq(a.verdict, CLAIM_SUPPORTED);
    cr_expect(strstr(a.why, "1 of 2: high"), "%s", a.why);
}

Test(claims, subjects_share_the_error)
{
    struct claim_answer one = ask(a_file("rate", "above: 0.5", ROWS(100, "i % 5 = 0, 1"), ""));
    struct claim_answer two = ask(a_file("rate", "above: 0.5", TWO, ""));

    cr_expect(two.cases[0].high - two.cases[0].low > one.cases[0].high - one.cases[0].low);
}

Test(claims, without_rows_or_with_a_reason_it_says_why)
{
    struct claim_answer a = ask(a_file("rate", "above: 0.5", ROWS(40, "i, 1") " WHERE i < 0", ""));

    cr_expect(a.verdict == CLAIM_NOT_TESTABLE && a.n == 0);
    cr_expect_str_eq(a.why, "these results have no rows");
    a = ask(a_file("rate", "above: 0.5", ROWS(40, "i, 1"), "  ill-posed: because\n"));
    cr_expect(a.verdict == CLAIM_ILL_POSED && a.n == 1);
    cr_expect_str_eq(a.why, "because");
    a = ask(a_file("rate", "above: 0.5", ROWS(40, "i, 1"), "  not-testable: no machine\n"));
    cr_expect(a.verdict == CLAIM_NOT_TESTABLE);
    cr_expect_str_eq(a.why, "no machine");
}

/* Policies with constant unique experts u and so many of 40 right. */
static const char *gap_query(const char *values)
{
    return arena_printf(&arena,
                        "WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE"
                        " i < 39), p(name, role, u, k) AS (VALUES %s) SELECT 'S', 't', i, name,"
                        " role, i < k, u, 1 FROM p, r",
                        values);
}

Test(claims, a_gap_is_measured_at_equal_unique_experts)
{
    static const struct {
        const char *policies;
        double gap;
    } rows[] = {
        /* halfway between rivals of 0.5 and 1: 0.75; claimed 0.9 */
        { "('v','vanilla',40,40),('a','rival',20,20),('c','claimed',30,36)", 0.15 },
        /* a rival that another beats is not on the frontier */
        { "('v','vanilla',40,40),('a','rival',20,20),('b','rival',30,10),('c','claimed',30,36)",
          0.15 },
        /* beyond the rivals: as good as the last */
        { "('v','vanilla',40,40),('c','claimed',50,36)", -0.1 },
        /* fewer than all rivals have: better counts, worse does not */
        { "('v','vanilla',40,40),('a','rival',20,20),('c','claimed',10,30)", 0.25 },
        { "('v','vanilla',40,40),('a','rival',20,20),('c','claimed',10,10)", 0 },
        /* the mean of two */
        { "('v','vanilla',40,40),('a','rival',20,20),('c','claimed',10,10),('d','claimed',30,36)",
          0.075 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct claim_answer a = ask(a_file("gap", "above: 0", gap_query(rows[i].policies), ""));

        cr_expect_float_eq(a.cases[0].value, rows[i].gap, 1e-12, "row %zu: %g", i,
                           a.cases[0].value);
    }
}

Test(claims, a_gap_leaves_out_policies_that_lack_answers)
{
    const char *query =
        arena_printf(&arena, "%s UNION ALL SELECT 'S', 't', 1, 'e', 'claimed', 1, 30, 1",
                     gap_query("('v','vanilla',40,40),('a','rival',20,20),('c','claimed',30,36)"));
    struct claim_answer a = ask(a_file("gap", "above: 0", query, ""));

    cr_expect_float_eq(a.cases[0].value, 0.15, 1e-12);
}

Test(claims, mistakes_of_a_file_are_named)
{
    static const char good[] = "claims:\n- id: 7\n  claim: c\n  metric: m\n  needs: rows\n"
                               "  statistic: rate\n  expect: {above: 1}\n  query: q\n";
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "claims: 3\n", "claims" },
        { "claim: []\n", "claims" },
        { "claims: [3]\n", "claim number 1 is no mapping" },
        { "claims:\n- claim: c\n", "id" },
        { "claims:\n- id: 0\n", "id" },
        { "claims:\n- {id: 1, cliam: c}\n", "unknown key 'cliam'" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: mean,"
          " expect: {above: 1}}\n",
          "'statistic' is 'mean'" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: rate,"
          " expect: {over: 1}}\n",
          "'expect' takes one of" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: rate,"
          " expect: {about: 1, within: 0}}\n",
          "'within' is 0" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: rate,"
          " expect: {above: 1, below: 2}}\n",
          "a key too many" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: ratio,"
          " expect: {exactly: 1}}\n",
          "'exactly' is of a rate" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: rate,"
          " expect: {above: 1}, holds: most}\n",
          "'holds' is 'most'" },
        { "claims:\n- {id: 1, claim: c, metric: m, query: q, needs: n, statistic: rate,"
          " expect: {above: 1}, ill-posed: a, not-testable: b}\n",
          "both 'ill-posed' and" },
        { "claims:\n- {id: 1, claim: '', metric: m, query: q, needs: n, statistic: rate,"
          " expect: {above: 1}}\n",
          "'claim' is empty" },
    };
    struct claims c;
    struct error err = { 0 };
    const char *twice = arena_printf(&arena, "%s%s", good, good + strlen("claims:\n"));

    cr_assert_eq(claims_read(good, strlen(good), "f", &arena, &c, &err), ST_OK, "%s", err.text);
    cr_assert_eq(c.n, 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect_eq(claims_read(rows[i].text, strlen(rows[i].text), "f", &arena, &c, &err),
                     ST_INVALID, "row %zu", i);
        cr_expect(strstr(err.text, rows[i].message), "row %zu: %s", i, err.text);
    }
    cr_expect_eq(claims_read(twice, strlen(twice), "f", &arena, &c, &err), ST_INVALID);
    cr_expect(strstr(err.text, "claim 7 is there twice"), "%s", err.text);
}

Test(claims, a_query_that_cannot_be_used_is_told_with_its_claim)
{
    static const struct {
        const char *query, *message;
    } rows[] = { { "SELECT 1", "claim 7: the query has 1 columns, its statistic takes 5" },
                 { "SELEKT 1", "syntax error" },
                 { "SELECT 'a', 'b', 'c', NULL, 1", "row 1 of the query has a field that is NULL" },
                 { "SELECT NULL, 'b', 'c', 1, 1", "NULL" },
                 { "-- nothing", "the query is empty" },
                 { "DELETE FROM sample RETURNING 'a', 'b', 'c', 1, 1", "would write" },
                 { "SELECT 'a', 'b', 'c', 1, 1 FROM nowhere", "nowhere" } };
    struct error err = { 0 };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *file = a_file("rate", "above: 1", rows[i].query, "");
        struct claim_answer *a;
        struct claims c;

        cr_assert_eq(claims_read(file, strlen(file), "f", &arena, &c, &err), ST_OK, "%s", err.text);
        cr_expect_neq(claims_answer(&c, s, 10000, 0, &arena, &a, &err), ST_OK, "row %zu", i);
        cr_expect(strstr(err.text, rows[i].message), "row %zu: %s", i, err.text);
    }
}

static enum status cover(struct store *t, struct arena *a, struct error *err)
{
    struct answer_set *sets = NULL;
    size_t n;
    enum status st = store_answer_sets(t, "r", "run-1", a, &sets, &n, err);

    return st ? st : store_cover(t, sets, n, err);
}

Test(claims, what_is_covered_can_be_asked)
{
    struct error err = { 0 };
    struct claim_answer a;

    cr_assert_eq(cover(s, &arena, &err), ST_OK, "%s", err.text);
    a = ask(a_file("rate", "exactly: 10",
                   "SELECT model, task, task_id, sum_unique, 1 FROM temp.answer", ""));
    cr_assert_eq(a.n, 1);
    cr_expect_str_eq(a.cases[0].subject, "mini");
    cr_expect_eq(a.cases[0].value, 4 + 3 + 2 + 1);
    cr_expect_eq(ask(a_file("rate", "above: 0",
                            "SELECT model, task, task_id, passed, 1 FROM temp.paired", ""))
                     .n,
                 0);
}

static enum status try_claims(void *arg, struct error *err)
{
    struct arena a = { 0 };
    struct claims c;
    struct claim_answer *answers;
    struct buf text = { 0 };
    const char *file = arg;
    struct store *t = NULL;
    enum status st = store_open(x.path, STORE_READ, &t, err);

    if (!st)
        st = cover(t, &a, err);
    if (!st)
        st = claims_read(file, strlen(file), "f", &a, &c, err);
    if (!st)
        st = claims_answer(&c, t, 10000, 0, &a, &answers, err);
    if (!st) {
        claims_put_text(answers, c.n, &text);
        claims_put_csv(answers, c.n, &text);
        claims_put_html(answers, c.n, &text);
        st = buf_ok(&text) ? ST_OK : error_set(err, ST_NOMEM, "out of memory");
    }
    buf_release(&text);
    arena_release(&a);
    store_close(t);
    return st;
}

Test(claims, memory_that_runs_out)
{
    const char *gap =
        a_file("gap", "above: 0",
               gap_query("('v','vanilla',40,40),('a','rival',20,20),('c','claimed',30,36)"), "");
    struct fail_sweep sweep = {
        .what = "claims", .f = try_claims, .arg = (void *)gap, .n_dense = 60
    };
    struct error err = { 0 };

    cr_expect(fail_malloc_sweep(&sweep) > 0 || !fail_malloc_is_total());
    cr_expect_eq(try_claims((void *)gap, &err), ST_OK, "%s", err.text);
}
