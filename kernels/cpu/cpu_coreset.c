/*
 * cpu's elections: which experts a group of tokens shares (stage 3 of kernels/route.h). Sums run in
 * token order, each expert's by itself, as the reference has them.
 */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/cpu_route.h"
#include "kernels/route_hash.h"

/* A group of tokens, and what it comes to. */
struct election {
    const struct router_call *call;
    const struct route_segment *segs;
    int n_segs, n_core;
    bool has_voters;
    uint8_t *core;                /* (n_exp) */
    double v[KERNEL_MAX_EXPERTS]; /* votes, or what else experts are ranked by */
    uint8_t has_vote[KERNEL_MAX_EXPERTS];
};

static bool is_voter(const struct election *x, const struct route_segment *seg, int i)
{
    return i >= seg->n_plain && (!x->has_voters || !seg->is_voter || seg->is_voter[i]);
}

static bool has_voters(const struct route_segment *segs, int n_segs)
{
    for (int s = 0; s < n_segs; s++) {
        if (!segs[s].is_voter && segs[s].n_tok > segs[s].n_plain)
            return true;
        for (int i = segs[s].n_plain; i < segs[s].n_tok; i++)
            if (segs[s].is_voter[i])
                return true;
    }
    return false;
}

static void add_member(struct election *x, int32_t e)
{
    x->n_core += !x->core[e];
    x->core[e] = 1;
}

/* ---- votes ------------------------------------------------------------------------------- */

/* The experts a token votes for, best first; order has room for all. */
static int ballot(const struct route_params *p, const struct token *t, int32_t *order)
{
    int mask = p->mask < p->n_exp ? p->mask : p->n_exp;
    const float *key = p->is_mask_ungrouped ? t->key : t->natural_key;
    int n = 0;

    if (mask <= t->n && key == t->natural_key) {
        memcpy(order, t->order, (size_t)mask * sizeof(*order));
        return mask;
    }
    if (mask < p->n_exp || p->vote == VOTE_RANK)
        return route_best(key, p->n_exp, mask, order);
    for (int32_t e = 0; e < p->n_exp; e++) /* all: any order does */
        if (key[e] > -INFINITY)
            order[n++] = e;
    return n;
}

/* What a token's vote for each expert of its ballot is worth, before is_vote_normed. */
static void weigh(const struct router_call *c, int row, const struct token *t, const int32_t *order,
                  int n, double *ret)
{
    const struct route_params *p = c->p;
    const float *value = t->score;

    switch (p->vote) {
    case VOTE_RANK:
        for (int i = 0; i < n; i++)
            ret[i] = p->mask - i;
        return;
    case VOTE_COUNT:
        for (int i = 0; i < n; i++)
            ret[i] = 1;
        return;
    case VOTE_PROB: break;
    case VOTE_BIASED: value = t->key; break;
    case VOTE_LOGIT: value = c->in->logits + (size_t)row * (size_t)p->n_exp; break;
    }
    for (int i = 0; i < n; i++)
        ret[i] = (double)value[order[i]];
}

/* Divide by the sum, which runs by ascending id. */
static void normalise(int n_exp, const int32_t *order, int n, double *x)
{
    double by_id[KERNEL_MAX_EXPERTS], sum = 0;

    memset(by_id, 0, (size_t)n_exp * sizeof(*by_id));
    for (int i = 0; i < n; i++)
        by_id[order[i]] = x[i];
    for (int e = 0; e < n_exp; e++)
        sum += by_id[e];
    for (int i = 0; i < n; i++)
        x[i] = sum > 0 ? x[i] / sum : 0;
}

static void vote(struct election *x, int row, const struct token *t)
{
    const struct route_params *p = x->call->p;
    int32_t order[KERNEL_MAX_EXPERTS];
    double weight[KERNEL_MAX_EXPERTS];
    int n = ballot(p, t, order);

    weigh(x->call, row, t, order, n, weight);
    if (p->is_vote_normed)
        normalise(p->n_exp, order, n, weight);
    for (int i = 0; i < n; i++) {
        if (isnan(weight[i])) /* a logit may be */
            continue;
        x->v[order[i]] += weight[i];
        x->has_vote[order[i]] = 1;
    }
}

/* Warm-up set and sums of votes. */
static void hear_voters(struct election *x)
{
    const struct route_params *p = x->call->p;
    bool is_voted = p->size != SIZE_UNION && p->elect == ELECT_VOTES;
    struct token t;

    if (!p->warm && !is_voted)
        return;
    for (int s = 0; s < x->n_segs; s++) {
        const struct route_segment *seg = &x->segs[s];

        for (int i = 0; i < seg->n_tok; i++) {
            if (!is_voter(x, seg, i))
                continue;
            route_token_read(x->call, seg->row + i, &t);
            for (int k = 0; k < p->warm && k < t.n; k++)
                add_member(x, t.order[k]);
            if (is_voted)
                vote(x, seg->row + i, &t);
        }
    }
}

/* ---- the greedy maximum of kept scores --------------------------------------------------- */

/* The orders of all tokens of a call's largest group, n_exp places each. */
static size_t orders_bytes(const struct router_call *c, const struct route_segment *segs,
                           int n_segs)
{
    size_t n_tok = 0, bytes;

    for (int s = 0; s < n_segs; s++) {
        size_t n = (size_t)segs[s].n_tok;

        n_tok = c->p->is_joint ? n_tok + n : n_tok > n ? n_tok : n;
    }
    return size_mul(n_tok, (size_t)(c->p->n_exp + 1) * sizeof(int16_t), &bytes) ? bytes : SIZE_MAX;
}

