/*
 * Selectors on a LLaDA2.x model, whose experts are chosen within groups: every policy that is
 * listed, decoding for real. An observer sees the router's scores and what ran; from them and the
 * checkpoint's bias the model's own choice and all statistics are worked out here.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/safetensors.h"
#include "kernels/kernels.h"

/* models/shapes/tiny-llada2: layer 0 is dense. */
enum {
    N_LAYER = 2,
    N_EXP = 16,
    N_GROUP = 4,
    TOPK_GROUP = 2,
    TOP_K = 4,
    EXPERT_BYTES = 3 * 64 * 32 * 2
};

enum { MAX_FORWARDS = 64 };

static char dir[512], counts_path[] = "/tmp/desbench-counts-XXXXXX";
static float bias[N_LAYER][N_EXP];

static void read_bias(void)
{
    struct safetensors *s = NULL;

    cr_assert_eq(safetensors_open_dir(dir, &s, NULL), ST_OK);
    for (int l = 0; l < N_LAYER; l++) {
        const struct tensor *t;
        char name[80];

        snprintf(name, sizeof(name), "model.layers.%d.mlp.gate.expert_bias", l + 1);
        t = safetensors_find(s, name);
        cr_assert(t && t->bytes == sizeof(bias[l]));
        memcpy(bias[l], t->data, t->bytes);
    }
    safetensors_close(s);
}

/* For the policy `static`. */
static void write_counts(void)
{
    int fd = mkstemp(counts_path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    cr_assert_not_null(f);
    fprintf(f, "{\"format\": \"desbench popularity 1\", \"tokens\": [");
    for (int l = 0; l < N_LAYER; l++)
        for (int e = 0; e < N_EXP; e++)
            fprintf(f, "%s%d%s",
                    e   ? ", "
                    : l ? ", ["
                        : "[",
                    (7 * e + l) % 11, e + 1 == N_EXP ? "]" : "");
    fprintf(f, "]}");
    cr_assert_eq(fclose(f), 0);
}

static void setup(void)
{
    const char *base = getenv("DESBENCH_TESTS");

    cr_assert(base, "DESBENCH_TESTS is not set");
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1); /* no hash of weights goes there */
    snprintf(dir, sizeof(dir), "%s/vectors/model/llada2/usual-bf16", base);
    read_bias();
    write_counts();
}

static void teardown(void)
{
    unlink(counts_path);
}

TestSuite(llada2_selectors, .init = setup, .fini = teardown);

/* ---- what the model alone would choose ---- */

struct key {
    double v;
    int id;
};

static int by_key(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    return x->v != y->v ? (x->v < y->v ? 1 : -1) : x->id - y->id;
}

/* A token's own experts, best first. */
static void natural(const float *scores, int layer, int ret[TOP_K])
{
    enum { SIZE = N_EXP / N_GROUP };
    struct key keys[N_EXP], in[SIZE], groups[N_GROUP];

    for (int g = 0; g < N_GROUP; g++) {
        for (int i = 0; i < SIZE; i++) {
            int e = g * SIZE + i;

            keys[e] = in[i] = (struct key){ (double)(scores[e] + bias[layer][e]), e };
        }
        qsort(in, SIZE, sizeof(*in), by_key);
        groups[g] = (struct key){ in[0].v + in[1].v, g };
    }
    qsort(groups, N_GROUP, sizeof(*groups), by_key);
    for (int g = TOPK_GROUP; g < N_GROUP; g++)
        for (int i = 0; i < SIZE; i++)
            keys[groups[g].id * SIZE + i].v = -INFINITY;
    qsort(keys, N_EXP, sizeof(*keys), by_key);
    for (int i = 0; i < TOP_K; i++)
        ret[i] = keys[i].id;
}

/* ---- what ran ---- */

/* Of a layer of a forward, by what the observer saw. */
struct seen {
    int counts[N_EXP], n_unique, n_natural, n_rerouted, n_lost_top1, n_empty;
    double kept_mass;
};

static struct seen seen[MAX_FORWARDS][N_LAYER];
static bool is_own; /* every token is to run its own experts */

static void look_at_token(const struct layer_view *v, int t, struct seen *x, bool *is_natural)
{
    const float *scores = v->scores + t * N_EXP, *w = v->weights + t * v->n_slot;
    const int32_t *ids = v->experts + t * v->n_slot;
    double sum = 0, mass = 0, natural_mass = 0;
    bool has_first = false;
    int own[TOP_K];

    natural(scores, v->layer, own);
    for (int i = 0; i < TOP_K; i++) {
        is_natural[own[i]] = true;
        natural_mass += (double)scores[own[i]];
    }
    for (int k = 0; k < v->n_slot; k++) {
        bool is_among = false;

        x->n_empty += ids[k] < 0;
        if (ids[k] < 0) {
            cr_assert_eq(w[k], 0);
            continue;
        }
        cr_assert(k == 0 || ids[k] > ids[k - 1], "ascending, empty slots last");
        for (int i = 0; i < TOP_K; i++)
            is_among |= own[i] == ids[k];
        x->n_rerouted += !is_among;
        has_first |= ids[k] == own[0];
        x->counts[ids[k]]++;
        sum += (double)w[k];
        mass += (double)scores[ids[k]];
        cr_assert(!is_own || is_among);
    }
    for (int k = 0; k < v->n_slot && ids[k] >= 0; k++) /* of the score, not of score plus bias */
        cr_assert_float_eq(w[k], 2.5 * (double)scores[ids[k]] / mass, 1e-5);
    cr_assert(sum == 0 || fabs(sum - 2.5) < 1e-5, "%g", sum);
    x->n_lost_top1 += !has_first;
    x->kept_mass += mass / natural_mass / v->n_tok;
}

