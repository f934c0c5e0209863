/* Figures of what was measured beside the answers: parts of a forward, energy. */
#include <math.h>
#include <string.h>

#include "results/report_draw.h"

/* ---- kernels ----------------------------------------------------------------------------- */

/* In the order that a forward runs them in; the experts first, as all turns on them. */
static const char *const parts[] = { "moe",       "route", "norm", "qkv",  "heads",
                                     "attention", "o",     "head", "embed" };
enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };

/* Of a policy's forwards that were timed and have at most so many tokens, but more than half. */
struct forward_sum {
    int max_tok;
    int64_t n_forwards, n_tok, n_unique, ns;
    int64_t part_ns[N_PARTS];
};

/* The sums of the smallest size above `above`; n_forwards 0: there is none. */
static struct forward_sum next_size(const struct report_policy *p, int above)
{
    const struct measured_facts *m = &p->source->measured;
    struct forward_sum s = { 0 };

    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].max_tok > above && is_cell_of(p, m->parts[i].cell_key) &&
            (!s.max_tok || m->parts[i].max_tok < s.max_tok))
            s.max_tok = m->parts[i].max_tok;
    for (size_t i = 0; i < m->n_parts && s.max_tok; i++) {
        const struct part_sum *x = &m->parts[i];

        if (x->max_tok != s.max_tok || !is_cell_of(p, x->cell_key))
            continue;
        if (strcmp(x->name, "forward") == 0) {
            s.n_forwards += x->n_forwards;
            s.n_tok += x->n_tok;
            s.ns += x->ns;
        }
        s.n_unique += x->n_unique;
        for (int k = 0; k < N_PARTS; k++)
            if (strcmp(x->name, parts[k]) == 0)
                s.part_ns[k] += x->ns;
    }
    return s;
}

static double mean_ms(const struct forward_sum *s, int64_t ns)
{
    return (double)ns * 1e-6 / (double)s->n_forwards;
}

/* Parts side by side, from the left. */
static void put_parts(struct figure *f, double middle, const struct forward_sum *s, double max,
                      const char *name, struct buf *words)
{
    const struct axis x = { 0, max, BAR_LEFT, BAR_RIGHT, false };
    double at = 0;

    for (int k = 0; k < N_PARTS; k++) {
        double ms = mean_ms(s, s->part_ns[k]);

        if (ms > 0)
            svg_rect(&f->body, axis_at(&x, at), middle - 4, axis_at(&x, at + ms) - axis_at(&x, at),
                     8, label("c%d", k).text, 0.8,
                     tip(words, name, label("%s %.3f ms", parts[k], ms).text));
        at += ms;
    }
}

static void put_kernels_csv(struct figure *f, const struct report *r, const struct report_policy *p,
                            const struct forward_sum *s)
{
    for (int k = -1; k < N_PARTS; k++) {
        csv_policy(f, r, p);
        csv_int(&f->csv, s->max_tok);
        csv_text(&f->csv, k < 0 ? "forward" : parts[k]);
        csv_int(&f->csv, s->n_forwards);
        csv_real(&f->csv, (double)s->n_tok / (double)s->n_forwards);
        csv_real(&f->csv, mean_ms(s, k < 0 ? s->ns : s->part_ns[k]));
        csv_real(&f->csv, k == 0 ? (double)s->n_unique / (double)s->n_forwards : (double)NAN);
        csv_end(&f->csv);
    }
}

void draw_kernels(const struct report *r, struct figure *f)
{
    struct buf words = { 0 };
    size_t group = SIZE_MAX;
    double max = 0;

    f->id = "kernels";
    f->title = "Parts of a forward";
    f->note = "Milliseconds of a forward by what it does, mean over those that were timed (run "
              "--kernel-times), by how many tokens they had. Forwards ran once more for it, with a "
              "mark after each part, which keeps a GPU from overlapping them.";
    buf_puts(&f->csv, "model,policy,max_tok,part,n_forwards,mean_tok,ms,unique_experts\n");
    for (size_t i = 0; i < r->n_policies; i++) {
        struct forward_sum s = { 0 };

        while (s = next_size(&r->policies[i], s.max_tok), s.n_forwards)
            max = fmax(max, mean_ms(&s, s.ns));
    }
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];
        struct forward_sum s = { 0 };

        while (s = next_size(p, s.max_tok), s.n_forwards) {
            double middle;

            begin_group(f, r, &group, i);
            put_row_name(f, p->name, &middle);
            put_parts(f, middle, &s, max, p->name, &words);
            put_words(f, middle,
                      label("%.2f ms, %.0f tokens", mean_ms(&s, s.ns),
                            (double)s.n_tok / (double)s.n_forwards)
                          .text);
            put_kernels_csv(f, r, p, &s);
        }
    }
    for (int k = 0; k < N_PARTS && f->height > 0; k++) {
        double x = LEFT + 76.0 * (k % 5), y = f->height + 6 + 14 * (k / 5);

        svg_rect(&f->body, x, y, 10, 10, label("c%d", k).text, 0.8, NULL);
        svg_text(&f->body, x + 13, y + 8, "s m", SVG_START, parts[k]);
    }
    f->height += f->height > 0 ? 36 : 0;
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

/* ---- energy ------------------------------------------------------------------------------ */

/* Joules of a committed position; NaN: not measured of all of the policy's cells. */
static double joules_per_commit(const struct report_policy *p)
{
    const struct measured_facts *m = &p->source->measured;
    double joules = 0;
    int64_t n = 0;
    size_t n_cells = 0;

    for (size_t i = 0; i < m->n_energies; i++)
        if (is_cell_of(p, m->energies[i].cell_key)) {
            joules += m->energies[i].joules;
            n += m->energies[i].n_committed;
            n_cells++;
        }
    return n && n_cells == p->set->n_cells ? joules / (double)n : (double)NAN;
}

static double joules_per_right(const struct report_policy *p)
{
    if (!p->t.n_passed || !p->t.n_committed)
        return NAN;
    return joules_per_commit(p) * (double)p->t.n_committed / (double)p->t.n_passed;
}

void draw_energy(const struct report *r, struct figure *f)
{
    const struct cost joules = { "J", 1, joules_per_right, joules_per_commit };

    f->id = "energy";
    f->title = "Energy of a right answer";
    f->note = "Joules that the GPU drew, by its own counter, in windows of a second or more while "
              "it generated: what a committed position costs (at the right), and by that all "
              "answers over the right ones.";
    buf_puts(&f->csv, "model,policy,joules_per_right,joules_per_committed\n");
    draw_costs(r, f, &joules);
}
