/* `desbench compare` and `desbench gate`: two runs on the same items. */
#include "harness/gate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "harness/listing.h"

struct comparing {
    const struct options *c;
    struct arena arena;
    struct side base, cand;
    struct matchup *matchups;
    size_t n;
    struct telling telling;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory comparing runs");
}

enum status gate_margin(const struct options *c, double *ret, struct error *err)
{
    const char *text = options_text(c, OPT_MARGIN);
    char *end;
    double v = strtod(text, &end);

    if (end == text || text[strspn(text, "0123456789.pt")] || (*end && strcmp(end, "pt") != 0))
        return error_set(err, ST_INVALID,
                         "option '--margin' needs points ('2pt') or a fraction ('0.02'), found "
                         "'%s'",
                         text);
    if (*end)
        v /= 100;
    if (!(v > 0 && v < 1))
        return error_set(
            err, ST_INVALID,
            "option '--margin' must be above 0 and below 100 points, found '%s'; write "
            "points as '2pt'",
            text);
    *ret = v;
    return ST_OK;
}

/* ---- comparing -------------------------------------------------------------------------- */

static int losses_first(const void *a, const void *b)
{
    const struct compare_pair *x = ((const struct flip *)a)->pair,
                              *y = ((const struct flip *)b)->pair;
    int r = (int)y->base->is_passed - (int)x->base->is_passed;

    if (!r)
        r = strcmp(x->base->task, y->base->task);
    return r ? r : (x > y) - (x < y);
}

static enum status find_flips(struct comparing *x, struct told *t, struct error *err)
{
    struct arena scratch = { 0 };
    enum status st = ST_OK;

    t->flips = arena_array(&x->arena, (size_t)(t->c.all.b + t->c.all.c), sizeof(*t->flips));
    if (!t->flips)
        return no_memory(err);
    for (size_t i = 0; i < t->c.n_pairs && !st; i++) {
        const struct compare_pair *p = &t->c.pairs[i];

        if (p->base->is_passed == p->cand->is_passed)
            continue;
        arena_clear(&scratch);
        t->flips[t->n_flips].pair = p;
        st = compare_part(x->base.store, x->cand.store, p, &scratch,
                          &t->flips[t->n_flips++].parting, err);
    }
    arena_release(&scratch);
    if (t->n_flips)
        qsort(t->flips, t->n_flips, sizeof(*t->flips), losses_first);
    return st;
}

/* All comparisons. *ret_exit is not EXIT_DONE when a run is not complete, and nothing was done. */
static enum status compare(struct comparing *x, const char *base, const char *cand,
                           enum exit_code *ret_exit, struct error *err)
{
    struct compare_options o = { .margin = 0.02,
                                 .allow_mismatch = options_flag(x->c, OPT_ALLOW_MISMATCH),
                                 .has_intervals = true,
                                 .is_fixed_suite = x->telling.is_fixed_suite,
                                 .seed = (uint64_t)options_int(x->c, OPT_DRAWS_SEED),
                                 .n_draws = options_int(x->c, OPT_DRAWS) };
    enum status st = side_open(x->c, base, &x->arena, &x->base, err);

    if (!st && x->telling.is_gate)
        st = gate_margin(x->c, &o.margin, err);
    if (!st)
        st = side_open(x->c, cand, &x->arena, &x->cand, err);
    if (!st)
        st = sides_match(&x->base, &x->cand, &x->arena, &x->matchups, &x->n, err);
    for (size_t i = 0; i < x->n && !st && !o.allow_mismatch && !*ret_exit; i++) {
        st = side_check(x->matchups[i].base, ret_exit, err);
        if (!st && !*ret_exit)
            st = side_check(x->matchups[i].cand, ret_exit, err);
    }
    if (st || *ret_exit)
        return st;
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->matchups[i].base->run_id, x->matchups[i].cand->run_id) == 0 &&
            strcmp(x->matchups[i].base->label, x->matchups[i].cand->label) == 0)
            log_warn("candidate and baseline are the same run '%s'", x->matchups[i].base->run_id);
    x->telling.told = arena_array(&x->arena, x->n, sizeof(*x->telling.told));
    if (!x->telling.told)
        return no_memory(err);
    for (size_t i = 0; i < x->n && !st; i++) {
        struct told *t = &x->telling.told[i];

        st = compare_sets(x->matchups[i].base, x->matchups[i].cand, &o, &x->arena, &t->c, err);
        if (st)
            break;
        x->telling.n_told++;
        st = find_flips(x, t, err);
    }
    return st;
}

