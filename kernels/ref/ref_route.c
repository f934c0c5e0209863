/* Reference op: routing. kernels/route.h defines its stages. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/route_hash.h"

/* A token, as the stages see it. */
struct token {
    const float *score;
    float key[KERNEL_MAX_EXPERTS]; /* -inf: can never be chosen */
    int rank[KERNEL_MAX_EXPERTS];  /* its natural order, from 0; n_exp: not in it */
};

/* Place of each expert by its value: larger first, ties to the lower id; of -inf, n. */
static void rank_values(const float *v, int n, int *ret_rank)
{
    for (int e = 0; e < n; e++) {
        ret_rank[e] = 0;
        for (int f = 0; f < n; f++)
            ret_rank[e] += v[f] > v[e] || (v[f] == v[e] && f < e);
        if (v[e] == -INFINITY)
            ret_rank[e] = n;
    }
}

/* What a group of experts counts as. */
struct worth {
    int n_members; /* 0, 1, or 2 for more */
    float sum;     /* of the two largest keys */
};

static struct worth group_worth(const float *key, int size)
{
    float first = -INFINITY, second = -INFINITY;

    for (int e = 0; e < size; e++) {
        if (key[e] > first) {
            second = first;
            first = key[e];
        } else if (key[e] > second) {
            second = key[e];
        }
    }
    if (second > -INFINITY)
        return (struct worth){ 2, first + second };
    return (struct worth){ first > -INFINITY, first };
}

static bool is_better(struct worth a, struct worth b)
{
    return a.n_members != b.n_members ? a.n_members > b.n_members : a.sum > b.sum;
}

/* Set the keys of all but the topk_group best groups to -inf. */
static void limit_groups(const struct route_params *p, float *key)
{
    int size = p->n_group ? p->n_exp / p->n_group : 0;
    struct worth worth[KERNEL_MAX_EXPERTS];

    for (int g = 0; g < p->n_group; g++)
        worth[g] = group_worth(key + g * size, size);
    for (int g = 0; g < p->n_group; g++) {
        int n_before = 0;

        for (int h = 0; h < p->n_group; h++)
            n_before += is_better(worth[h], worth[g]) || (!is_better(worth[g], worth[h]) && h < g);
        for (int e = g * size; n_before >= p->topk_group && e < (g + 1) * size; e++)
            key[e] = -INFINITY;
    }
}

static void token_read(const struct route_params *p, const struct route_input *in, int row,
                       struct token *ret)
{
    const float *bias = in->bias ? host_bias(in->bias, row) : NULL;
    float key[KERNEL_MAX_EXPERTS];

    ret->score = in->scores + (size_t)row * (size_t)p->n_exp;
    for (int e = 0; e < p->n_exp; e++) {
        ret->key[e] = bias ? ret->score[e] + bias[e] : ret->score[e];
        if (!(ret->key[e] > -INFINITY)) /* NaN */
            ret->key[e] = -INFINITY;
        key[e] = ret->key[e];
    }
    limit_groups(p, key);
    rank_values(key, p->n_exp, ret->rank);
}

/* Expert at place i of an order, or -1. */
static int at_place(const int *rank, int n_exp, int i)
{
    for (int e = 0; e < n_exp; e++)
        if (rank[e] == i)
            return e;
    return -1;
}

/* f64 sum of the scores of the first n of an order, by ascending id. */
static double mass_of_first(const struct token *t, int n_exp, int n)
{
    double sum = 0;

    for (int e = 0; e < n_exp; e++)
        if (t->rank[e] < n && t->rank[e] < n_exp)
            sum += t->score[e];
    return sum;
}

/* ---- 2. slots a token uses --------------------------------------------------------------- */

/* Is row among the segment's tokens of largest importance, ties to the lower row? */
static bool is_protected(const struct route_params *p, const struct route_input *in,
                         const struct route_segment *seg, int row)
{
    int n = (int)(p->protect * (seg->n_tok - seg->n_plain) + 1e-9), n_before = 0;

    if (!n)
        return false;
    for (int r = seg->row + seg->n_plain; r < seg->row + seg->n_tok; r++)
        n_before += in->importance[r] > in->importance[row] ||
                    (in->importance[r] == in->importance[row] && r < row);
    return n_before < n;
}