static enum status look(void *arg, const struct sequence *s, const struct layer_view *v,
                        struct error *err)
{
    size_t f = sequence_result(s)->n_forwards;
    bool is_natural[N_EXP] = { false };
    struct seen *x;

    (void)arg;
    (void)err;
    cr_assert(f < MAX_FORWARDS && v->layer < N_LAYER && v->n_exp == N_EXP);
    x = &seen[f][v->layer];
    for (int t = 0; t < v->n_tok; t++)
        look_at_token(v, t, x, is_natural);
    for (int e = 0; e < N_EXP; e++) {
        x->n_unique += x->counts[e] > 0;
        x->n_natural += is_natural[e];
    }
    return ST_OK;
}

static struct engine *open_on(const char *backend, bool is_observed)
{
    const struct engine_options o = { .model_dir = dir,
                                      .backend = backend,
                                      .n_threads = 1,
                                      .max_canvas = 96,
                                      .max_batch = 2,
                                      .max_block = 32 };
    const struct engine_observer observer = { look, NULL };
    struct engine *e = NULL;
    struct error err = { 0 };

    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s: %s", backend, err.text);
    if (is_observed)
        cr_assert_eq(engine_observe(e, &observer, NULL), ST_OK);
    return e;
}

/* A prompt that ends inside a block of the mask, and two blocks to denoise. */
static struct sequence *generate(struct engine *e, const char *selector)
{
    static const int32_t prompt[21] = { 10, 20, 30, 40, 50, 60, 70, 80, 90 };
    const struct decode_options o = { .decoder = "threshold",
                                      .cache = "none",
                                      .selector = selector,
                                      .gen_length = 32,
                                      .block_length = 16,
                                      .threshold = 0.02 };
    struct sequence *s = NULL;
    struct error err = { 0 };

    memset(seen, 0, sizeof(seen));
    cr_assert_eq(sequence_start(e, &o, prompt, 21, &s, &err), ST_OK, "%s: %s", selector, err.text);
    while (!sequence_is_done(s))
        cr_assert_eq(engine_step(e, &s, 1, &err), ST_OK, "%s: %s", selector, err.text);
    return s;
}

/* Records are what was seen: U, bytes and everything beside them as executed. */
static void check_records(const struct generation *g, const char *selector, int most)
{
    cr_assert(g->n_moe_layer == N_LAYER && g->n_exp == N_EXP && g->n_forwards > 2);
    for (size_t i = 0; i < g->n_forwards * N_LAYER; i++) {
        const struct layer_record *r = &g->layers[i];
        const struct seen *x = &seen[i / N_LAYER][i % N_LAYER];

        cr_assert_eq(r->n_unique, x->n_unique, "%s record %zu", selector, i);
        cr_assert_eq(r->expert_bytes, (int64_t)x->n_unique * EXPERT_BYTES, "%s", selector);
        cr_assert_eq(r->n_natural, x->n_natural, "%s record %zu", selector, i);
        cr_assert_eq(r->n_rerouted, x->n_rerouted, "%s record %zu", selector, i);
        cr_assert_eq(r->n_lost_top1, x->n_lost_top1, "%s record %zu", selector, i);
        cr_assert_float_eq(r->kept_mass, x->kept_mass, 1e-6, "%s record %zu", selector, i);
        for (size_t e = 0; e < N_EXP; e++)
            cr_assert_eq(g->tokens_per_expert[i * N_EXP + e], x->counts[e], "%s", selector);
        if (r->n_core)
            cr_assert_leq(r->n_unique, r->n_core, "%s: an expert outside the coreset ran",
                          selector);
        if (most)
            cr_assert(r->n_core == most && r->n_unique <= most, "%s: %d of %d, not %d", selector,
                      r->n_unique, r->n_core, most);
    }
}

/* selector, with the file of counts behind it where it ends in "file=". */
static const char *with_file(const char *selector, char *room, size_t size)
{
    size_t len = strlen(selector);

    if (len < 5 || strcmp(selector + len - 5, "file=") != 0)
        return selector;
    snprintf(room, size, "%s%s", selector, counts_path);
    return room;
}

static const char *const backends[] = { "ref", "cpu" };

