/* Replaying: scores that a live run showed give its routes again, bit for bit. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/sequence.h"
#include "kernels/kernels.h"
#include "tests/base/fail_malloc.h"

/* Of 8 experts and a top-k of 2: every scope, size, election, and each kind of voter. */
static const char *const selectors[] = {
    "vanilla",
    "topk:k=1",
    "topp:p=0.3",
    "naee",
    "mc-moe:protect=0.4",
    "des-seq:k0=1",
    "des-vote:beta=0.5",
    "des-vote:m=3,voters=masked",
    "des-vote:m=3,voters=block,prefill=on",
    "des-vote:m=4,prefill=blocks",
    "des-vote:m=3,vote=rank,outside=truncate",
    "des-vote:m=3,vote_norm=topk",
    "dmoe:p=0.5",
    "xshare:m=4",
    "moe-spec:m=4",
    "random:m=3",
    "random:m=3,seed=7",
    "previous-step:m=3",
    "oracle-mass:m=3",
};
enum { N_SELECTORS = sizeof(selectors) / sizeof(selectors[0]) };

static char dir[4096];

static void set_up(void)
{
    const char *tests = getenv("DESBENCH_TESTS");

    cr_assert_not_null(tests, "DESBENCH_TESTS is not set");
    snprintf(dir, sizeof(dir), "%s/vectors/model/tiny-bf16", tests);
}

TestSuite(replay, .init = set_up);

struct live {
    struct engine *e;
    struct decode_options d;
    struct replay *replay;
    int n_layers, n_differ;
};

static struct replay_model model_of(const struct engine *e)
{
    const struct model_info *m = engine_info(e);

    return (struct replay_model){ .n_layer = m->n_moe_layer,
                                  .n_exp = m->n_exp,
                                  .top_k = m->top_k,
                                  .routing = m->routing,
                                  .n_known = m->n_exp,
                                  .bias = m->router_bias,
                                  .has_importance = true,
                                  .mask_id = m->mask_id };
}

/* The layer that a live forward shows, replayed at once. */
static enum status check_layer(void *arg, const struct sequence *s, const struct layer_view *v,
                               struct error *err)
{
    struct live *x = arg;
    const struct generation *g = sequence_result(s);
    const struct forward_record *f = &g->forwards[g->n_forwards];
    const struct replay_forward forward = {
        .seed = x->d.seed,
        .forward = (int)g->n_forwards,
        .step = f->step,
        .is_cache_refresh = f->is_cache_refresh,
        .is_merged = f->is_merged,
        .block_start = (int)g->first_block + f->block * x->d.block_length,
        .block_length = x->d.block_length,
        .n_tok = v->n_tok,
        .ids = v->ids,
        .positions = v->positions,
    };
    struct replay_layer l;
    enum status st = v->layer == 0 ? replay_begin(x->replay, &forward, err) : ST_OK;

    if (!st)
        st = replay_route(x->replay, v->layer, v->scores, v->importance, &l, err);
    if (st)
        return st;
    x->n_layers++;
    for (int t = 0; t < v->n_tok; t++)
        for (int i = 0; i < v->n_slot || i < l.n_slot; i++) {
            int32_t was = i < v->n_slot ? v->experts[t * v->n_slot + i] : -1;
            int32_t is = i < l.n_slot ? l.experts[t * l.n_slot + i] : -1;

            x->n_differ += was != is;
            if (was >= 0 && was == is)
                x->n_differ += memcmp(&v->weights[t * v->n_slot + i], &l.weights[t * l.n_slot + i],
                                      sizeof(float)) != 0;
        }
    return ST_OK;
}

