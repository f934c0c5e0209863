/* A report's numbers of forwards, its drawing of names, bench records, and memory that runs out. */
#include "results/report_draw.h"
#include "tests/base/fail_malloc.h"
#include "tests/results/fixture.h"

static struct scratch x;
static struct store *s;
static struct arena arena;

static enum status put(const char *key, const char *task_id, const uint16_t *loads)
{
    struct error err = { 0 };
    struct sample_row row = a_sample("run-1", key, task_id, 0);
    enum status st;

    row.telemetry.tokens_per_expert = loads;
    st = store_put_sample(s, &row, &err);
    cr_assert_eq(st, ST_OK, "%s", err.text);
    return st;
}

/* Vanilla and a policy, three items each; the second forward is the only one of a block. */
static void set_up(void)
{
    static const uint16_t loads[3][32] = {
        { 3, 0, 0, 4, 0, 2, 0, 1, 0, 5, 0, 0, 4, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 4 },
        { 3, 0, 0, 4, 0, 2, 0, 1, 0, 5, 0, 0, 4, 0, 0, 1, 2, 2, 0, 0, 0, 0, 0, 0, 4 },
        { 3, 0, 0, 4, 0, 2, 0, 1, 0, 5, 0, 0, 4, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 4 },
    };
    static const char *const items[] = { "first", "second", "third" };
    struct error err = { 0 };
    struct cell_row other = a_cell("topk:k=1");
    char key[65], other_key[65];

    scratch_open(&x);
    s = store_with_run(x.path, "run-1", key);
    cr_assert_eq(store_put_cell(s, &other, other_key, &err), ST_OK, "%s", err.text);
    for (size_t i = 0; i < 3; i++)
        put(key, items[i], loads[i]);
    for (size_t i = 0; i < 3; i++)
        put(other_key, items[i], loads[0]);
    cr_assert_eq(store_finish_run(s, "run-1", "done", "VALID", &err), ST_OK, "%s", err.text);
}

static void tear_down(void)
{
    arena_release(&arena);
    store_close(s);
    scratch_close(&x);
}

TestSuite(report, .init = set_up, .fini = tear_down);

static const char *no_level(const char *task)
{
    return strcmp(task, "humaneval") == 0 ? "level" : NULL;
}

static const struct report_options options = { .version = "0",
                                               .level_name = no_level,
                                               .n_draws = 10000 };

static const char bench[] =
    "{\"backend\": \"cpu\", \"backend_details\": \"avx2, 2 threads\", \"model\": \"m\","
    " \"read_bytes_per_s\": [1e10, 2e10], \"flops_per_s\": {\"generic\": 5e10, \"avx2\": 2e11},"
    " \"results\": [{\"name\": \"moe\", \"shape\": \"32 tokens\", \"bytes\": 1000,"
    " \"flops\": 4000, \"median_ns\": 50, \"min_ns\": 40, \"max_ns\": 90},"
    " {\"name\": \"add\", \"shape\": \"none\", \"bytes\": 0, \"flops\": 0, \"median_ns\": 50,"
    " \"min_ns\": 40, \"max_ns\": 90}]}";

