/*
 * The figures of a report. All are FIGURE_WIDTH units wide, which a phone shows at about its own
 * size, and as high as they need to be: a policy takes a line for its name and one for its mark.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results/report_impl.h"
#include "results/svg.h"

enum { MAX_COLORS = 8, LEFT = 8, RIGHT = FIGURE_WIDTH - 8 };

const char figure_style[] =
    "svg{font-family:system-ui,sans-serif;color-scheme:light dark}"
    ".bg{fill:#fff}text{fill:#1c1c1e;font-size:11px}.m{fill:#62626a}.n{fill:#fff;font-size:9px;"
    "font-weight:600}.s{font-size:9px}.h{font-weight:600}line{stroke:#8a8a92;stroke-width:1}"
    "line.g{stroke:#e3e3e8}line.w{stroke:#1c1c1e;stroke-width:1.2}line.f{stroke:#62626a;"
    "stroke-dasharray:3 2}.v{fill:#2f6fb3}.o{fill-opacity:.45}"
    ".c0{fill:#0067ad}.c1{fill:#b84e00}.c2{fill:#00785a}.c3{fill:#a0407c}.c4{fill:#7a5c00}"
    ".c5{fill:#1b7ea6}.c6{fill:#5b4bb0}.c7{fill:#6b6b6b}"
    "@media(prefers-color-scheme:dark){.bg{fill:#161618}text{fill:#ececf0}.m{fill:#a2a2aa}"
    ".n{fill:#101012}line{stroke:#7d7d85}line.g{stroke:#303036}line.w{stroke:#ececf0}"
    "line.f{stroke:#a2a2aa}.v{fill:#5b9be0}.c0{fill:#56a8ec}.c1{fill:#f0924a}.c2{fill:#3cc79d}"
    ".c3{fill:#e089be}.c4{fill:#d9b440}.c5{fill:#6cc7ea}.c6{fill:#a99bf0}.c7{fill:#b0b0b0}}";

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory drawing a report");
}

/* Short texts of numbers and names; what does not fit in a label is cut. */
struct label {
    char text[160];
};

__attribute__((format(printf, 1, 2))) static struct label label(const char *fmt, ...)
{
    struct label l;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l.text, sizeof(l.text), fmt, ap);
    va_end(ap);
    return l;
}

/* A name in so many characters: the page's table and what hovers have it whole. */
static struct label cut(const char *name, size_t n_chars)
{
    size_t len = 0;

    for (size_t n = 0; name[len]; n++) {
        if (n + 1 == n_chars && name[len + 1])
            return label("%.*s...", (int)(len < 120 ? len : 120), name);
        for (len++; ((unsigned char)name[len] & 0xc0) == 0x80; len++)
            continue;
    }
    return label("%s", name);
}

/* A range with room on both sides, within the bounds. */
struct axis {
    double low, high; /* values */
    double from, to;  /* places */
};

static void axis_take(struct axis *a, double v)
{
    if (isnan(v))
        return;
    a->low = isnan(a->low) || v < a->low ? v : a->low;
    a->high = isnan(a->high) || v > a->high ? v : a->high;
}

static void axis_widen(struct axis *a, double min, double max)
{
    double pad = (a->high - a->low) * 0.08;

    if (!(pad > 0))
        pad = fabs(a->high) * 0.05 > 0 ? fabs(a->high) * 0.05 : 0.5;
    a->low = a->low - pad < min ? min : a->low - pad;
    a->high = a->high + pad > max ? max : a->high + pad;
}

static double axis_at(const struct axis *a, double v)
{
    return a->from + (v - a->low) / (a->high - a->low) * (a->to - a->from);
}

/* ---- accuracy against unique experts ---------------------------------------------------- */

static struct label interval_text(const struct report_value *v, double scale, int decimals)
{
    if (isnan(v->low))
        return label("%.*f", decimals, v->value * scale);
    return label("%.*f (%.*f to %.*f)", decimals, v->value * scale, decimals, v->low * scale,
                 decimals, v->high * scale);
}

