/* Drawings as SVG. */
#include "results/svg.h"

#include <math.h>

#include "results/xml.h"

static void put_title(struct buf *b, const char *title, const char *element)
{
    if (!title) {
        buf_puts(b, "/>\n");
        return;
    }
    buf_puts(b, "><title>");
    xml_put_text(b, title);
    buf_printf(b, "</title></%s>\n", element);
}

void svg_text(struct buf *b, double x, double y, const char *cls, enum svg_anchor anchor,
              const char *text)
{
    static const char *const anchors[] = { "start", "middle", "end" };

    buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, cls,
               anchors[anchor]);
    xml_put_text(b, text);
    buf_puts(b, "</text>\n");
}

void svg_text_slanted(struct buf *b, double x, double y, const char *cls, const char *text)
{
    buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" transform=\"rotate(-37 %.1f %.1f)\">",
               x, y, cls, x, y);
    xml_put_text(b, text);
    buf_puts(b, "</text>\n");
}

void svg_line(struct buf *b, double x1, double y1, double x2, double y2, const char *cls)
{
    buf_printf(b, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1,
               x2, y2, cls);
}

void svg_rect(struct buf *b, double x, double y, double w, double h, const char *cls,
              double opacity, const char *title)
{
    buf_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"", x, y,
               w, h, cls);
    if (opacity < 1)
        buf_printf(b, " fill-opacity=\"%.3f\"", opacity);
    put_title(b, title, "rect");
}

void svg_circle(struct buf *b, double x, double y, double radius, const char *cls,
                const char *title)
{
    buf_printf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" class=\"%s\"", x, y, radius, cls);
    put_title(b, title, "circle");
}

void svg_ticks(double low, double high, int max_ticks, double *ret_first, double *ret_step,
               int *ret_decimals)
{
    double rough = (high - low) / max_ticks, power, step;

    if (!(rough > 0) || !isfinite(rough)) { /* nothing to divide */
        *ret_first = low;
        *ret_step = 1;
        *ret_decimals = 0;
        return;
    }
    power = pow(10, floor(log10(rough)));
    step = rough <= power       ? power
           : rough <= 2 * power ? 2 * power
           : rough <= 5 * power ? 5 * power
                                : 10 * power;
    *ret_step = step;
    *ret_first = ceil(low / step - 1e-9) * step;
    *ret_decimals = step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
}

static void put_box(struct buf *b, double width, double height, const char *title)
{
    buf_printf(b, " viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width, height);
    xml_put_text(b, title);
    buf_puts(b, "\">\n");
}

void svg_put_file(struct buf *b, double width, double height, const char *title, const char *style,
                  const char *body)
{
    buf_printf(b,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\"",
               width * 2, height * 2);
    put_box(b, width, height, title);
    buf_printf(b, "<style>%s</style>\n<rect width=\"%.0f\" height=\"%.0f\" class=\"bg\"/>\n", style,
               width, height);
    buf_puts(b, body);
    buf_puts(b, "</svg>\n");
}

void svg_put_inline(struct buf *b, double width, double height, const char *title, const char *body)
{
    buf_puts(b, "<svg");
    put_box(b, width, height, title);
    buf_puts(b, body);
    buf_puts(b, "</svg>\n");
}
