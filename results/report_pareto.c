/* The frontier of accuracy against what a policy costs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "results/report_draw.h"

static const struct {
    const char *id, *title, *axis, *column, *note;
    double scale;
} costs[N_COSTS] = {
    [COST_UNIQUE] = { "pareto", "Right answers against unique experts",
                      "unique experts of a layer and forward", "unique",
                      "Unique experts: distinct routed experts that one forward reads in a layer, "
                      "mean over layers and forwards.",
                      1 },
    [COST_BYTES] = { "pareto-bytes", "Right answers against expert bytes", "expert MB of an answer",
                     "bytes_per_answer",
                     "Expert bytes of an answer: unique experts, their size, and how many forwards "
                     "it takes.",
                     1e-6 },
    [COST_SECONDS] = { "pareto-latency", "Right answers against latency",
                       "milliseconds of a forward", "seconds_per_forward",
                       "Latency: time of an answer over its forwards; those of a batch take theirs "
                       "together. Its bars have the spread of items alone, not what the machine "
                       "did "
                       "besides.",
                       1e3 },
};

static const struct report_policy **of_cost(const struct report *r, size_t group,
                                            enum report_cost cost, size_t *ret_n)
{
    const struct report_group *g = &r->groups[group];
    const struct report_policy **p = calloc(g->n + 1, sizeof(*p));

    *ret_n = 0;
    for (size_t i = g->first; i < g->first + g->n && p; i++)
        if (!isnan(r->policies[i].costs[cost].value) && !isnan(r->policies[i].t.score.value))
            p[(*ret_n)++] = &r->policies[i];
    return p;
}

/* Digits behind the point, so that a value and its interval fit their column. */
static int decimals_of(const struct report_policy *const *p, size_t n, enum report_cost cost)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        most = fmax(most, fmax(p[i]->costs[cost].value, p[i]->costs[cost].high));
    most *= costs[cost].scale;
    return most >= 99.95 ? 0 : most >= 9.995 ? 1 : 2;
}

/* By cost; the sort is stable, and small. */
static void sort_by_cost(const struct report_policy **p, size_t n, enum report_cost cost)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k && p[k - 1]->costs[cost].value > p[k]->costs[cost].value; k--) {
            const struct report_policy *t = p[k];

            p[k] = p[k - 1];
            p[k - 1] = t;
        }
}

/* The steps between those that nothing beats; p by cost. */
static void put_front(struct figure *f, const struct axis *x, const struct axis *y,
                      const struct report_policy *const *p, size_t n, enum report_cost cost)
{
    const struct report_policy *last = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!p[i]->is_on_front[cost])
            continue;
        if (last) {
            double x1 = axis_at(x, last->costs[cost].value), y1 = axis_at(y, last->t.score.value),
                   x2 = axis_at(x, p[i]->costs[cost].value), y2 = axis_at(y, p[i]->t.score.value);

            svg_line(&f->body, x1, y1, x2, y1, "f");
            svg_line(&f->body, x2, y1, x2, y2, "f");
        }
        last = p[i];
    }
}

/* False for NaN. */
static bool is_beaten(const struct report_policy *p, enum report_cost cost)
{
    return p->frontier[cost] <= 0.05;
}

static void put_points(struct figure *f, const struct axis *x, const struct axis *y,
                       const struct report_policy *const *p, size_t n, enum report_cost cost)
{
    struct buf words = { 0 };
    int decimals = decimals_of(p, n, cost);

    for (size_t i = 0; i < n; i++) {
        put_bar_x(f, x, y, &p[i]->costs[cost], p[i]->t.score.value);
        put_bar_y(f, x, y, &p[i]->t.score, p[i]->costs[cost].value);
    }
    /* the beaten ones first: others lie on top */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            double cx = axis_at(x, p[i]->costs[cost].value), cy = axis_at(y, p[i]->t.score.value);
            struct label number = label("%zu", i + 1), text;

            if (is_beaten(p[i], cost) != (pass == 0))
                continue;
            text = label("%.60s %% right, %.60s %s", interval_text(&p[i]->t.score, 100, 1).text,
                         interval_text(&p[i]->costs[cost], costs[cost].scale, decimals).text,
                         costs[cost].axis);
            svg_circle(&f->body, cx, cy, 6.5, color_class(p[i], pass ? " d" : " d o").text,
                       tip(&words, p[i]->name, text.text));
            svg_text(&f->body, cx, cy + 2.6, "n", SVG_MIDDLE, number.text);
        }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

enum { COLUMN_SCORE = 238, COLUMN_COST = 338 };

/* A line for each policy below the plot: what its number means. */
static void put_legend(struct figure *f, const struct report_policy *const *p, size_t n,
                       enum report_cost cost)
{
    int decimals = decimals_of(p, n, cost);