static int slots_by_top_p(const struct route_params *p, const struct token *t)
{
    double total = 0, sum = 0;
    int n = 0;

    if (p->is_keep_p_of_top_k) {
        total = mass_of_first(t, p->n_exp, p->top_k);
    } else {
        for (int e = 0; e < p->n_exp; e++)
            if (t->key[e] > -INFINITY)
                total += t->score[e];
    }
    while (n < p->top_k) {
        int e = at_place(t->rank, p->n_exp, n);

        if (e < 0)
            break;
        sum += t->score[e];
        n++;
        if (sum >= p->keep_p * total)
            break;
    }
    return n;
}

static int slots_by_tail(const struct route_params *p, const struct token *t)
{
    double total = mass_of_first(t, p->n_exp, p->top_k), before = 0;

    for (int n = 1; n < p->top_k; n++) {
        int e = at_place(t->rank, p->n_exp, n - 1);

        if (e < 0)
            break;
        before += t->score[e];
        if (total - before < p->tail * total)
            return n;
    }
    return p->top_k;
}

static int slots_of(const struct route_params *p, const struct route_input *in,
                    const struct route_segment *seg, int row, const struct token *t)
{
    if (p->keep == KEEP_ALL || is_protected(p, in, seg, row))
        return p->top_k;
    return p->keep == KEEP_TOP_P ? slots_by_top_p(p, t) : slots_by_tail(p, t);
}

/* ---- 3. the coreset ---------------------------------------------------------------------- */

/* A group of tokens: the rows of n segments. */
struct group {
    const struct route_segment *segs;
    int n;
    int number; /* within its segment */
    bool has_voters;
};

static bool is_voter(const struct group *g, const struct route_segment *seg, int i)
{
    return i >= seg->n_plain && (!g->has_voters || !seg->is_voter || seg->is_voter[i]);
}

/* Add a token's votes to v, and 1 to n_votes of those it votes for. */
static void vote(const struct route_params *p, const struct route_input *in, int row,
                 const struct token *t, double *v, int *n_votes)
{
    const float *logit = p->vote == VOTE_LOGIT ? in->logits + (size_t)row * (size_t)p->n_exp : NULL;
    double x[KERNEL_MAX_EXPERTS], sum = 0;
    int rank[KERNEL_MAX_EXPERTS];

    if (p->is_mask_ungrouped)
        rank_values(t->key, p->n_exp, rank);
    else
        memcpy(rank, t->rank, sizeof(rank));
    for (int e = 0; e < p->n_exp; e++) {
        if (rank[e] >= p->mask || rank[e] == p->n_exp)
            continue;
        switch (p->vote) {
        case VOTE_PROB: x[e] = t->score[e]; break;
        case VOTE_BIASED: x[e] = t->key[e]; break;
        case VOTE_LOGIT: x[e] = logit[e]; break;
        case VOTE_RANK: x[e] = p->mask - rank[e]; break;
        case VOTE_COUNT: x[e] = 1; break;
        }
        sum += x[e];
    }
    for (int e = 0; e < p->n_exp; e++) {
        if (rank[e] >= p->mask || rank[e] == p->n_exp)
            continue;
        if (p->is_vote_normed)
            x[e] = sum > 0 ? x[e] / sum : 0;
        if (x[e] == x[e]) { /* a logit may be NaN */
            v[e] += x[e];
            n_votes[e]++;
        }
    }
}

