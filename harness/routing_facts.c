/* Routing facts. */
#include "harness/routing_facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum status routing_facts_new(int n_layer, int n_exp, int top_k, struct routing_facts **ret,
                              struct error *err)
{
    struct routing_facts *f = calloc(1, sizeof(*f));
    size_t n = (size_t)n_exp, n_all = 0;
    bool is_ok = f && size_mul((size_t)n_layer, n, &n_all);

    if (is_ok) {
        *f = (struct routing_facts){ .n_layer = n_layer, .n_exp = n_exp, .top_k = top_k };
        f->layers = calloc((size_t)n_layer, sizeof(*f->layers));
        f->ran_before = calloc(n_all, sizeof(*f->ran_before));
        f->by_weight = calloc(n, sizeof(*f->by_weight));
        f->by_count = calloc(n, sizeof(*f->by_count));
        f->weight_order = calloc(n, sizeof(*f->weight_order));
        f->count_order = calloc(n, sizeof(*f->count_order));
        f->is_best = calloc(n, sizeof(*f->is_best));
        is_ok = f->layers && f->ran_before && f->by_weight && f->by_count && f->weight_order &&
                f->count_order && f->is_best;
        for (int l = 0; l < n_layer && is_ok; l++) {
            f->layers[l].load = calloc(n, sizeof(*f->layers[l].load));
            is_ok = f->layers[l].load;
        }
    }
    if (!is_ok) {
        routing_facts_free(f);
        return error_set(err, ST_NOMEM, "out of memory for routing facts of %d layers", n_layer);
    }
    *ret = f;
    return ST_OK;
}

void routing_facts_free(struct routing_facts *f)
{
    if (!f)
        return;
    for (int l = 0; l < f->n_layer && f->layers; l++)
        free(f->layers[l].load);
    free(f->layers);
    free(f->ran_before);
    free(f->by_weight);
    free(f->by_count);
    free(f->weight_order);
    free(f->count_order);
    free(f->is_best);
    free(f);
}

int routing_core_size(int i, int n_exp)
{
    return (i + 1) * n_exp / ROUTING_CORE_PARTS;
}

double routing_uniform(int n_tok, int n_exp, int top_k)
{
    return n_exp * (1 - pow(1 - (double)top_k / n_exp, n_tok));
}

/* The n ids with the largest values, best first, ties to the lower id: into order. */
static void select_best(const double *values, int n_exp, int n, bool *is_taken, int32_t *order)
{
    memset(is_taken, 0, (size_t)n_exp * sizeof(*is_taken));
    for (int k = 0; k < n; k++) {
        int best = -1;

        for (int i = 0; i < n_exp; i++)
            if (!is_taken[i] && (best < 0 || values[i] > values[best]))
                best = i;
        is_taken[best] = true;
        order[k] = best;
    }
}

/* A token's share of score mass on its best experts, and its votes for them. */
static void add_token(struct routing_facts *f, struct layer_facts *x, const float *scores)
{
    double sum = 0, top1 = 0, topk = 0;

    memset(f->is_best, 0, (size_t)f->n_exp * sizeof(*f->is_best));
    for (int i = 0; i < f->n_exp; i++)
        sum += (double)scores[i];
    for (int k = 0; k < f->top_k; k++) {
        int best = -1;

        for (int i = 0; i < f->n_exp; i++)
            if (!f->is_best[i] && (best < 0 || scores[i] > scores[best]))
                best = i;
        f->is_best[best] = true;
        f->by_weight[best] += (double)scores[best];
        f->by_count[best] += 1;
        top1 = k ? top1 : (double)scores[best];
        topk += (double)scores[best];
    }
    if (sum > 0) {
        x->sum_top1 += top1 / sum;
        x->sum_topk += topk / sum;
    }
}

static void add_votes(struct routing_facts *f, struct layer_facts *x)
{
    int n_voted = 0, n_max = routing_core_size(ROUTING_N_CORES - 1, f->n_exp);

    for (int i = 0; i < f->n_exp; i++)
        n_voted += f->by_count[i] > 0;
    select_best(f->by_weight, f->n_exp, n_max, f->is_best, f->weight_order);
    select_best(f->by_count, f->n_exp, n_max, f->is_best, f->count_order);
    for (int c = 0; c < ROUTING_N_CORES; c++) {
        int n_core = routing_core_size(c, f->n_exp), n_same = 0;
        double mass = 0, mass_by_count = 0;
        struct vote_gap *g = &x->votes[c];

        if (n_core < 1 || n_core >= n_voted)
            continue;
        memset(f->is_best, 0, (size_t)f->n_exp * sizeof(*f->is_best));
        for (int k = 0; k < n_core; k++) {
            f->is_best[f->count_order[k]] = true;
            mass_by_count += f->by_weight[f->count_order[k]];
        }
        for (int k = 0; k < n_core; k++) {
            n_same += f->is_best[f->weight_order[k]];
            mass += f->by_weight[f->weight_order[k]];
        }
        g->n_samples++;
        g->sum_differs += 1 - (double)n_same / n_core;
        if (mass > 0)
            g->sum_mass_lost += 1 - mass_by_count / mass;
    }
}

void routing_facts_add(struct routing_facts *f, int layer, bool is_first, int n_tok, int n_slot,
                       const float *scores, const int32_t *experts)
{
    struct layer_facts *x = &f->layers[layer];
    bool *before = f->ran_before + (size_t)layer * (size_t)f->n_exp, *ran = f->is_best;
    int n_unique = 0, n_both = 0, n_either = 0;

    memset(ran, 0, (size_t)f->n_exp * sizeof(*ran));
    for (int64_t i = 0; i < (int64_t)n_tok * n_slot; i++) {
        if (experts[i] < 0)
            continue;
        ran[experts[i]] = true;
        x->load[experts[i]]++;
    }
    for (int i = 0; i < f->n_exp; i++) {
        n_unique += ran[i];
        n_both += ran[i] && before[i];
        n_either += ran[i] || before[i];
        before[i] = ran[i];
    }
    x->n_samples++;
    x->n_tok += n_tok;
    x->sum_unique += n_unique;
    x->sum_unique2 += (double)n_unique * n_unique;
    if (!is_first && n_either) {
        x->n_pairs++;
        x->sum_overlap += (double)n_both / n_either;
    }
    memset(f->by_weight, 0, (size_t)f->n_exp * sizeof(*f->by_weight));
    memset(f->by_count, 0, (size_t)f->n_exp * sizeof(*f->by_count));
    for (int t = 0; t < n_tok; t++)
        add_token(f, x, scores + (size_t)t * (size_t)f->n_exp);
    add_votes(f, x);
}
