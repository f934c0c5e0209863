/*
 * cpu ops that choose experts: router scores, routing (kernels/route.h).
 *
 * Routing looks at a token's scores once or twice: its first experts go into a short sorted list
 * (route_best()), as deep as slots, votes and statistics ask for; what the group elects is in
 * cpu_coreset.c. One thread: a block's scores are less work than waking another.
 */
#include "kernels/cpu/cpu_route.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

struct score_job {
    const struct inner *inner;
    float *s;
    size_t n_exp;
    enum router_score score;
};

static void score_unit(void *arg, int unit, int thread)
{
    const struct score_job *j = arg;
    float *s = j->s + (size_t)unit * j->n_exp;

    (void)thread;
    if (j->score == ROUTER_SOFTMAX)
        j->inner->softmax(s, j->n_exp);
    else
        j->inner->sigmoid(s, j->n_exp);
}

enum status cpu_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, float *ret_z, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct score_job j = { c->inner, ret_s, (size_t)w->m.rows, score };
    enum status st = cpu_matmul_f32(k, x, w, n_tok, ret_s, err);

    if (st)
        return st;
    if (ret_z)
        memcpy(ret_z, ret_s, (size_t)n_tok * j.n_exp * sizeof(*ret_z));
    for (int t = 0; t < n_tok; t++) /* less work than waking a thread */
        score_unit(&j, t, 0);
    return ST_OK;
}

/* ---- a token's experts ------------------------------------------------------------------- */

int route_best(const float *key, int n_exp, int n, int32_t *ret)
{
    int count = 0;

    for (int32_t e = 0; e < n_exp; e++) {
        int i;

        if (!(key[e] > -INFINITY) || (count == n && !(key[e] > key[ret[n - 1]])))
            continue;
        i = count < n ? count++ : n - 1;
        for (; i > 0 && key[e] > key[ret[i - 1]]; i--) /* equal ones that came first stay first */
            ret[i] = ret[i - 1];
        ret[i] = e;
    }
    return count;
}

/* A group's worth as one number a comparison: members first, then the sum. */
struct worth {
    float sum;
    int n_members; /* 2: or more */
};

void route_limit_groups(const struct route_params *p, float *key)
{
    int size = p->n_group ? p->n_exp / p->n_group : 0, n = 0;
    struct worth worth[KERNEL_MAX_EXPERTS];
    int16_t best[KERNEL_MAX_EXPERTS];

    if (p->topk_group >= p->n_group)
        return;
    for (int g = 0; g < p->n_group; g++) {
        float first = -INFINITY, second = -INFINITY;
        int i;

        for (int e = g * size; e < (g + 1) * size; e++) {
            float lower = key[e] > first ? first : key[e];

            first = key[e] > first ? key[e] : first;
            second = lower > second ? lower : second;
        }
        worth[g].n_members = second > -INFINITY ? 2 : first > -INFINITY;
        worth[g].sum = worth[g].n_members == 2 ? first + second : first;
        for (i = n++; i > 0; i--) { /* insertion: equal ones that came first stay first */
            const struct worth *w = &worth[best[i - 1]];

            if (worth[g].n_members < w->n_members ||
                (worth[g].n_members == w->n_members && !(worth[g].sum > w->sum)))
                break;
            best[i] = best[i - 1];
        }
        best[i] = (int16_t)g;
    }
    for (int i = p->topk_group; i < n; i++)
        for (int e = best[i] * size; e < (best[i] + 1) * size; e++)
            key[e] = -INFINITY;
}

const float *route_keys(const struct router_call *c, int row, float *room)
{
    const float *s = c->in->scores + (size_t)row * (size_t)c->p->n_exp, *bias;

    if (!c->in->bias)
        return s;
    bias = host_bias(c->in->bias, row);
    for (int e = 0; e < c->p->n_exp; e++)
        room[e] = s[e] + bias[e];
    return room;
}

