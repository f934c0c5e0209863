/* Figures of one thing against another: latency by experts, experts by block size and by batch. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "results/report_draw.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory drawing a report");
}

enum { PLOT_HEIGHT = 200, PLOT_RIGHT = 258 }; /* names stand right of PLOT_RIGHT */

/* Axes of a plot below what is drawn already, and the room that it takes. */
static void place_plot(struct figure *f, struct axis *x, struct axis *y, double right)
{
    *x = (struct axis){ NAN, NAN, 40, right, false };
    *y = (struct axis){ NAN, NAN, f->height + 24 + PLOT_HEIGHT, f->height + 24, false };
    f->height += 24 + PLOT_HEIGHT + 32;
}

/* ---- latency ---------------------------------------------------------------------------- */

/* The next sibling of the policy at or after i that was timed; NULL: none. */
static const struct report_policy *next_timed(const struct report *r, const struct report_fit *fit,
                                              size_t *i)
{
    const struct report_policy *first = &r->policies[fit->policy];
    const struct report_group *g = &r->groups[first->group];

    while (*i < g->first + g->n) {
        const struct report_policy *p = &r->policies[(*i)++];

        if (report_is_sibling(first, p) && !isnan(p->costs[COST_UNIQUE].value) &&
            !isnan(p->costs[COST_SECONDS].value))
            return p;
    }
    return NULL;
}

