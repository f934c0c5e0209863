/*
 * cpu ops on logits: one proposal a row, and a bias.
 *
 * With a temperature, most tokens need no logarithm: the noise of a token is at most
 * (53 - floor(log2(2^52 - bits))) ln 2, which follows from -ln u >= 1 - u. Only tokens whose
 * logit plus temperature times this bound reaches the best score so far are worked out. The
 * rounding of both sums is monotonic, so the choice is the one that the reference makes.
 *
 * Under top-k or top-p (kernels/filter.h) few tokens are left as a rule: a heap gives up the best
 * ones until the rest is cut off.
 */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/filter.h"
#include "kernels/gumbel.h"

struct candidate {
    float logit;
    int32_t id;
};

struct pick_job {
    const struct inner *inner;
    const float *logits;
    int n_vocab;
    const struct pick_params *p;
    struct pick *ret;
    struct candidate *rooms; /* (threads, n_vocab); NULL: nothing is filtered */
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

/* ---- sampling as kernels/filter.h has it ---- */

static bool is_before(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Put c at place i of a heap of n, or below. */
static void sift(struct candidate *heap, size_t n, size_t i, struct candidate c)
{
    for (size_t next; (next = 2 * i + 1) < n; i = next) {
        next += next + 1 < n && is_before(heap[next + 1], heap[next]);
        if (!is_before(heap[next], c))
            break;
        heap[i] = heap[next];
    }
    heap[i] = c;
}

/* The best of a heap of n moves to its end, place n - 1. */
static struct candidate heap_pop(struct candidate *heap, size_t n)
{
    struct candidate top = heap[0], last = heap[n - 1];

    sift(heap, n - 1, 0, last);
    heap[n - 1] = top;
    return top;
}

/* All of a row's logits that are no NaN as a heap; returns how many. */
static size_t heap_of(const float *l, size_t n_vocab, struct candidate *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < n_vocab; i++)
        if (!isnan(l[i]))
            ret[n++] = (struct candidate){ l[i], (int32_t)i };
    for (size_t i = n / 2; i-- > 0;)
        sift(ret, n, i, ret[i]);
    return n;
}

static uint64_t units_of(const struct pick_params *p, float logit, float max)
{
    return filter_units(filter_share(logit, max, p->temperature));
}

/* Leaves what is left of a row, in room[n - *ret_left .. n), and its weights; max: the largest
 * logit. Returns n. */
static size_t filter(const struct pick_params *p, const float *l, size_t n_vocab, float max,
                     struct candidate *room, size_t *ret_left, uint64_t *ret_units)
{
    size_t n = heap_of(l, n_vocab, room), n_most = n, n_left = 0, k = (size_t)p->top_k;
    uint64_t total = 0, before = 0;

    if (p->top_k > 0 && k < n) {
        struct candidate last = { 0, 0 };

        while (n_left < k)
            last = heap_pop(room, n - n_left++);
        while (n_left < n && room[0].logit == last.logit)
            heap_pop(room, n - n_left++);
        n_most = n_left;
        for (size_t i = n - n_most; i < n; i++)
            total += units_of(p, room[i].logit, max);
    } else {
        for (size_t i = 0; i < n; i++)
            total += units_of(p, room[i].logit, max);
    }
    if (p->top_p < 1) {
        size_t n_kept = 0;

        while (n_kept < n_most && (!n_kept || filter_keeps(before, total, p->top_p))) {
            if (n_kept == n_left)
                heap_pop(room, n - n_left++);
            n_kept++;
            before += units_of(p, room[n - n_kept].logit, max);
        }
        n_left = n_kept;
        total = before;
    } else {
        n_left = n_most;
    }
    *ret_left = n_left;
    *ret_units = total;
    return n;
}

/* The best token with noise of n, -1: none of them may be proposed. */
static int32_t draw_of(const struct pick_job *j, const float *l, uint64_t key,
                       const struct candidate *c, size_t n)
{
    double best_score = 0;
    int32_t best = -1;

    for (size_t i = 0; i < n; i++) {
        double score;

        if (!is_allowed(j->p, c[i].id))
            continue;
        score = score_of(j, l, c[i].id, gumbel_bits(key, c[i].id));
        if (best < 0 || score > best_score || (score == best_score && c[i].id < best)) {
            best = c[i].id;
            best_score = score;
        }
    }
    return best;
}

/* A row whose best that may be proposed is `first`, the best of all being of logit max. */
static void sample(const struct pick_job *j, const float *l, uint64_t key, int32_t first, float max,
                   struct candidate *room, struct pick *ret)
{
    const struct pick_params *p = j->p;
    size_t n = (size_t)j->n_vocab, n_left;
    uint64_t units = 0;
    int32_t best;

    if (p->top_p < 1 || (p->top_k > 0 && p->top_k < j->n_vocab)) {
        n = filter(p, l, n, max, room, &n_left, &units);
        best = draw_of(j, l, key, room + n - n_left, n_left);
    } else {
        for (size_t i = 0; i < n; i++)
            units += isnan(l[i]) ? 0 : units_of(p, l[i], max);
        best = draw(j, l, key, first);
    }
    ret->id = best < 0 ? first : best;
    ret->prob = best < 0 ? 0 : filter_worth(filter_share(l[best], max, p->temperature), units);
}

static void pick_unit(void *arg, int unit, int thread)
{
    const struct pick_job *j = arg;
    const struct pick_params *p = j->p;
    const float *l = j->logits + (size_t)unit * (size_t)j->n_vocab;
    struct pick *ret = &j->ret[unit];
    int32_t best_all = (int32_t)j->inner->argmax(l, (size_t)j->n_vocab), best = best_all;
    double share;

    ret->is_mask_best = best_all >= 0 && best_all == p->mask_id;
    if (best_all >= 0 && !is_allowed(p, best_all))
        best = best_allowed(j, l);
    if (best < 0) { /* nothing but NaN */
        for (ret->id = 0; !is_allowed(p, ret->id); ret->id++)
            ;
        ret->prob = 0;
        return;
    }
    if (j->rooms) {
        sample(j, l, gumbel_row_key(p->seed, p->draw, p->positions[unit]), best, l[best_all],
               j->rooms + (size_t)thread * (size_t)j->n_vocab, ret);
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
    struct pick_job j = { c->inner, logits, n_vocab, p, ret, NULL };

    if (p->is_filtered && p->temperature > 0) {
        size_t n = (size_t)pool_n_threads(c->pool) * (size_t)n_vocab;
        enum status st = scratch_reserve(&c->scratch, n * sizeof(*j.rooms), err);

        if (st)
            return st;
        j.rooms = c->scratch.data;
    }
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