static enum status store_all(const struct comparing *x, struct error *err)
{
    struct store *s = NULL;
    char made[32];
    enum status st;

    if (!x->cand.store)
        return error_set(err, ST_INVALID,
                         "a comparison is stored in the candidate's results, and '%s' is a "
                         "baseline file",
                         x->cand.path);
    clock_utc(made, sizeof(made));
    st = store_open(x->cand.path, STORE_WRITE, &s, err);
    for (size_t i = 0; i < x->telling.n_told && !st; i++)
        st = store_put_comparison(s, &x->telling.told[i].c, made, err);
    store_close(s);
    return st;
}

static void comparing_release(struct comparing *x)
{
    for (size_t i = 0; i < x->telling.n_told; i++)
        compare_release(&x->telling.told[i].c);
    side_close(&x->base);
    side_close(&x->cand);
    arena_release(&x->arena);
}

static enum status run_compare(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct comparing x = { .c = c, .telling = { .options = c } };
    enum status st = compare(&x, c->args[0], c->args[1], ret_exit, err);

    if (!st && !*ret_exit && options_flag(c, OPT_STORE))
        st = store_all(&x, err);
    if (!st && !*ret_exit)
        st = compare_print(&x.telling, err);
    comparing_release(&x);
    return st;
}

/* ---- the gate --------------------------------------------------------------------------- */

enum status gate_noise(const struct options *c, const struct side *base, struct arena *arena,
                       struct noise *ret, struct error *err)
{
    const struct option_value *runs = &c->values[OPT_NOISE];
    /* a neutral change may be one of the prompt's white space */
    const struct compare_options o = { .margin = 0.02, .allow_mismatch = true };
    enum status st = ST_OK;

    *ret = (struct noise){ 0 };
    for (size_t i = 0; i < runs->n && !st; i++) {
        struct side side;
        struct matchup *m = NULL;
        size_t n = 0;

        st = side_open(c, runs->texts[i], arena, &side, err);
        if (!st)
            st = sides_match(base, &side, arena, &m, &n, err);
        for (size_t k = 0; k < n && !st; k++) {
            struct comparison x;

            st = compare_sets(m[k].base, m[k].cand, &o, arena, &x, err);
            if (st)
                break;
            ret->n += x.all.n;
            ret->n_changed += x.all.b + x.all.c;
            ret->n_other_tokens += x.all.n - x.all.n_same;
            compare_release(&x);
        }
        ret->n_runs++;
        side_close(&side);
    }
    if (!st && ret->n_runs)
        stats_wilson(ret->n_changed, ret->n, 0.05, &ret->low, &ret->high);
    return st;
}

/* What --undecided says; where it says nothing, an undecided gate stops a CI job, and a person is
 * told. */
static const char *undecided_rule(const struct options *c)
{
    const char *ci = getenv("CI");

    if (options_has(c, OPT_UNDECIDED))
        return options_text(c, OPT_UNDECIDED);
    return ci && *ci && strcmp(ci, "0") != 0 && strcmp(ci, "false") != 0 ? "fail" : "report";
}

static enum exit_code exit_of(enum stats_outcome o, const char *undecided)
{
    if (o == STATS_FAIL)
        return EXIT_CHECK_FAILED;
    if (o != STATS_UNDECIDED)
        return EXIT_DONE;
    return strcmp(undecided, "fail") == 0     ? EXIT_CHECK_FAILED
           : strcmp(undecided, "report") == 0 ? EXIT_UNDECIDED
                                              : EXIT_DONE;
}