static void put_pareto_axes(struct figure *f, const struct axis *x, const struct axis *y)
{
    double first, step;
    int decimals;

    svg_ticks(y->low, y->high, 6, &first, &step, &decimals);
    for (double v = first; v <= y->high + step * 1e-6; v += step) {
        svg_line(&f->body, x->from, axis_at(y, v), x->to, axis_at(y, v), "g");
        svg_text(&f->body, x->from - 5, axis_at(y, v) + 4, "s m", SVG_END,
                 label("%.*f", decimals > 2 ? decimals - 2 : 0, v * 100).text);
    }
    svg_ticks(x->low, x->high, 6, &first, &step, &decimals);
    for (double v = first; v <= x->high + step * 1e-6; v += step) {
        svg_line(&f->body, axis_at(x, v), y->from, axis_at(x, v), y->to, "g");
        svg_text(&f->body, axis_at(x, v), y->from + 13, "s m", SVG_MIDDLE,
                 label("%.*f", decimals, v).text);
    }
    svg_line(&f->body, x->from, y->from, x->to, y->from, "a");
    svg_line(&f->body, x->from, y->from, x->from, y->to, "a");
    svg_text(&f->body, x->from, y->to - 8, "m", SVG_START, "right answers, %");
    svg_text(&f->body, x->to, y->from + 27, "m", SVG_END, "unique experts of a layer and forward");
}

static int by_unique(const void *a, const void *b)
{
    const struct report_policy *x = *(struct report_policy *const *)a,
                               *y = *(struct report_policy *const *)b;
    double u = x->unique.value, v = y->unique.value;

    return u != v ? (u < v ? -1 : 1) : (x > y) - (x < y);
}

/* The steps between those that nothing beats; p by unique experts. */
static void put_front(struct figure *f, const struct axis *x, const struct axis *y,
                      struct report_policy *const *p, size_t n)
{
    const struct report_policy *last = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!p[i]->is_on_front)
            continue;
        if (last) {
            double x1 = axis_at(x, last->unique.value), y1 = axis_at(y, last->t.score.value),
                   x2 = axis_at(x, p[i]->unique.value), y2 = axis_at(y, p[i]->t.score.value);

            svg_line(&f->body, x1, y1, x2, y1, "f");
            svg_line(&f->body, x2, y1, x2, y2, "f");
        }
        last = p[i];
    }
}

