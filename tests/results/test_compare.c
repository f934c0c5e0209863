/* Pairs of answers: what may be compared, clusters, where answers part, what is kept. */
#include "results/compare.h"
#include "tests/base/fail_malloc.h"
#include "tests/results/fixture.h"

/* A set of n answers a task to n_tasks tasks named by names, in an arena, all right. */
static struct answer_set a_set(struct arena *a, const char *run, const char *const *names,
                               size_t n_tasks, int n)
{
    struct answer_set s = { .run_id = run, .label = "vanilla", .source = "r", .n_cells = n_tasks };

    s.cells = arena_array(a, n_tasks, sizeof(*s.cells));
    s.cell_keys = arena_array(a, n_tasks, sizeof(*s.cell_keys));
    s.seconds = arena_array(a, n_tasks, sizeof(*s.seconds));
    s.rows = arena_array(a, n_tasks * (size_t)n, sizeof(*s.rows));
    for (size_t t = 0; t < n_tasks; t++) {
        s.cells[t] = a_cell("vanilla");
        s.cells[t].task = names[t];
        s.cell_keys[t] = HEX64("c");
        for (int i = 0; i < n; i++)
            s.rows[s.n_rows++] = (struct answer_row){
                .cell = t,
                .task = names[t],
                .task_id =
                    arena_printf(a, strcmp(names[t], "humaneval") ? "%03d" : "HumanEval/%03d", i),
                .item_sha256 = "i",
                .reference_sha256 = "r",
                .prompt_sha256 = "p",
                .tokens_sha256 = run,
                .verdict = "pass",
                .checker_version = "code-1",
                .judge_mode = "m",
                .is_passed = true,
            };
    }
    return s;
}

static const char *const one[] = { "gsm8k" };
static const char *const both[] = { "humaneval", "humaneval_pro" };
static const struct compare_options plain = { .margin = 0.02 };

static void lose(struct answer_row *r)
{
    r->is_passed = false;
    r->verdict = "fail";
}

Test(compare, counts_what_was_lost_and_gained)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "base", one, 1, 40), y = a_set(&a, "cand", one, 1, 40);
    struct comparison c;
    struct error err = { 0 };

    lose(&x.rows[0]);
    lose(&y.rows[0]);
    lose(&x.rows[1]);
    for (int i = 2; i < 5; i++)
        lose(&y.rows[i]);
    y.rows[7].tokens_sha256 = "base";
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK, "%s", err.text);
    cr_expect(c.all.a == 35 && c.all.b == 3 && c.all.c == 1 && c.all.d == 1 && c.all.n == 40);
    cr_expect(c.all.n_same == 1 && !c.is_identical && c.is_too_few && c.all.deff == 1);
    cr_expect_float_eq(c.all.gate.loss, 0.05, 1e-15);
    cr_expect_eq(c.outcome, STATS_UNDECIDED);
    cr_expect_float_eq(c.rel, 36.0 / 38, 1e-15);
    compare_release(&c);
    arena_release(&a);
}

Test(compare, equal_tokens_are_identical_whatever_the_judge_says)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "same", one, 1, 40), y = a_set(&a, "same", one, 1, 40);
    struct comparison c;
    struct error err = { 0 };

    for (int i = 0; i < 30; i++)
        lose(&y.rows[i]);
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_expect(c.outcome == STATS_IDENTICAL && c.all.n_noise == 30);
    compare_release(&c);
    arena_release(&a);
}

Test(compare, a_pro_item_and_its_parent_count_as_one_while_little_changed)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "base", both, 2, 164), y = a_set(&a, "cand", both, 2, 164);
    struct comparison c;
    struct error err = { 0 };
    double z = stats_normal_upper_quantile(0.05);

    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_expect_float_eq(c.all.deff, 2, 1e-12);
    cr_expect_float_eq(c.all.gate.high, z * z / (164 + z * z), 1e-12); /* of 164 items, not 328 */
    cr_expect(c.tasks[0].deff == 1 && c.tasks[1].deff == 1);
    compare_release(&c);
    /* the same 8 parents lost in both: the effect is estimated, and it is 2 */
    for (int i = 0; i < 8; i++) {
        lose(&y.rows[3 * i]);
        lose(&y.rows[164 + 3 * i]);
    }
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_expect_float_eq(c.all.deff, 2, 0.02, "%g", c.all.deff);
    compare_release(&c);
    /* different ones: no more than independent */
    y = a_set(&a, "cand", both, 2, 164);
    for (int i = 0; i < 8; i++) {
        lose(&y.rows[3 * i]);
        lose(&y.rows[164 + 3 * i + 1]);
    }
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_expect(c.all.deff == 1, "%g", c.all.deff);
    compare_release(&c);
    arena_release(&a);
}

