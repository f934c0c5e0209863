/* Lays out a call of the op `route` for the device: kernels/cuda/route_call.h. */
#include "kernels/cuda/route_call.h"

#include <string.h>

#include "base/size.h"
#include "kernels/cuda/cuda.h"

/* Takes room from a block, 16-byte aligned; base NULL: it only measures. */
struct place {
    char *base;
    size_t at;
};

static void *take(struct place *b, size_t count, size_t size)
{
    void *p = b->base ? b->base + b->at : NULL;
    size_t bytes;

    if (b->at == SIZE_MAX || !size_mul(count, size, &bytes) || bytes > SIZE_MAX / 2 - b->at)
        b->at = SIZE_MAX;
    else
        b->at += (bytes + 15) / 16 * 16;
    return p;
}

static size_t times(size_t a, size_t b)
{
    size_t n;

    return size_mul(a, b, &n) ? n : SIZE_MAX;
}

static bool has_votes(const struct route_params *p)
{
    return (p->size == SIZE_FIXED || p->size == SIZE_TOP_P) && p->elect == ELECT_VOTES;
}

/* Hand out places in the three blocks. */
static void place_all(struct route_call *c, struct place *args, struct place *results,
                      struct place *work)
{
    const struct route_params *p = &c->p;
    size_t n_exp = (size_t)p->n_exp, n_tok = (size_t)c->n_tok, words;
    size_t n_segs = (size_t)c->n_segs, n_groups = (size_t)c->n_groups;

    c->n_words = (p->n_exp + 31) / 32;
    words = (size_t)c->n_words * sizeof(uint32_t);
    c->tokens = take(args, n_tok, sizeof(*c->tokens));
    c->segs = take(args, n_segs, sizeof(*c->segs));
    c->groups = take(args, n_groups, sizeof(*c->groups));
    c->popularity = take(args, p->elect == ELECT_STATIC ? n_exp : 0, sizeof(double));
    c->stats = take(results, n_segs, sizeof(*c->stats));
    c->tokens_per_expert = take(results, n_segs, n_exp * sizeof(int32_t));
    c->votes = take(work, has_votes(p) ? n_tok : 0, n_exp * sizeof(float));
    c->divisor = take(work, n_tok, sizeof(*c->divisor));
    c->warm = take(work, n_tok, words);
    c->sums = take(work, has_votes(p) ? n_groups : 0, n_exp * sizeof(double));
    c->heard = take(work, n_groups, words);
    c->all_warm = take(work, n_groups, words);
    c->core = take(work, n_groups, words);
    c->natural = take(work, n_tok, words);
    c->chosen = take(work, n_tok, words);
    c->kept = take(work, n_tok, sizeof(*c->kept));
    c->counts = take(work, n_tok, 2 * sizeof(*c->counts));
    if (p->elect == ELECT_MASS)
        c->margin = take(work, times(n_tok, p->is_joint ? n_groups : 1), sizeof(*c->margin));
}

void route_call_measure(const struct route_params *p, int n_tok, int n_segs, int n_groups,
                        struct route_call_size *ret)
{
    struct route_call c = { .p = *p, .n_tok = n_tok, .n_segs = n_segs, .n_groups = n_groups };
    struct route_call none = { .p = *p, .n_groups = n_groups };
    struct place args = { 0 }, own = { 0 }, results = { 0 }, work = { 0 }, other = { 0 };

    place_all(&c, &args, &results, &work);
    place_all(&none, &own, &other, &(struct place){ 0 });
    *ret = (struct route_call_size){
        .args = args.at, .own = own.at, .results = results.at, .work = work.at
    };
}

/* Tokens of a group of a segment. */
static int group_step(const struct route_segment *s)
{
    return s->group ? s->group : s->n_tok;
}

/* Groups of a segment. */
static int count_groups(const struct route_segment *s)
{
    return s->n_tok > s->n_plain ? 1 + (s->n_tok - s->n_plain - 1) / group_step(s) : 0;
}

int route_call_groups(const struct route_segment *segs, int n_segs, int *ret_n_tok)
{
    int n_groups = 0;

    *ret_n_tok = 0;
    for (int s = 0; s < n_segs; s++) {
        *ret_n_tok += segs[s].n_tok;
        n_groups += count_groups(&segs[s]);
    }
    return n_groups;
}

/* In a group without a voter all tokens vote. */
static void open_vote(struct route_call_token *tokens, int n)
{
    for (int i = 0; i < n; i++)
        if (tokens[i].is_voter)
            return;
    for (int i = 0; i < n; i++)
        tokens[i].is_voter = tokens[i].group >= 0;
}