static void run_live(struct live *x, const char *selector)
{
    static const int32_t prompt[] = { 3, 1, 4, 1, 5, 9, 2 };
    const struct engine_observer o = { check_layer, x };
    struct replay_model m = model_of(x->e);
    struct sequence *s = NULL;
    struct error err = { 0 };

    x->d.selector = selector;
    x->n_layers = x->n_differ = 0;
    cr_assert_eq(replay_new(&m, selector, &x->replay, &err), ST_OK, "%s: %s", selector, err.text);
    cr_assert_eq(engine_observe(x->e, &o, &err), ST_OK, "%s", err.text);
    cr_assert_eq(sequence_start(x->e, &x->d, prompt, 7, &s, &err), ST_OK, "%s", err.text);
    while (!sequence_is_done(s))
        cr_assert_eq(engine_step(x->e, &s, 1, &err), ST_OK, "%s: %s", selector, err.text);
    for (size_t f = 0; f < sequence_result(s)->n_forwards; f++)
        cr_assert_gt(sequence_result(s)->forwards[f].n_tok, 0);
    sequence_free(s);
    replay_free(x->replay);
    cr_assert_gt(x->n_layers, 10);
    cr_expect_eq(x->n_differ, 0, "%s, cache %s: %d slots differ", selector, x->d.cache,
                 x->n_differ);
}

/* The model in dir, with its own way to decode but 16 positions in blocks of 8. */
static void open_live(struct live *x, const char *backend)
{
    const struct engine_options o = { .model_dir = dir,
                                      .load_format = "safetensors",
                                      .backend = backend,
                                      .n_threads = 1,
                                      .max_canvas = 64,
                                      .max_batch = 1,
                                      .max_block = 8 };
    struct error err = { 0 };

    cr_assert_eq(engine_open(&o, &x->e, &err), ST_OK, "%s", err.text);
    engine_decode_defaults(x->e, &x->d);
    x->d.gen_length = 16;
    x->d.block_length = 8;
    x->d.seed = 42;
}

Test(replay, every_policy_routes_recorded_scores_as_it_did_live)
{
    static const char *const backends[] = { "ref", "cpu" }, *const caches[] = { "none", "dual" };

    for (int b = 0; b < 2; b++) {
        struct live x = { 0 };

        open_live(&x, backends[b]);
        x.d.decoder = "low-confidence";
        x.d.steps = 6;
        for (int c = 0; c < 2; c++) {
            x.d.cache = caches[c];
            for (int i = 0; i < N_SELECTORS; i++)
                run_live(&x, selectors[i]);
        }
        engine_close(x.e);
    }
}

/* LLaDA2.x: groups, bias, clean passes merged with steps. */
Test(replay, so_it_does_with_finished_blocks_in_the_cache)
{
    static const char *const backends[] = { "ref", "cpu" };

    snprintf(dir, sizeof(dir), "%s/vectors/model/llada2/usual-bf16", getenv("DESBENCH_TESTS"));
    for (int b = 0; b < 2; b++) {
        struct live x = { 0 };

        open_live(&x, backends[b]);
        cr_assert_str_eq(x.d.cache, "block");
        x.d.threshold = 1; /* one a step */
        for (int i = 0; i < N_SELECTORS; i++)
            run_live(&x, selectors[i]);
        engine_close(x.e);
    }
}

static struct replay_model a_model(int n_known)
{
    return (struct replay_model){ .n_layer = 1,
                                  .n_exp = 16,
                                  .top_k = 2,
                                  .routing = { .scale = 1 },
                                  .n_known = n_known,
                                  .mask_id = -1 };
}

Test(replay, selectors_that_read_more_than_was_recorded_are_refused_by_name)
{
    static const struct {
        const char *selector, *why;
    } cases[] = {
        { "des-vote:beta=0.5", "gives slots outside" },
        { "des-seq:k0=1", "gives slots outside" },
        { "oracle-mass:m=4,outside=truncate", "elects experts by what tokens would keep" },
        { "moe-spec:m=4", "vote for more" },
        { "des-vote:m=4,vote=logit", "before its softmax" },
        { "mc-moe", "importance" },
    };
    const struct replay_model m = a_model(4);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct replay *r = NULL;
        struct error err = { 0 };

        cr_assert_eq(replay_new(&m, cases[i].selector, &r, &err), ST_UNSUPPORTED, "%s",
                     cases[i].selector);
        cr_assert(strstr(err.text, cases[i].selector) && strstr(err.text, cases[i].why), "%s",
                  err.text);
    }
}