static void put_pareto(struct figure *f, const struct report *r, struct report_policy *const *p,
                       size_t n)
{
    struct axis x = { NAN, NAN, 40, RIGHT }, y = { NAN, NAN, 240, 24 };

    for (size_t i = 0; i < n; i++) {
        axis_take(&x, p[i]->unique.value);
        axis_take(&x, p[i]->unique.low);
        axis_take(&x, p[i]->unique.high);
        axis_take(&y, p[i]->t.score.value);
        axis_take(&y, p[i]->t.score.low);
        axis_take(&y, p[i]->t.score.high);
    }
    axis_widen(&x, 0, (double)p[0]->set->cells[0].n_exp);
    axis_widen(&y, 0, 1);
    put_pareto_axes(f, &x, &y);
    put_front(f, &x, &y, p, n);
    for (size_t i = 0; i < n; i++) {
        const struct report_value *u = &p[i]->unique, *s = &p[i]->t.score;

        if (!isnan(u->low))
            svg_line(&f->body, axis_at(&x, u->low), axis_at(&y, s->value), axis_at(&x, u->high),
                     axis_at(&y, s->value), "w");
        if (!isnan(s->low))
            svg_line(&f->body, axis_at(&x, u->value), axis_at(&y, s->low), axis_at(&x, u->value),
                     axis_at(&y, s->high), "w");
    }
    f->height = 280;
    for (size_t i = 0; i < n; i++) {
        const struct report_policy *q = p[i];
        bool is_beaten = q->frontier <= 0.05; /* false for NaN */
        struct label cls = label("c%zu%s", (size_t)(q - r->policies) % MAX_COLORS,
                                 is_beaten ? " o" : ""),
                     number = label("%zu", i + 1),
                     words = label("%s%s", interval_text(&q->t.score, 100, 1).text, " % right"),
                     tip = label("%.70s: %.40s, U %.40s", q->name, words.text,
                                 interval_text(&q->unique, 1, 2).text);
        double cx = axis_at(&x, q->unique.value), cy = axis_at(&y, q->t.score.value);

        svg_circle(&f->body, cx, cy, 7, cls.text, tip.text);
        svg_text(&f->body, cx, cy + 3, "n", SVG_MIDDLE, number.text);
        svg_circle(&f->body, LEFT + 7, f->height + 8, 7, cls.text, NULL);
        svg_text(&f->body, LEFT + 7, f->height + 11, "n", SVG_MIDDLE, number.text);
        svg_text(&f->body, LEFT + 20, f->height + 12, "", SVG_START, cut(q->name, 38).text);
        if (!isnan(q->frontier))
            svg_text(
                &f->body, RIGHT, f->height + 12, "m", SVG_END,
                label("frontier %.1f %%%s", q->frontier * 100, is_beaten ? ", beaten" : "").text);
        svg_text(&f->body, LEFT + 20, f->height + 25, "s m", SVG_START,
                 label("%s, U %s", words.text, interval_text(&q->unique, 1, 2).text).text);
        f->height += 34;
    }
    csv_text(&f->csv, "policy");
    for (const char *const *c =
             (const char *const[]){ "n_items", "score", "score_low", "score_high", "score_method",
                                    "unique", "unique_low", "unique_high", "unique_method",
                                    "frontier_probability", NULL };
         *c; c++)
        csv_text(&f->csv, *c);
    csv_end(&f->csv);
    for (size_t i = 0; i < n; i++) {
        csv_text(&f->csv, p[i]->name);
        csv_int(&f->csv, p[i]->t.n_items);
        csv_real(&f->csv, p[i]->t.score.value);
        csv_real(&f->csv, p[i]->t.score.low);
        csv_real(&f->csv, p[i]->t.score.high);
        csv_text(&f->csv, p[i]->t.score.method);
        csv_real(&f->csv, p[i]->unique.value);
        csv_real(&f->csv, p[i]->unique.low);
        csv_real(&f->csv, p[i]->unique.high);
        csv_text(&f->csv, p[i]->unique.method);
        csv_real(&f->csv, p[i]->frontier);
        csv_end(&f->csv);
    }
}

static enum status draw_pareto(const struct report *r, size_t group, struct figure *f,
                               struct arena *arena, struct error *err)
{
    struct report_policy **p = calloc(r->n_policies + 1, sizeof(struct report_policy *));
    size_t n = 0;

    if (!p)
        return no_memory(err);
    for (size_t i = 0; i < r->n_policies; i++) {
        struct report_policy *q = &r->policies[i];

        if (q->group == group && !isnan(q->unique.value) && !isnan(q->t.score.value))
            p[n++] = q;
    }
    if (n) {
        qsort(p, n, sizeof(struct report_policy *), by_unique);
        f->id = arena_printf(arena, r->n_groups > 1 ? "pareto-%zu" : "pareto", group + 1);
        f->title = arena_printf(arena, "Right answers against unique experts: %s, %lld items",
                                p[0]->set->cells[0].model, (long long)p[0]->t.n_items);
        f->note = "Of all tasks together, every item alike. Unique experts: distinct routed "
                  "experts that one forward reads in a layer, mean over layers and forwards. Bars: "
                  "95 %. Frontier: share of paired bootstrap draws in which no other policy is as "
                  "good in both and better in one; pale: beaten in 95 % of the draws or more. "
                  "Dashed: the frontier of these answers.";
        put_pareto(f, r, p, n);
    }
    free(p);
    return n && (!f->id || !f->title) ? no_memory(err) : ST_OK;
}

/* ---- bars ------------------------------------------------------------------------------- */

/* A bar's row: its policy's name, or a heading alone (value NaN). */
static void put_heading(struct figure *f, const char *text)
{
    f->height += 18;
    svg_text(&f->body, LEFT, f->height - 4, "h", SVG_START, text);
}