Test(llada2_selectors, what_is_recorded_of_every_policy_is_what_ran)
{
    static const struct {
        const char *selector;
        int n_core; /* 0: none, or by the scores */
    } runs[] = {
        { "vanilla", 0 },
        { "topk:k=2", 0 },
        { "topp:p=0.3", 0 },
        { "naee", 0 },
        { "mc-moe", 0 },
        { "des-seq:k0=1", 0 },
        { "des-vote:m=6", 6 },
        { "des-vote:m=3,vote=biased,mask_group=lift", 3 },
        { "dmoe:p=0.4,floor=3", 0 },
        { "xshare:m=9", 0 },
        { "moe-spec:m=5", 5 },
        { "random:m=6", 6 },
        { "static:m=6,file=", 6 },
        { "previous-step:m=6", 6 },
        { "oracle-mass:m=5", 5 },
    };
    enum { N_RUNS = sizeof(runs) / sizeof(runs[0]) };

    for (int b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b], true);
        struct engine_selector policy;
        struct buf settings = { 0 };
        char room[100];

        for (size_t i = 0; i < N_RUNS; i++) {
            const char *selector = with_file(runs[i].selector, room, sizeof(room));
            struct sequence *s;

            is_own = strncmp(selector, "top", 3) == 0 || strcmp(selector, "naee") == 0 ||
                     strcmp(selector, "mc-moe") == 0 || strcmp(selector, "vanilla") == 0;
            s = generate(e, selector);
            check_records(sequence_result(s), selector, runs[i].n_core);
            if (i == 0)
                cr_assert(seen[0][0].n_rerouted == 0 && seen[0][0].n_empty == 0);
            sequence_free(s);
        }
        for (size_t p = 0; engine_selector_get(p, &policy, &settings);
             p++) { /* none was left out */
            bool is_run = policy.alias_of;

            for (size_t i = 0; i < N_RUNS; i++)
                is_run |= strncmp(runs[i].selector, policy.name, strlen(policy.name)) == 0;
            cr_assert(is_run, "%s", policy.name);
        }
        buf_release(&settings);
        engine_close(e);
    }
}

/* The groups that a token keeps may hold fewer members than it has slots: then other members run,
 * or fewer, but never who is no member. */
Test(llada2_selectors, nobody_leaks_into_small_coresets)
{
    static const char *const forms[] = {
        "",
        ",guard=drop",
        ",group=members",
        ",group=members,guard=drop",
        ",group=lift",
        ",outside=truncate",
        ",mask_group=lift",
        ",mask=all,vote=biased,guard=drop",
    };

    for (int b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b], true);
        int n_dropped = 0;

        is_own = false;
        for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++)
            for (int m = 1; m <= 9; m += m < 5 ? 1 : 4) {
                bool is_filled = !strstr(forms[f], "drop") && !strstr(forms[f], "truncate");
                const struct generation *g;
                struct sequence *s;
                char selector[80];

                snprintf(selector, sizeof(selector), "des-vote:m=%d%s", m, forms[f]);
                s = generate(e, selector);
                g = sequence_result(s);
                check_records(g, selector, m);
                for (size_t i = 0; i < g->n_forwards * N_LAYER; i++) {
                    int n_empty = seen[i / N_LAYER][i % N_LAYER].n_empty;
                    int want = m < TOP_K ? (TOP_K - m) * g->forwards[i / N_LAYER].n_tok : 0;

                    if (is_filled)
                        cr_assert_eq(n_empty, want, "%s: %d", selector, n_empty);
                    else
                        cr_assert_geq(n_empty, want, "%s: %d", selector, n_empty);
                    n_dropped += n_empty > want;
                }
                sequence_free(s);
            }
        cr_assert_gt(n_dropped, 0, "the guard had nothing to do");
        engine_close(e);
    }
}

Test(llada2_selectors, a_full_budget_is_vanilla_bit_for_bit)
{
    static const char *const full[] = { "topk:k=4",          "topp:p=1",
                                        "des-seq:k0=4",      "des-vote:beta=1",
                                        "dmoe:p=1",          "xshare:beta=1",
                                        "moe-spec:beta=1",   "random:m=16",
                                        "static:m=16,file=", "previous-step:beta=1",
                                        "oracle-mass:beta=1" };

    for (int b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b], false);
        struct sequence *own = generate(e, "vanilla");
        const struct generation *want = sequence_result(own);
        char room[100];

        for (size_t i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
            const char *selector = with_file(full[i], room, sizeof(room));
            struct sequence *s = generate(e, selector);
            const struct generation *g = sequence_result(s);

            cr_assert(g->n_forwards == want->n_forwards && g->n_positions == want->n_positions,
                      "%s", selector);
            cr_assert_eq(memcmp(g->tokens, want->tokens, g->n_positions * sizeof(*g->tokens)), 0,
                         "%s", selector);
            cr_assert_eq(memcmp(g->tokens_per_expert, want->tokens_per_expert,
                                g->n_forwards * N_LAYER * N_EXP * sizeof(uint16_t)),
                         0, "%s", selector);
            sequence_free(s);
        }
        sequence_free(own);
        engine_close(e);
    }
}
