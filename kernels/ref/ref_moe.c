/* Reference ops of the mixture of experts: router scores, experts, measures of rows. */
#include <math.h>

#include "kernels/dtype.h"
#include "kernels/ref/ref.h"

static void softmax(const double *z, size_t n, float *ret)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        if (z[i] > max)
            max = z[i];
    for (size_t i = 0; i < n; i++)
        sum += exp(z[i] - max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (float)(exp(z[i] - max) / sum);
}

enum status ref_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, float *ret_z, struct error *err)
{
    size_t n_exp = (size_t)w->m.rows, d = (size_t)w->m.cols;
    double z[KERNEL_MAX_EXPERTS];

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++, x += d, ret_s += n_exp) {
        for (size_t e = 0; e < n_exp; e++) {
            const void *row = host_row(&w->m, (int64_t)e);

            z[e] = 0;
            for (size_t i = 0; i < d; i++)
                z[e] += (double)x[i] * dtype_get(row, w->m.dtype, i);
            if (ret_z)
                ret_z[(size_t)t * n_exp + e] = (float)z[e];
        }
        if (score == ROUTER_SOFTMAX) {
            softmax(z, n_exp, ret_s);
        } else {
            for (size_t e = 0; e < n_exp; e++)
                ret_s[e] = (float)(1 / (1 + exp(-z[e])));
        }
    }
    return ST_OK;
}

static double dot(const double *x, const struct host_matrix *m, int64_t row)
{
    const void *w = host_row(m, row);
    double sum = 0;

    for (size_t i = 0; i < (size_t)m->cols; i++)
        sum += x[i] * dtype_get(w, m->dtype, i);
    return sum;
}

/* ret_y += w * down(silu(gate x) * up x); h has room for d_ff. */
static void run_expert(const struct experts *e, int id, double w, const double *x, double *h,
                       double *ret_y)
{
    for (int64_t f = 0; f < e->d_ff; f++) {
        double g = dot(x, &e->gate[id], f), u = dot(x, &e->up[id], f);

        h[f] = g / (1 + exp(-g)) * u;
    }
    for (int64_t o = 0; o < e->d_model; o++)
        ret_y[o] += w * dot(h, &e->down[id], o);
}

enum status ref_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err)
{
    struct ref *r = (struct ref *)k;
    size_t d_model = (size_t)e->d_model, d_ff = (size_t)e->d_ff, slots = (size_t)top_k;
    double *x64, *h, *y;
    enum status st = scratch_reserve(&r->scratch, (2 * d_model + d_ff) * sizeof(double), err);

    if (st)
        return st;
    x64 = r->scratch.data;
    y = x64 + d_model;
    h = y + d_model;
    for (int t = 0; t < n_tok; t++, x += d_model, ret_y += d_model) {
        for (size_t i = 0; i < d_model; i++) {
            x64[i] = x[i];
            y[i] = 0;
        }
        for (int id = 0; id < e->n_exp; id++) /* ascending expert id, then slot */
            for (int i = 0; i < top_k; i++)
                if (ids[(size_t)t * slots + (size_t)i] == id)
                    run_expert(e, id, w[(size_t)t * slots + (size_t)i], x64, h, y);
        for (int id = e->n_exp; id < e->n_exp + e->n_shared; id++)
            run_expert(e, id, 1, x64, h, y);
        for (size_t i = 0; i < d_model; i++)
            ret_y[i] = (float)y[i];
    }
    return ST_OK;
}

enum status ref_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                        struct error *err)
{
    (void)k;
    (void)err;
    for (int r = 0; r < n_rows; r++, x += d) {
        double sum = 0;

        for (int i = 0; i < d; i++)
            sum += fabs((double)x[i]);
        ret[r] = (float)sum;
    }
    return ST_OK;
}

enum status ref_rel_error(struct kernels *k, const float *a, const float *b,
                          const struct segment *segs, int n_segs, int d, double *ret,
                          struct error *err)
{
    (void)k;
    (void)err;
    for (int s = 0; s < n_segs; s++) {
        size_t from = (size_t)segs[s].row * (size_t)d, n = (size_t)segs[s].n_tok * (size_t)d;
        double diff = 0, norm = 0;

        for (size_t i = from; i < from + n; i++) {
            double e = (double)a[i] - (double)b[i];

            diff += e * e;
            norm += (double)b[i] * (double)b[i];
        }
        ret[s] = diff == 0 ? 0 : sqrt(diff) / sqrt(norm);
    }
    return ST_OK;
}