Test(report, a_batch_reads_the_union_of_its_answers_experts)
{
    struct answer_set *sets;
    struct forward_facts facts;
    struct error err = { 0 };
    size_t n, n_found = 0;

    cr_assert_eq(store_newest_sets(s, "r", &arena, &sets, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 2);
    cr_assert_eq(store_cover(s, sets, n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_forward_facts(s, &arena, &facts, &err), ST_OK, "%s", err.text);
    /* layers: of 3 answers with 2 forwards; 4 and 3 experts, then 2 and 1, as the rows say */
    cr_assert_eq(facts.n_layers, 4);
    cr_expect_eq(facts.layers[0].n_forwards, 6);
    cr_expect_eq(facts.layers[0].n_unique, 3 * (4 + 2));
    cr_expect_eq(facts.layers[1].n_unique, 3 * (3 + 1));
    cr_expect_float_eq(facts.layers[0].kept_mass, (0.75 + 1) / 2, 1e-6);
    /* commits: 3 in the first forward, 1 in the second */
    cr_assert_eq(facts.n_commits, 4);
    cr_expect(facts.commits[0].n_committed == 1 && facts.commits[0].n_forwards == 3);
    cr_expect(facts.commits[1].n_committed == 3 && facts.commits[1].n_forwards == 3);
    for (size_t i = 0; i < facts.n_unions; i++) {
        const struct batch_union *u = &facts.unions[i];

        if (strcmp(u->cell_key, sets[0].cell_keys[0]) != 0) { /* alike: no union grows */
            cr_expect_eq(u->sum * 2, u->n_layers * 3);
            continue;
        }
        n_found++;
        /* alone: {0 7} {4}, {0 1} {0}, {2 7} {4}; two at once: the first with the second */
        cr_expect_eq(u->sum, u->batch == 1 ? 9 : 5, "batch %d: %d", u->batch, (int)u->sum);
        cr_expect_eq(u->n_layers, u->batch == 1 ? 6 : 2);
    }
    cr_expect_eq(n_found, 2); /* batches of 1 and 2: three answers do not fill one of 4 */
}

Test(report, a_name_is_broken_into_lines_and_never_cut)
{
    static const char *const names[] = {
        "vanilla",
        "des-vote:beta=0.375,vote=count,vote_norm=topk, cache dual, block 32",
        "a-name-without-any-place-to-break-it-that-is-longer-than-a-line-of-the-figure",
        "caf\xc3\xa9-caf\xc3\xa9-caf\xc3\xa9-caf\xc3\xa9-caf\xc3\xa9-caf\xc3\xa9-caf\xc3\xa9",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct figure f = { 0 };
        char joined[200] = "";
        int n = put_name(&f, 0, 0, NAME_WIDTH, names[i]), n_texts = 0;

        for (const char *p = buf_str(&f.body); (p = strstr(p, "<text")) != NULL; n_texts++) {
            const char *from = strchr(p, '>') + 1, *to = strchr(from, '<');

            strncat(joined, from, (size_t)(to - from));
            cr_expect(to - from <= 40, "a line of %d bytes", (int)(to - from));
            p = to;
        }
        cr_expect_str_eq(joined, names[i]);
        cr_expect(n == n_texts && (n > 1) == (i > 0), "%s: %d lines", names[i], n);
        buf_release(&f.body);
    }
}

Test(report, labels_beside_a_plot_keep_apart_and_inside)
{
    struct side_label labels[] = {
        { "a", 50, 0 }, { "b", 51, 1 }, { "c", 198, 2 }, { "d", 199, 3 }
    };
    struct figure f = { 0 };
    double last = 0;

    put_side_labels(&f, labels, 4, 100, 20, 200);
    for (const char *p = buf_str(&f.body); (p = strstr(p, "<circle cx=\"114.0\" cy=\"")) != NULL;
         p++) {
        double y = strtod(strstr(p, "cy=\"") + 4, NULL);

        cr_expect(y >= 20 && y <= 200.1 && (last == 0 || y - last > 9), "%g after %g", y, last);
        last = y;
    }
    cr_expect_gt(last, 190);
    buf_release(&f.body);
}

Test(report, bench_records_that_cannot_be_used_are_named)
{
    static const struct {
        const char *from, *to, *message;
    } rows[] = { { "\"model\"", "\"modell\"", "model" },
                 { "[1e10, 2e10]", "3", "read_bytes_per_s" },
                 { "[1e10, 2e10]", "[-1]", "holds no rate" },
                 { "5e10", "\"fast\"", "'generic' is no rate" },
                 { "\"flops\": 4000", "\"flops\": null", "flops" },
                 { "{\"backend\"", "[\"backend\"", "x.json" } };
    struct report *r;
    struct error err = { 0 };

    cr_assert_eq(report_new(&options, &r, &err), ST_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *at = strstr(bench, rows[i].from);
        const char *text = arena_printf(&arena, "%.*s%s%s", (int)(at - bench), bench, rows[i].to,
                                        at + strlen(rows[i].from));

        cr_expect_eq(report_add_bench(r, text, strlen(text), "x.json", &err), ST_INVALID, "row %zu",
                     i);
        cr_expect(strstr(err.text, rows[i].message), "row %zu: %s", i, err.text);
    }
    report_free(r);
}

/* All of it, into memory. */
static enum status try_report(void *arg, struct error *err)
{
    static const char claims[] =
        "claims:\n- id: 1\n  claim: c\n  metric: m\n  needs: n\n  statistic: rate\n"
        "  expect: {above: 0}\n  query: SELECT model, task, task_id, sum_unique, 1 FROM "
        "temp.answer\n";
    const struct report_file *files = NULL;
    struct answer_set *sets = NULL;
    struct report *r = NULL;
    struct store *t = NULL;
    struct arena a = { 0 };
    struct buf text = { 0 };
    size_t n = 0, n_files = 0;
    enum status st = store_open(x.path, STORE_READ, &t, err);

    (void)arg;
    if (!st)
        st = report_new(&options, &r, err);
    if (!st)
        st = report_add_bench(r, bench, sizeof(bench) - 1, "b", err);
    if (!st)
        st = store_newest_sets(t, "r", &a, &sets, &n, err);
    if (!st)
        st = report_add(r, t, sets, n, err);
    if (!st)
        st = report_answer_claims(r, t, claims, sizeof(claims) - 1, "c", &text, err);
    if (!st)
        st = report_make(r, &files, &n_files, err);
    if (!st) {
        cr_expect_eq(n_files, 2 * 12 + 4); /* figures, cells, runs, claims, page */
        cr_expect_str_eq(files[n_files - 1].name, "report.html");
    }
    buf_release(&text);
    report_free(r);
    arena_release(&a);
    store_close(t);
    return st;
}

Test(report, memory_that_runs_out)
{
    struct fail_sweep sweep = { .what = "report", .f = try_report, .n_dense = 40 };
    struct error err = { 0 };

    cr_assert_eq(try_report(NULL, &err), ST_OK, "%s", err.text);
    cr_expect(fail_malloc_sweep(&sweep) > 0 || !fail_malloc_is_total());
}