static void put_points(const struct report *r, const struct report_fit *fit, const struct axis *x,
                       const struct axis *y, struct figure *f)
{
    const struct report_policy *p;
    struct buf words = { 0 };

    for (size_t i = fit->policy; (p = next_timed(r, fit, &i)) != NULL;) {
        const struct report_value *u = &p->costs[COST_UNIQUE], *t = &p->costs[COST_SECONDS];

        put_bar_y(f, x, y, t, u->value);
        svg_circle(
            &f->body, axis_at(x, u->value), axis_at(y, t->value), 4, color_class(p, " d").text,
            tip(&words, p->name,
                label("U %.2f, %.50s ms a forward", u->value, interval_text(t, 1e3, 3).text).text));
        csv_policy(f, r, p);
        csv_real(&f->csv, u->value);
        csv_real(&f->csv, t->value);
        csv_real(&f->csv, t->low);
        csv_real(&f->csv, t->high);
        csv_real(&f->csv, fit->slope.value);
        csv_real(&f->csv, fit->slope.low);
        csv_real(&f->csv, fit->slope.high);
        csv_real(&f->csv, fit->intercept.value);
        csv_real(&f->csv, fit->intercept.low);
        csv_real(&f->csv, fit->intercept.high);
        csv_end(&f->csv);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

/* "slope 1.23 (1.1 to 1.36) us ..." */
static void put_coefficient(struct figure *f, const char *name, const struct report_value *v,
                            double scale, const char *unit)
{
    struct label interval = { "" };

    if (!isnan(v->low) && !isnan(v->high))
        interval = label(" (%.4g to %.4g)", v->low * scale, v->high * scale);
    f->height += 12;
    svg_text(&f->body, LEFT, f->height - 3, "s", SVG_START,
             label("%s %.4g%.60s %s", name, v->value * scale, interval.text, unit).text);
}

/* y = a x + b as far as the plot goes. */
static void put_line(struct figure *f, const struct axis *x, const struct axis *y, double a,
                     double b)
{
    double from = x->low, to = x->high;

    if (a != 0) {
        from = fmax(from, fmin((y->low - b) / a, (y->high - b) / a));
        to = fmin(to, fmax((y->low - b) / a, (y->high - b) / a));
    }
    if (from < to)
        svg_line(&f->body, axis_at(x, from), axis_at(y, a * from + b), axis_at(x, to),
                 axis_at(y, a * to + b), "f");
}

static void put_fit(const struct report *r, const struct report_fit *fit, struct figure *f)
{
    const struct report_policy *first = &r->policies[fit->policy], *p;
    struct axis x, y;

    put_group(f, r, first->group);
    place_plot(f, &x, &y, RIGHT);
    for (size_t i = fit->policy; (p = next_timed(r, fit, &i)) != NULL;) {
        axis_take(&x, p->costs[COST_UNIQUE].value);
        axis_take(&y, p->costs[COST_SECONDS].value);
        axis_take(&y, p->costs[COST_SECONDS].low);
        axis_take(&y, p->costs[COST_SECONDS].high);
    }
    axis_widen(&x, 0, (double)first->set->cells[0].n_exp);
    axis_widen(&y, 0, INFINITY);
    put_axes(f, &x, &y, 1, 1e3, "unique experts of a layer and forward",
             "milliseconds of a forward");
    put_line(f, &x, &y, fit->slope.value, fit->intercept.value);
    put_points(r, fit, &x, &y, f);
    put_coefficient(f, "slope", &fit->slope, 1e6, "us for one expert more in every layer");
    put_coefficient(f, "intercept", &fit->intercept, 1e3, "ms");
    put_families(f, r, first->group);
    f->height += 6;
}

enum status draw_latency(const struct report *r, struct figure *f, struct error *err)
{
    f->id = "latency";
    f->title = "Latency against unique experts";
    f->note =
        "A point for each policy of the same decoding. Line: least squares; intervals of 95 % "
        "by drawing policies with replacement, so that they hold what the machine did "
        "besides. Bars of points: the spread of items alone.";
    buf_puts(&f->csv, "model,policy,unique,seconds_per_forward,low,high,slope_s_per_expert,"
                      "slope_low,slope_high,intercept_s,intercept_low,intercept_high\n");
    for (size_t i = 0; i < r->n_fits; i++)
        put_fit(r, &r->fits[i], f);
    return buf_ok(&f->body) ? ST_OK : no_memory(err);
}

/* ---- block sizes ------------------------------------------------------------------------ */

/* Do two policies differ in the block length alone? */
static bool is_block_sibling(const struct report_policy *a, const struct report_policy *b)
{
    const struct cell_row *x = &a->set->cells[0], *y = &b->set->cells[0];

    return a->group == b->group && strcmp(x->selector, y->selector) == 0 &&
           strcmp(x->decoder, y->decoder) == 0 && strcmp(x->cache, y->cache) == 0 &&
           strcmp(x->backend, y->backend) == 0 && strcmp(x->numeric_mode, y->numeric_mode) == 0 &&
           x->block_length != y->block_length;
}

static int block_of(const struct report_policy *p)
{
    return p->set->cells[0].block_length;
}

static bool is_block_point(const struct report *r, size_t i)
{
    const struct report_group *g = &r->groups[r->policies[i].group];

    for (size_t k = g->first; k < g->first + g->n; k++)
        if (is_block_sibling(&r->policies[k], &r->policies[i]) &&
            !isnan(r->policies[k].costs[COST_UNIQUE].value))
            return !isnan(r->policies[i].costs[COST_UNIQUE].value);
    return false;
}

/* The block sibling with the next larger block. */
static const struct report_policy *next_block(const struct report *r, const struct report_policy *p)
{
    const struct report_group *g = &r->groups[p->group];
    const struct report_policy *next = NULL;

    for (size_t k = g->first; k < g->first + g->n; k++) {
        const struct report_policy *q = &r->policies[k];

        if (is_block_sibling(q, p) && !isnan(q->costs[COST_UNIQUE].value) &&
            block_of(q) > block_of(p) && (!next || block_of(q) < block_of(next)))
            next = q;
    }
    return next;
}

static void put_blocks(const struct report *r, const struct report_group *g, struct figure *f,
                       struct side_label *labels)
{
    struct axis x, y;
    struct buf words = { 0 };
    size_t n = 0;

    put_group(f, r, r->policies[g->first].group);
    place_plot(f, &x, &y, PLOT_RIGHT);
    x.is_log = true;
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct report_value *u = &r->policies[i].costs[COST_UNIQUE];

        if (!is_block_point(r, i))
            continue;
        axis_take(&x, block_of(&r->policies[i]));
        axis_take(&y, u->value);
        axis_take(&y, u->low);
        axis_take(&y, u->high);
    }
    axis_widen(&x, -INFINITY, INFINITY);
    axis_widen(&y, 0, (double)r->policies[g->first].set->cells[0].n_exp);
    put_axes(f, &x, &y, 1, 1, "positions of a block", "unique experts of a layer and forward");
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct report_policy *p = &r->policies[i], *next;
        const struct report_value *u = &p->costs[COST_UNIQUE];

        if (!is_block_point(r, i))
            continue;
        next = next_block(r, p);
        if (next)
            svg_line(&f->body, axis_at(&x, block_of(p)), axis_at(&y, u->value),
                     axis_at(&x, block_of(next)), axis_at(&y, next->costs[COST_UNIQUE].value),
                     label("l%zu", p->color % MAX_COLORS).text);
        else
            labels[n++] =
                (struct side_label){ p->set->cells[0].selector, axis_at(&y, u->value), p->color };
        put_bar_y(f, &x, &y, u, block_of(p));
        svg_circle(&f->body, axis_at(&x, block_of(p)), axis_at(&y, u->value), 3.5,
                   color_class(p, " d").text,
                   tip(&words, p->name, label("U %s", interval_text(u, 1, 2).text).text));
        csv_policy(f, r, p);
        csv_text(&f->csv, p->set->cells[0].selector);
        csv_int(&f->csv, block_of(p));
        csv_real(&f->csv, u->value);
        csv_real(&f->csv, u->low);
        csv_real(&f->csv, u->high);
        csv_end(&f->csv);
    }
    put_side_labels(f, labels, n, PLOT_RIGHT, y.to, y.from);
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

enum status draw_blocks(const struct report *r, struct figure *f, struct error *err)
{
    struct side_label *labels = calloc(r->n_policies + 1, sizeof(*labels));

    if (!labels)
        return no_memory(err);
    f->id = "blocks";
    f->title = "Unique experts against block size";
    f->note =
        "Policies that were run with several block lengths and no other difference. Mean over "
        "layers and forwards; bars: 95 %, bootstrap over items.";
    buf_puts(&f->csv, "model,policy,selector,block_length,unique,low,high\n");
    for (size_t g = 0; g < r->n_groups; g++) {
        bool has_points = false;

        for (size_t i = r->groups[g].first; i < r->groups[g].first + r->groups[g].n; i++)
            has_points |= is_block_point(r, i);
        if (has_points)
            put_blocks(r, &r->groups[g], f, labels);
    }
    free(labels);
    return ST_OK;
}

/* ---- batches ---------------------------------------------------------------------------- */

enum { N_BATCHES = 5 }; /* 1, 2, 4, 8, 16 */

/* Experts that a layer reads for so many answers at once; NaN: not known. */
static double union_of(const struct report_policy *p, int batch)
{
    const struct forward_facts *facts = &p->source->forwards;
    int64_t sum = 0, n = 0;

    for (size_t i = 0; i < facts->n_unions; i++) {
        const struct batch_union *u = &facts->unions[i];

        for (size_t k = 0; k < p->set->n_cells && u->batch == batch; k++)
            if (strcmp(p->set->cell_keys[k], u->cell_key) == 0) {
                sum += u->sum;
                n += u->n_layers;
            }
    }
    return n ? (double)sum / (double)n : NAN;
}

/* A policy's line: its unions over vanilla's. */
static void put_batch_line(const struct report *r, const struct report_policy *p,
                           const double *unions, const double *vanilla, const struct axis *x,
                           const struct axis *y, struct figure *f)
{
    struct buf words = { 0 };

    for (int k = 0; k < N_BATCHES && !isnan(unions[k]); k++) {
        double share = unions[k] / vanilla[k];

        if (k + 1 < N_BATCHES && !isnan(unions[k + 1]))
            svg_line(&f->body, axis_at(x, 1 << k), axis_at(y, share), axis_at(x, 2 << k),
                     axis_at(y, unions[k + 1] / vanilla[k + 1]),
                     label("l%zu", p->color % MAX_COLORS).text);
        svg_circle(&f->body, axis_at(x, 1 << k), axis_at(y, share), 2.5, color_class(p, "").text,
                   tip(&words, p->name,
                       label("%d at once: %.1f experts, %.1f %% of vanilla's", 1 << k, unions[k],
                             share * 100)
                           .text));
        csv_policy(f, r, p);
        csv_int(&f->csv, 1 << k);
        csv_real(&f->csv, unions[k]);
        csv_real(&f->csv, share);
        csv_end(&f->csv);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

static void put_batches(const struct report *r, const struct report_group *g, struct figure *f,
                        double (*unions)[N_BATCHES], struct side_label *labels)
{
    struct axis x, y;
    size_t n = 0;

    for (size_t i = g->first; i < g->first + g->n; i++)
        for (int k = 0; k < N_BATCHES; k++)
            unions[i][k] = union_of(&r->policies[i], 1 << k);
    for (size_t i = g->first; i < g->first + g->n; i++)
        n += report_vanilla(r, &r->policies[i]) && !isnan(unions[i][1]);
    if (!n)
        return;
    put_group(f, r, r->policies[g->first].group);
    place_plot(f, &x, &y, PLOT_RIGHT);
    x.is_log = true;
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct report_policy *v = report_vanilla(r, &r->policies[i]);

        for (int k = 0; k < N_BATCHES && v && !isnan(unions[i][k]); k++) {
            axis_take(&x, 1 << k);
            axis_take(&y, unions[i][k] / unions[v - r->policies][k]);
        }
    }
    axis_take(&y, 1);
    axis_widen(&x, -INFINITY, INFINITY);
    axis_widen(&y, 0, INFINITY);
    put_axes(f, &x, &y, 1, 100, "answers decoded side by side",
             "experts read by a layer, % of vanilla's");
    svg_line(&f->body, x.from, axis_at(&y, 1), x.to, axis_at(&y, 1), "f");
    n = 0;
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct report_policy *v = report_vanilla(r, &r->policies[i]);
        int last = -1;

        for (int k = 0; k < N_BATCHES && v && !isnan(unions[i][k]); k++)
            last = k;
        if (last < 1)
            continue;
        put_batch_line(r, &r->policies[i], unions[i], unions[v - r->policies], &x, &y, f);
        labels[n++] =
            (struct side_label){ r->policies[i].name,
                                 axis_at(&y, unions[i][last] / unions[v - r->policies][last]),
                                 r->policies[i].color };
    }
    put_side_labels(f, labels, n, PLOT_RIGHT, y.to, y.from);
}

enum status draw_batches(const struct report *r, struct figure *f, struct error *err)
{
    struct side_label *labels = calloc(r->n_policies + 1, sizeof(*labels));
    double(*unions)[N_BATCHES] = calloc(r->n_policies + 1, sizeof(*unions));
    enum status st = labels && unions ? ST_OK : no_memory(err);

    f->id = "batches";
    f->title = "What batches leave of a coreset's gain";
    f->note =
        "Each answer has a coreset of its own, but a layer reads the union of those decoded "
        "at once. Computed from the experts that stored forwards ran, those that fill a cache "
        "left out: answers of a task dealt to so many places. Where a line meets 100 %, the "
        "batch has eaten what the policy saves.";
    buf_puts(&f->csv, "model,policy,batch,union,of_vanilla\n");
    for (size_t g = 0; g < r->n_groups && !st; g++)
        put_batches(r, &r->groups[g], f, unions, labels);
    free(unions);
    free(labels);
    return st;
}
