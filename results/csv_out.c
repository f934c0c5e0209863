/* Tables as CSV, field by field. */
#include "results/csv_out.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"

void csv_text(struct buf *b, const char *s)
{
    if (b->len && b->data[b->len - 1] != '\n') /* a field that ends so ends in a quote */
        buf_putc(b, ',');
    csv_put_field(b, s ? s : "", s ? strlen(s) : 0);
}

void csv_int(struct buf *b, int64_t v)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)v);
    csv_text(b, text);
}

void csv_real(struct buf *b, double v)
{
    char text[32] = "";

    if (!isnan(v))
        snprintf(text, sizeof(text), "%.12g", v);
    csv_text(b, text);
}

void csv_end(struct buf *b)
{
    buf_putc(b, '\n');
}
