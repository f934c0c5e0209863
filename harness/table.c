/* Text tables. */
#include "harness/table.h"

#include <assert.h>
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
    assert(t->n_cols <= TABLE_MAX_COLS);
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
    va_list ap, again;
    char *text;
    int len;

    if (t->is_failed)
        return;
    va_start(ap, fmt);
    va_copy(again, ap);
    len = vsnprintf(NULL, 0, fmt, ap);
    text = len < 0 ? NULL : arena_alloc(&t->arena, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    va_end(ap);
    if (!text) {
        t->is_failed = true;
        return;
    }
    utf8_make_visible(text);
    for (int c = 0; c < t->n_cols; c++) {
        const char **cell = &t->cells[t->n_rows * t->n_cols + c];

        if (!*cell) {
            *cell = text;
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
    int widths[TABLE_MAX_COLS] = { 0 };

    if (t->is_failed)
        return false;
    for (int r = 0; r <= t->n_rows; r++) {
        for (int c = 0; c < t->n_cols; c++) {
            const char *cell = t->cells[r * t->n_cols + c];
            int w = cell ? width(cell) : 0;

            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    for (int r = 0; r <= t->n_rows; r++) {
        for (int c = 0; c < t->n_cols; c++) {
            const char *cell = t->cells[r * t->n_cols + c];
            bool is_right = t->right >> c & 1;
            int pad;

            cell = cell ? cell : "";
            pad = widths[c] - width(cell);
            if (c)
                buf_puts(ret, "  ");
            if (is_right)
                buf_printf(ret, "%*s", pad, "");
            buf_puts(ret, cell);
            if (!is_right && c + 1 < t->n_cols)
                buf_printf(ret, "%*s", pad, "");
        }
        buf_putc(ret, '\n');
    }
    return buf_ok(ret);
}

bool table_put_markdown(const struct table *t, struct buf *ret)
{
    if (t->is_failed)
        return false;
    for (int r = 0; r <= t->n_rows; r++) {
        for (int c = 0; c < t->n_cols; c++) {
            const char *cell = t->cells[r * t->n_cols + c];

            buf_puts(ret, c ? " | " : "| ");
            for (cell = cell ? cell : ""; *cell; cell++) {
                if (*cell == '|' || *cell == '\\')
                    buf_putc(ret, '\\');
                buf_putc(ret, *cell);
            }
        }
        buf_puts(ret, " |\n");
        for (int c = 0; r == 0 && c < t->n_cols; c++)
            buf_printf(ret, "%s---%s%s", c ? " | " : "| ", t->right >> c & 1 ? ":" : "",
                       c + 1 < t->n_cols ? "" : " |\n");
    }
    return buf_ok(ret);
}
