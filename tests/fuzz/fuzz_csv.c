/* CSV: records that are read are written and read again as they were. */
#include <string.h>

#include "base/csv.h"
#include "tests/fuzz/fuzz.h"

/* Writes each record, a NUL behind each field's text in a list of its own. */
struct copy {
    struct buf csv, list;
    size_t n_records;
};

static enum status on_row(void *arg, size_t record, char *const *fields, const size_t *lens,
                          size_t n_fields, struct error *err)
{
    struct copy *c = arg;

    (void)err;
    REQUIRE(record > c->n_records && n_fields > 0);
    c->n_records++;
    for (size_t i = 0; i < n_fields; i++) {
        REQUIRE(fields[i][lens[i]] == '\0');
        if (i)
            buf_putc(&c->csv, ',');
        csv_put_field(&c->csv, fields[i], lens[i]);
        buf_append(&c->list, &lens[i], sizeof(lens[i]));
        buf_append(&c->list, fields[i], lens[i]);
    }
    buf_putc(&c->csv, '\n');
    buf_append(&c->list, &n_fields, sizeof(n_fields));
    return ST_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct copy c = { .n_records = 0 }, again = { .n_records = 0 };
    struct error err = { 0 };
    enum status st = csv_read((const char *)data, len, "x", on_row, &c, &err);

    if (st)
        REQUIRE_REFUSED(st, err);
    st = csv_read(buf_str(&c.csv), c.csv.len, "again", on_row, &again, &err);
    REQUIRE(st == ST_OK && again.n_records == c.n_records && again.list.len == c.list.len);
    REQUIRE(c.list.len == 0 || memcmp(again.list.data, c.list.data, c.list.len) == 0);
    REQUIRE(again.csv.len == c.csv.len);
    buf_release(&c.csv);
    buf_release(&c.list);
    buf_release(&again.csv);
    buf_release(&again.list);
    return 0;
}