Test(compare, several_answers_to_an_item_are_a_cluster)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "base", one, 1, 40), y = a_set(&a, "cand", one, 1, 40);
    struct comparison c;
    struct error err = { 0 };

    for (int i = 0; i < 40; i++) {
        x.rows[i].task_id = y.rows[i].task_id = y.rows[i - i % 4].task_id;
        x.rows[i].sample_idx = y.rows[i].sample_idx = i % 4;
    }
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_expect_float_eq(c.all.deff, 4, 1e-12);
    compare_release(&c);
    arena_release(&a);
}

Test(compare, what_may_not_differ_is_refused_and_named)
{
    static const struct {
        size_t offset;
        const char *words;
    } cases[] = {
        { offsetof(struct answer_row, item_sha256), "1 other item " },
        { offsetof(struct answer_row, reference_sha256), "1 other reference " },
        { offsetof(struct answer_row, prompt_sha256), "1 other prompt " },
        { offsetof(struct answer_row, checker_version), "1 answer graded by 'code-1' and 'other'" },
        { offsetof(struct answer_row, judge_mode), "1 answer judged in mode 'm' and 'other'" },
        { offsetof(struct answer_row, task_id),
          "1 answer of the baseline without a counterpart" }
    };
    struct compare_options lax = plain;

    lax.allow_mismatch = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena a = { 0 };
        struct answer_set x = a_set(&a, "base", one, 1, 9), y = a_set(&a, "cand", one, 1, 9);
        struct comparison c;
        struct error err = { 0 };

        *(const char **)((char *)&y.rows[8] + cases[i].offset) = "other";
        cr_expect_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_MISMATCH);
        cr_expect(strstr(err.text, cases[i].words) && strstr(err.text, "gsm8k"), "%s", err.text);
        cr_assert_eq(compare_sets(&x, &y, &lax, &a, &c, &err), ST_OK, "%s", err.text);
        cr_expect_not_null(strstr(buf_str(&c.mismatches), cases[i].words));
        cr_expect_eq(c.all.n, i == 5 ? 8 : 9);
        compare_release(&c);
        lose(&y.rows[2]);
        y.rows[8] = x.rows[8];
        y.rows[2].verdict = "internal";
        cr_expect_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_INTERNAL);
        cr_assert_eq(compare_sets(&x, &y, &lax, &a, &c, &err), ST_OK);
        cr_expect_eq(c.all.n, 8);
        compare_release(&c);
        arena_release(&a);
    }
}

Test(compare, candidates_of_one_gate_share_its_error)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "base", one, 1, 200), y = a_set(&a, "cand", one, 1, 200);
    struct comparison c, d, same, *list[] = { &c, &d, &same };
    struct error err = { 0 };

    for (int i = 0; i < 7; i++) /* T(0) = sqrt 7: p = 0.0041 */
        lose(&y.rows[i]);
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &d, &err), ST_OK);
    cr_assert_eq(compare_sets(&x, &x, &plain, &a, &same, &err), ST_OK);
    cr_expect_eq(c.outcome, STATS_FAIL);
    cr_assert_eq(compare_correct(list, 3, &err), ST_OK);
    cr_expect_eq(c.outcome, STATS_FAIL); /* 0.0082: an identical run is no third test */
    cr_expect_float_eq(c.p_worse_holm, 2 * c.all.gate.p_worse, 1e-15);
    cr_expect_eq(same.outcome, STATS_IDENTICAL);
    list[2] = &d;
    cr_assert_eq(compare_correct((struct comparison *[]){ &c, &d, &c }, 3, &err), ST_OK);
    cr_expect_eq(d.outcome, STATS_UNDECIDED);
    compare_release(&c);
    compare_release(&d);
    compare_release(&same);
    arena_release(&a);
}

Test(compare, junit_holds_any_text)
{
    struct arena a = { 0 };
    struct answer_set x = a_set(&a, "base", one, 1, 3), y = a_set(&a, "cand", one, 1, 3);
    struct comparison c;
    const struct comparison *list[] = { &c };
    struct error err = { 0 };
    struct buf b = { 0 };

    x.rows[1].task_id = y.rows[1].task_id = "<&\"'\x01\xff\xc3\xa9>";
    lose(&y.rows[1]);
    cr_assert_eq(compare_sets(&x, &y, &plain, &a, &c, &err), ST_OK);
    compare_put_junit(list, 1, (const bool[]){ true }, &b);
    cr_expect_not_null(strstr(buf_str(&b), "name=\"&#60;&#38;&#34;&#39;??\xc3\xa9&#62;\"><failure "
                                           "message=\"lost: was pass, is fail\"/>"));
    compare_release(&c);
    buf_release(&b);
    arena_release(&a);
}

