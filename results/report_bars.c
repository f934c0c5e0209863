/* Figures of bars, a row for each policy: forwards, commits, bytes, seconds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "results/report_draw.h"

void put_row_name(struct figure *f, const char *name, double *ret_middle)
{
    int n_lines = put_name(f, LEFT, f->height + 10, NAME_WIDTH, name);

    *ret_middle = f->height + 7;
    f->height += 14 + 10 * (n_lines - 1);
}

void put_bar(struct figure *f, double middle, double thick, const char *cls, double v, double low,
             double high, double max, const char *title)
{
    struct axis x = { 0, max > 0 ? max : 1, BAR_LEFT, BAR_RIGHT, false };

    svg_rect(&f->body, BAR_LEFT, middle - thick / 2, axis_at(&x, v) - BAR_LEFT, thick, cls, 0.7,
             title);
    if (!isnan(low) && !isnan(high)) {
        svg_line(&f->body, axis_at(&x, low), middle, axis_at(&x, high), middle, "w");
        svg_line(&f->body, axis_at(&x, low), middle - 3, axis_at(&x, low), middle + 3, "w");
        svg_line(&f->body, axis_at(&x, high), middle - 3, axis_at(&x, high), middle + 3, "w");
    }
}

void put_words(struct figure *f, double middle, const char *words)
{
    svg_text(&f->body, RIGHT, middle + 3, "s m", SVG_END, words);
}

void begin_group(struct figure *f, const struct report *r, size_t *group, size_t i)
{
    if (*group == r->policies[i].group)
        return;
    *group = r->policies[i].group;
    put_group(f, r, *group);
}

/* ---- forwards --------------------------------------------------------------------------- */

