/* Rooflines: what a machine can do, measured, and what was timed on it, of `bench --json`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "results/report_draw.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory reading a bench record");
}

/* ---- reading ---------------------------------------------------------------------------- */

static const char *copy(struct arena *a, const char *s)
{
    return arena_strdup(a, s, strlen(s));
}

/* The fastest rate, of as many threads as the run had. */
static enum status read_rates(const json_t *root, const char *name, struct roofline *ret,
                              struct error *err)
{
    json_t *rates = NULL;
    enum status st = json_get_array(root, name, "read_bytes_per_s", &rates, err);

    for (size_t i = 0; !st && i < json_array_size(rates); i++) {
        const json_t *v = json_array_get(rates, i);

        if (!json_is_number(v) || !(json_number_value(v) >= 0))
            return error_set(err, ST_INVALID, "%s: 'read_bytes_per_s' holds no rate", name);
        ret->read_rate = fmax(ret->read_rate, json_number_value(v));
    }
    return st;
}

static enum status read_peaks(json_t *root, const char *name, struct arena *arena,
                              struct roofline *ret, struct error *err)
{
    json_t *peaks = NULL, *v;
    const char *key;
    enum status st = json_get_object(root, name, "flops_per_s", &peaks, err);

    if (st)
        return st;
    ret->peaks = arena_array(arena, json_object_size(peaks), sizeof(*ret->peaks));
    if (!ret->peaks)
        return no_memory(err);
    json_object_foreach(peaks, key, v)
    {
        struct roofline_peak *p = &ret->peaks[ret->n_peaks];

        if (!json_is_number(v) || !(json_number_value(v) >= 0))
            return error_set(err, ST_INVALID, "%s: 'flops_per_s' of '%s' is no rate", name, key);
        *p = (struct roofline_peak){ copy(arena, key), json_number_value(v) };
        if (!p->name)
            return no_memory(err);
        ret->n_peaks += p->rate > 0;
    }
    return ST_OK;
}

static enum status read_points(const json_t *root, const char *name, struct arena *arena,
                               struct roofline *ret, struct error *err)
{
    json_t *results = NULL;
    enum status st = json_get_array(root, name, "results", &results, err);
    size_t n = st ? 0 : json_array_size(results);

    ret->points = arena_array(arena, n, sizeof(*ret->points));
    if (!st && !ret->points)
        st = no_memory(err);
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *o = json_array_get(results, i);
        struct roofline_point p = { 0 };
        const char *what = NULL, *shape = NULL;

        st = json_get_str(o, name, "name", &what, NULL, err);
        if (!st)
            st = json_get_str(o, name, "shape", &shape, NULL, err);
        if (!st)
            st = json_get_num(o, name, "bytes", &p.bytes, err);
        if (!st)
            st = json_get_num(o, name, "flops", &p.flops, err);
        if (!st)
            st = json_get_num(o, name, "median_ns", &p.median_ns, err);
        if (!st)
            st = json_get_num(o, name, "min_ns", &p.min_ns, err);
        if (!st)
            st = json_get_num(o, name, "max_ns", &p.max_ns, err);
        if (st)
            break;
        p.name = copy(arena, what);
        p.shape = copy(arena, shape);
        if (!p.name || !p.shape)
            st = no_memory(err);
        /* what moves or computes nothing has no place on it */
        if (!st && p.bytes > 0 && p.flops > 0 && p.median_ns > 0 && p.min_ns > 0)
            ret->points[ret->n_points++] = p;
    }
    return st;
}

enum status report_add_bench(struct report *r, const char *text, size_t len, const char *name,
                             struct error *err)
{
    const char *backend = NULL, *details = NULL, *model = NULL;
    struct roofline line = { 0 };
    json_t *root = NULL;
    void *list = r->rooflines;
    enum status st = json_parse(text, len, name, 0, &root, err);

    if (!st)
        st = json_get_str(root, name, "backend", &backend, NULL, err);
    if (!st)
        st = json_get_str(root, name, "backend_details", &details, NULL, err);
    if (!st)
        st = json_get_str(root, name, "model", &model, NULL, err);
    if (!st)
        st = read_rates(root, name, &line, err);
    if (!st)
        st = read_peaks(root, name, &r->arena, &line, err);
    if (!st)
        st = read_points(root, name, &r->arena, &line, err);
    if (!st) {
        line.title = arena_printf(&r->arena, "%s (%s), %s", backend, details, model);
        if (!line.title || !report_grow(&list, r->n_rooflines, 1, sizeof(*r->rooflines)))
            st = no_memory(err);
    }
    if (!st) {
        r->rooflines = list;
        r->rooflines[r->n_rooflines++] = line;
    }
    json_decref(root);
    return st;
}

/* ---- drawing ---------------------------------------------------------------------------- */

static double intensity(const struct roofline_point *p)
{
    return p->flops / p->bytes;
}

static double rate_of(const struct roofline_point *p, double ns)
{
    return p->flops / ns * 1e9;
}

/* The slope of memory, then the flat peaks from where they meet it. */
static void put_ceilings(const struct roofline *l, const struct axis *x, const struct axis *y,
                         struct figure *f, struct side_label *labels)
{
    double left = exp2(x->low), right = exp2(x->high), top = 0;