/* From 0 to v within 0 .. high; a whisker from low to high of v. unit: behind the number. */
static void put_bar(struct figure *f, const struct report_policy *p, size_t color, double v,
                    double low, double high, double max, struct label words)
{
    struct axis x = { 0, max > 0 ? max : 1, LEFT, RIGHT };
    struct label cls = label("c%zu", color % MAX_COLORS),
                 tip = label("%.90s: %.60s", p->name, words.text);
    double y = f->height + 15;

    svg_text(&f->body, LEFT, y - 3, "s", SVG_START, cut(p->name, 48).text);
    svg_text(&f->body, RIGHT, y - 3, "s m", SVG_END, words.text);
    svg_rect(&f->body, LEFT, y, RIGHT - LEFT, 8, "v", 0.08, NULL);
    svg_rect(&f->body, LEFT, y, axis_at(&x, v) - LEFT, 8, cls.text, 0.6, tip.text);
    if (!isnan(low) && !isnan(high)) {
        svg_line(&f->body, axis_at(&x, low), y + 4, axis_at(&x, high), y + 4, "w");
        svg_line(&f->body, axis_at(&x, low), y + 1, axis_at(&x, low), y + 7, "w");
        svg_line(&f->body, axis_at(&x, high), y + 1, axis_at(&x, high), y + 7, "w");
    }
    f->height += 28;
}

/* By task: the cells of a task stand together, tasks in the order of their first cells. */
static bool is_first_of_task(const struct report *r, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(report_cell_row(r, &r->cells[j])->task,
                   report_cell_row(r, &r->cells[i])->task) == 0)
            return false;
    return true;
}

static bool is_of_task(const struct report *r, size_t i, const char *task)
{
    return strcmp(report_cell_row(r, &r->cells[i])->task, task) == 0;
}

static void draw_accuracy(const struct report *r, struct figure *f)
{
    f->id = "accuracy";
    f->title = "Right answers by task and policy";
    f->note = "Per cent of items; bars: 95 %, Wilson's where every item has one answer, else a "
              "bootstrap over items.";
    buf_puts(&f->csv, "policy,task,n_items,n_samples,n_passed,score,low,high,method\n");
    for (size_t i = 0; i < r->n_cells; i++) {
        const char *task = report_cell_row(r, &r->cells[i])->task;

        if (!is_first_of_task(r, i))
            continue;
        put_heading(f, task);
        for (size_t k = i; k < r->n_cells; k++) {
            const struct report_cell *c = &r->cells[k];
            const struct report_value *s = &c->t.score;

            if (!is_of_task(r, k, task) || isnan(s->value))
                continue;
            put_bar(f, &r->policies[c->policy], c->policy, s->value, s->low, s->high, 1,
                    label("%s %%, n %lld", interval_text(s, 100, 1).text, (long long)c->t.n_items));
            csv_text(&f->csv, r->policies[c->policy].name);
            csv_text(&f->csv, task);
            csv_int(&f->csv, c->t.n_items);
            csv_int(&f->csv, c->t.n_samples);
            csv_int(&f->csv, c->t.n_passed);
            csv_real(&f->csv, s->value);
            csv_real(&f->csv, s->low);
            csv_real(&f->csv, s->high);
            csv_text(&f->csv, s->method);
            csv_end(&f->csv);
        }
    }
}

static void draw_forwards(const struct report *r, struct figure *f)
{
    double max = 0;

    f->id = "forwards";
    f->title = "Forwards an answer";
    f->note = "Forward passes (NFE), those that fill a cache included; bars: 95 %, bootstrap over "
              "items.";
    buf_puts(&f->csv, "policy,n_samples,n_forwards,forwards_per_answer,low,high\n");
    for (size_t i = 0; i < r->n_policies; i++)
        max = fmax(max, fmax(r->policies[i].forwards.value, r->policies[i].forwards.high));
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        const struct report_value *v = &p->forwards;

        if (isnan(v->value))
            continue;
        put_bar(f, p, i, v->value, v->low, v->high, max, interval_text(v, 1, 2));
        csv_text(&f->csv, p->name);
        csv_int(&f->csv, p->t.n_samples);
        csv_int(&f->csv, p->t.n_forwards);
        csv_real(&f->csv, v->value);
        csv_real(&f->csv, v->low);
        csv_real(&f->csv, v->high);
        csv_end(&f->csv);
    }
}

