/* `desbench gate plan`: what a gate can tell, before anything runs. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "harness/gate.h"
#include "harness/listing.h"

#define CHURN_DEFAULT 0.02 /* where neither --churn nor --noise says */
#define POWER 0.8

/* A task of the baseline, or all. */
struct planned {
    const char *task;
    int64_t n, n_effective;
    double minutes; /* NaN: not stored */
    double certain; /* smallest margin that passes when nothing changes: z^2 / (n + z^2) */
    double detectable;
    struct stats_gate_power power;
};

static struct planned plan_task(const char *task, int64_t n, double n_effective, double seconds,
                                double margin, double churn)
{
    struct planned p = { .task = task,
                         .n = n,
                         .n_effective = (int64_t)n_effective,
                         .minutes = seconds > 0 ? seconds / 60 : NAN };
    double z = stats_normal_upper_quantile(STATS_GATE_PASS), m;

    p.n_effective = p.n_effective ? p.n_effective : 1;
    m = (double)p.n_effective;
    p.certain = z * z / (m + z * z);
    p.detectable = stats_gate_detectable(p.n_effective, churn, POWER);
    p.power = stats_gate_power(p.n_effective, churn / 2, churn / 2, margin);
    return p;
}

/* The fewest items that pass with power 0.8 when nothing but churn changes. Not monotone from one n
 * to the next, as counts are whole; steps of 1 % are fine enough for a plan. */
static int64_t items_needed(double margin, double churn)
{
    for (int64_t n = 10; n < 1000000; n += n / 100 + 1)
        if (stats_gate_power(n, churn / 2, churn / 2, margin).pass >= POWER)
            return n;
    return -1;
}

static void put_row(struct listing *l, const struct planned *p)
{
    listing_row(l);
    listing_cell(l, p->task);
    listing_number(l, p->n);
    listing_number(l, p->n_effective);
    listing_real(l, p->minutes, 1);
    listing_real(l, 100 * p->certain, 2);
    listing_real(l, 100 * p->detectable, 2);
    listing_real(l, 100 * p->power.pass, 1);
    listing_real(l, 100 * p->power.undecided, 1);
    listing_real(l, 100 * p->power.fail, 2);
}

/* Pairs' worth of the answers when those of a parent or an item count as equal. */
static enum status effective(const struct answer_set *s, const char *task, struct arena *arena,
                             double *ret, int64_t *ret_n, struct error *err)
{
    /* a set against itself: the counts are right and the design effect is the largest */
    const struct compare_options o = { .margin = 0.02 };
    struct comparison c;
    enum status st = compare_sets(s, s, &o, arena, &c, err);

    if (st)
        return st;
    *ret = (double)c.all.n / c.all.deff;
    *ret_n = c.all.n;
    for (size_t i = 0; i < c.n_tasks && task; i++)
        if (strcmp(c.tasks[i].task, task) == 0) {
            *ret = (double)c.tasks[i].n / c.tasks[i].deff;
            *ret_n = c.tasks[i].n;
        }
    compare_release(&c);
    return ST_OK;
}

enum status gate_plan(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct arena arena = { 0 };
    struct side base = { 0 };
    struct listing l;
    struct noise noise = { 0 };
    struct buf note = { 0 };
    const struct answer_set *s = NULL;
    double margin, churn = CHURN_DEFAULT, seconds = 0, worth = 0;
    const char *origin = "by default";
    int64_t n = 0, needed;
    enum status st = gate_margin(c, &margin, err);

    if (!st)
        st = side_open(c, options_text(c, OPT_BASELINE), &arena, &base, err);
    if (!st)
        s = &base.sets[0];
    if (!st && base.n_sets > 1)
        st = error_set(err, ST_INVALID, "run '%s' has %zu settings: name one, RUN@SETTING",
                       s->run_id, base.n_sets);
    if (!st)
        st = side_check(s, ret_exit, err);
    if (!st && !*ret_exit)
        st = gate_noise(c, &base, &arena, &noise, err);
    if (st || *ret_exit)
        goto out;
    if (options_has(c, OPT_CHURN)) {
        churn = options_real(c, OPT_CHURN) / 100;
        origin = "as --churn says";
    } else if (noise.n_runs) {
        churn = noise.high;
        origin = "the upper bound of what --noise showed";
    }
    listing_start(&l, c,
                  "task|>items|>effective_items=effective|>minutes|>certain_pt=passes unchanged "
                  "from pt|>detectable_pt=finds a loss of pt|>pass_pct=pass %|>undecided_pct="
                  "undecided %|>false_fail_pct=false fail %");
    for (size_t i = 0; i < s->n_cells && !st; i++) {
        struct planned p;

        if (options_has(c, OPT_TASKS)) {
            bool has_rows = false;

            for (size_t k = 0; k < s->n_rows && !has_rows; k++)
                has_rows = s->rows[k].cell == i;
            if (!has_rows)
                continue;
        }
        st = effective(s, s->cells[i].task, &arena, &worth, &n, err);
        if (st)
            break;
        p = plan_task(s->cells[i].task, n, worth, s->seconds[i], margin, churn);
        seconds += s->seconds[i];
        put_row(&l, &p);
    }
    if (!st)
        st = effective(s, NULL, &arena, &worth, &n, err);
    if (!st) {
        struct planned all = plan_task("all", n, worth, seconds, margin, churn);

        put_row(&l, &all);
        needed = items_needed(margin, churn);
        buf_printf(&note,
                   "margin %.2f points; churn %.2f %%, %s.\n"
                   "passes unchanged from: the smallest margin that an unchanged run can pass.\n"
                   "finds a loss of: what fails with 80 %% power, on top of the churn.\n"
                   "pass, undecided, false fail: how a run ends that changes by the churn alone.\n",
                   100 * margin, 100 * churn, origin);
        if (needed < 0)
            buf_puts(&note, "No number of items passes this margin with 80 % power.");
        else
            buf_printf(&note, "80 %% power to pass needs about %" PRId64 " items%s", needed,
                       n < needed ? ": more than these." : ".");
        listing_note(&l, buf_str(&note));
    }
    st = listing_end(&l, st, err);
out:
    buf_release(&note);
    side_close(&base);
    arena_release(&arena);
    return st;
}
