/* Experts dealt to tokens: kernels/deal.h. */
#include "kernels/deal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

int deal_max_active(const struct deal *d)
{
    int n = d->n_group ? d->n_exp / d->n_group * d->topk_group : d->n_exp;

    return (int64_t)d->n_tok * d->top_k < n ? d->n_tok * d->top_k : n;
}

/* The first n of p's n_all elements become random ones of them. */
static void shuffle_first(struct rng *rng, int32_t *p, int n, int n_all)
{
    for (int i = 0; i < n; i++) {
        int k = i + (int)rng_below(rng, (uint64_t)(n_all - i));
        int32_t x = p[k];

        p[k] = p[i];
        p[i] = x;
    }
}

/* Experts in pool (n_exp), the first n_active of which take part, the favourites first. */
static void make_pool(const struct deal *d, struct rng *rng, int32_t *pool)
{
    int n_group = d->n_group ? d->n_group : 1, n_kept = d->n_group ? d->topk_group : 1;
    int size = d->n_exp / n_group;

    for (int i = 0; i < n_group; i++)
        pool[i] = i;
    shuffle_first(rng, pool, n_kept, n_group);
    for (int i = n_kept - 1; i >= 0; i--) /* backwards: groups are read where experts come */
        for (int g = pool[i], k = 0; k < size; k++)
            pool[i * size + k] = g * size + k;
    shuffle_first(rng, pool, d->n_active, n_kept * size);
}

/* Index of an expert of the pool, drawn by share. */
static int draw(const struct deal *d, struct rng *rng, const double *share, double sum)
{
    double at = rng_uniform(rng) * sum;
    int i = 0;

    while (i < d->n_active - 1 && at >= share[i])
        at -= share[i++];
    return i;
}

static bool is_among(int32_t e, const int32_t *from, const int32_t *to)
{
    for (; from < to; from++)
        if (*from == e)
            return true;
    return false;
}

static void deal_slots(const struct deal *d, struct rng *rng, const int32_t *pool,
                       const double *share, int *count, int32_t *ret)
{
    const size_t top_k = (size_t)d->top_k, n_slots = (size_t)d->n_tok * top_k;
    double sum = 0;

    for (int i = 0; i < d->n_active; i++)
        sum += share[i];
    for (size_t s = 0; s < n_slots; s++) {
        do
            ret[s] = pool[draw(d, rng, share, sum)];
        while (is_among(ret[s], ret + s / top_k * top_k, ret + s));
        count[ret[s]]++;
    }
    for (int i = 0; i < d->n_active; i++) /* whom nobody got takes a slot of who has several */
        while (count[pool[i]] == 0) {
            int32_t *slot = ret + rng_below(rng, n_slots);

            if (count[*slot] > 1) {
                count[*slot]--;
                *slot = pool[i];
                count[pool[i]]++;
            }
        }
}

enum status deal_experts(const struct deal *d, struct rng *rng, int32_t *ret, struct error *err)
{
    const size_t n_exp = (size_t)d->n_exp;
    int32_t *pool = NULL;
    double *share = NULL;
    int *count = NULL;
    enum status st = ST_OK;

    if (d->n_active < d->top_k || d->n_active > deal_max_active(d))
        return error_set(err, ST_INVALID,
                         "%d tokens of %d experts each cannot go to %d of %d experts: %d .. %d",
                         d->n_tok, d->top_k, d->n_active, d->n_exp, d->top_k, deal_max_active(d));
    pool = malloc(n_exp * sizeof(*pool));
    share = malloc(n_exp * sizeof(*share));
    count = calloc(n_exp, sizeof(*count));
    if (pool && share && count) {
        make_pool(d, rng, pool);
        for (int i = 0; i < d->n_active; i++)
            share[i] = pow(i + 1, -d->skew);
        deal_slots(d, rng, pool, share, count, ret);
    } else {
        st = error_set(err, ST_NOMEM, "out of memory dealing %d experts", d->n_exp);
    }
    free(pool);
    free(share);
    free(count);
    return st;
}
