/* CSV through libcsv: the only file that knows it. */
#include "base/csv.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

struct reader {
    csv_row_fn row;
    void *arg;
    struct error *err;
    const char *name;
    struct buf text;               /* the fields of the current record, each ended by NUL */
    size_t *starts, *lens, n, cap; /* into text */
    char **ptrs;                   /* cap, made from starts when the record is whole */
    size_t record;
    enum status st;
};

static bool grow(struct reader *r)
{
    size_t cap = r->cap ? r->cap * 2 : 16, bytes;
    void *p;

    if (r->n < r->cap)
        return true;
    if (!size_mul(cap, sizeof(size_t) > sizeof(char *) ? sizeof(size_t) : sizeof(char *), &bytes))
        return false;
    if (!(p = realloc(r->starts, bytes)))
        return false;
    r->starts = p;
    if (!(p = realloc(r->lens, bytes)))
        return false;
    r->lens = p;
    if (!(p = realloc(r->ptrs, bytes)))
        return false;
    r->ptrs = p;
    r->cap = cap;
    return true;
}

static void on_field(void *data, size_t len, void *arg)
{
    struct reader *r = arg;

    if (r->st)
        return;
    if (!grow(r)) {
        r->st = error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->name);
        return;
    }
    r->starts[r->n] = r->text.len;
    r->lens[r->n] = len;
    r->n++;
    buf_append(&r->text, data, len);
    buf_putc(&r->text, '\0');
    if (!buf_ok(&r->text))
        r->st = error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->name);
}

static void on_record(int end, void *arg)
{
    struct reader *r = arg;

    (void)end;
    if (r->st)
        return;
    r->record++;
    if (!(r->n == 1 && r->lens[0] == 0)) {
        for (size_t i = 0; i < r->n; i++)
            r->ptrs[i] = r->text.data + r->starts[i];
        r->st = r->row(r->arg, r->record, r->ptrs, r->lens, r->n, r->err);
    }
    buf_clear(&r->text);
    r->n = 0;
}

enum status csv_read(const char *data, size_t len, const char *name, csv_row_fn row, void *arg,
                     struct error *err)
{
    struct reader r = { .row = row, .arg = arg, .err = err, .name = name };
    struct csv_parser p;

    if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", name);
    for (size_t at = 0; at < len && !r.st;) { /* in pieces, so that a stop is seen early */
        size_t n = len - at > 65536 ? 65536 : len - at;
        if (csv_parse(&p, data + at, n, on_field, on_record, &r) != n && !r.st)
            r.st = csv_error(&p) == CSV_ENOMEM
                       ? error_set(err, ST_NOMEM, "out of memory reading '%s'", name)
                       : error_set(err, ST_INVALID, "'%s' record %zu: %s", name, r.record + 1,
                                   csv_strerror(csv_error(&p)));
        at += n;
    }
    if (!r.st && csv_fini(&p, on_field, on_record, &r) != 0)
        r.st = error_set(err, ST_INVALID, "'%s' record %zu: a quoted field is not closed", name,
                         r.record + 1);
    csv_free(&p);
    buf_release(&r.text);
    free(r.starts);
    free(r.lens);
    free(r.ptrs);
    return r.st;
}

void csv_put_field(struct buf *b, const char *s, size_t len)
{
    bool is_quoted =
        len && (s[0] == ' ' || s[0] == '\t' || s[len - 1] == ' ' || s[len - 1] == '\t');
    size_t need;
    char *p;

    for (size_t i = 0; i < len && !is_quoted; i++)
        is_quoted = s[i] == ',' || s[i] == '"' || s[i] == '\r' || s[i] == '\n';
    if (!is_quoted) {
        buf_append(b, s, len);
        return;
    }
    need = csv_write(NULL, 0, s, len);
    p = buf_reserve(b, need);
    if (!p)
        return;
    b->len += csv_write(p, need, s, len);
    b->data[b->len] = '\0';
}

void csv_put_row(struct buf *b, const char *const *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++) {
        if (i)
            buf_putc(b, ',');
        csv_put_field(b, fields[i], strlen(fields[i]));
    }
    buf_putc(b, '\n');
}