void route_token_read(const struct router_call *c, int row, struct token *ret)
{
    const struct route_params *p = c->p;
    const float *key;

    ret->score = c->in->scores + (size_t)row * (size_t)p->n_exp;
    ret->key = key = route_keys(c, row, ret->key_room);
    if (p->n_group) {
        memcpy(ret->limited, key, (size_t)p->n_exp * sizeof(*key));
        for (int e = 0; e < p->n_exp; e++) /* a NaN is not to count as a member of a group */
            if (!(ret->limited[e] > -INFINITY))
                ret->limited[e] = -INFINITY;
        route_limit_groups(p, ret->limited);
        key = ret->limited;
    }
    ret->natural_key = key;
    ret->n = route_best(key, p->n_exp, c->depth, ret->order);
}

/* ---- slots, weights, statistics ---------------------------------------------------------- */

static void sort_ids(int32_t *ids, int n)
{
    for (int i = 1; i < n; i++) {
        int32_t id = ids[i];
        int j = i;

        for (; j > 0 && ids[j - 1] > id; j--)
            ids[j] = ids[j - 1];
        ids[j] = id;
    }
}

/* f64 sum of the scores of some experts, in the order given. */
static double mass(const float *s, const int32_t *ids, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += (double)s[ids[i]];
    return sum;
}

/* The same by ascending id. */
static double sorted_mass(const float *s, const int32_t *ids, int n)
{
    int32_t sorted[KERNEL_MAX_TOP_K];

    memcpy(sorted, ids, (size_t)n * sizeof(*sorted));
    sort_ids(sorted, n);
    return mass(s, sorted, n);
}

static int at_most(int n, int most)
{
    return n < most ? n : most;
}

static int slots_by_top_p(const struct route_params *p, const struct token *t)
{
    int n_slots = at_most(t->n, p->top_k), n = 0;
    double total = 0, sum = 0;

    if (p->is_keep_p_of_top_k) {
        total = sorted_mass(t->score, t->order, n_slots);
    } else {
        for (int e = 0; e < p->n_exp; e++)
            if (t->key[e] > -INFINITY)
                total += (double)t->score[e];
    }
    while (n < n_slots) {
        sum += (double)t->score[t->order[n++]];
        if (sum >= p->keep_p * total)
            break;
    }
    return n;
}

static int slots_by_tail(const struct route_params *p, const struct token *t)
{
    int n_slots = at_most(t->n, p->top_k);
    double total = sorted_mass(t->score, t->order, n_slots), before = 0;

    for (int n = 1; n < p->top_k && n <= n_slots; n++) {
        before += (double)t->score[t->order[n - 1]];
        if (total - before < p->tail * total)
            return n;
    }
    return p->top_k;
}

/* Is row among the segment's tokens of largest importance, ties to the lower row? */
static bool is_protected(const struct router_call *c, const struct route_segment *seg, int row)
{
    const float *importance = c->in->importance;
    int n = (int)(c->p->protect * (seg->n_tok - seg->n_plain) + 1e-9), n_before = 0;

    for (int r = seg->row + seg->n_plain; n && r < seg->row + seg->n_tok; r++)
        n_before +=
            importance[r] > importance[row] || (importance[r] == importance[row] && r < row);
    return n_before < n;
}

static int slots_of(const struct router_call *c, const struct route_segment *seg, int row,
                    const struct token *t)
{
    if (c->p->keep == KEEP_ALL || is_protected(c, seg, row))
        return c->p->top_k;
    return c->p->keep == KEEP_TOP_P ? slots_by_top_p(c->p, t) : slots_by_tail(c->p, t);
}

/* The n best inside the coreset, best first as far as that matters; returns how many. */
static int best_inside(const struct route_params *p, const struct token *t, const uint8_t *core,
                       int n, int32_t *ret)
{
    float key[KERNEL_MAX_EXPERTS], rest[KERNEL_MAX_EXPERTS];
    int count;

    for (int e = 0; e < p->n_exp; e++)
        rest[e] = core[e] && t->key[e] > -INFINITY ? t->key[e] : -INFINITY;
    if (!p->n_group || p->inside == INSIDE_LIFTED)
        return route_best(rest, p->n_exp, n, ret);
    if (p->inside == INSIDE_MEMBERS) {
        memcpy(key, rest, (size_t)p->n_exp * sizeof(*key));
        route_limit_groups(p, key);
    } else {
        for (int e = 0; e < p->n_exp; e++)
            key[e] = core[e] ? t->natural_key[e] : -INFINITY;
    }
    count = route_best(key, p->n_exp, n, ret);
    if (p->is_guard_drop || count == n)
        return count;
    for (int i = 0; i < count; i++)
        rest[ret[i]] = -INFINITY;
    return count + route_best(rest, p->n_exp, n - count, ret + count);
}

