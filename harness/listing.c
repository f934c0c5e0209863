/* Listings. */
#include "harness/listing.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/json.h"
#include "harness/verb.h"

enum print_form print_form_of(const struct options *c)
{
    const char *form = options_has(c, OPT_TABLE_FORMAT) ? options_text(c, OPT_TABLE_FORMAT)
                                                        : options_text(c, OPT_FORMAT);

    if (options_flag(c, OPT_JSON) || strcmp(form, "json") == 0)
        return PRINT_JSON;
    if (strcmp(form, "markdown") == 0)
        return PRINT_MARKDOWN;
    return strcmp(form, "csv") == 0 ? PRINT_CSV : PRINT_TEXT;
}

/* A column as it was given. */
struct column {
    const char *key, *title;
    size_t key_len, title_len;
    bool is_number, is_hidden;
};

/* The column at p; what follows it: the next one, or the end. */
static const char *read_column(const char *p, struct column *ret)
{
    size_t len;

    *ret = (struct column){ .is_hidden = *p == '-' };
    p += ret->is_hidden;
    ret->is_number = *p == '>';
    p += ret->is_number;
    len = strcspn(p, "|");
    ret->key = ret->title = p;
    ret->key_len = strcspn(p, "=|");
    ret->title_len = len;
    if (ret->key_len < len) {
        ret->title = p + ret->key_len + 1;
        ret->title_len = len - ret->key_len - 1;
    }
    return p + len + (p[len] == '|');
}

/* The current column. */
static struct column column_of(const struct listing *l)
{
    const char *p = l->columns;
    struct column c;

    for (size_t i = 0; i <= l->column; i++)
        p = read_column(p, &c);
    return c;
}

/* The headings of a table: "a|>b|c" of "a|>key=b|c". */
static void put_titles(struct buf *b, const char *columns)
{
    struct column c;

    for (const char *p = columns; *p;) {
        p = read_column(p, &c);
        if (c.is_hidden)
            continue;
        buf_printf(b, "%s%s%.*s", b->len ? "|" : "", c.is_number ? ">" : "", (int)c.title_len,
                   c.title);
    }
}

void listing_start(struct listing *l, const struct options *c, const char *columns)
{
    struct buf titles = { 0 };

    *l = (struct listing){ .columns = columns, .form = print_form_of(c) };
    put_titles(&titles, columns);
    table_init(&l->table, buf_str(&titles));
    l->table.is_failed |= !buf_ok(&titles);
    buf_release(&titles);
}

void listing_row(struct listing *l)
{
    table_row(&l->table);
    buf_puts(&l->json, l->n_rows ? "},\n {" : "\n {");
    if (l->n_rows)
        buf_putc(&l->csv, '\n');
    l->n_rows++;
    l->column = 0;
}

/* A member in JSON, a field in CSV: the value is text, or the text of a number; NULL: absent. */
static void put_value(struct listing *l, const char *ending, const char *value, bool is_number)
{
    struct buf key = { 0 };
    struct column c = column_of(l);
    const char *comma = l->column || strcmp(ending, "_high") == 0 ? "," : "";

    buf_append(&key, c.key, c.key_len);
    buf_puts(&key, ending);
    buf_printf(&l->json, "%s%s", comma, *comma ? " " : "");
    json_put_str(&l->json, buf_str(&key), key.len);
    buf_puts(&l->json, ": ");
    if (!value)
        buf_puts(&l->json, "null");
    else if (is_number)
        buf_puts(&l->json, value);
    else
        json_put_str(&l->json, value, strlen(value));
    buf_puts(&l->csv, comma);
    if (value)
        csv_put_field(&l->csv, value, strlen(value));
    if (l->n_rows == 1) {
        buf_puts(&l->csv_head, comma);
        csv_put_field(&l->csv_head, buf_str(&key), key.len);
    }
    l->table.is_failed |= !buf_ok(&key);
    buf_release(&key);
}

void listing_cell(struct listing *l, const char *text)
{
    struct column c = column_of(l);

    if (!c.is_hidden)
        table_cell(&l->table, "%s", text ? text : "");
    put_value(l, "", text, c.is_number);
    l->column++;
}

void listing_number(struct listing *l, int64_t v)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, v);
    listing_cell(l, text);
}

static void put_real(struct listing *l, const char *ending, double v)
{
    struct buf b = { 0 };

    if (isfinite(v))
        json_put_num(&b, v);
    put_value(l, ending, isfinite(v) ? buf_str(&b) : NULL, true);
    l->table.is_failed |= !buf_ok(&b);
    buf_release(&b);
}

void listing_real(struct listing *l, double v, int decimals)
{
    bool is_hidden = column_of(l).is_hidden;

    if (!is_hidden && isfinite(v))
        table_cell(&l->table, "%.*f", decimals, v);
    else if (!is_hidden)
        table_cell(&l->table, "-");
    put_real(l, "", v);
    l->column++;
}

void listing_interval(struct listing *l, double low, double high, int decimals)
{
    bool is_hidden = column_of(l).is_hidden;

    if (!is_hidden && isfinite(low) && isfinite(high))
        table_cell(&l->table, "%.*f-%.*f", decimals, low, decimals, high);
    else if (!is_hidden)
        table_cell(&l->table, "-");
    put_real(l, "_low", low);
    put_real(l, "_high", high);
    l->column++;
}

void listing_note(struct listing *l, const char *text)
{
    buf_printf(&l->note, "\n%s\n", text);
}

enum status listing_end(struct listing *l, enum status st, struct error *err)
{
    struct buf b = { 0 };
    bool is_ok = !l->table.is_failed;

    switch (l->form) {
    case PRINT_JSON: buf_printf(&b, "[%s%s]\n", buf_str(&l->json), l->n_rows ? "}\n" : ""); break;
    case PRINT_CSV:
        if (l->n_rows)
            buf_printf(&b, "%s\n%s\n", buf_str(&l->csv_head), buf_str(&l->csv));
        break;
    case PRINT_MARKDOWN: is_ok = is_ok && table_put_markdown(&l->table, &b); break;
    case PRINT_TEXT: is_ok = is_ok && table_put(&l->table, &b); break;
    }
    if (l->form == PRINT_TEXT || l->form == PRINT_MARKDOWN)
        buf_append(&b, buf_str(&l->note), l->note.len);
    if (!st && (!is_ok || !buf_ok(&l->json) || !buf_ok(&l->csv) || !buf_ok(&l->csv_head) ||
                !buf_ok(&l->note)))
        st = error_set(err, ST_NOMEM, "out of memory listing");
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    buf_release(&l->json);
    buf_release(&l->csv);
    buf_release(&l->csv_head);
    buf_release(&l->note);
    table_release(&l->table);
    return st;
}
