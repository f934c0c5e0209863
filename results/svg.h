/*
 * Drawings as SVG: the few shapes that figures are made of. Coordinates are user units, y down;
 * looks come from classes (figure_style in report_impl.h), so that a page and a file of its own
 * show them alike, by day and by night. All text is escaped here.
 */
#ifndef RESULTS_SVG_H
#define RESULTS_SVG_H

#include <stddef.h>

#include "base/buf.h"

/* Where text hangs: begins, is centred, or ends at x. */
enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END };

/* cls: words of CSS, ours. title: shown on hover, may be outside text; NULL: none. */
void svg_text(struct buf *b, double x, double y, const char *cls, enum svg_anchor anchor,
              const char *text);
/* Rising to the right by 37 degrees from its beginning. */
void svg_text_slanted(struct buf *b, double x, double y, const char *cls, const char *text);
void svg_line(struct buf *b, double x1, double y1, double x2, double y2, const char *cls);
void svg_rect(struct buf *b, double x, double y, double w, double h, const char *cls,
              double opacity, const char *title);
void svg_circle(struct buf *b, double x, double y, double radius, const char *cls,
                const char *title);

/* Ticks for an axis from low to high: multiples of 1, 2 or 5 times a power of ten, at most
 * max_ticks. *ret_step > 0; the first is *ret_first >= low. *ret_decimals: digits that they need.
 */
void svg_ticks(double low, double high, int max_ticks, double *ret_first, double *ret_step,
               int *ret_decimals);

/* A file of its own: XML declaration, size, style sheet, what was drawn. */
void svg_put_file(struct buf *b, double width, double height, const char *title, const char *style,
                  const char *body);

/* The same inside a page of HTML, which has the style sheet. */
void svg_put_inline(struct buf *b, double width, double height, const char *title,
                    const char *body);

#endif
