/*
 * cpu ops on logits: one proposal a row, and a bias.
 *
 * With a temperature, most tokens need no logarithm: the noise of a token is at most
 * (53 - floor(log2(2^52 - bits))) ln 2, which follows from -ln u >= 1 - u. Only tokens whose
 * logit plus temperature times this bound reaches the best score so far are worked out. The
 * rounding of both sums is monotonic, so the choice is the one that the reference makes.
 */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/gumbel.h"

struct pick_job {
    const struct inner *inner;
    const float *logits;
    int n_vocab;
    const struct pick_params *p;
    struct pick *ret;
};

/* Whether a token may be proposed. */
static bool is_allowed(const struct pick_params *p, int32_t id)
{
    return id != p->mask_id && id != p->banned_id;
}

/* First of the largest logits that may be proposed, -1 if all are NaN. Mask and ban cut the row
 * into up to three parts. */
static int32_t best_allowed(const struct pick_job *j, const float *l)
{
    int32_t best = -1;

    for (int32_t first = 0, end; first < j->n_vocab; first = end + 1) {
        ptrdiff_t i;

        end = j->n_vocab;
        if (j->p->mask_id >= first && j->p->mask_id < end)
            end = j->p->mask_id;
        if (j->p->banned_id >= first && j->p->banned_id < end)
            end = j->p->banned_id;
        i = j->inner->argmax(l + first, (size_t)(end - first));
        if (i >= 0 && (best < 0 || l[first + i] > l[best]))
            best = first + (int32_t)i;
    }
    return best;
}

static double score_of(const struct pick_job *j, const float *l, int32_t i, uint64_t bits)
{
    return (double)l[i] + j->p->temperature * gumbel_noise(bits);
}

/* The best token with noise, given the best without. */
static int32_t draw(const struct pick_job *j, const float *l, uint64_t key, int32_t start)
{
    int32_t best = start;
    double best_score = score_of(j, l, start, gumbel_bits(key, start));

    for (size_t n = (size_t)j->n_vocab, next = 0;; next++) {
        int32_t i;
        double score;

        next = j->inner->next_draw(l, next, n, key, j->p->temperature, best_score);
        if (next >= n)
            return best;
        i = (int32_t)next;
        if (!is_allowed(j->p, i))
            continue;
        score = score_of(j, l, i, gumbel_bits(key, i));
        if (score > best_score || (score == best_score && i < best)) {
            best = i;
            best_score = score;
        }
    }
}

static void pick_unit(void *arg, int unit, int thread)
{
    const struct pick_job *j = arg;
    const struct pick_params *p = j->p;
    const float *l = j->logits + (size_t)unit * (size_t)j->n_vocab;
    struct pick *ret = &j->ret[unit];
    int32_t best_all = (int32_t)j->inner->argmax(l, (size_t)j->n_vocab), best = best_all;
    double share;

    (void)thread;
    ret->is_mask_best = best_all >= 0 && best_all == p->mask_id;
    if (best_all >= 0 && !is_allowed(p, best_all))
        best = best_allowed(j, l);
    if (best < 0) { /* nothing but NaN */
        for (ret->id = 0; !is_allowed(p, ret->id); ret->id++)
            ;
        ret->prob = 0;
        return;
    }
    if (p->temperature > 0)
        best = draw(j, l, gumbel_row_key(p->seed, p->draw, p->positions[unit]), best);
    share = l[best] == l[best_all] ? 1 : exp((double)l[best] - l[best_all]);
    ret->id = best;
    ret->prob = (float)(share / j->inner->sum_exp(l, (size_t)j->n_vocab, l[best_all]));
}

enum status cpu_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                     const struct pick_params *p, struct pick *ret, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct pick_job j = { c->inner, logits, n_vocab, p, ret };

    (void)err;
    pool_run(c->pool, pick_unit, &j, n_rows);
    return ST_OK;
}

enum status cpu_bias_logits(struct kernels *k, float *logits, int n_vocab,
                            const struct logit_bias *bias, int n, struct error *err)
{
    (void)k;
    (void)err;
    for (int i = 0; i < n; i++)
        logits[(size_t)bias[i].row * (size_t)n_vocab + (size_t)bias[i].id] += bias[i].value;
    return ST_OK;
}
