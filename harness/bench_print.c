/* bench: tables of what was timed, just now or in records. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/bench.h"
#include "harness/listing.h"
#include "harness/verb.h"

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

struct bench_summary bench_summarize(const struct bench_result *r)
{
    size_t n = (size_t)r->n_samples;

    memcpy(r->sorted_ns, r->samples_ns, n * sizeof(*r->sorted_ns));
    qsort(r->sorted_ns, n, sizeof(*r->sorted_ns), by_value);
    return (struct bench_summary){
        (double)r->sorted_ns[0],
        n % 2 ? (double)r->sorted_ns[n / 2]
              : ((double)r->sorted_ns[n / 2 - 1] + (double)r->sorted_ns[n / 2]) / 2,
        (double)r->sorted_ns[n - 1]
    };
}

/* What was timed where, and what that machine can do; a line each. */
static void put_machine(const struct bench *b, struct buf *out)
{
    buf_printf(out, "%s, %s (%s), %d layers\n", b->info->name, b->backend, b->details,
               b->info->n_layer);
    for (int n = 1; n <= b->n_threads; n++)
        buf_printf(out, "this machine reads %.1f GB/s with %d thread%s\n",
                   b->read_rates[n - 1] * 1e-9, n, n == 1 ? "" : "s");
    for (int i = 0; i < b->n_isas; i++)
        buf_printf(out, "this machine does %.0f GFLOP/s with %s, %d thread%s\n", b->peaks[i] * 1e-9,
                   b->isas[i], b->n_threads, b->n_threads == 1 ? "" : "s");
    if (b->gpu_read_rate > 0)
        buf_printf(out, "this GPU reads %.0f GB/s, copies %.0f GB/s (read and written)\n",
                   b->gpu_read_rate * 1e-9, b->gpu_copy_rate * 1e-9);
    buf_printf(out, "load average before: %.2f\n", b->load_before);
}

static const char columns[] =
    "-record|-model|-backend|-commit|-date|what|shape|>median_us=median us|>min_us=min|"
    ">max_us=max|>unique_experts=U|>mb=MB|>gb_per_s=GB/s|>mflop=MFLOP|>floor_us=floor us|"
    ">percent_of_floor=% of floor|>best_percent_of_floor=best|>tok_per_s=tok/s";

/* A number that is there if `of` is above 0. */
static double if_any(double of, double value)
{
    return of > 0 ? value : NAN;
}

static void put_rows(const struct bench *b, struct listing *l)
{
    for (int i = 0; i < b->n_results; i++) {
        const struct bench_result *r = &b->results[i];
        const struct bench_summary s = bench_summarize(r);

        listing_row(l);
        listing_cell(l, b->record);
        listing_cell(l, b->info->name);
        listing_cell(l, b->backend);
        listing_cell(l, b->commit);
        listing_cell(l, b->date);
        listing_cell(l, r->name);
        listing_cell(l, r->shape);
        listing_real(l, s.median_ns * 1e-3, 1);
        listing_real(l, s.min_ns * 1e-3, 1);
        listing_real(l, s.max_ns * 1e-3, 1);
        listing_real(l, if_any(r->n_unique, r->n_unique), 1);
        listing_real(l, r->bytes * 1e-6, 2);
        listing_real(l, if_any(r->bytes, r->bytes / s.median_ns), 0);
        listing_real(l, r->flops * 1e-6, 1);
        listing_real(l, if_any(r->floor_ns, r->floor_ns * 1e-3), 1);
        listing_real(l, if_any(r->floor_ns, 100 * r->floor_ns / s.median_ns), 0);
        listing_real(l, if_any(r->floor_ns, 100 * r->floor_ns / s.min_ns), 0);
        listing_real(l, if_any((double)r->n_tokens, (double)r->n_tokens / s.median_ns * 1e9), 1);
    }
}

/* What stands above a record's table: of Markdown a heading and a list. */
static enum status print_heading(const struct bench *b, bool is_first, bool is_markdown,
                                 struct error *err)
{
    struct buf lines = { 0 }, out = { 0 };
    enum status st;

    if (b->record)
        buf_printf(&out, "%s%s%s\n%s", is_first ? "" : "\n", is_markdown ? "## " : "", b->record,
                   is_markdown ? "\n" : "");
    if (b->command)
        buf_printf(&lines, "%s%s%s\n", is_markdown ? "`" : "", b->command, is_markdown ? "`" : "");
    if (b->record)
        buf_printf(&lines, "commit %s, %s\n", b->commit, b->date);
    put_machine(b, &lines);
    for (const char *p = buf_str(&lines); *p;) {
        size_t len = strcspn(p, "\n");

        buf_printf(&out, "%s%.*s\n", is_markdown ? "- " : "", (int)len, p);
        p += len + (p[len] != '\0');
    }
    buf_putc(&out, '\n');
    st = buf_ok(&lines) ? verb_print(&out, err)
                        : error_set(err, ST_NOMEM, "out of memory making a table");
    buf_release(&lines);
    buf_release(&out);
    return st;
}

enum status bench_tables(const struct bench *list, size_t n, const char *title, struct error *err)
{
    const enum print_form form = print_form_of(list->c);
    const bool has_headings = form == PRINT_TEXT || form == PRINT_MARKDOWN;
    enum status st = ST_OK;
    struct listing l;

    if (title && form == PRINT_MARKDOWN) {
        struct buf b = { 0 };

        buf_printf(&b, "%s\n\n", title);
        st = verb_print(&b, err);
        buf_release(&b);
    }
    if (!has_headings)
        listing_start(&l, list->c, columns);
    for (size_t i = 0; i < n && !st; i++) {
        if (has_headings) {
            st = print_heading(&list[i], i == 0, form == PRINT_MARKDOWN, err);
            listing_start(&l, list->c, columns);
        }
        put_rows(&list[i], &l);
        if (has_headings)
            st = listing_end(&l, st, err);
    }
    return has_headings ? st : listing_end(&l, st, err);
}