/* The worst of all candidates: fail, then undecided. */
static enum exit_code exit_of_all(const struct telling *t)
{
    enum exit_code worst = EXIT_DONE;

    for (size_t i = 0; i < t->n_told; i++) {
        enum exit_code e = exit_of(t->told[i].c.outcome, t->undecided);

        if (t->told[i].c.outcome == STATS_UNDECIDED && strcmp(t->undecided, "warn") == 0)
            log_warn("undecided: the gate lets '%s' through without evidence",
                     t->told[i].c.cand->label);
        if (e == EXIT_CHECK_FAILED || worst == EXIT_DONE)
            worst = e;
    }
    return worst;
}

static enum status write_junit(const struct comparing *x, struct error *err)
{
    const struct telling *t = &x->telling;
    const struct comparison **list = calloc(t->n_told, sizeof(*list));
    bool *is_failed = calloc(t->n_told, sizeof(*is_failed));
    struct buf b = { 0 };
    enum status st = list && is_failed ? ST_OK : no_memory(err);

    for (size_t i = 0; i < t->n_told && !st; i++) {
        list[i] = &t->told[i].c;
        is_failed[i] = exit_of(list[i]->outcome, t->undecided) == EXIT_CHECK_FAILED;
    }
    if (!st) {
        compare_put_junit(list, t->n_told, is_failed, &b);
        st = buf_ok(&b) ? file_write_atomic(options_text(x->c, OPT_JUNIT), buf_str(&b), b.len, err)
                        : no_memory(err);
    }
    buf_release(&b);
    free(is_failed);
    free(list);
    return st;
}

/* To the end of the file that GitHub names: other steps may have written there. */
static enum status write_summary(const struct comparing *x, struct error *err)
{
    const char *path = getenv("GITHUB_STEP_SUMMARY");
    struct buf b = { 0 };
    enum status st;
    FILE *f;

