/*
 * cpu op: projection, y = x W^T.
 *
 * Packed weights: tokens are prepared in groups of GROUP_TOKENS. A unit is some panels of the
 * weight; it takes a group through all its panels, then the next, so that neither leaves the
 * second-level cache. Few tokens need one panel at a time, and memory is what counts: each panel
 * is fetched while the one before is used. Many need more, so that a group is read less often.
 *
 * Other weights, row by row: a unit is a block of rows. Inside it, tokens come in blocks that fit
 * the second-level cache together with the rows, which are thus read from memory once.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* ---- weights as they lie ------------------------------------------------------------------ */

struct rows_job {
    const struct inner *inner;
    const struct host_matrix *w;
    const float *const *x; /* (n_tok) packed rows */
    int n_tok, tok_block, row_block;
    float *ret;
};

enum { BLOCK_BYTES = 512 << 10, MAX_ROW_BLOCK = 64 };

static void rows_unit(void *arg, int unit, int thread)
{
    const struct rows_job *j = arg;
    size_t rows = (size_t)j->w->rows, cols = (size_t)j->w->cols;
    size_t first = (size_t)unit * (size_t)j->row_block, left = rows - first;
    int n_rows = left < (size_t)j->row_block ? (int)left : j->row_block;

    (void)thread;
    for (int t = 0; t < j->n_tok; t += j->tok_block) {
        int n_tok = j->n_tok - t < j->tok_block ? j->n_tok - t : j->tok_block;

        j->inner->panel(host_row(j->w, (int64_t)first), j->w->dtype, cols * dtype_size(j->w->dtype),
                        cols, n_rows, j->x + t, n_tok, j->ret + (size_t)t * rows + first, rows);
    }
}

static enum status matmul_rows(struct cpu *c, const float *x, const struct weight *w, int n_tok,
                               float *ret_y, struct error *err)
{
    struct host_matrix m = w->m;
    size_t rows = (size_t)w->m.rows, cols = (size_t)w->m.cols, padded = cpu_padded(c, cols);
    size_t tok_block = BLOCK_BYTES / (padded * sizeof(float));
    size_t row_block = rows / (4 * (size_t)pool_n_threads(c->pool)) / 16 * 16;
    struct layout l = { 0 };
    struct rows_job j = { c->inner, &m, NULL, n_tok, 0, 0, ret_y };
    const float **ptrs;
    float *packed;
    enum status st;

    layout_take(&l, (size_t)n_tok * padded, sizeof(float));
    layout_take(&l, (size_t)n_tok, sizeof(*ptrs));
    st = scratch_reserve(&c->scratch, l.used, err);
    if (st)
        return st;
    l = (struct layout){ c->scratch.data, 0 };
    packed = layout_take(&l, (size_t)n_tok * padded, sizeof(float));
    ptrs = layout_take(&l, (size_t)n_tok, sizeof(*ptrs));
    if (w->vec) {
        m.data = w->vec;
        m.dtype = DT_F32;
    }
    cpu_pack(c, x, n_tok, cols, packed);
    for (int t = 0; t < n_tok; t++)
        ptrs[t] = packed + (size_t)t * padded;

    j.x = ptrs;
    j.tok_block = tok_block < 6 ? 6 : tok_block > (size_t)n_tok ? n_tok : (int)tok_block;
    j.row_block = row_block < 16 ? 16 : row_block > MAX_ROW_BLOCK ? MAX_ROW_BLOCK : (int)row_block;
    pool_run(c->pool, rows_unit, &j, (int)((rows + (size_t)j.row_block - 1) / (size_t)j.row_block));
    return ST_OK;
}

/* ---- packed weights ---------------------------------------------------------------------- */

/* Bytes of panels that make a unit worth its overhead; groups that are few; panels of a unit that
 * has more. */
enum { UNIT_BYTES = 64 << 10, FEW_GROUPS = 4, MANY_PANELS = 8 };

struct matmul_job {
    const struct gemm *gemm;
    const float *x;
    const char *w; /* panels */
    size_t n_steps, panel_bytes, token_bytes;
    int n_tok, rows, cols, n_panels, per_unit;
    char *prepared; /* (n_tok) in groups */
    float *ret;
};

static void prepare_unit(void *arg, int unit, int thread)
{
    const struct matmul_job *j = arg;
    int first = unit / GROUP_TOKENS * GROUP_TOKENS, left = j->n_tok - first;

    (void)thread;
    j->gemm->prepare(j->x + (size_t)unit * (size_t)j->cols, (size_t)j->cols, 0, j->n_steps,
                     unit - first, left < GROUP_TOKENS ? left : GROUP_TOKENS,
                     j->prepared + (size_t)first * j->token_bytes);
}