/* Warm-up set, sums of votes, and who has any; by what else experts are elected, all have. */
static void count_votes(const struct route_params *p, const struct route_input *in,
                        const struct group *g, bool *core, double *v, bool *has_vote)
{
    int n_votes[KERNEL_MAX_EXPERTS] = { 0 };
    struct token t;

    for (int e = 0; e < p->n_exp; e++) {
        core[e] = false;
        v[e] = 0;
    }
    for (int s = 0; s < g->n; s++) {
        for (int i = 0; i < g->segs[s].n_tok; i++) {
            if (!is_voter(g, &g->segs[s], i))
                continue;
            token_read(p, in, g->segs[s].row + i, &t);
            for (int e = 0; e < p->n_exp; e++)
                core[e] = core[e] || (t.rank[e] < p->warm && t.rank[e] < p->n_exp);
            if (p->size != SIZE_UNION && p->elect == ELECT_VOTES)
                vote(p, in, g->segs[s].row + i, &t, v, n_votes);
        }
    }
    for (int e = 0; e < p->n_exp; e++) {
        has_vote[e] = p->elect != ELECT_VOTES || n_votes[e];
        if (p->elect == ELECT_STATIC)
            v[e] = in->popularity[e];
        if (p->elect == ELECT_RANDOM)
            v[e] = route_hash(g->segs[0].key, g->number, e);
    }
}

/* Best expert outside the set: who has a vote before who has none, then by v, ties to the lower id;
 * -1: there is none. */
static int best_outside(const double *v, const bool *has_vote, const bool *set, int n_exp)
{
    int best = -1;

    for (int e = 0; e < n_exp; e++)
        if (!set[e] && (best < 0 || has_vote[e] > has_vote[best] ||
                        (has_vote[e] == has_vote[best] && v[e] > v[best])))
            best = e;
    return best;
}

/* Add to sum[e], for each expert e, what it would add to the scores of a token's top_k best members
 * of a set: its score, less that of the member it displaces. */
static void add_gains(const struct route_params *p, const struct token *t, const bool *set,
                      double *sum)
{
    int order[KERNEL_MAX_EXPERTS], n = 0, n_members = 0, last = -1;

    for (int e = 0; e < p->n_exp; e++)
        if (t->rank[e] < p->n_exp) {
            order[t->rank[e]] = e;
            n++;
        }
    for (int i = 0; i < n && n_members < p->top_k; i++)
        if (set[order[i]]) {
            n_members++;
            last = i;
        }
    for (int i = 0; i < n; i++) {
        if (set[order[i]])
            continue;
        if (n_members < p->top_k)
            sum[order[i]] += t->score[order[i]];
        else if (i < last)
            sum[order[i]] += (double)t->score[order[i]] - (double)t->score[order[last]];
    }
}

/* ELECT_MASS: the expert outside the set that adds most over the group's voters; -1: none. */
static int best_by_mass(const struct route_params *p, const struct route_input *in,
                        const struct group *g, const bool *set)
{
    bool has_vote[KERNEL_MAX_EXPERTS];
    double sum[KERNEL_MAX_EXPERTS];
    struct token t;

    for (int e = 0; e < p->n_exp; e++) {
        has_vote[e] = true;
        sum[e] = 0;
    }
    for (int s = 0; s < g->n; s++)
        for (int i = 0; i < g->segs[s].n_tok; i++) {
            if (!is_voter(g, &g->segs[s], i))
                continue;
            token_read(p, in, g->segs[s].row + i, &t);
            add_gains(p, &t, set, sum);
        }
    return best_outside(sum, has_vote, set, p->n_exp);
}

/* SIZE_TOP_P: how many experts, best first. */
static int count_top_p(const struct route_params *p, const double *v, const bool *has_vote)
{
    bool taken[KERNEL_MAX_EXPERTS] = { false };
    double total = 0, sum = 0;
    int n = 0, best;

    while ((best = best_outside(v, has_vote, taken, p->n_exp)) >= 0) {
        taken[best] = true;
        total += v[best];
    }
    memset(taken, 0, sizeof(taken));
    while ((best = best_outside(v, has_vote, taken, p->n_exp)) >= 0) {
        if (n && n >= p->floor && sum > p->core_p * total)
            break;
        taken[best] = true;
        sum += v[best];
        n++;
    }
    return n;
}

