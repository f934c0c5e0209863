/* Tables of kernel times and of energy: harness/kernels_print.h. */
#include "harness/kernels_print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/listing.h"

bool kernels_is_field(const char *by)
{
    return strcmp(by, "kernel") == 0 || strcmp(by, "layer") == 0 || strcmp(by, "energy") == 0;
}

/* ---- kernels ----------------------------------------------------------------------------- */

/* A row with what its columns are taken from. */
struct line {
    const struct kernel_row *row;
    const struct cell_row *cell;
    double all_ns; /* of the forwards it is a part of */
    int number;    /* of its cell and size, in their order */
};

static bool is_together(const struct kernel_row *a, const struct kernel_row *b)
{
    return a->max_tok == b->max_tok && strcmp(a->cell_key, b->cell_key) == 0;
}

/* By cell and size, then by layer, then the longest first. */
static int by_place(const void *pa, const void *pb)
{
    const struct line *a = pa, *b = pb;

    if (a->number != b->number)
        return a->number - b->number;
    if (a->row->layer != b->row->layer)
        return a->row->layer - b->row->layer;
    return (a->row->ns.sum < b->row->ns.sum) - (a->row->ns.sum > b->row->ns.sum);
}

static void put_line(struct listing *l, const struct line *x)
{
    const struct kernel_row *r = x->row;
    double n = (double)r->ns.n, unique = (double)r->sum_unique / n;
    double bytes = (double)r->sum_unique * (double)x->cell->expert_bytes;

    listing_row(l);
    listing_cell(l, x->cell->task);
    listing_cell(l, x->cell->selector);
    listing_number(l, r->max_tok);
    if (r->layer < 0)
        listing_cell(l, NULL);
    else
        listing_number(l, r->layer);
    listing_cell(l, r->name);
    listing_number(l, r->ns.n);
    listing_real(l, (double)r->sum_tok / n, 1);
    listing_real(l, (double)histogram_quantile(&r->ns, 0.5) * 1e-3, 1);
    listing_real(l, (double)histogram_quantile(&r->ns, 0.9) * 1e-3, 1);
    listing_real(l, (double)histogram_quantile(&r->ns, 0.99) * 1e-3, 1);
    listing_real(l, (double)r->ns.sum / n * 1e-3, 1);
    listing_real(l, 100 * (double)r->ns.sum / x->all_ns, 1);
    listing_real(l, r->sum_unique < 0 ? (double)NAN : unique, 1);
    listing_real(l, r->sum_unique < 0 ? (double)NAN : bytes / (double)r->ns.sum, 1);
}

static enum status print_kernels(const struct options *c, struct store *s, const char *run_id,
                                 bool is_by_layer, struct arena *a, struct error *err)
{
    struct kernel_row *rows = NULL;
    struct cell_row *cells;
    struct line *lines;
    struct listing l;
    size_t n = 0, n_lines = 0;
    int n_together = 0;
    enum status st = store_list_kernels(s, run_id, a, &rows, &n, err);

    if (!st && !n)
        st = error_set(err, ST_NOT_FOUND,
                       "run '%s' timed no kernels: `desbench run --kernel-times N` does", run_id);
    if (st)
        return st;
    lines = arena_array(a, n, sizeof(*lines));
    cells = arena_array(a, n, sizeof(*cells));
    if (!lines || !cells)
        return error_set(err, ST_NOMEM, "out of memory listing");
    for (size_t i = 0; i < n && !st; i++) {
        struct line *x = &lines[n_lines];
        size_t first = 0;

        while (!is_together(&rows[first], &rows[i]))
            first++;
        if (first == i) {
            n_together++;
            st = store_get_cell(s, rows[i].cell_key, a, &cells[i], err);
        }
        if (is_by_layer != (rows[i].layer >= 0))
            continue;
        *x = (struct line){ .row = &rows[i], .cell = &cells[first], .number = n_together };
        for (size_t k = first; k < n; k++)
            if (is_together(&rows[k], &rows[i]) && strcmp(rows[k].name, "forward") == 0)
                x->all_ns = (double)rows[k].ns.sum;
        n_lines++;
    }
    if (st)
        return st;
    /* rows of a cell and size are not neighbours: names come before sizes */
    for (size_t i = 0; i < n_lines; i++)
        for (size_t k = 0; k < i; k++)
            if (is_together(lines[k].row, lines[i].row)) {
                lines[i].number = lines[k].number;
                break;
            }
    qsort(lines, n_lines, sizeof(*lines), by_place);
    listing_start(&l, c,
                  "task|selector|>max_tok=tokens, at most|>layer|part|>calls=forwards|"
                  ">mean_tok=tokens|>p50_us=p50 us|>p90_us=p90|>p99_us=p99|>mean_us=mean|"
                  ">share_percent=% of forward|>unique_experts=experts|>gb_per_s=GB/s of them");
    for (size_t i = 0; i < n_lines; i++)
        put_line(&l, &lines[i]);
    if (!is_by_layer)
        listing_note(&l, "Times of a part are summed over the layers of a forward, and so are "
                         "experts; `--by layer` has\neach. Forwards were run once more for them.");
    return listing_end(&l, ST_OK, err);
}