    for (size_t i = 0; i < l->n_peaks; i++) {
        double ridge = l->peaks[i].rate / l->read_rate;

        top = fmax(top, l->peaks[i].rate);
        labels[i] = (struct side_label){ l->peaks[i].name, axis_at(y, l->peaks[i].rate), 9 };
        if (ridge < right)
            svg_line(&f->body, axis_at(x, fmax(ridge, left)), axis_at(y, l->peaks[i].rate),
                     axis_at(x, right), axis_at(y, l->peaks[i].rate), "w");
    }
    right = fmin(right, top / l->read_rate);
    left = fmax(left, exp2(y->low) / l->read_rate);
    svg_line(&f->body, axis_at(x, left), axis_at(y, left * l->read_rate), axis_at(x, right),
             axis_at(y, right * l->read_rate), "w");
    put_side_labels(f, labels, l->n_peaks, x->to, y->to, y->from);
}

static void put_timings(const struct roofline *l, const struct axis *x, const struct axis *y,
                        struct figure *f)
{
    struct buf words = { 0 };

    for (size_t i = 0; i < l->n_points; i++) {
        const struct roofline_point *p = &l->points[i];
        double cx = axis_at(x, intensity(p)), cy = axis_at(y, rate_of(p, p->median_ns));
        struct label text =
            label("%.50s: %.4g FLOP/byte, %.4g GFLOP/s, %.4g GB/s", p->shape, intensity(p),
                  rate_of(p, p->median_ns) * 1e-9, p->bytes / p->median_ns);

        svg_line(&f->body, cx, axis_at(y, rate_of(p, p->min_ns)), cx,
                 axis_at(y, rate_of(p, p->max_ns)), "e");
        svg_circle(&f->body, cx, cy, 6.5, "c0 d", tip(&words, p->name, text.text));
        svg_text(&f->body, cx, cy + 2.6, "n", SVG_MIDDLE, label("%zu", i + 1).text);
        svg_circle(&f->body, LEFT + 6, f->height + 6, 6, "c0", NULL);
        svg_text(&f->body, LEFT + 6, f->height + 8.6, "n", SVG_MIDDLE, label("%zu", i + 1).text);
        svg_text(&f->body, LEFT + 16, f->height + 9, "s", SVG_START,
                 label("%.40s, %.60s", p->name, p->shape).text);
        svg_text(&f->body, RIGHT, f->height + 9, "s m", SVG_END,
                 label("%.3g GFLOP/s, %.3g GB/s", rate_of(p, p->median_ns) * 1e-9,
                       p->bytes / p->median_ns)
                     .text);
        f->height += 13.5;
        csv_text(&f->csv, "timing");
        csv_text(&f->csv, p->name);
        csv_text(&f->csv, p->shape);
        csv_real(&f->csv, intensity(p));
        csv_real(&f->csv, rate_of(p, p->median_ns));
        csv_real(&f->csv, p->bytes / p->median_ns * 1e9);
        csv_end(&f->csv);
    }
    f->body.is_failed |= !buf_ok(&words);
    buf_release(&words);
}

static void put_ceiling_csv(struct figure *f, const char *name, double flops, double bytes)
{
    csv_text(&f->csv, "ceiling");
    csv_text(&f->csv, name);
    csv_text(&f->csv, "");
    csv_real(&f->csv, NAN);
    csv_real(&f->csv, flops);
    csv_real(&f->csv, bytes);
    csv_end(&f->csv);
}

enum status draw_roofline(const struct report *r, size_t i, struct figure *f, struct arena *arena,
                          struct error *err)
{
    const struct roofline *l = &r->rooflines[i];
    struct side_label *labels = arena_array(arena, l->n_peaks, sizeof(*labels));
    struct axis x = { NAN, NAN, 46, 310, true }, y = { NAN, NAN, 236, 24, true };

    f->id = r->n_rooflines > 1 ? arena_printf(arena, "roofline-%zu", i + 1) : "roofline";
    f->title = arena_printf(arena, "Roofline: %s", l->title);
    f->note = "Ceilings as `desbench bench` measured them on this machine: reading memory (the "
              "slope), arithmetic of each instruction set (flat). Points: medians, bars from the "
              "fastest to the slowest sample; bytes are the weights that take part, each once.";
    if (!labels || !f->id || !f->title)
        return no_memory(err);
    if (!l->n_points || !l->n_peaks || !(l->read_rate > 0))
        return ST_OK; /* nothing was measured that it could show */
    buf_puts(&f->csv, "kind,name,shape,flop_per_byte,flop_per_s,bytes_per_s\n");
    put_ceiling_csv(f, "memory", NAN, l->read_rate);
    for (size_t k = 0; k < l->n_points; k++) {
        axis_take(&x, intensity(&l->points[k]));
        axis_take(&y, rate_of(&l->points[k], l->points[k].max_ns));
        axis_take(&y, rate_of(&l->points[k], l->points[k].min_ns));
    }
    for (size_t k = 0; k < l->n_peaks; k++) {
        axis_take(&x, l->peaks[k].rate / l->read_rate);
        axis_take(&y, l->peaks[k].rate);
        put_ceiling_csv(f, l->peaks[k].name, l->peaks[k].rate, NAN);
    }
    axis_widen(&x, -INFINITY, INFINITY);
    axis_widen(&y, -INFINITY, INFINITY);
    put_axes(f, &x, &y, 1, 1e-9, "operations per byte", "GFLOP/s");
    put_ceilings(l, &x, &y, f, labels);
    f->height = 274;
    put_timings(l, &x, &y, f);
    return ST_OK;
}
