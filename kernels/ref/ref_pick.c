/* Reference ops on logits: one proposal a row, a bias, the expected embedding. */
#include <math.h>
#include <stdlib.h>

#include "kernels/dtype.h"
#include "kernels/filter.h"
#include "kernels/gumbel.h"
#include "kernels/ref/ref.h"

/* exp(l - max) with every infinity meaning what it should: the largest value counts 1 even if
 * it is infinite, NaN counts nothing. */
static double soft(float l, float max)
{
    if (isnan(l))
        return 0;
    return l == max ? 1 : exp((double)l - max);
}

static void pick_row(const float *l, int n_vocab, const struct pick_params *p, uint64_t key,
                     struct pick *ret)
{
    int32_t best_all = -1, best = -1, first = -1;
    double best_score = 0, sum = 0;

    for (int32_t i = 0; i < n_vocab; i++)
        if (!isnan(l[i]) && (best_all < 0 || l[i] > l[best_all]))
            best_all = i;
    for (int32_t i = 0; i < n_vocab; i++) {
        double score = l[i];

        if (i == p->mask_id || i == p->banned_id)
            continue;
        if (first < 0)
            first = i;
        if (isnan(l[i]))
            continue;
        if (p->temperature > 0)
            score += p->temperature * gumbel_noise(gumbel_bits(key, i));
        if (best < 0 || score > best_score) {
            best = i;
            best_score = score;
        }
    }
    ret->is_mask_best = best_all >= 0 && best_all == p->mask_id;
    if (best < 0) { /* nothing but NaN */
        ret->id = first;
        ret->prob = 0;
        return;
    }
    for (int32_t i = 0; i < n_vocab; i++)
        sum += soft(l[i], l[best_all]);
    ret->id = best;
    ret->prob = (float)(soft(l[best], l[best_all]) / sum);
}

/* ---- kernels/filter.h ---- */

struct candidate {
    float logit;
    int32_t id;
};

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static uint64_t sum_units(const struct candidate *c, int n, double temperature)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += filter_units(filter_share(c[i].logit, c[0].logit, temperature));
    return sum;
}

/* How many of n >= 1 candidates, best first, are left. */
static int filter(const struct candidate *c, int n, const struct pick_params *p)
{
    uint64_t total, before;
    int n_left = 1;

    if (p->top_k > 0 && p->top_k < n) {
        int k = p->top_k;

        while (k < n && c[k].logit == c[p->top_k - 1].logit)
            k++;
        n = k;
    }
    if (p->top_p >= 1)
        return n;
    total = sum_units(c, n, p->temperature);
    before = sum_units(c, 1, p->temperature);
    for (; n_left < n && filter_keeps(before, total, p->top_p); n_left++)
        before += filter_units(filter_share(c[n_left].logit, c[0].logit, p->temperature));
    return n_left;
}

static bool is_allowed(const struct pick_params *p, int32_t id)
{
    return id != p->mask_id && id != p->banned_id;
}

static void sample_row(const float *l, int n_vocab, const struct pick_params *p, uint64_t key,
                       struct candidate *c, struct pick *ret)
{
    const struct candidate *best = NULL;
    int n = 0, n_left, first = 0;
    double best_score = 0;

    for (int32_t i = 0; i < n_vocab; i++)
        if (!isnan(l[i]))
            c[n++] = (struct candidate){ l[i], i };
    qsort(c, (size_t)n, sizeof(*c), by_logit);
    *ret = (struct pick){ .is_mask_best = n && c[0].id == p->mask_id };
    while (first < n && !is_allowed(p, c[first].id))
        first++;
    if (first == n) { /* nothing but NaN */
        while (!is_allowed(p, ret->id))
            ret->id++;
        return;
    }
    ret->id = c[first].id;
    n_left = filter(c, n, p);
    for (int i = first; i < n_left; i++) {
        double score = c[i].logit + p->temperature * gumbel_noise(gumbel_bits(key, c[i].id));

        if (!is_allowed(p, c[i].id))
            continue;
        if (!best || score > best_score || (score == best_score && c[i].id < best->id)) {
            best = &c[i];
            best_score = score;
        }
    }
    if (!best)
        return;
    ret->id = best->id;
    ret->prob = filter_worth(filter_share(best->logit, c[0].logit, p->temperature),
                             sum_units(c, n_left, p->temperature));
}

enum status ref_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                     const struct pick_params *p, struct pick *ret, struct error *err)
{
    struct ref *ref = (struct ref *)k;
    bool is_filtered = p->is_filtered && p->temperature > 0;
    size_t width = (size_t)n_vocab;
    enum status st = ST_OK;

    if (is_filtered)
        st = scratch_reserve(&ref->scratch, width * sizeof(struct candidate), err);
    for (int r = 0; r < n_rows && !st; r++) {
        const float *l = logits + (size_t)r * width;
        uint64_t key = p->temperature > 0 ? gumbel_row_key(p->seed, p->draw, p->positions[r]) : 0;

        if (is_filtered)
            sample_row(l, n_vocab, p, key, ref->scratch.data, &ret[r]);
        else
            pick_row(l, n_vocab, p, key, &ret[r]);
    }
    return st;
}

enum status ref_bias_logits(struct kernels *k, float *logits, int n_vocab,
                            const struct logit_bias *bias, int n, struct error *err)
{
    (void)k;
    (void)err;
    for (int i = 0; i < n; i++)
        logits[(size_t)bias[i].row * (size_t)n_vocab + (size_t)bias[i].id] += bias[i].value;
    return ST_OK;
}

static void expect_row(const float *l, const struct host_matrix *table, float scale, float *row,
                       double *sums, float *ret_y)
{
    size_t n_vocab = (size_t)table->rows, d = (size_t)table->cols;
    float max = l[0];
    double sum = 0;

    for (size_t v = 1; v < n_vocab; v++)
        max = l[v] > max ? l[v] : max;
    for (size_t i = 0; i < d; i++)
        sums[i] = 0;
    for (size_t v = 0; v < n_vocab; v++) {
        double p = exp((double)l[v] - max);

        sum += p;
        dtype_to_f32(host_row(table, (int64_t)v), table->dtype, d, row);
        for (size_t i = 0; i < d; i++)
            sums[i] += p * row[i];
    }
    for (size_t i = 0; i < d; i++)
        ret_y[i] = (float)(scale * (sums[i] / sum));
}

enum status ref_expect(struct kernels *k, const float *logits, int n_rows,
                       const struct weight *table, float scale, float *ret_y, struct error *err)
{
    struct ref *r = (struct ref *)k;
    size_t n_vocab = (size_t)table->m.rows, d = (size_t)table->m.cols;
    double *sums = NULL;
    enum status st = scratch_reserve(&r->scratch, d * (sizeof(*sums) + sizeof(float)), err);

    if (st)
        return st;
    sums = r->scratch.data;
    for (int i = 0; i < n_rows; i++)
        expect_row(logits + (size_t)i * n_vocab, &table->m, scale, (float *)(sums + d), sums,
                   ret_y + (size_t)i * d);
    return ST_OK;
}