/* ---- energy ------------------------------------------------------------------------------ */

/* NVML's clocks event reasons that slow a GPU down. */
static const struct {
    int64_t bit;
    const char *name;
} reasons[] = {
    { 0x4, "power cap" },         { 0x8, "hardware slowdown" }, { 0x20, "software thermal" },
    { 0x40, "hardware thermal" }, { 0x80, "power brake" },      { 0x2, "clocks set" },
    { 0x10, "sync boost" },       { 0x100, "display clocks" },
};

static const char *throttle_text(int64_t bits, struct arena *a)
{
    struct buf b = { 0 };
    const char *text;

    if (bits < 0)
        return NULL;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (bits & reasons[i].bit)
            buf_printf(&b, "%s%s", b.len ? ", " : "", reasons[i].name);
    if (!b.len)
        buf_puts(&b, "no");
    text = buf_ok(&b) ? arena_strdup(a, buf_str(&b), b.len) : NULL;
    buf_release(&b);
    return text;
}

static enum status print_energy(const struct options *c, struct store *s, const char *run_id,
                                struct arena *a, struct error *err)
{
    struct energy_row *rows = NULL;
    struct listing l;
    size_t n = 0;
    enum status st = store_list_energy(s, run_id, a, &rows, &n, err);

    if (!st && !n)
        st = error_set(err, ST_NOT_FOUND,
                       "run '%s' measured no energy: it is of runs on a GPU, of at least a second, "
                       "without --kernel-times",
                       run_id);
    if (st)
        return st;
    listing_start(&l, c,
                  "task|selector|>n_windows=windows|>seconds=s|>joules=J|>watts=W|"
                  ">n_committed=committed|>joules_per_committed=J/committed|"
                  ">joules_per_right=J/right answer|>sm_clock_mhz=SM MHz|>temp_c=deg C|"
                  "throttled|->throttle_bits");
    for (size_t i = 0; i < n; i++) {
        const struct energy_row *r = &rows[i];

        listing_row(&l);
        listing_cell(&l, r->task);
        listing_cell(&l, r->selector);
        listing_number(&l, r->n_windows);
        listing_real(&l, (double)r->wall_ns * 1e-9, 1);
        listing_real(&l, r->joules, 0);
        listing_real(&l, r->watts, 0);
        listing_number(&l, r->n_committed);
        listing_real(&l, r->joules_per_committed, 3);
        listing_real(&l, r->joules_per_right, 1);
        listing_real(&l, r->sm_clock_mhz, 0);
        listing_real(&l, r->temp_c, 0);
        listing_cell(&l, throttle_text(r->throttle_bits, a));
        if (r->throttle_bits < 0)
            listing_cell(&l, NULL);
        else
            listing_number(&l, r->throttle_bits);
    }
    return listing_end(&l, ST_OK, err);
}

enum status kernels_print(const struct options *c, struct store *s, const char *run_id,
                          const char *by, struct error *err)
{
    struct arena a = { 0 };
    enum status st = strcmp(by, "energy") == 0
                         ? print_energy(c, s, run_id, &a, err)
                         : print_kernels(c, s, run_id, strcmp(by, "layer") == 0, &a, err);

    arena_release(&a);
    return st;
}