enum status cpu_elect_reserve(const struct router_call *c, const struct route_segment *segs,
                              int n_segs, struct error *err)
{
    size_t bytes;

    if (c->p->size != SIZE_FIXED || c->p->elect != ELECT_MASS)
        return ST_OK;
    bytes = orders_bytes(c, segs, n_segs);
    if (bytes == SIZE_MAX)
        return error_set(err, ST_NOMEM, "routing of so many tokens exceeds the address space");
    return scratch_reserve(c->scratch, bytes, err);
}

/* One line a voter in scratch: how many experts it has, and which, best first. */
static void list_orders(const struct election *x)
{
    int n_exp = x->call->p->n_exp;
    int16_t *line = x->call->scratch->data;
    int32_t order[KERNEL_MAX_EXPERTS];
    struct token t;

    for (int s = 0; s < x->n_segs; s++)
        for (int i = 0; i < x->segs[s].n_tok; i++) {
            if (!is_voter(x, &x->segs[s], i))
                continue;
            route_token_read(x->call, x->segs[s].row + i, &t);
            line[0] = (int16_t)route_best(t.natural_key, n_exp, n_exp, order);
            for (int k = 0; k < line[0]; k++)
                line[k + 1] = (int16_t)order[k];
            line += n_exp + 1;
        }
}

/* Add what each expert outside the set would add to one token's top_k best inside. */
static void add_gains(const struct election *x, const int16_t *line, const float *score, double *v)
{
    const int16_t *order = line + 1;
    int n_members = 0, top_k = x->call->p->top_k, last = -1;

    for (int i = 0; i < line[0] && n_members < top_k; i++)
        if (x->core[order[i]]) {
            n_members++;
            last = i;
        }
    if (n_members < top_k) {
        for (int i = 0; i < line[0]; i++)
            if (!x->core[order[i]])
                v[order[i]] += (double)score[order[i]];
        return;
    }
    for (int i = 0; i < last; i++)
        if (!x->core[order[i]])
            v[order[i]] += (double)score[order[i]] - (double)score[order[last]];
}

/* Best expert outside the set, ties to the lower id; -1: none. */
static int best_outside(const struct election *x)
{
    int best = -1;

    for (int e = 0; e < x->call->p->n_exp; e++)
        if (!x->core[e] && (best < 0 || x->v[e] > x->v[best]))
            best = e;
    return best;
}

static void elect_by_mass(struct election *x)
{
    const struct route_params *p = x->call->p;
    size_t n_exp = (size_t)p->n_exp;
    int best;

    list_orders(x);
    while (x->n_core < p->n_core) {
        const int16_t *line = x->call->scratch->data;

        memset(x->v, 0, n_exp * sizeof(*x->v));
        for (int s = 0; s < x->n_segs; s++)
            for (int i = 0; i < x->segs[s].n_tok; i++) {
                if (!is_voter(x, &x->segs[s], i))
                    continue;
                add_gains(x, line, x->call->in->scores + (size_t)(x->segs[s].row + i) * n_exp,
                          x->v);
                line += n_exp + 1;
            }
        best = best_outside(x);
        if (best < 0)
            break;
        add_member(x, best);
    }
}

/* ---- sizes ------------------------------------------------------------------------------- */

/* All experts: who has a vote before who has none, then by v, ties to the lower id. */
static void rank_experts(const struct election *x, int32_t *ret)
{
    for (int32_t e = 0; e < x->call->p->n_exp; e++) {
        int i = e;

        for (; i > 0; i--) {
            int32_t f = ret[i - 1];

            if (x->has_vote[e] == x->has_vote[f] ? !(x->v[e] > x->v[f]) : x->has_vote[f])
                break;
            ret[i] = f;
        }
        ret[i] = e;
    }
}

/* How many of the ranked ones share p of the votes takes. */
static int count_top_p(const struct election *x, const int32_t *order)
{
    const struct route_params *p = x->call->p;
    int n = p->n_exp;
    double total = 0, sum = 0;
    int count = 0;

    for (int i = 0; i < n; i++)
        total += x->v[order[i]];
    while (count < n && (!count || count < p->floor || sum <= p->core_p * total))
        sum += x->v[order[count++]];
    return count;
}

void cpu_elect(const struct router_call *c, const struct route_segment *segs, int n_segs,
               int number, uint8_t *ret_core)
{
    const struct route_params *p = c->p;
    struct election x = { .call = c,
                          .segs = segs,
                          .n_segs = n_segs,
                          .has_voters = has_voters(segs, n_segs),
                          .core = ret_core };
    int32_t order[KERNEL_MAX_EXPERTS];
    int n;

    memset(ret_core, 0, (size_t)p->n_exp);
    if (p->elect != ELECT_VOTES)
        memset(x.has_vote, 1, (size_t)p->n_exp);
    if (p->elect == ELECT_STATIC)
        memcpy(x.v, c->in->popularity, (size_t)p->n_exp * sizeof(*x.v));
    for (int e = 0; p->elect == ELECT_RANDOM && e < p->n_exp; e++)
        x.v[e] = route_hash(segs[0].key, number, e);
    hear_voters(&x);
    if (p->size == SIZE_UNION)
        return;
    if (p->elect == ELECT_MASS) {
        elect_by_mass(&x);
        return;
    }
    rank_experts(&x, order);
    n = p->size == SIZE_TOP_P ? count_top_p(&x, order) : p->n_exp;
    for (int i = 0; i < n && (p->size == SIZE_TOP_P || x.n_core < p->n_core); i++)
        add_member(&x, order[i]);
}