void draw_forwards(const struct report *r, struct figure *f)
{
    struct buf words = { 0 };
    size_t group = SIZE_MAX;
    double max = 0;

    f->id = "forwards";
    f->title = "Forwards an answer";
    f->note = "Forward passes (NFE), those that fill a cache included; bars: 95 %, bootstrap over "
              "items.";
    buf_puts(&f->csv, "model,policy,n_samples,n_forwards,forwards_per_answer,low,high\n");
    for (size_t i = 0; i < r->n_policies; i++)
        max = fmax(max, fmax(r->policies[i].forwards.value, r->policies[i].forwards.high));
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        const struct report_value *v = &p->forwards;
        double middle;

        if (isnan(v->value))
            continue;
        begin_group(f, r, &group, i);
        put_row_name(f, p->name, &middle);
        put_bar(f, middle, 8, color_class(p, "").text, v->value, v->low, v->high, max,
                tip(&words, p->name, interval_text(v, 1, 2).text));
        put_words(f, middle, interval_text(v, 1, 2).text);
        csv_policy(f, r, p);
        csv_int(&f->csv, p->t.n_samples);
        csv_int(&f->csv, p->t.n_forwards);
        csv_real(&f->csv, v->value);
        csv_real(&f->csv, v->low);
        csv_real(&f->csv, v->high);
        csv_end(&f->csv);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

/* ---- costs ------------------------------------------------------------------------------ */

void draw_costs(const struct report *r, struct figure *f, const struct cost *c)
{
    enum { COLUMN_RIGHT = 344 };
    struct buf words = { 0 };
    size_t group = SIZE_MAX;
    double max = 0;

    for (size_t i = 0; i < r->n_policies; i++)
        max = fmax(max, c->per_right(&r->policies[i]));
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        double right = c->per_right(p), committed = c->per_commit(p), middle;
        struct label text;

        if (isnan(right) && isnan(committed))
            continue;
        if (group != p->group) {
            begin_group(f, r, &group, i);
            svg_text(&f->body, COLUMN_RIGHT, f->height + 8, "s m", SVG_END,
                     label("%s an answer", c->unit).text);
            svg_text(&f->body, RIGHT, f->height + 8, "s m", SVG_END, "a position");
            f->height += 12;
        }
        put_row_name(f, p->name, &middle);
        text = isnan(right) ? label("none right") : label("%.1f", right * c->scale);
        svg_text(&f->body, COLUMN_RIGHT, middle + 3, "s m", SVG_END, text.text);
        if (!isnan(right))
            put_bar(f, middle, 8, color_class(p, "").text, right, NAN, NAN, max,
                    tip(&words, p->name, label("%s %s", text.text, c->unit).text));
        if (!isnan(committed))
            put_words(f, middle, label("%.3f", committed * c->scale).text);
        csv_policy(f, r, p);
        csv_real(&f->csv, right);
        csv_real(&f->csv, committed);
        csv_end(&f->csv);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

static double bytes_per_right(const struct report_policy *p)
{
    return report_bytes_per_right(&p->t);
}

static double bytes_per_commit(const struct report_policy *p)
{
    return report_bytes_per_commit(&p->t);
}

void draw_bytes(const struct report *r, struct figure *f)
{
    const struct cost bytes = { "MB", 1e-6, bytes_per_right, bytes_per_commit };

    f->id = "bytes";
    f->title = "Expert bytes of a right answer";
    f->note = "Expert bytes read for all answers over the right ones: what fewer experts save, and "
              "what more forwards and lost answers cost. At the right also the bytes for each "
              "position committed, end-of-text fill included.";
    buf_puts(&f->csv, "model,policy,bytes_per_right,bytes_per_committed\n");
    draw_costs(r, f, &bytes);
}

/* ---- seconds ---------------------------------------------------------------------------- */

static void put_seconds_csv(const struct report *r, struct figure *f, const struct report_policy *p,
                            const char *part, double p50, double p95)
{
    if (isnan(p50))
        return;
    csv_policy(f, r, p);
    csv_text(&f->csv, part);
    csv_real(&f->csv, p50);
    csv_real(&f->csv, p95);
    csv_end(&f->csv);
}

void draw_seconds(const struct report *r, struct figure *f)
{
    struct buf words = { 0 };
    size_t group = SIZE_MAX;
    double max = 0;

    f->id = "seconds";
    f->title = "Seconds an answer";
    f->note = "Median, and as a whisker the 95th percentile over answers: above, generation, from "
              "an answer's start to its end, beside the others of its batch; below, gray, judging: "
              "wall time of the programs that were run.";
    buf_puts(&f->csv, "model,policy,part,p50_s,p95_s\n");
    for (size_t i = 0; i < r->n_policies; i++)
        max = fmax(max, fmax(r->policies[i].t.gen_p95, r->policies[i].t.judge_p95));
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        const struct report_tally *t = &p->t;
        struct label gen = label("p50 %.3g, p95 %.3g s", t->gen_p50, t->gen_p95),
                     judge = label("judging p50 %.3g, p95 %.3g s", t->judge_p50, t->judge_p95);
        double middle;

        if (isnan(t->gen_p50) && isnan(t->judge_p50))
            continue;
        begin_group(f, r, &group, i);
        put_row_name(f, p->name, &middle);
        if (!isnan(t->gen_p50)) {
            put_bar(f, middle - 1.5, 6, color_class(p, "").text, t->gen_p50, t->gen_p50, t->gen_p95,
                    max, tip(&words, p->name, gen.text));
            put_words(f, middle, gen.text);
        }
        if (!isnan(t->judge_p50)) {
            put_bar(f, middle + 4, 3, "j", t->judge_p50, NAN, NAN, max,
                    tip(&words, p->name, judge.text));
            if (isnan(t->gen_p50))
                put_words(f, middle, judge.text);
        }
        put_seconds_csv(r, f, p, "generation", t->gen_p50, t->gen_p95);
        put_seconds_csv(r, f, p, "judging", t->judge_p50, t->judge_p95);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

/* ---- commits ---------------------------------------------------------------------------- */

static const int commit_bins[] = { 0, 1, 2, 4, 8, 16, INT32_MAX }; /* up to and with */
static const char *const commit_names[] = { "0", "1", "2", "3-4", "5-8", "9-16", "17+" };
enum { N_COMMIT_BINS = sizeof(commit_bins) / sizeof(commit_bins[0]) };

static double bin_opacity(size_t bin)
{
    return 0.12 + 0.14 * (double)bin;
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
    const struct forward_facts *facts = &p->source->forwards;
    struct commit_count *list = arena_array(arena, facts->n_commits, sizeof(*list));
    size_t n = 0, n_list = 0;

    for (size_t i = 0; list && i < facts->n_commits; i++)
        if (is_cell_of(p, facts->commits[i].cell_key))
            list[n_list++] = facts->commits[i];
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

static void put_commits(const struct report *r, const struct report_policy *p,
                        const struct commit_count *list, size_t n, struct figure *f)
{
    enum { RIGHT_END = 330 };
    int64_t bins[N_COMMIT_BINS] = { 0 };
    double total = (double)p->t.n_commit_forwards, x = BAR_LEFT, middle;
    struct buf words = { 0 };

    for (size_t k = 0; k < n; k++) {
        size_t bin = 0;

        while (list[k].n_committed > commit_bins[bin])
            bin++;
        bins[bin] += list[k].n_forwards;
        csv_policy(f, r, p);
        csv_int(&f->csv, list[k].n_committed);
        csv_int(&f->csv, list[k].n_forwards);
        csv_real(&f->csv, (double)list[k].n_forwards / total);
        csv_end(&f->csv);
    }
    put_row_name(f, p->name, &middle);
    put_words(f, middle, label("mean %.2f", (double)p->t.n_committed / total).text);
    for (size_t bin = 0; bin < N_COMMIT_BINS; bin++) {
        double share = (double)bins[bin] / total, w = share * (RIGHT_END - BAR_LEFT);

        if (bins[bin])
            svg_rect(
                &f->body, x, middle - 5, w, 10, "v", bin_opacity(bin),
                tip(&words, p->name,
                    label("%s committed in %.1f %% of forwards", commit_names[bin], share * 100)
                        .text));
        x += w;
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

enum status draw_commits(const struct report *r, struct figure *f, struct arena *arena,
                         struct error *err)
{
    size_t group = SIZE_MAX;

    f->id = "commits";
    f->title = "Positions committed by a forward";
    f->note = "Share of forwards that committed so many positions, end-of-text fill included.";
    buf_puts(&f->csv, "model,policy,n_committed,n_forwards,share\n");
    for (size_t i = 0; i < r->n_policies; i++) {
        size_t n;
        const struct commit_count *list = commits_of(&r->policies[i], arena, &n);

        if (!list)
            return error_set(err, ST_NOMEM, "out of memory drawing a report");
        if (!n)
            continue;
        begin_group(f, r, &group, i);
        put_commits(r, &r->policies[i], list, n, f);
    }
    for (size_t bin = 0; bin < N_COMMIT_BINS && f->height > 0; bin++) {
        double x = LEFT + 54.0 * (double)bin;

        svg_rect(&f->body, x, f->height + 6, 10, 10, "v", bin_opacity(bin), NULL);
        svg_text(&f->body, x + 13, f->height + 14, "s m", SVG_START, commit_names[bin]);
    }
    f->height += f->height > 0 ? 22 : 0;
    return ST_OK;
}
