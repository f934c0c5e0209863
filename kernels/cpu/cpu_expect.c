/*
 * cpu op that takes the expected row of a table under each row's softmax.
 *
 * First the probabilities, a unit a row; then the products, a unit 32 columns of the table for all
 * rows, so that the table is read once. Of each 32 rows of the table products are added up in f32,
 * these sums in f64, in order.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/dtype.h"

struct expect_job {
    const struct inner *inner;
    const float *logits;
    const struct weight *table;
    int n_rows;
    float scale;
    float *shares;  /* (n_rows, n_vocab) of the softmax, times totals */
    double *totals; /* (n_rows) */
    double *sums;   /* (units, n_rows, PACK_COLS) */
    float *ret;
};

static void shares_unit(void *arg, int unit, int thread)
{
    const struct expect_job *j = arg;
    size_t n = (size_t)j->table->m.rows;
    const float *l = j->logits + (size_t)unit * n;
    float *share = j->shares + (size_t)unit * n;
    ptrdiff_t best = j->inner->argmax(l, n);
    float max = best < 0 ? 0 : l[best];
    double total = 0;

    (void)thread;
    for (size_t v = 0; v < n; v++) {
        share[v] = expf(l[v] - max);
        total += (double)share[v];
    }
    j->totals[unit] = total;
}

/* Columns [col, col + PACK_COLS) of table rows [first, first + PANEL_ROWS); what is not there is 0.
 */
static void read_piece(const struct weight *w, int64_t first, int64_t col,
                       float ret[PANEL_ROWS][PACK_COLS])
{
    int64_t n_cols = w->m.cols - col < PACK_COLS ? w->m.cols - col : PACK_COLS;
    int64_t n_rows = w->m.rows - first < PANEL_ROWS ? w->m.rows - first : PANEL_ROWS;

    if (w->packed.data) {
        size_t step =
            (size_t)(first / PANEL_ROWS) * packed_steps(w->m.cols) + (size_t)(col / PACK_COLS);
        const uint16_t *p = (const uint16_t *)w->packed.data + step * STEP_BYTES / 2;

        for (int half = 0; half < 2; half++)
            for (int pair = 0; pair < PACK_COLS / 2; pair++)
                for (int r = 0; r < TILE_SIDE; r++)
                    for (int c = 0; c < 2; c++)
                        ret[half * TILE_SIDE + r][2 * pair + c] = bf16_to_f32(*p++);
        return;
    }
    memset(ret, 0, sizeof(float[PANEL_ROWS][PACK_COLS]));
    for (int64_t r = 0; r < n_rows; r++) {
        const char *row = host_row(&w->m, first + r);

        if (w->vec)
            memcpy(ret[r], w->vec + col, (size_t)n_cols * sizeof(float));
        else
            dtype_to_f32(row + (size_t)col * dtype_size(w->m.dtype), w->m.dtype, (size_t)n_cols,
                         ret[r]);
    }
}

static void columns_unit(void *arg, int unit, int thread)
{
    const struct expect_job *j = arg;
    int64_t n_vocab = j->table->m.rows, d = j->table->m.cols, col = (int64_t)unit * PACK_COLS;
    double *sums = j->sums + (size_t)unit * (size_t)j->n_rows * PACK_COLS;
    float piece[PANEL_ROWS][PACK_COLS];

    (void)thread;
    memset(sums, 0, (size_t)j->n_rows * PACK_COLS * sizeof(*sums));
    for (int64_t first = 0; first < n_vocab; first += PANEL_ROWS) {
        int n = n_vocab - first < PANEL_ROWS ? (int)(n_vocab - first) : PANEL_ROWS;

        read_piece(j->table, first, col, piece);
        for (int r = 0; r < j->n_rows; r++) {
            const float *share = j->shares + (size_t)r * (size_t)n_vocab + first;
            float part[PACK_COLS] = { 0 };

            for (int v = 0; v < n; v++)
                for (int c = 0; c < PACK_COLS; c++)
                    part[c] += share[v] * piece[v][c];
            for (int c = 0; c < PACK_COLS; c++)
                sums[r * PACK_COLS + c] += (double)part[c];
        }
    }
    for (int r = 0; r < j->n_rows; r++)
        for (int64_t c = col; c < col + PACK_COLS && c < d; c++)
            j->ret[r * d + c] =
                (float)((double)j->scale * (sums[r * PACK_COLS + c - col] / j->totals[r]));
}

enum status cpu_expect(struct kernels *k, const float *logits, int n_rows,
                       const struct weight *table, float scale, float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct expect_job j = { .inner = c->inner,
                            .logits = logits,
                            .table = table,
                            .n_rows = n_rows,
                            .scale = scale,
                            .ret = ret_y };
    size_t n = (size_t)n_rows, n_units = packed_steps(table->m.cols);

    for (int pass = 0; pass < 2; pass++) {
        struct layout l = { pass ? c->scratch.data : NULL, 0 };
        enum status st;

        j.shares = layout_take(&l, n * (size_t)table->m.rows, sizeof(*j.shares));
        j.totals = layout_take(&l, n, sizeof(*j.totals));
        j.sums = layout_take(&l, n_units * n * PACK_COLS, sizeof(*j.sums));
        st = pass ? ST_OK : scratch_reserve(&c->scratch, l.used, err);
        if (st)
            return st;
    }
    pool_run(c->pool, shares_unit, &j, n_rows);
    if (n_rows)
        pool_run(c->pool, columns_unit, &j, (int)n_units);
    return ST_OK;
}