void route_call_plan(const struct route_params *p, const struct route_segment *segs, int n_segs,
                     const double *popularity, void *host_args, void *dev_args, void *dev_results,
                     void *dev_work, struct route_call *ret)
{
    struct route_call host = { .p = *p, .n_segs = n_segs };
    struct place args = { .base = host_args }, results = { 0 }, work = { 0 };
    struct route_call_token *tokens;
    struct route_call_segment *seg;
    struct route_call_group *group;
    int first = 0, n_groups = 0;

    host.n_groups = route_call_groups(segs, n_segs, &host.n_tok);
    place_all(&host, &args, &results, &work);
    *ret = (struct route_call){
        .p = *p, .n_tok = host.n_tok, .n_segs = n_segs, .n_groups = host.n_groups
    };
    place_all(ret, &(struct place){ .base = dev_args }, &(struct place){ .base = dev_results },
              &(struct place){ .base = dev_work });
    tokens = (struct route_call_token *)host.tokens; /* ours to write here */
    seg = (struct route_call_segment *)host.segs;
    group = (struct route_call_group *)host.groups;
    for (int s = 0; s < n_segs; s++, seg++) {
        const struct route_segment *in = &segs[s];
        int step = group_step(in);

        *seg = (struct route_call_segment){
            .row = in->row,
            .n_tok = in->n_tok,
            .first = first,
            .n_plain = in->n_plain,
            .n_protected = (int)(p->protect * (in->n_tok - in->n_plain) + 1e-9),
            .first_group = n_groups,
            .n_groups = count_groups(in),
        };
        for (int i = 0; i < in->n_tok; i++)
            tokens[first + i] = (struct route_call_token){
                .row = in->row + i,
                .segment = s,
                .group = i < in->n_plain ? -1 : n_groups + (i - in->n_plain) / step,
                .is_voter = i >= in->n_plain && (!in->is_voter || in->is_voter[i]),
            };
        for (int g = 0; g < seg->n_groups; g++, group++) {
            int from = in->n_plain + g * step, left = in->n_tok - from;

            *group = (struct route_call_group){
                .first = p->is_joint ? 0 : first + from,
                .n_tok = p->is_joint   ? host.n_tok
                         : left < step ? left
                                       : step,
                .segment = s,
                .number = in->group ? g : 0,
                .key = p->is_joint ? segs[0].key : in->key,
                .core_before = p->is_lagged ? in->core_before : NULL,
                .ret_core = g == seg->n_groups - 1 ? in->ret_core : NULL,
            };
            if (!p->is_joint)
                open_vote(tokens + group->first, group->n_tok);
        }
        n_groups += seg->n_groups;
        first += in->n_tok;
    }
    if (p->is_joint)
        open_vote(tokens, host.n_tok);
    if (p->elect == ELECT_STATIC)
        memcpy((double *)host.popularity, popularity, (size_t)p->n_exp * sizeof(double));
}

void route_call_repeat(const struct route_call *first, const struct route_segment *segs,
                       const double *popularity, const char *host_args, char *host_own,
                       size_t own_bytes, size_t to_results, struct route_call *ret)
{
    const char *dev_args = (const char *)first->tokens; /* they lie first, then segments */
    const char *first_own = host_args + ((const char *)first->groups - dev_args);
    const size_t to_own = (size_t)(host_own - first_own);
    struct route_call_group *group = (struct route_call_group *)(void *)host_own;

    memcpy(host_own, first_own, own_bytes);
    for (int g = 0; g < first->n_groups; g++) {
        const int s = group[g].segment;
        const bool is_last = g + 1 == first->n_groups || group[g + 1].segment != s;

        group[g].key = first->p.is_joint ? segs[0].key : segs[s].key;
        group[g].core_before = first->p.is_lagged ? segs[s].core_before : NULL;
        group[g].ret_core = is_last ? segs[s].ret_core : NULL;
    }
    if (first->p.elect == ELECT_STATIC)
        memcpy(host_own + ((const char *)first->popularity - (const char *)first->groups),
               popularity, (size_t)first->p.n_exp * sizeof(double));
    *ret = *first;
    ret->groups = (const void *)((const char *)first->groups + to_own);
    ret->popularity = (const void *)((const char *)first->popularity + to_own);
    ret->stats = (void *)((char *)first->stats + to_results);
    ret->tokens_per_expert = (void *)((char *)first->tokens_per_expert + to_results);
}

void route_call_set_bias(struct route_call *c, const struct weight *bias)
{
    c->bias = bias ? bias->dev_rows : NULL;
    c->bias_stride = bias && bias->rows > 1 ? c->p.n_exp : 0;
}

void route_call_read(struct route_call *c, const void *host_results)
{
    struct route_call host = { .p = c->p, .n_tok = c->n_tok, .n_segs = c->n_segs };
    struct place results = { .base = (char *)host_results }, none = { 0 }, other = { 0 };

    place_all(&host, &none, &results, &other);
    c->stats = host.stats;
    c->tokens_per_expert = host.tokens_per_expert;
}