static void put_seconds(const struct report *r, struct figure *f, const char *what, bool is_judging)
{
    double max = 0;
    bool has_heading = false;

    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_tally *t = &r->policies[i].t;

        max = fmax(max, is_judging ? t->judge_p95 : t->gen_p95);
    }
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        double p50 = is_judging ? p->t.judge_p50 : p->t.gen_p50,
               p95 = is_judging ? p->t.judge_p95 : p->t.gen_p95;

        if (isnan(p50))
            continue;
        if (!has_heading)
            put_heading(f, what);
        has_heading = true;
        put_bar(f, p, i, p50, p50, p95, max, label("p50 %.3g s, p95 %.3g s", p50, p95));
        csv_text(&f->csv, p->name);
        csv_text(&f->csv, is_judging ? "judging" : "generation");
        csv_real(&f->csv, p50);
        csv_real(&f->csv, p95);
        csv_end(&f->csv);
    }
}

static void draw_seconds(const struct report *r, struct figure *f)
{
    f->id = "seconds";
    f->title = "Seconds an answer";
    f->note = "Median, and as a whisker the 95th percentile over answers. Generation: from an "
              "answer's start to its end, beside the others of its batch. Judging: wall time of "
              "the programs that were run.";
    buf_puts(&f->csv, "policy,part,p50_s,p95_s\n");
    put_seconds(r, f, "generation", false);
    put_seconds(r, f, "judging", true);
}

/* ---- commits ---------------------------------------------------------------------------- */

static const int commit_bins[] = { 0, 1, 2, 4, 8, 16, INT32_MAX }; /* up to and with */
static const char *const commit_names[] = { "0", "1", "2", "3-4", "5-8", "9-16", "17+" };
enum { N_COMMIT_BINS = sizeof(commit_bins) / sizeof(commit_bins[0]) };

static double bin_opacity(size_t bin)
{
    return 0.12 + 0.14 * (double)bin;
}

static bool is_cell_of(const struct report_policy *p, const char *key)
{
    for (size_t k = 0; k < p->set->n_cells; k++)
        if (strcmp(p->set->cell_keys[k], key) == 0)
            return true;
    return false;
}

static int by_committed(const void *a, const void *b)
{
    int64_t x = ((const struct commit_count *)a)->n_committed,
            y = ((const struct commit_count *)b)->n_committed;

    return (x > y) - (x < y);
}

/* All of a policy's, its tasks together, ascending; *ret_n of them. */
static struct commit_count *commits_of(const struct report_policy *p, struct arena *arena,
                                       size_t *ret_n)
{
    struct commit_count *list = arena_array(arena, p->source->n_commits, sizeof(*list));
    size_t n = 0, n_list = 0;

    for (size_t i = 0; list && i < p->source->n_commits; i++)
        if (is_cell_of(p, p->source->commits[i].cell_key))
            list[n_list++] = p->source->commits[i];
    if (n_list)
        qsort(list, n_list, sizeof(*list), by_committed);
    for (size_t i = 0; i < n_list; i++)
        if (n && list[n - 1].n_committed == list[i].n_committed)
            list[n - 1].n_forwards += list[i].n_forwards;
        else
            list[n++] = list[i];
    *ret_n = n;
    return list;
}

static enum status draw_commits(const struct report *r, struct figure *f, struct arena *arena,
                                struct error *err)
{
    f->id = "commits";
    f->title = "Positions committed by a forward";
    f->note = "Share of forwards that committed so many positions, end-of-text fill included.";
    buf_puts(&f->csv, "policy,n_committed,n_forwards,share\n");
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        int64_t bins[N_COMMIT_BINS] = { 0 };
        size_t n;
        const struct commit_count *list = commits_of(p, arena, &n);
        double total = (double)p->t.n_commit_forwards, x = LEFT, y = f->height + 15;

