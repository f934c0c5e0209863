/* Drawings and outside text in them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results/svg.h"
#include "results/xml.h"

Test(svg, outside_text_cannot_leave_its_place)
{
    static const struct {
        const char *text, *escaped;
    } rows[] = { { "a<b>&\"'", "a&#60;b&#62;&#38;&#34;&#39;" },
                 { "]]>", "]]&#62;" },
                 { "tab\tand\x01\x7f", "tab?and??" },
                 { "\xc3\xa9", "\xc3\xa9" },
                 { "\xff\xc3", "??" },
                 { "\xed\xa0\x80", "???" }, /* a surrogate */
                 { "\xef\xbf\xbf", "?" },   /* U+FFFF */
                 { "\xc2\x85", "?" },       /* a C1 control */
                 { "\xf0\x9f\x99\x82", "\xf0\x9f\x99\x82" } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf b = { 0 };

        xml_put_text(&b, rows[i].text);
        cr_expect_str_eq(buf_str(&b), rows[i].escaped, "row %zu", i);
        buf_release(&b);
    }
}

Test(svg, a_title_is_escaped_and_closed)
{
    struct buf b = { 0 };

    svg_rect(&b, 1, 2, 3, 4, "v", 0.5, "<&>");
    cr_assert_str_eq(buf_str(&b),
                     "<rect x=\"1.0\" y=\"2.0\" width=\"3.0\" height=\"4.0\" class=\"v\" "
                     "fill-opacity=\"0.500\"><title>&#60;&#38;&#62;</title></rect>\n");
    buf_clear(&b);
    svg_circle(&b, 1, 2, 3, "v", NULL);
    cr_assert_str_eq(buf_str(&b), "<circle cx=\"1.0\" cy=\"2.0\" r=\"3.0\" class=\"v\"/>\n");
    buf_release(&b);
}

Test(svg, ticks_are_round_few_and_inside)
{
    static const double ranges[][2] = { { 0, 1 },    { 0.27, 0.98 }, { 27, 55.7 }, { 3, 3.01 },
                                        { -5, 1e6 }, { 1e-9, 9e-9 }, { 0, 64 },    { 99, 101 } };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        double low = ranges[i][0], high = ranges[i][1], first, step, mantissa;
        int decimals, n = 0;
        char text[64];

        svg_ticks(low, high, 6, &first, &step, &decimals);
        cr_expect(step > 0 && first >= low - step * 1e-6 && first < low + step * (1 + 1e-6),
                  "%g to %g: first %g step %g", low, high, first, step);
        for (double v = first; v <= high; v += step)
            n++;
        cr_expect(n >= 2 && n <= 7, "%g to %g: %d ticks", low, high, n);
        mantissa = step / pow(10, floor(log10(step) + 1e-9));
        cr_expect(fabs(mantissa - 1) < 1e-6 || fabs(mantissa - 2) < 1e-6 ||
                      fabs(mantissa - 5) < 1e-6,
                  "%g to %g: step %g", low, high, step);
        snprintf(text, sizeof(text), "%.*f", decimals, first + step);
        cr_expect(fabs(strtod(text, NULL) - (first + step)) < step * 1e-3, "%g to %g: '%s'", low,
                  high, text);
    }
}

Test(svg, an_empty_range_has_a_tick_and_ends)
{
    double first, step;
    int decimals;

    svg_ticks(3, 3, 6, &first, &step, &decimals);
    cr_assert(first == 3 && step > 0);
    svg_ticks(NAN, NAN, 6, &first, &step, &decimals);
    cr_assert(step > 0);
}