static void elect(const struct route_params *p, const struct route_input *in, const struct group *g,
                  bool *ret_core)
{
    double v[KERNEL_MAX_EXPERTS];
    bool has_vote[KERNEL_MAX_EXPERTS], taken[KERNEL_MAX_EXPERTS] = { false };
    int n = 0;

    count_votes(p, in, g, ret_core, v, has_vote);
    if (p->size == SIZE_TOP_P) {
        /* the prefix counts from the best of all, whether warm or not */
        for (n = count_top_p(p, v, has_vote); n > 0; n--) {
            int best = best_outside(v, has_vote, taken, p->n_exp);

            taken[best] = true;
            ret_core[best] = true;
        }
    } else if (p->size == SIZE_FIXED) {
        for (int e = 0; e < p->n_exp; e++)
            n += ret_core[e];
        for (; n < p->n_core; n++) {
            int best = p->elect == ELECT_MASS ? best_by_mass(p, in, g, ret_core)
                                              : best_outside(v, has_vote, ret_core, p->n_exp);

            if (best < 0)
                break;
            ret_core[best] = true;
        }
    }
}

/* ---- 4. and 5. slots and weights --------------------------------------------------------- */

/* Mark up to n experts of a token that it runs; core NULL: there is no coreset. */
static void choose(const struct route_params *p, const struct token *t, const bool *core, int n,
                   bool *ret_chosen)
{
    float key[KERNEL_MAX_EXPERTS], rest[KERNEL_MAX_EXPERTS];
    int rank[KERNEL_MAX_EXPERTS], n_chosen = 0;

    for (int e = 0; e < p->n_exp; e++)
        ret_chosen[e] = t->rank[e] < n && t->rank[e] < p->n_exp && (!core || core[e]);
    if (!core || p->is_truncated)
        return;
    for (int e = 0; e < p->n_exp; e++) {
        key[e] = rest[e] = core[e] ? t->key[e] : -INFINITY;
        if (p->inside == INSIDE_NATURAL && t->rank[e] == p->n_exp)
            key[e] = -INFINITY;
    }
    if (p->inside == INSIDE_MEMBERS)
        limit_groups(p, key);
    rank_values(key, p->n_exp, rank);
    for (int e = 0; e < p->n_exp; e++) {
        ret_chosen[e] = rank[e] < n && rank[e] < p->n_exp;
        n_chosen += ret_chosen[e];
        if (ret_chosen[e])
            rest[e] = -INFINITY;
    }
    if (p->is_guard_drop)
        return;
    rank_values(rest, p->n_exp, rank);
    for (int e = 0; e < p->n_exp; e++)
        if (rank[e] < n - n_chosen && rank[e] < p->n_exp)
            ret_chosen[e] = true;
}

/* The row's slots from what is marked. */
static void fill_slots(const struct route_params *p, const struct token *t, const bool *chosen,
                       int stride, int32_t *ret_ids, float *ret_w)
{
    double sum = 0;
    int n = 0;

    for (int e = 0; e < p->n_exp; e++)
        if (chosen[e]) {
            ret_ids[n++] = e;
            sum += t->score[e];
        }
    for (int i = 0; i < stride; i++) {
        if (i < n) {
            double w = t->score[ret_ids[i]];

            /* 1e-20 as LLaDA2's own code has it: all scores 0 give weights 0 */
            if (p->renorm || p->is_renormed)
                w /= sum + 1e-20;
            ret_w[i] = (float)(w * p->scale);
        } else {
            ret_ids[i] = -1;
            ret_w[i] = 0;
        }
    }
}

/* Add one token's part to the statistics; kept_mass is a sum here. */
static void count(const struct route_params *p, const struct token *t, const bool *chosen,
                  bool *natural, struct route_stats *stats, int32_t *tokens_per_expert)
{
    double natural_mass = mass_of_first(t, p->n_exp, p->top_k_base), kept = 0;
    bool has_top1 = false;

    for (int e = 0; e < p->n_exp; e++) {
        bool is_natural = t->rank[e] < p->top_k_base && t->rank[e] < p->n_exp;

        stats->n_natural += is_natural && !natural[e];
        natural[e] = natural[e] || is_natural;
        if (!chosen[e])
            continue;
        kept += t->score[e];
        stats->n_rerouted += !is_natural;
        has_top1 |= t->rank[e] == 0;
        stats->n_unique += tokens_per_expert[e]++ == 0;
    }
    stats->n_lost_top1 += !has_top1;
    stats->kept_mass += natural_mass > 0 ? kept / natural_mass : 1;
}