/* ---- with a store ----------------------------------------------------------------------- */

static const char *row_id(int r)
{
    return r ? "20261122-000001-b" : "20261122-000000-a";
}

/* Two runs of two items each in one file; the second's answers part from the first's as told. */
static void two_runs(const char *path)
{
    static const int32_t other_tokens[] = { 1, 70000, 9, 156892, 156892 };
    struct error err = { 0 };
    struct store *s = NULL;
    char key[65];

    for (int r = 0; r < 2; r++) {
        s = store_with_run(path, row_id(r), key);
        for (int i = 0; i < 2; i++) {
            struct sample_row row = a_sample(row_id(r), key, i ? "i1" : "i0", 0);

            if (r && i) {
                row.tokens = other_tokens; /* position 2, of forward 0 */
                row.tokens_sha256 = HEX64("e");
                row.verdict.is_passed = false;
                row.verdict.verdict = "fail";
            }
            cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
        }
        cr_assert_eq(store_finish_run(s, row_id(r), "done", "VALID", &err), ST_OK);
        store_close(s);
    }
}

Test(compare, answers_part_at_a_step_and_a_token)
{
    struct scratch x;
    struct arena a = { 0 };
    struct store *s = NULL;
    struct answer_set *base, *cand;
    struct comparison c;
    struct compare_parting p;
    struct error err = { 0 };
    size_t n;

    scratch_open(&x);
    two_runs(x.path);
    cr_assert_eq(store_open(x.path, STORE_READ, &s, &err), ST_OK);
    cr_assert_eq(store_answer_sets(s, x.path, row_id(0), &a, &base, &n, &err), ST_OK);
    cr_assert(n == 1 && base->n_rows == 2 && strcmp(base->label, "vanilla") == 0);
    cr_assert_eq(store_answer_sets(s, x.path, row_id(1), &a, &cand, &n, &err), ST_OK);
    cr_assert_eq(compare_sets(base, cand, &plain, &a, &c, &err), ST_OK, "%s", err.text);
    cr_expect(c.all.b == 1 && c.all.n_same == 1);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(compare_part(s, s, &c.pairs[i], &a, &p, &err), ST_OK);
        if (c.pairs[i].cand->is_passed)
            cr_expect(!p.is_known); /* equal: they never part */
        else
            cr_expect(p.is_known && p.forward == 0 && p.block == 0 && p.step == 0 &&
                      p.position == 2 && p.base_token == 0 && p.cand_token == 9);
    }
    cr_assert_eq(compare_part(NULL, s, &c.pairs[0], &a, &p, &err), ST_OK);
    cr_expect(!p.is_known);
    compare_release(&c);
    store_close(s);
    arena_release(&a);
    scratch_close(&x);
}

static struct scratch place;
static struct store *place_store;

/* Read two runs, compare them, write one as a baseline file and read that. */
static enum status try_all(void *arg, struct error *err)
{
    struct compare_options o = { .margin = 0.02, .has_intervals = true, .n_draws = 10000 };
    struct answer_set *base = NULL, *cand = NULL, read;
    struct comparison c = { 0 };
    struct arena a = { 0 };
    struct buf b = { 0 };
    char path[400];
    size_t n;
    enum status st;

    (void)arg;
    snprintf(path, sizeof(path), "%s/b.json", place.dir);
    st = store_answer_sets(place_store, "r", row_id(0), &a, &base, &n, err);
    if (!st)
        st = store_answer_sets(place_store, "r", row_id(1), &a, &cand, &n, err);
    if (!st)
        st = compare_sets(base, cand, &o, &a, &c, err);
    if (!st && c.all.b != 1)
        st = error_set(err, ST_INTERNAL, "lost %lld", (long long)c.all.b);
    if (!st)
        st = baseline_write(place_store, base, &b, err);
    if (!st)
        st = file_write_atomic(path, buf_str(&b), b.len, err);
    if (!st)
        st = baseline_read(path, &a, &read, err);
    if (!st && read.n_rows != 2)
        st = error_set(err, ST_INTERNAL, "read %zu", read.n_rows);
    compare_release(&c);
    buf_release(&b);
    arena_release(&a);
    return st;
}

Test(compare, failing_allocations_are_reported)
{
    struct fail_sweep sweep = { .what = "comparing", .f = try_all, .n_dense = 64 };
    struct error err = { 0 };

    scratch_open(&place);
    two_runs(place.path);
    cr_assert_eq(store_open(place.path, STORE_READ, &place_store, &err), ST_OK);
    cr_expect(fail_malloc_sweep(&sweep) > 0);
    store_close(place_store);
    scratch_close(&place);
}