        if (!list)
            return no_memory(err);
        if (!n)
            continue;
        for (size_t k = 0; k < n; k++) {
            size_t bin = 0;

            while (list[k].n_committed > commit_bins[bin])
                bin++;
            bins[bin] += list[k].n_forwards;
            csv_text(&f->csv, p->name);
            csv_int(&f->csv, list[k].n_committed);
            csv_int(&f->csv, list[k].n_forwards);
            csv_real(&f->csv, (double)list[k].n_forwards / total);
            csv_end(&f->csv);
        }
        svg_text(&f->body, LEFT, y - 3, "s", SVG_START, cut(p->name, 48).text);
        svg_text(&f->body, RIGHT, y - 3, "s m", SVG_END,
                 label("mean %.2f", (double)p->t.n_committed / total).text);
        for (size_t bin = 0; bin < N_COMMIT_BINS; bin++) {
            double share = (double)bins[bin] / total, w = share * (RIGHT - LEFT);

            if (bins[bin])
                svg_rect(&f->body, x, y, w, 12, "v", bin_opacity(bin),
                         label("%.60s: %s committed in %.1f %% of forwards", p->name,
                               commit_names[bin], share * 100)
                             .text);
            x += w;
        }
        f->height += 32;
    }
    for (size_t bin = 0; bin < N_COMMIT_BINS && f->height > 0; bin++) {
        double x = LEFT + 52.0 * (double)bin;

        svg_rect(&f->body, x, f->height + 4, 10, 10, "v", bin_opacity(bin), NULL);
        svg_text(&f->body, x + 13, f->height + 13, "s m", SVG_START, commit_names[bin]);
    }
    f->height += f->height > 0 ? 20 : 0;
    return ST_OK;
}

/* ---- maps ------------------------------------------------------------------------------- */

/* A field of a row of n; share: 0 .. 1, its shade. Words go in where there is room. */
static void put_field(struct figure *f, double y, size_t at, size_t n, double share,
                      const char *words, const char *title)
{
    double w = (double)(RIGHT - LEFT) / (double)n, x = LEFT + w * (double)at;

    svg_rect(&f->body, x, y, w - (n > 48 ? 0 : 1), 18, "v", 0.05 + 0.6 * share, title);
    if (n <= 12)
        svg_text(&f->body, x + w / 2, y + 12.5, "s", SVG_MIDDLE, words);
}

static enum status draw_layers(const struct report *r, struct figure *f, struct arena *arena,
                               struct error *err)
{
    f->id = "layers";
    f->title = "Unique experts by layer";
    f->note = "Mean over forwards of the distinct routed experts that a forward reads, all tasks "
              "together; left: the first layer that has experts. Shade: share of the layer's "
              "experts.";
    buf_puts(&f->csv, "policy,layer,n_forwards,unique,rerouted_per_forward,lost_top1_per_forward,"
                      "kept_mass\n");
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        const struct cell_row *c = &p->set->cells[0];
        size_t n = 0;
        struct layer_use *sums;

        for (size_t k = 0; k < p->source->n_layers; k++)
            if (is_cell_of(p, p->source->layers[k].cell_key) &&
                (size_t)p->source->layers[k].layer >= n)
                n = (size_t)p->source->layers[k].layer + 1;
        if (!n || c->n_exp <= 0)
            continue;
        sums = arena_array(arena, n, sizeof(*sums));
        if (!sums)
            return no_memory(err);
        for (size_t k = 0; k < p->source->n_layers; k++) {
            const struct layer_use *l = &p->source->layers[k];

            if (!is_cell_of(p, l->cell_key))
                continue;
            sums[l->layer].n_forwards += l->n_forwards;
            sums[l->layer].n_unique += l->n_unique;
            sums[l->layer].n_rerouted += l->n_rerouted;
            sums[l->layer].n_lost_top1 += l->n_lost_top1;
            sums[l->layer].kept_mass += l->kept_mass * (double)l->n_forwards;
        }
        svg_text(&f->body, LEFT, f->height + 12, "s", SVG_START, cut(p->name, 70).text);
        svg_text(&f->body, RIGHT, f->height + 12, "s m", SVG_END,
                 label("of %lld", (long long)c->n_exp).text);
        for (size_t k = 0; k < n; k++) {
            double forwards = (double)sums[k].n_forwards, u = (double)sums[k].n_unique / forwards;

            if (!sums[k].n_forwards)
                continue;
            put_field(f, f->height + 15, k, n, u / (double)c->n_exp, label("%.1f", u).text,
                      label("%.90s, layer %zu: U %.2f", p->name, k, u).text);
            csv_text(&f->csv, p->name);
            csv_int(&f->csv, (int64_t)k);
            csv_int(&f->csv, sums[k].n_forwards);
            csv_real(&f->csv, u);
            csv_real(&f->csv, (double)sums[k].n_rerouted / forwards);
            csv_real(&f->csv, (double)sums[k].n_lost_top1 / forwards);
            csv_real(&f->csv, sums[k].kept_mass / forwards);
            csv_end(&f->csv);
        }
        f->height += 38;
    }
    return ST_OK;
}

