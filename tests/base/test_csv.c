/* CSV in and out: what is written is read back, and broken files are named. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/rng.h"

/* All records as "field|field;" with lengths apart. */
struct got {
    struct buf text;
    size_t n_rows, last_record;
    size_t stop_at; /* 0: never */
};

static enum status on_row(void *arg, size_t record, char *const *fields, const size_t *lens,
                          size_t n_fields, struct error *err)
{
    struct got *g = arg;

    g->n_rows++;
    g->last_record = record;
    for (size_t i = 0; i < n_fields; i++) {
        cr_expect_eq(fields[i][lens[i]], '\0');
        if (i)
            buf_putc(&g->text, '|');
        buf_append(&g->text, fields[i], lens[i]);
    }
    buf_putc(&g->text, ';');
    return g->stop_at == record ? error_set(err, ST_MISMATCH, "stop") : ST_OK;
}

static struct got read_ok(const char *data, size_t len)
{
    struct got g = { 0 };
    struct error err = { 0 };

    cr_assert_eq(csv_read(data, len, "x.csv", on_row, &g, &err), ST_OK, "%s", err.text);
    return g;
}

static void expect_rows(const char *csv, const char *want)
{
    struct got g = read_ok(csv, strlen(csv));

    cr_expect_str_eq(buf_str(&g.text), want, "%s gives %s", csv, buf_str(&g.text));
    buf_release(&g.text);
}

Test(csv, records_and_fields_are_split_as_rfc_4180_says)
{
    expect_rows("", "");
    expect_rows("a,b\nc,d\n", "a|b;c|d;");
    expect_rows("a,b\r\nc,d", "a|b;c|d;");
    expect_rows("a,,\n,\n", "a||;|;");
    expect_rows("\"a\"\"b\",\"c,d\",\"e\nf\r\ng\"\n", "a\"b|c,d|e\nf\r\ng;");
    expect_rows("\"\",x\n", "|x;");
    expect_rows("  a  ,\" b \"\n", "a| b ;");
    expect_rows("caf\xc3\xa9,\xff\n", "caf\xc3\xa9|\xff;");
}

Test(csv, blank_lines_are_skipped)
{
    expect_rows("\n\na\n\n\r\n\"\"\nb\n", "a;b;");
}

Test(csv, a_field_may_hold_nul)
{
    struct got g = read_ok("a\0b,c\n", 6);

    cr_expect_eq(g.text.len, 6);
    cr_expect_eq(memcmp(g.text.data, "a\0b|c;", 6), 0);
    buf_release(&g.text);
}

Test(csv, a_callback_stops_the_reading_with_its_own_error)
{
    struct got g = { .stop_at = 2 };
    struct error err = { 0 };

    cr_expect_eq(csv_read("a\nb\nc\nd\n", 8, "x.csv", on_row, &g, &err), ST_MISMATCH);
    cr_expect_str_eq(err.text, "stop");
    cr_expect_eq(g.n_rows, 2);
    buf_release(&g.text);
    /* in the last record, which has no newline, too */
    g = (struct got){ .stop_at = 2 };
    cr_expect_eq(csv_read("a\nb", 3, "x.csv", on_row, &g, &err), ST_MISMATCH);
    buf_release(&g.text);
}

Test(csv, broken_quoting_names_the_file_and_the_record)
{
    static const struct {
        const char *csv, *record;
    } cases[] = { { "a\nb\n\"never closed\nmore,\n", "record 3" },
                  { "a\nx\"y\n", "record 2" },
                  { "\"a\"b\n", "record 1" } };

    for (size_t i = 0; i < 3; i++) {
        struct got g = { 0 };
        struct error err = { 0 };
        cr_expect_eq(csv_read(cases[i].csv, strlen(cases[i].csv), "x.csv", on_row, &g, &err),
                     ST_INVALID);
        cr_expect(strstr(err.text, "'x.csv'") && strstr(err.text, cases[i].record), "%s", err.text);
        buf_release(&g.text);
    }
}

Test(csv, any_fields_written_are_the_fields_read)
{
    static const char alphabet[] = "ab ,\"\r\n\t\xc3\xa9;'";
    struct rng rng;

    rng_seed(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        char fields[5][12];
        const char *ptrs[5];
        size_t n = 2 + rng_below(&rng, 4); /* one empty field alone would be a blank line */
        struct buf csv = { 0 }, want = { 0 };
        struct got g;

        for (int row = 0; row < 3; row++) {
            for (size_t i = 0; i < n; i++) {
                size_t len = rng_below(&rng, 11);
                for (size_t k = 0; k < len; k++)
                    fields[i][k] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
                fields[i][len] = '\0';
                ptrs[i] = fields[i];
                buf_printf(&want, "%s%s", i ? "|" : "", fields[i]);
            }
            buf_putc(&want, ';');
            csv_put_row(&csv, ptrs, n);
        }
        g = read_ok(buf_str(&csv), csv.len);
        cr_assert_str_eq(buf_str(&g.text), buf_str(&want), "%s", buf_str(&csv));
        cr_assert_eq(g.n_rows, 3);
        buf_release(&g.text);
        buf_release(&csv);
        buf_release(&want);
    }
}

Test(csv, only_fields_that_need_quotes_get_them)
{
    static const char *const cases[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "a b", "a b" },
        { "a,b", "\"a,b\"" },
        { "a\"b", "\"a\"\"b\"" },
        { "a\nb", "\"a\nb\"" },
        { "a\rb", "\"a\rb\"" },
        { " a", "\" a\"" },
        { "a\t", "\"a\t\"" },
        { " ", "\" \"" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = { 0 };
        csv_put_field(&b, cases[i][0], strlen(cases[i][0]));
        cr_expect_str_eq(buf_str(&b), cases[i][1]);
        buf_release(&b);
    }
}

Test(csv, long_inputs_cross_the_pieces_they_are_parsed_in)
{
    struct buf csv = { 0 };
    struct got g;

    for (int i = 0; i < 30000; i++)
        buf_printf(&csv, "%d,\"x\ny\",%d\n", i, i);
    g = read_ok(buf_str(&csv), csv.len);
    cr_expect_eq(g.n_rows, 30000);
    cr_expect_eq(g.last_record, 30000);
    cr_expect_str_eq(g.text.data + g.text.len - 16, "29999|x\ny|29999;");
    buf_release(&csv);
    buf_release(&g.text);
}