    svg_text(&f->body, COLUMN_SCORE, f->height + 8, "s m", SVG_END, "right %");
    svg_text(&f->body, COLUMN_COST, f->height + 8, "s m", SVG_END,
             cost == COST_UNIQUE  ? "U"
             : cost == COST_BYTES ? "MB"
                                  : "ms");
    if (!isnan(p[0]->frontier[cost]))
        svg_text(&f->body, RIGHT, f->height + 8, "s m", SVG_END, "frontier");
    f->height += 12;
    for (size_t i = 0; i < n; i++) {
        const struct report_policy *q = p[i];
        int n_lines;

        svg_circle(&f->body, LEFT + 6, f->height + 6, 6,
                   color_class(q, is_beaten(q, cost) ? " o" : "").text, NULL);
        svg_text(&f->body, LEFT + 6, f->height + 8.6, "n", SVG_MIDDLE, label("%zu", i + 1).text);
        n_lines = put_name(f, LEFT + 16, f->height + 9, 118, q->name);
        svg_text(&f->body, COLUMN_SCORE, f->height + 9, "s m", SVG_END,
                 interval_text(&q->t.score, 100, 1).text);
        svg_text(&f->body, COLUMN_COST, f->height + 9, "s m", SVG_END,
                 interval_text(&q->costs[cost], costs[cost].scale, decimals).text);
        if (!isnan(q->frontier[cost]))
            svg_text(&f->body, RIGHT, f->height + 9, "s m", SVG_END,
                     label("%.1f %%", q->frontier[cost] * 100).text);
        f->height += 13.5 + 10 * (n_lines - 1);
    }
}

static void put_csv(const struct report *r, struct figure *f, const struct report_policy *const *p,
                    size_t n, enum report_cost cost)
{
    const char *c = costs[cost].column;

    buf_printf(&f->csv,
               "model,policy,n_items,score,score_low,score_high,score_method,%s,%s_low,%s_high,"
               "%s_method,frontier_probability\n",
               c, c, c, c);
    for (size_t i = 0; i < n; i++) {
        const struct report_value *s = &p[i]->t.score, *x = &p[i]->costs[cost];

        csv_policy(f, r, p[i]);
        csv_int(&f->csv, p[i]->t.n_items);
        csv_real(&f->csv, s->value);
        csv_real(&f->csv, s->low);
        csv_real(&f->csv, s->high);
        csv_text(&f->csv, s->method);
        csv_real(&f->csv, x->value);
        csv_real(&f->csv, x->low);
        csv_real(&f->csv, x->high);
        csv_text(&f->csv, x->method);
        csv_real(&f->csv, p[i]->frontier[cost]);
        csv_end(&f->csv);
    }
}

static void put_pareto(const struct report *r, struct figure *f,
                       const struct report_policy *const *p, size_t n, enum report_cost cost)
{
    struct axis x = { NAN, NAN, 36, RIGHT, false }, y = { NAN, NAN, 250, 24, false };

    for (size_t i = 0; i < n; i++) {
        const struct report_value *c = &p[i]->costs[cost], *s = &p[i]->t.score;

        axis_take(&x, c->value);
        axis_take(&x, c->low);
        axis_take(&x, c->high);
        axis_take(&y, s->value);
        axis_take(&y, s->low);
        axis_take(&y, s->high);
    }
    axis_widen(&x, 0, cost == COST_UNIQUE ? (double)p[0]->set->cells[0].n_exp : INFINITY);
    axis_widen(&y, 0, 1);
    put_axes(f, &x, &y, costs[cost].scale, 100, costs[cost].axis, "right answers, %");
    put_front(f, &x, &y, p, n, cost);
    put_points(f, &x, &y, p, n, cost);
    f->height = 288;
    put_legend(f, p, n, cost);
    put_csv(r, f, p, n, cost);
}

enum status draw_pareto(const struct report *r, size_t group, enum report_cost cost,
                        struct figure *f, struct arena *arena, struct error *err)
{
    size_t n;
    const struct report_policy **p = of_cost(r, group, cost, &n);

    if (!p)
        return error_set(err, ST_NOMEM, "out of memory drawing a report");
    if (n) {
        sort_by_cost(p, n, cost);
        f->id = r->n_groups > 1 ? arena_printf(arena, "%s-%zu", costs[cost].id, group + 1)
                                : costs[cost].id;
        f->title = arena_printf(arena, "%s: %s, %lld items", costs[cost].title,
                                r->groups[group].title, (long long)p[0]->t.n_items);
        f->note = arena_printf(
            arena,
            "%s All tasks together, every item alike. Bars: 95 %%. Frontier: share of paired "
            "bootstrap draws in which no other policy is as good in both and better in one; pale: "
            "beaten in 95 %% of the draws or more. Dashed: the frontier of these answers.",
            costs[cost].note);
        put_pareto(r, f, p, n, cost);
    }
    free(p);
    return n && (!f->id || !f->title || !f->note)
               ? error_set(err, ST_NOMEM, "out of memory drawing a report")
               : ST_OK;
}
