/* Text tables. */
#include "harness/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void table_init(struct table *t, const char *headings)
{
    *t = (struct table){ .n_cols = 1, .n_rows = -1 };
    for (const char *p = headings; *p; p++)
        t->n_cols += *p == '|';
    table_row(t);
    for (int c = 0; c < t->n_cols; c++) {
        size_t len = strcspn(headings, "|");

        if (*headings == '>') {
            t->right |= 1u << c;
            headings++;
            len--;
        }
        table_cell(t, "%.*s", (int)len, headings);
        headings += len + 1;
    }
}

void table_release(struct table *t)
{
    free(t->cells);
    arena_release(&t->arena);
    *t = (struct table){ 0 };
}

void table_row(struct table *t)
{
    const char **cells;
    int cap;

    if (t->is_failed)
        return;
    if (t->n_rows + 2 > t->cap_rows) {
        cap = t->cap_rows ? t->cap_rows * 2 : 16;
        cells = realloc(t->cells, (size_t)cap * (size_t)t->n_cols * sizeof(*cells));
        if (!cells) {
            t->is_failed = true;
            return;
        }
        t->cells = cells;
        t->cap_rows = cap;
    }
    t->n_rows++;
    for (int c = 0; c < t->n_cols; c++)
        t->cells[t->n_rows * t->n_cols + c] = NULL;
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    char *copy;

    if (t->is_failed)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    copy = arena_strdup(&t->arena, text, strlen(text));
    if (!copy)
        t->is_failed = true;
    for (int c = 0; copy && c < t->n_cols; c++) {
        const char **cell = &t->cells[t->n_rows * t->n_cols + c];

        if (!*cell) {
            *cell = copy;
            return;
        }
    }
}

/* Code points, which stand for columns well enough here. */
static int width(const char *s)
{
    int n = 0;
    uint32_t cp;

    for (size_t len = strlen(s); len; n++) {
        int k = utf8_decode(s, len, &cp);

        k = k ? k : 1;
        s += k;
        len -= (size_t)k;
    }
    return n;
}

bool table_put(const struct table *t, struct buf *ret)
{
    for (int r = 0; !t->is_failed && r <= t->n_rows; r++) {
        for (int c = 0; c < t->n_cols; c++) {
            const char *cell = t->cells[r * t->n_cols + c];
            int max = 0, pad;

            for (int q = 0; q <= t->n_rows; q++) {
                const char *other = t->cells[q * t->n_cols + c];
                int w = other ? width(other) : 0;
                max = w > max ? w : max;
            }
            cell = cell ? cell : "";
            pad = max - width(cell);
            if (c)
                buf_puts(ret, "  ");
            if (t->right >> c & 1)
                buf_printf(ret, "%*s", pad, "");
            buf_puts(ret, cell);
            if (!(t->right >> c & 1) && c + 1 < t->n_cols)
                buf_printf(ret, "%*s", pad, "");
        }
        buf_putc(ret, '\n');
    }
    return !t->is_failed && buf_ok(ret);
}
