/* Names, axes and rows of figures. */
#include "results/report_draw.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct label label(const char *fmt, ...)
{
    struct label l;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l.text, sizeof(l.text), fmt, ap);
    va_end(ap);
    return l;
}

struct label interval_text(const struct report_value *v, double scale, int decimals)
{
    if (isnan(v->low))
        return label("%.*f", decimals, v->value * scale);
    return label("%.*f (%.*f to %.*f)", decimals, v->value * scale, decimals, v->low * scale,
                 decimals, v->high * scale);
}

struct label color_class(const struct report_policy *p, const char *more)
{
    return label("c%zu%s", p->color % MAX_COLORS, more);
}

const char *tip(struct buf *b, const char *name, const char *words)
{
    buf_clear(b);
    buf_printf(b, "%s: %s", name, words);
    return buf_str(b);
}

bool is_cell_of(const struct report_policy *p, const char *key)
{
    for (size_t k = 0; k < p->set->n_cells; k++)
        if (strcmp(p->set->cell_keys[k], key) == 0)
            return true;
    return false;
}

/* ---- names ------------------------------------------------------------------------------ */

/* Bytes of the first n characters, or fewer where the text ends. */
static size_t bytes_of(const char *s, size_t n)
{
    size_t len = 0;

    for (; n && s[len]; n--)
        for (len++; ((unsigned char)s[len] & 0xc0) == 0x80; len++)
            continue;
    return len;
}

/* How much of a name goes into a line: to its end, or behind a comma or blank, or cut anywhere. */
static size_t line_of(const char *name, size_t n_chars)
{
    size_t len = bytes_of(name, n_chars), cut = len;

    if (!name[len])
        return len;
    while (cut > len / 3 && !strchr(", ", name[cut - 1]))
        cut--;
    return cut > len / 3 ? cut : len;
}

int put_name(struct figure *f, double x, double y, double width, const char *name)
{
    int n = 0;

    do {
        size_t len = line_of(name, (size_t)(width / SMALL_CHAR));
        struct buf line = { 0 };

        buf_append(&line, name, len);
        f->body.is_failed |= !buf_ok(&line);
        svg_text(&f->body, x, y + 10 * n, "s", SVG_START, buf_str(&line));
        buf_release(&line);
        name += len;
        n++;
    } while (*name);
    return n;
}

void put_heading(struct figure *f, const char *text)
{
    f->height += 18;
    svg_text(&f->body, LEFT, f->height - 5, "h", SVG_START, text);
}

void put_group(struct figure *f, const struct report *r, size_t group)
{
    if (r->n_groups > 1)
        put_heading(f, r->groups[group].title);
}

void csv_policy(struct figure *f, const struct report *r, const struct report_policy *p)
{
    csv_text(&f->csv, r->groups[p->group].title);
    csv_text(&f->csv, p->name);
}

void put_families(struct figure *f, const struct report *r, size_t group)
{
    const struct report_group *g = &r->groups[group];
    double x = LEFT;

    f->height += 12;
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const char *selector = r->policies[i].set->cells[0].selector;
        struct label name = label("%.*s", (int)strcspn(selector, ":"), selector);
        size_t k = g->first;

        while (r->policies[k].color != r->policies[i].color)
            k++;
        if (k < i)
            continue;
        if (x > LEFT && x + 12 + SMALL_CHAR * (double)strlen(name.text) > RIGHT) {
            x = LEFT;
            f->height += 12;
        }
        svg_circle(&f->body, x + 4, f->height - 6, 3, color_class(&r->policies[i], "").text, NULL);
        svg_text(&f->body, x + 10, f->height - 3, "s", SVG_START, name.text);
        x += 20 + SMALL_CHAR * (double)strlen(name.text);
    }
}

/* ---- axes ------------------------------------------------------------------------------- */

static double place_of(const struct axis *a, double v)
{
    return a->is_log ? log2(v) : v;
}

void axis_take(struct axis *a, double v)
{
    if (isnan(v))
        return;
    v = place_of(a, v);
    a->low = isnan(a->low) || v < a->low ? v : a->low;
    a->high = isnan(a->high) || v > a->high ? v : a->high;
}

void axis_widen(struct axis *a, double min, double max)
{
    double pad = (a->high - a->low) * 0.08;

    if (!(pad > 0))
        pad = fabs(a->high) * 0.05 > 0 ? fabs(a->high) * 0.05 : 0.5;
    a->low = a->low - pad < min ? min : a->low - pad;
    a->high = a->high + pad > max ? max : a->high + pad;
}