/* Experts of a token, ascending; returns how many. */
static int choose(const struct route_params *p, const struct token *t, const uint8_t *core, int n,
                  int32_t *ret)
{
    int count = 0;

    if (core && !p->is_truncated) {
        count = best_inside(p, t, core, n, ret);
    } else {
        for (int i = 0; i < at_most(t->n, n); i++)
            if (!core || core[t->order[i]])
                ret[count++] = t->order[i];
    }
    sort_ids(ret, count);
    return count;
}

static void fill_slots(const struct route_params *p, const float *s, int n, int stride,
                       int32_t *ids, float *ret_w)
{
    double sum = mass(s, ids, n);

    for (int i = 0; i < n; i++) {
        double w = (double)s[ids[i]];

        if (p->renorm || p->is_renormed)
            w /= sum + 1e-20;
        ret_w[i] = (float)(w * (double)p->scale);
    }
    for (int i = n; i < stride; i++) {
        ids[i] = -1;
        ret_w[i] = 0;
    }
}

static bool contains(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Add one token's part to the statistics; kept_mass is a sum here. */
static void count_token(const struct route_params *p, const struct token *t, const int32_t *ids,
                        int n, uint8_t *natural, const struct route_segment *seg)
{
    int n_natural = at_most(t->n, p->top_k_base);
    double natural_mass = sorted_mass(t->score, t->order, n_natural);
    struct route_stats *stats = seg->stats;

    for (int i = 0; i < n_natural; i++) {
        stats->n_natural += !natural[t->order[i]];
        natural[t->order[i]] = 1;
    }
    for (int i = 0; i < n; i++) {
        stats->n_rerouted += !contains(t->order, n_natural, ids[i]);
        stats->n_unique += seg->tokens_per_expert[ids[i]]++ == 0;
    }
    stats->n_lost_top1 += !t->n || !contains(ids, n, t->order[0]);
    stats->kept_mass += natural_mass > 0 ? mass(t->score, ids, n) / natural_mass : 1;
}

/* Route tokens [from, to) of a segment inside core (NULL: everywhere). */
static void route_tokens(const struct router_call *c, const struct route_segment *seg, int from,
                         int to, const uint8_t *core, uint8_t *natural,
                         const struct route_output *out)
{
    for (int i = from; i < to; i++) {
        size_t at = (size_t)(seg->row + i) * (size_t)out->stride;
        struct token t;
        int n;

        route_token_read(c, seg->row + i, &t);
        n = choose(c->p, &t, core, slots_of(c, seg, seg->row + i, &t), out->ids + at);
        fill_slots(c->p, t.score, n, out->stride, out->ids + at, out->w + at);
        count_token(c->p, &t, out->ids + at, n, natural, seg);
    }
}

/* Elect for tokens [from, to) of a segment, and keep what a later forward runs by. */
static void elect(const struct router_call *c, const struct route_segment *seg, int from, int to,
                  uint8_t *ret_core)
{
    size_t n_exp = (size_t)c->p->n_exp;
    struct route_segment part = *seg;

    part.row += from;
    part.n_tok = to - from;
    part.n_plain = 0;
    part.is_voter = seg->is_voter ? seg->is_voter + from : NULL;
    cpu_elect(c, &part, 1, seg->group ? (from - seg->n_plain) / seg->group : 0, ret_core);
    if (seg->ret_core)
        memcpy(seg->ret_core, ret_core, n_exp);
    if (c->p->is_lagged && seg->core_before)
        memcpy(ret_core, seg->core_before, n_exp);
}

/* The first tokens, as the model routes by itself. */
static void route_plain(const struct router_call *c, const struct route_segment *seg,
                        uint8_t *natural, const struct route_output *out)
{
    struct route_params p = *c->p;
    struct router_call plain = *c;

    p.top_k = p.top_k_base;
    p.keep = KEEP_ALL;
    p.size = SIZE_NONE;
    p.is_renormed = false;
    plain.p = &p;
    route_tokens(&plain, seg, 0, seg->n_plain, NULL, natural, out);
}

static void route_segment(const struct router_call *c, const struct route_segment *seg,
                          const uint8_t *joint, const struct route_output *out)
{
    const struct route_params *p = c->p;
    uint8_t natural[KERNEL_MAX_EXPERTS] = { 0 }, all[KERNEL_MAX_EXPERTS] = { 0 };
    uint8_t own[KERNEL_MAX_EXPERTS];
    const uint8_t *core = p->size == SIZE_NONE ? NULL : joint ? joint : own;
    int step = seg->group ? seg->group : seg->n_tok;

    if (joint && seg->ret_core && seg->n_tok > seg->n_plain)
        memcpy(seg->ret_core, joint, (size_t)p->n_exp);
    *seg->stats = (struct route_stats){ 0 };
    memset(seg->tokens_per_expert, 0, (size_t)p->n_exp * sizeof(int32_t));
    route_plain(c, seg, natural, out);
    for (int from = seg->n_plain; from < seg->n_tok; from += step) {
        int to = seg->n_tok - from < step ? seg->n_tok : from + step;

        if (core == own)
            elect(c, seg, from, to, own);
        for (int e = 0; core && e < p->n_exp; e++)
            all[e] |= core[e];
        route_tokens(c, seg, from, to, core, natural, out);
        if (seg->n_tok - from <= step)
            break;
    }
    for (int e = 0; e < p->n_exp; e++)
        seg->stats->n_core += all[e];
    if (seg->n_tok)
        seg->stats->kept_mass /= seg->n_tok;
}

/* How much of a token's order anything looks at. */
static int depth_of(const struct route_params *p)
{
    int n = p->top_k > p->top_k_base ? p->top_k : p->top_k_base;

    return n > p->warm ? n : at_most(p->warm, p->n_exp);
}

enum status cpu_route(struct kernels *k, const struct route_params *p, const struct route_input *in,
                      const struct route_segment *segs, int n_segs, const struct route_output *out,
                      struct error *err)
{
    struct cpu *cpu = (struct cpu *)k;
    struct router_call c = { .p = p, .in = in, .depth = depth_of(p), .scratch = &cpu->scratch };
    uint8_t joint[KERNEL_MAX_EXPERTS];
    enum status st = cpu_elect_reserve(&c, segs, n_segs, err);

    if (st)
        return st;
    if (p->size != SIZE_NONE && p->is_joint)
        cpu_elect(&c, segs, n_segs, 0, joint);
    for (int s = 0; s < n_segs; s++)
        route_segment(&c, &segs[s], p->is_joint && p->size != SIZE_NONE ? joint : NULL, out);
    return ST_OK;
}

/* ---- measures of rows -------------------------------------------------------------------- */

/* Four sums, which the compiler keeps in one register: of elements i mod 4. */
enum status cpu_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                        struct error *err)
{
    (void)k;
    (void)err;
    for (int r = 0; r < n_rows; r++, x += d) {
        double sum[4] = { 0 };

        for (int i = 0; i < d; i++)
            sum[i % 4] += fabs((double)x[i]);
        ret[r] = (float)((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    return ST_OK;
}

enum status cpu_rel_error(struct kernels *k, const float *a, const float *b,
                          const struct segment *segs, int n_segs, int d, double *ret,
                          struct error *err)
{
    (void)k;
    (void)err;
    for (int s = 0; s < n_segs; s++) {
        size_t from = (size_t)segs[s].row * (size_t)d, n = (size_t)segs[s].n_tok * (size_t)d;
        double diff[4] = { 0 }, norm[4] = { 0 }, all;

        for (size_t i = 0; i < n; i++) {
            double y = (double)b[from + i], e = (double)a[from + i] - y;

            diff[i % 4] += e * e;
            norm[i % 4] += y * y;
        }
        all = (diff[0] + diff[1]) + (diff[2] + diff[3]);
        ret[s] = all == 0 ? 0 : sqrt(all) / sqrt((norm[0] + norm[1]) + (norm[2] + norm[3]));
    }
    return ST_OK;
}