/* A group times a panel, and what of that the result has room for. */
static void group_panel(const struct matmul_job *j, int group, int panel, struct ahead ahead)
{
    float y[GROUP_TOKENS * PANEL_ROWS];
    int first = group * GROUP_TOKENS, left = j->n_tok - first, row = panel * PANEL_ROWS;
    int n = left < GROUP_TOKENS ? left : GROUP_TOKENS;
    size_t n_rows = (size_t)(j->rows - row < PANEL_ROWS ? j->rows - row : PANEL_ROWS);
    float *ret = j->ret + (size_t)first * (size_t)j->rows + row;

    for (int t = 0; t < n; t++) /* the two lines of each; logits lie in no cache */
        for (size_t at = 0; at < n_rows; at += 16)
            __builtin_prefetch(ret + (size_t)t * (size_t)j->rows + at, 1);
    j->gemm->run(j->w + (size_t)panel * j->panel_bytes, j->n_steps,
                 j->prepared + (size_t)first * j->token_bytes, n, y, ahead);
    for (int t = 0; t < n; t++, ret += j->rows)
        if (n_rows == PANEL_ROWS) /* a size that the compiler knows */
            memcpy(ret, y + t * PANEL_ROWS, PANEL_ROWS * sizeof(*y));
        else
            memcpy(ret, y + t * PANEL_ROWS, n_rows * sizeof(*y));
}

static void matmul_unit(void *arg, int unit, int next, int thread)
{
    const struct matmul_job *j = arg;
    int first = unit * j->per_unit, n_groups = (j->n_tok + GROUP_TOKENS - 1) / GROUP_TOKENS;
    int end = j->n_panels - first < j->per_unit ? j->n_panels : first + j->per_unit;

    (void)thread;
    for (int g = 0; g < n_groups; g++)
        for (int p = first; p < end; p++) {
            struct ahead ahead = { NULL, 0, 1 };
            int after = p + 1 < end ? p + 1 : next * j->per_unit;

            if (end - first == 1) { /* each group fetches its part */
                ahead.first = g;
                ahead.every = n_groups;
            }
            /* the next panel of this unit is there but for the first group */
            if (p + 1 < end ? g == 0 : next >= 0 && (end - first == 1 || g == n_groups - 1))
                ahead.panel = j->w + (size_t)after * j->panel_bytes;
            group_panel(j, g, p, ahead);
        }
}

static enum status matmul_packed(struct cpu *c, const struct gemm *gemm, const float *x,
                                 const struct weight *w, int n_tok, float *ret_y, struct error *err)
{
    struct matmul_job j = {
        .gemm = gemm,
        .x = x,
        .w = w->packed.data,
        .n_steps = packed_steps(w->m.cols),
        .panel_bytes = packed_steps(w->m.cols) * STEP_BYTES,
        .token_bytes = packed_steps(w->m.cols) * gemm->step_bytes,
        .n_tok = n_tok,
        .rows = (int)w->m.rows,
        .cols = (int)w->m.cols,
        .n_panels = (int)packed_panels(w->m.rows),
        .ret = ret_y,
    };
    int fair = j.n_panels / (4 * pool_n_threads(c->pool)); /* so that all have something to do */
    enum status st = scratch_reserve(&c->scratch, (size_t)n_tok * j.token_bytes, err);

    if (st)
        return st;
    j.prepared = c->scratch.data;
    j.per_unit = (int)(UNIT_BYTES / j.panel_bytes);
    if (n_tok > FEW_GROUPS * GROUP_TOKENS && j.per_unit < MANY_PANELS)
        j.per_unit = MANY_PANELS;
    j.per_unit = j.per_unit > fair ? fair : j.per_unit;
    j.per_unit = j.per_unit < 1 ? 1 : j.per_unit;
    pool_run(c->pool, prepare_unit, &j, n_tok);
    pool_run_ahead(c->pool, matmul_unit, &j, (j.n_panels + j.per_unit - 1) / j.per_unit);
    return ST_OK;
}

enum status cpu_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;

    return w->packed.data ? matmul_packed(c, &c->inner->gemm, x, w, n_tok, ret_y, err)
                          : matmul_rows(c, x, w, n_tok, ret_y, err);
}

enum status cpu_matmul_f32(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                           float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;

    return w->packed.data ? matmul_packed(c, &c->inner->gemm_f32, x, w, n_tok, ret_y, err)
                          : matmul_rows(c, x, w, n_tok, ret_y, err);
}