    if (!path || !*path)
        return error_set(err, ST_INVALID,
                         "option '--github-summary': GITHUB_STEP_SUMMARY names no file");
    buf_puts(&b, "## desbench gate\n\n");
    st = compare_put_markdown(&x->telling, &b, err);
    if (!st) {
        f = fopen(path, "a");
        if (!f || fwrite(buf_str(&b), 1, b.len, f) != b.len)
            st = error_set(err, ST_IO, "cannot write '%s': %s", path, strerror(errno));
        if (f && fclose(f) != 0 && !st)
            st = error_set(err, ST_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    buf_release(&b);
    return st;
}

static enum status correct(struct comparing *x, struct error *err)
{
    struct comparison **list = calloc(x->telling.n_told, sizeof(*list));
    enum status st = list ? ST_OK : no_memory(err);

    for (size_t i = 0; i < x->telling.n_told && !st; i++)
        list[i] = &x->telling.told[i].c;
    if (!st && x->telling.n_told > 1 && !x->telling.is_fixed_suite)
        st = compare_correct(list, x->telling.n_told, err);
    free(list);
    return st;
}

static enum status run_gate(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct comparing x = { .c = c,
                           .telling = { .options = c,
                                        .is_gate = true,
                                        .is_fixed_suite = options_flag(c, OPT_FIXED_SUITE),
                                        .undecided = undecided_rule(c) } };
    bool is_plan = c->n_args && strcmp(c->args[0], "plan") == 0;
    enum exit_code verdict = EXIT_DONE;
    enum status st;

    if (!options_has(c, OPT_BASELINE))
        return error_set(err, ST_INVALID,
                         "`gate` needs --baseline: a run, or a file of `desbench baseline export`");
    if (is_plan && c->n_args == 1)
        return gate_plan(c, ret_exit, err);
    if (c->n_args > 1)
        return error_set(err, ST_INVALID, "`gate` does not know what to do with '%s'", c->args[1]);
    st = compare(&x, options_text(c, OPT_BASELINE), c->n_args ? c->args[0] : "last", ret_exit, err);
    if (!st && !*ret_exit)
        st = correct(&x, err);
    if (!st && !*ret_exit)
        st = gate_noise(c, &x.base, &x.arena, &x.telling.noise, err);
    if (!st && !*ret_exit) {
        verdict = exit_of_all(&x.telling);
        x.telling.exit_code = (int)verdict;
        if (options_flag(c, OPT_STORE))
            st = store_all(&x, err);
        if (!st && options_has(c, OPT_JUNIT))
            st = write_junit(&x, err);
        if (!st && options_flag(c, OPT_GITHUB_SUMMARY))
            st = write_summary(&x, err);
        if (!st)
            st = compare_print(&x.telling, err);
        *ret_exit = verdict;
    }
    comparing_release(&x);
    return st;
}

#define NAMING                                                                                     \
    "A run is [RESULTS:]RUN[@SETTING]: RESULTS a folder or .sqlite file (else --results), RUN "    \
    "its "                                                                                         \
    "id, the\nbeginning of one, or `last`; SETTING one of its selectors, where it has several. A " \
    "baseline of one\nsetting is held against all settings of the other run, one of several "      \
    "against its like.\n"

const struct verb verb_compare = {
    .name = "compare",
    .bit = VERB_COMPARE,
    .args = "A B",
    .min_args = 2,
    .max_args = 2,
    .summary = "two runs on the same items: accuracy, cost and every verdict that changed",
    .help = "Pairs the answers of run B with those of run A, item by item, and prints for each "
            "task what was\n"
            "lost and gained with 95 % intervals (Tango) and McNemar's exact and mid-p tests, then "
            "relative\n"
            "accuracy and costs with paired bootstrap intervals, then every item whose verdict "
            "changed, with\n"
            "the first denoising step and token that differ.\n\n" NAMING
            "\n  desbench compare 20261122-065119 last\n"
            "  desbench compare last@vanilla last         every other setting of the last run\n"
            "  desbench compare old/results.sqlite new/results.sqlite\n"
            "  desbench compare last@vanilla last@topk:k=4 --json\n\n"
            "Runs on other items, prompts or checkers are refused with exit code 4; "
            "--allow-mismatch compares\nwhat both have and says what differs. It decides nothing: "
            "that is `desbench gate`.\n",
    .run = run_compare,
};

const struct verb verb_gate = {
    .name = "gate",
    .bit = VERB_GATE,
    .args = "[plan] [CANDIDATE]",
    .max_args = 2,
    .summary = "is a run no worse than a baseline? identical, pass, fail or undecided",
    .help =
        "Holds a run (default: last) against --baseline, a run or a file of `desbench baseline "
        "export`:\n\n"
        "  identical  every answer is the same, token by token                         exit 0\n"
        "  pass       a loss of --margin points is excluded, at 95 % confidence         exit 0\n"
        "  fail       there is a loss, at 99 %, and the margin is not excluded          exit 1\n"
        "  undecided  neither: too few items, or too much changed      exit 5, in CI 1\n\n"
        "Lost is an item that only the baseline had right. Bounds are Tango's score bounds of the "
        "paired\n"
        "loss over all tasks together; each task's own stand beside it. In CI (the variable CI is "
        "set)\n"
        "undecided fails, elsewhere it is reported: --undecided says otherwise. A gate of few "
        "items cannot\n"
        "pass at a small margin; `gate plan` says what yours can tell before anything runs:\n\n"
        "  desbench gate plan --baseline baseline.json --margin 2pt\n"
        "  desbench gate --baseline baseline.json --junit gate.xml --github-summary\n"
        "  desbench gate --baseline 20261122-065119 last --margin 1pt\n"
        "  desbench gate --baseline last@vanilla last    all budgets of a sweep (Holm)\n"
        "  desbench gate -b RUN --noise A --noise B      beside what neutral changes do\n\n" NAMING
        "\nOther exit codes: 4 not comparable (other items, prompts, references or checkers), 6 a "
        "run is not\ncomplete, 7 the judge failed on some answer. docs/gate.md explains how to "
        "read it all.\n",
    .run = run_gate,
};
