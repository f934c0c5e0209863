/*
 * What the figures of a report are drawn with: names, axes, rows. Units are those of svg.h, of
 * which a figure is FIGURE_WIDTH wide; a character of the small print takes about SMALL_CHAR.
 */
#ifndef RESULTS_REPORT_DRAW_H
#define RESULTS_REPORT_DRAW_H

#include "results/report_impl.h"
#include "results/svg.h"

enum { MAX_COLORS = 10, LEFT = 8, RIGHT = FIGURE_WIDTH - 8, NAME_WIDTH = 132 };
#define SMALL_CHAR 5.0

/* Short texts of numbers; what does not fit is cut, so no names. */
struct label {
    char text[160];
};
struct label label(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "81.2 (70.0 to 88.3)": the interval where there is one. */
struct label interval_text(const struct report_value *v, double scale, int decimals);

/* "c3", the class of a policy's color, and more behind it. */
struct label color_class(const struct report_policy *p, const char *more);

/* Is the cell one of the policy's? */
bool is_cell_of(const struct report_policy *p, const char *key);

/* A hover's text: a name, whole, and words. Valid until b changes. */
const char *tip(struct buf *b, const char *name, const char *words);

/* A name from x on in lines of so many units; y: the base of the first. Returns how many lines. */
int put_name(struct figure *f, double x, double y, double width, const char *name);

/* A bold line; and the group's title, where there are several. */
void put_heading(struct figure *f, const char *text);
void put_group(struct figure *f, const struct report *r, size_t group);

/* Names of a group's colors: what stands before ':' in its selectors. */
void put_families(struct figure *f, const struct report *r, size_t group);

/* The beginning of a record of CSV: model and policy. */
void csv_policy(struct figure *f, const struct report *r, const struct report_policy *p);

/* A range with room on both sides, within the bounds. */
struct axis {
    double low, high; /* values; log2 of them where is_log */
    double from, to;  /* places */
    bool is_log;
};
void axis_take(struct axis *a, double v);
void axis_widen(struct axis *a, double min, double max);
double axis_at(const struct axis *a, double v);

/* Grid, ticks and words of both; scale: of the numbers shown. */
void put_axes(struct figure *f, const struct axis *x, const struct axis *y, double x_scale,
              double y_scale, const char *x_words, const char *y_words);

/* Bars of v's interval, across or upright. */
void put_bar_x(struct figure *f, const struct axis *x, const struct axis *y,
               const struct report_value *v, double at);
void put_bar_y(struct figure *f, const struct axis *x, const struct axis *y,
               const struct report_value *v, double at);

/*
 * Labels at the right of a plot, each as near its own height as the others let it: n of them, from
 * places y between top and bottom to x.
 */
struct side_label {
    const char *text;
    double y;
    size_t color;
};
void put_side_labels(struct figure *f, struct side_label *labels, size_t n, double x, double top,
                     double bottom);

/* ---- bars (report_bars.c) ---------------------------------------------------------------- */

enum { BAR_LEFT = LEFT + NAME_WIDTH + 6, BAR_RIGHT = 282 };

/* A row's name; what is drawn beside it is centred at *ret_middle. */
void put_row_name(struct figure *f, const char *name, double *ret_middle);

/* From 0 to v within 0 .. max, so thick; a whisker from low to high. */
void put_bar(struct figure *f, double middle, double thick, const char *cls, double v, double low,
             double high, double max, const char *title);
/* At the right of a row. */
void put_words(struct figure *f, double middle, const char *words);

/* Is policy i the first of its group that has this? Then the group's title goes before it. */
void begin_group(struct figure *f, const struct report *r, size_t *group, size_t i);

/* ---- figures ---------------------------------------------------------------------------- */

MUST_CHECK enum status draw_pareto(const struct report *r, size_t group, enum report_cost cost,
                                   struct figure *f, struct arena *arena, struct error *err);
MUST_CHECK enum status draw_latency(const struct report *r, struct figure *f, struct error *err);
MUST_CHECK enum status draw_blocks(const struct report *r, struct figure *f, struct error *err);
MUST_CHECK enum status draw_batches(const struct report *r, struct figure *f, struct error *err);
MUST_CHECK enum status draw_roofline(const struct report *r, size_t i, struct figure *f,
                                     struct arena *arena, struct error *err);
void draw_accuracy(const struct report *r, struct figure *f);
void draw_levels(const struct report *r, struct figure *f);
MUST_CHECK enum status draw_layers(const struct report *r, struct figure *f, struct arena *arena,
                                   struct error *err);
void draw_forwards(const struct report *r, struct figure *f);
MUST_CHECK enum status draw_commits(const struct report *r, struct figure *f, struct arena *arena,
                                    struct error *err);
void draw_bytes(const struct report *r, struct figure *f);
void draw_seconds(const struct report *r, struct figure *f);
void draw_kernels(const struct report *r, struct figure *f);
void draw_energy(const struct report *r, struct figure *f);

/* What a right answer costs, and a committed position, in a base unit; NaN: not known. */
struct cost {
    const char *unit; /* shown: of the base unit times scale */
    double scale;
    double (*per_right)(const struct report_policy *p);
    double (*per_commit)(const struct report_policy *p);
};

/* A row and a line of CSV for each policy of which one is known; the caller names the figure and
 * the columns. */
void draw_costs(const struct report *r, struct figure *f, const struct cost *c);

#endif