static void put_classes(const struct report *r, struct figure *f, size_t cell, int max_level,
                        const char *word)
{
    const struct report_cell *c = &r->cells[cell];
    const struct report_policy *p = &r->policies[c->policy];
    const char *task = report_cell_row(r, c)->task;

    svg_text(&f->body, LEFT, f->height + 12, "s", SVG_START, cut(p->name, 70).text);
    for (size_t i = 0; i < r->n_classes; i++) {
        const struct report_class *k = &r->classes[i];

        if (k->policy != c->policy || k->cell != c->cell)
            continue;
        put_field(f, f->height + 15, (size_t)k->level - 1, (size_t)max_level, k->score.value,
                  label("%.0f", k->score.value * 100).text,
                  label("%.60s, %s %d: %s %%, n %lld", p->name, word, k->level,
                        interval_text(&k->score, 100, 1).text, (long long)k->n_items)
                      .text);
        csv_text(&f->csv, p->name);
        csv_text(&f->csv, task);
        csv_text(&f->csv, word);
        csv_int(&f->csv, k->level);
        csv_int(&f->csv, k->n_items);
        csv_real(&f->csv, k->score.value);
        csv_real(&f->csv, k->score.low);
        csv_real(&f->csv, k->score.high);
        csv_text(&f->csv, k->score.method);
        csv_end(&f->csv);
    }
    f->height += 38;
}

static void draw_levels(const struct report *r, struct figure *f)
{
    f->id = "levels";
    f->title = "Right answers by difficulty";
    f->note = "Per cent of the items of each level, 1 at the left.";
    buf_puts(&f->csv, "policy,task,class,level,n_items,score,low,high,method\n");
    for (size_t i = 0; i < r->n_cells; i++) {
        const char *task = report_cell_row(r, &r->cells[i])->task,
                   *word = r->options.level_name(task);
        int max = 0;

        if (!word || !is_first_of_task(r, i))
            continue;
        for (size_t k = 0; k < r->n_classes; k++) {
            const struct report_class *x = &r->classes[k];
            const struct answer_set *s = r->policies[x->policy].set;

            if (strcmp(s->cells[x->cell].task, task) == 0)
                max = x->level > max ? x->level : max;
        }
        if (max < 1 || max > 100)
            continue;
        put_heading(f, label("%.80s, by %.40s", task, word).text);
        for (size_t k = i; k < r->n_cells; k++)
            if (is_of_task(r, k, task))
                put_classes(r, f, k, max, word);
    }
}

/* ---- all -------------------------------------------------------------------------------- */

void figures_release(struct figure *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_release(&f[i].body);
        buf_release(&f[i].csv);
    }
}

enum status report_draw(struct report *r, struct figure **ret, size_t *ret_n, struct error *err)
{
    enum { N_OTHERS = 6 };
    struct figure *f = arena_array(&r->arena, r->n_groups + N_OTHERS, sizeof(*f));
    size_t n = 0, n_kept = 0;
    enum status st = f ? ST_OK : no_memory(err);

    for (size_t g = 0; g < r->n_groups && !st; g++)
        st = draw_pareto(r, g, &f[n++], &r->arena, err);
    if (!st) {
        draw_accuracy(r, &f[n++]);
        draw_levels(r, &f[n++]);
        draw_forwards(r, &f[n++]);
        st = draw_commits(r, &f[n++], &r->arena, err);
    }
    if (!st)
        st = draw_layers(r, &f[n++], &r->arena, err);
    if (!st)
        draw_seconds(r, &f[n++]);
    for (size_t i = 0; i < n; i++) {
        if (!buf_ok(&f[i].body) || !buf_ok(&f[i].csv))
            st = st ? st : no_memory(err);
        if (f[i].height > 0)
            f[n_kept++] = f[i];
        else
            figures_release(&f[i], 1);
    }
    if (st) {
        figures_release(f, n_kept);
        return st;
    }
    *ret = f;
    *ret_n = n_kept;
    return ST_OK;
}