/* Route tokens [from, to) of a segment inside core (NULL: everywhere). */
static void route_tokens(const struct route_params *p, const struct route_input *in,
                         const struct route_segment *seg, int from, int to, const bool *core,
                         bool *natural, const struct route_output *out)
{
    bool chosen[KERNEL_MAX_EXPERTS];
    struct token t;

    for (int i = from; i < to; i++) {
        size_t at = (size_t)(seg->row + i) * (size_t)out->stride;

        token_read(p, in, seg->row + i, &t);
        choose(p, &t, core, slots_of(p, in, seg, seg->row + i, &t), chosen);
        fill_slots(p, &t, chosen, out->stride, out->ids + at, out->w + at);
        count(p, &t, chosen, natural, seg->stats, seg->tokens_per_expert);
    }
}

static bool has_voters(const struct route_segment *segs, int n_segs)
{
    for (int s = 0; s < n_segs; s++)
        for (int i = segs[s].n_plain; i < segs[s].n_tok; i++)
            if (!segs[s].is_voter || segs[s].is_voter[i])
                return true;
    return false;
}

/* The coreset of tokens [from, to) of a segment, or with is_joint of all segments. */
static void coreset(const struct route_params *p, const struct route_input *in,
                    const struct route_segment *segs, int n_segs, int s, int from, int to,
                    bool *ret_core)
{
    struct route_segment part = segs[s];
    struct group g = { .segs = &part, .n = 1 };
    bool elected[KERNEL_MAX_EXPERTS];

    g.number = part.group ? (from - part.n_plain) / part.group : 0;
    part.row += from;
    part.n_tok = to - from;
    part.n_plain = 0;
    if (part.is_voter)
        part.is_voter += from;
    if (p->is_joint) {
        g.segs = segs;
        g.n = n_segs;
    }
    g.has_voters = has_voters(g.segs, g.n);
    elect(p, in, &g, elected);
    for (int e = 0; e < p->n_exp; e++) {
        ret_core[e] = p->is_lagged && segs[s].core_before ? segs[s].core_before[e] : elected[e];
        if (segs[s].ret_core)
            segs[s].ret_core[e] = elected[e];
    }
}

/* The model's own routing. */
static struct route_params plain_params(const struct route_params *p)
{
    struct route_params plain = *p;

    plain.top_k = p->top_k_base;
    plain.keep = KEEP_ALL;
    plain.size = SIZE_NONE;
    plain.is_renormed = false;
    return plain;
}

static void route_segment(const struct route_params *p, const struct route_input *in,
                          const struct route_segment *segs, int n_segs, int s,
                          const struct route_output *out)
{
    const struct route_segment *seg = &segs[s];
    bool natural[KERNEL_MAX_EXPERTS] = { false }, is_core[KERNEL_MAX_EXPERTS] = { false };
    bool core[KERNEL_MAX_EXPERTS];
    const struct route_params plain = plain_params(p);
    int step = seg->group ? seg->group : seg->n_tok;

    *seg->stats = (struct route_stats){ 0 };
    memset(seg->tokens_per_expert, 0, (size_t)p->n_exp * sizeof(int32_t));
    route_tokens(&plain, in, seg, 0, seg->n_plain, NULL, natural, out);
    for (int from = seg->n_plain; from < seg->n_tok; from += step) {
        int to = seg->n_tok - from < step ? seg->n_tok : from + step;

        if (p->size != SIZE_NONE) {
            coreset(p, in, segs, n_segs, s, from, to, core);
            for (int e = 0; e < p->n_exp; e++)
                is_core[e] = is_core[e] || core[e];
        }
        route_tokens(p, in, seg, from, to, p->size == SIZE_NONE ? NULL : core, natural, out);
    }
    for (int e = 0; e < p->n_exp; e++)
        seg->stats->n_core += is_core[e];
    if (seg->n_tok)
        seg->stats->kept_mass /= seg->n_tok;
}

enum status ref_route(struct kernels *k, const struct route_params *p, const struct route_input *in,
                      const struct route_segment *segs, int n_segs, const struct route_output *out,
                      struct error *err)
{
    (void)k;
    (void)err;
    for (int s = 0; s < n_segs; s++)
        route_segment(p, in, segs, n_segs, s, out);
    return ST_OK;
}