/* Of a token: the four largest of sixteen scores as they are, the others an equal share. */
static void spread(const float *scores, float *ret)
{
    float tail = 0;

    for (int e = 0; e < 16; e++) {
        int rank = 0;

        for (int o = 0; o < 16; o++)
            rank += scores[o] > scores[e] || (scores[o] == scores[e] && o < e);
        ret[e] = rank < 4 ? scores[e] : -1;
        tail += rank < 4 ? 0 : scores[e];
    }
    for (int e = 0; e < 16; e++)
        if (ret[e] < 0)
            ret[e] = tail / 12;
}

Test(replay, selectors_of_a_token_s_own_experts_need_its_largest_scores_alone)
{
    static const char *const fine[] = { "vanilla",
                                        "topk:k=1",
                                        "topp:p=0.4",
                                        "naee",
                                        "des-vote:m=4,outside=truncate",
                                        "random:m=5,outside=truncate" };
    static const int32_t ids[4] = { 0 }, positions[4] = { 0, 1, 2, 3 };
    const struct replay_forward f = { .n_tok = 4, .ids = ids, .positions = positions };
    float all[4][16], few[4][16];

    for (int t = 0; t < 4; t++) {
        float sum = 0;

        for (int e = 0; e < 16; e++)
            sum += all[t][e] = (float)((e * 7 + t * 5) % 16 + 1) * (e % 3 ? 1 : 4);
        for (int e = 0; e < 16; e++)
            all[t][e] /= sum;
        spread(all[t], few[t]);
    }
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        int32_t experts[8];

        for (int n_known = 16; n_known >= 4; n_known -= 12) {
            const struct replay_model m = a_model(n_known);
            struct replay *r = NULL;
            struct replay_layer l;
            struct error err = { 0 };

            cr_assert_eq(replay_new(&m, fine[i], &r, &err), ST_OK, "%s", err.text);
            cr_assert_eq(replay_begin(r, &f, &err), ST_OK);
            cr_assert_eq(replay_route(r, 0, n_known == 16 ? all[0] : few[0], NULL, &l, &err),
                         ST_OK);
            if (n_known == 16)
                memcpy(experts, l.experts, sizeof(int32_t) * 4 * (size_t)l.n_slot);
            else
                cr_assert_eq(memcmp(experts, l.experts, sizeof(int32_t) * 4 * (size_t)l.n_slot), 0,
                             "%s", fine[i]);
            replay_free(r);
        }
    }
}

static enum status try_replay(void *arg, struct error *err)
{
    static const int32_t ids[2] = { 0 }, positions[2] = { 0, 1 };
    const struct replay_forward f = { .n_tok = 2, .ids = ids, .positions = positions };
    float bias[16] = { 0 }, scores[2][16];
    struct replay_model m = a_model(16);
    struct replay *r = NULL;
    struct replay_layer l;
    enum status st;

    for (int i = 0; i < 32; i++)
        scores[i / 16][i % 16] = (float)(i * 5 % 32) / 32.0F;
    m.bias = bias;
    st = replay_new(&m, arg, &r, err);
    if (!st)
        st = replay_begin(r, &f, err);
    if (!st)
        st = replay_route(r, 0, scores[0], NULL, &l, err);
    replay_free(r);
    return st;
}

Test(replay, without_memory_it_says_so)
{
    struct fail_sweep x = { .what = "replay", .f = try_replay, .arg = "previous-step:m=4" };

    cr_expect_gt(fail_malloc_sweep(&x), 5);
}