double axis_at(const struct axis *a, double v)
{
    return a->from + (place_of(a, v) - a->low) / (a->high - a->low) * (a->to - a->from);
}

/* A line of the grid and its number. */
static void put_tick(struct figure *f, const struct axis *x, const struct axis *y, bool is_x,
                     double v, const char *number)
{
    if (is_x) {
        svg_line(&f->body, axis_at(x, v), y->from, axis_at(x, v), y->to, "g");
        svg_text(&f->body, axis_at(x, v), y->from + 13, "s m", SVG_MIDDLE, number);
    } else {
        svg_line(&f->body, x->from, axis_at(y, v), x->to, axis_at(y, v), "g");
        svg_text(&f->body, x->from - 5, axis_at(y, v) + 3, "s m", SVG_END, number);
    }
}

static void put_ticks(struct figure *f, const struct axis *x, const struct axis *y, bool is_x,
                      double scale)
{
    const struct axis *a = is_x ? x : y;
    double first, step;
    int decimals;

    if (a->is_log) { /* at powers of two of what is shown, as few as fit */
        int low = (int)ceil(a->low + log2(scale) - 1e-9),
            high = (int)floor(a->high + log2(scale) + 1e-9), by = (high - low) / 7 + 1;

        for (int i = low; i <= high; i += by)
            put_tick(f, x, y, is_x, exp2(i) / scale, label("%.4g", exp2(i)).text);
        return;
    }
    svg_ticks(a->low * scale, a->high * scale, 6, &first, &step, &decimals);
    for (double v = first; v <= a->high * scale + step * 1e-6; v += step)
        put_tick(f, x, y, is_x, v / scale, label("%.*f", decimals, v).text);
}

void put_axes(struct figure *f, const struct axis *x, const struct axis *y, double x_scale,
              double y_scale, const char *x_words, const char *y_words)
{
    put_ticks(f, x, y, false, y_scale);
    put_ticks(f, x, y, true, x_scale);
    svg_line(&f->body, x->from, y->from, x->to, y->from, "a");
    svg_line(&f->body, x->from, y->from, x->from, y->to, "a");
    svg_text(&f->body, LEFT, y->to - 8, "m", SVG_START, y_words);
    svg_text(&f->body, x->to, y->from + 27, "m", SVG_END, x_words);
}

void put_bar_x(struct figure *f, const struct axis *x, const struct axis *y,
               const struct report_value *v, double at)
{
    if (!isnan(v->low) && !isnan(v->high))
        svg_line(&f->body, axis_at(x, v->low), axis_at(y, at), axis_at(x, v->high), axis_at(y, at),
                 "e");
}

void put_bar_y(struct figure *f, const struct axis *x, const struct axis *y,
               const struct report_value *v, double at)
{
    if (!isnan(v->low) && !isnan(v->high))
        svg_line(&f->body, axis_at(x, at), axis_at(y, v->low), axis_at(x, at), axis_at(y, v->high),
                 "e");
}

/* ---- labels beside a plot --------------------------------------------------------------- */

static int by_height(const void *a, const void *b)
{
    const struct side_label *x = a, *y = b;

    return (x->y > y->y) - (x->y < y->y);
}

void put_side_labels(struct figure *f, struct side_label *labels, size_t n, double x, double top,
                     double bottom)
{
    double least = top, *at = malloc((n ? n : 1) * sizeof(*at));

    if (!at) {
        f->body.is_failed = true;
        return;
    }
    if (n)
        qsort(labels, n, sizeof(*labels), by_height);
    for (size_t i = 0; i < n; i++) { /* down, not above the one before */
        at[i] = labels[i].y < least ? least : labels[i].y;
        least = at[i] + 9.5;
    }
    for (size_t i = n; i-- > 0;) { /* and up again from the bottom */
        double most = i + 1 < n ? at[i + 1] - 9.5 : bottom;

        at[i] = at[i] > most ? most : at[i];
    }
    for (size_t i = 0; i < n; i++) {
        svg_line(&f->body, x, labels[i].y, x + 10, at[i], "g");
        svg_circle(&f->body, x + 14, at[i], 2.5, label("c%zu", labels[i].color % MAX_COLORS).text,
                   NULL);
        svg_text(&f->body, x + 19, at[i] + 3, "s", SVG_START, labels[i].text);
    }
    free(at);
}
