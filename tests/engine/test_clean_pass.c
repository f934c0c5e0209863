/*
 * The cache of finished blocks on a model: every forward of a decoding gives the logits that it
 * gives without a cache; and does not, if finished blocks stay in it as they were while they still
 * held masks. Under a selector the merged forward's step is what it is after a clean pass of its
 * own.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sequence_impl.h"
#include "tests/engine/plan_unclean.h"

enum { BLOCK = 32, GEN = 64, MAX_PROMPT = 95, MAX_CANVAS = 160, N_PROMPTS = 7 };

static const int prompt_lengths[N_PROMPTS] = { 0, 1, 31, 32, 33, 64, 95 };

static void setup(void)
{
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1); /* no hash of weights goes there */
}

TestSuite(clean_pass, .init = setup);

/* NULL where the backend cannot run on this machine. */
static struct engine *open_on(const char *backend)
{
    char dir[4096];
    struct engine_options o = { .model_dir = dir,
                                .load_format = "safetensors",
                                .backend = backend,
                                .n_threads = 1,
                                .max_canvas = MAX_CANVAS,
                                .max_batch = 2,
                                .max_block = BLOCK };
    struct engine *e = NULL;
    struct error err = { 0 };
    enum status st;

    snprintf(dir, sizeof(dir), "%s/vectors/model/llada2/usual-bf16", getenv("DESBENCH_TESTS"));
    st = engine_open(&o, &e, &err);
    cr_assert(st == ST_OK || st == ST_UNSUPPORTED || st == ST_DEVICE || st == ST_NOT_FOUND,
              "%s: %s", backend, err.text);
    return e;
}

static struct sequence *start(struct engine *e, const char *cache, const char *decoder,
                              const char *selector, int n_prompt)
{
    struct decode_options o = { .decoder = decoder,
                                .cache = cache,
                                .selector = selector,
                                .gen_length = GEN,
                                .block_length = BLOCK,
                                .steps = 9,
                                .threshold = 0.05,
                                .edit_threshold = 0.2,
                                .max_post_steps = 2 };
    struct sequence *s = NULL;
    struct error err = { 0 };
    int32_t prompt[MAX_PROMPT];

    for (int i = 0; i < MAX_PROMPT; i++)
        prompt[i] = (i * 37 + 5) % 256;
    cr_assert_eq(sequence_start(e, &o, prompt, (size_t)n_prompt, &s, &err), ST_OK, "%s", err.text);
    return s;
}

/* One step of a sequence; its logits into ret (n_rows, n_vocab). */
static void step(struct engine *e, struct sequence *s, float *ret)
{
    struct kernels *k = model_kernels(e->model);
    struct forward_result r;
    struct forward_item it;
    struct error err = { 0 };

    step_plan(s, &it);
    e->active[0] = s;
    cr_assert_eq(model_forward(e->model, &it, 1, &r, &err), ST_OK, "%s", err.text);
    cr_assert_eq(step_pick(s, r.logits, &err), ST_OK, "%s", err.text);
    cr_assert_eq(k->ops->download(k, ret, r.logits,
                                  (size_t)s->n_rows * (size_t)e->info->n_vocab * sizeof(*ret),
                                  &err),
                 ST_OK);
    cr_assert_eq(k->ops->sync(k, &err), ST_OK);
    step_record(s, &r, 0);
    step_decide(s);
    step_commit(s);
    step_end(s, 0, 1);
}

/* The largest difference of logits over a decoding, of the largest logit. Both sequences are kept
 * on the tokens of the one without a cache. */
static double compare(struct engine *e, const struct cache_policy *policy, const char *decoder,
                      int n_prompt)
{
    struct sequence *plain = start(e, "none", decoder, "vanilla", n_prompt);
    struct sequence *cached = start(e, "block", decoder, "vanilla", n_prompt);
    size_t n_vocab = (size_t)e->info->n_vocab;
    float *want = calloc(BLOCK * n_vocab, sizeof(*want)),
          *got = calloc(BLOCK * n_vocab, sizeof(*got));
    double worst = 0, most = 0;

    cr_assert(want && got);
    if (policy)
        cached->setup.cache = policy;
    while (!sequence_is_done(plain)) {
        cr_assert_eq(plain->block, cached->block);
        step(e, plain, want);
        step(e, cached, got);
        for (size_t i = 0; i < (size_t)plain->n_rows * n_vocab; i++) {
            most = fmax(most, fabs((double)want[i]));
            worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        }
        if (memcmp(plain->canvas, cached->canvas, (size_t)plain->n_canvas * sizeof(int32_t)) != 0)
            break; /* what follows is another decoding */
    }
    cr_assert(policy || sequence_is_done(cached), "tokens differ");
    sequence_free(plain);
    sequence_free(cached);
    free(want);
    free(got);
    return worst / most;
}

Test(clean_pass, logits_are_those_without_a_cache, .timeout = 600)
{
    static const char *const decoders[] = { "block-diffusion", "edit" };

    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on((*b)->name);
        bool is_ref = strcmp((*b)->name, "ref") == 0;

        for (int i = 0; e && i < N_PROMPTS; i++)
            for (int d = 0; d < 2; d++) {
                double off = compare(e, NULL, decoders[d], prompt_lengths[i]);

                cr_assert(off <= (is_ref ? 0 : 1e-4), "%s, %s, %d prompt tokens: off by %g",
                          (*b)->name, decoders[d], prompt_lengths[i], off);
            }
        engine_close(e);
    }
}

Test(clean_pass, without_it_logits_are_others)
{
    const struct cache_policy unclean = { .about = cache_policy_find("block")->about,
                                          .plan = plan_unclean };
    struct engine *e = open_on("ref");

    for (int i = 0; i < N_PROMPTS; i++) {
        double off = compare(e, &unclean, "block-diffusion", prompt_lengths[i]);

        cr_assert(off > 1e-2, "%d prompt tokens: off by %g", prompt_lengths[i], off);
    }
    engine_close(e);
}

/* ---- under selectors --------------------------------------------------------------------- */

/* Who ran for the block's tokens in a step: positions with experts, and weights, layer by layer. */
struct who_ran {
    int32_t experts[2 * BLOCK * 8];
    float weights[2 * BLOCK * 8];
    int n;
};

static enum status look(void *arg, const struct sequence *s, const struct layer_view *v,
                        struct error *err)
{
    struct who_ran *w = arg;

    (void)err;
    for (int t = 0; t < v->n_tok; t++) {
        if (v->positions[t] < sequence_block_start(s))
            continue;
        for (int i = 0; i < v->n_slot && v->experts[t * v->n_slot + i] >= 0; i++) {
            cr_assert_lt(w->n, 2 * BLOCK * 8);
            w->experts[w->n] = v->positions[t] << 16 | v->experts[t * v->n_slot + i];
            w->weights[w->n++] = v->weights[t * v->n_slot + i];
        }
    }
    return ST_OK;
}

/* A clean pass of its own, as the model routes, if one is due; and a step that finds it done. */
static void step_apart(struct engine *e, struct sequence *s, float *ret)
{
    const int n_clean = sequence_block_start(s) - s->n_final;
    const struct forward_item it = { .cache = s->cache,
                                     .ids = s->canvas + s->n_final,
                                     .positions = e->positions + s->n_final,
                                     .n_tok = n_clean,
                                     .n_kv = sequence_block_start(s),
                                     .mask_block = BLOCK,
                                     .route = model_route(e->model) };
    struct forward_result r;
    struct error err = { 0 };

    e->active[0] = s;
    if (n_clean > 0)
        cr_assert_eq(model_forward(e->model, &it, 1, &r, &err), ST_OK, "%s", err.text);
    s->n_final += n_clean > 0 ? n_clean : 0;
    step(e, s, ret);
    cr_assert_not(s->forwards[s->result.n_forwards - 1].is_cache_refresh);
}

/* Both decodings, step by step; returns how many merged forwards there were. */
static int compare_apart(struct engine *e, const char *selector, const char *decoder, int n_prompt)
{
    struct sequence *merged = start(e, "block", decoder, selector, n_prompt);
    struct sequence *apart = start(e, "block", decoder, selector, n_prompt);
    size_t n_vocab = (size_t)e->info->n_vocab;
    float *want = calloc(BLOCK * n_vocab, sizeof(*want)),
          *got = calloc(BLOCK * n_vocab, sizeof(*got));
    static struct who_ran is, was;
    int n_merged = 0;

    cr_assert(want && got);
    while (!sequence_is_done(merged)) {
        const struct forward_record *f = &merged->forwards[merged->result.n_forwards];
        const size_t at = merged->result.n_forwards * (size_t)merged->result.n_moe_layer;

        is.n = was.n = 0;
        cr_assert_eq(engine_observe(e, &(struct engine_observer){ look, &was }, NULL), ST_OK);
        step_apart(e, apart, want);
        cr_assert_eq(engine_observe(e, &(struct engine_observer){ look, &is }, NULL), ST_OK);
        step(e, merged, got);
        n_merged += f->is_merged;
        cr_assert_eq(f->is_merged, f->is_cache_refresh);
        cr_assert(is.n == was.n && is.n > 0);
        cr_assert(memcmp(is.experts, was.experts, (size_t)is.n * sizeof(*is.experts)) == 0 &&
                      memcmp(is.weights, was.weights, (size_t)is.n * sizeof(*is.weights)) == 0,
                  "%s, %d prompt tokens: other experts in forward %zu", selector, n_prompt,
                  merged->result.n_forwards - 1);
        for (int l = 0; l < merged->result.n_moe_layer; l++)
            cr_assert_eq(merged->layers[at + (size_t)l].n_core,
                         apart->layers[at + (size_t)l].n_core);
        cr_assert_eq(memcmp(want, got, (size_t)merged->n_rows * n_vocab * sizeof(*want)), 0,
                     "%s, %d prompt tokens: other logits", selector, n_prompt);
        cr_assert_eq(
            memcmp(merged->canvas, apart->canvas, (size_t)merged->n_canvas * sizeof(int32_t)), 0);
    }
    cr_assert(sequence_is_done(apart));
    sequence_free(merged);
    sequence_free(apart);
    free(want);
    free(got);
    return n_merged;
}

Test(clean_pass, a_merged_step_is_selected_as_one_apart, .timeout = 600)
{
    static const char *const selectors[] = { "vanilla",
                                             "topk:k=2,prefill=off",
                                             "naee:prefill=off,renorm=over",
                                             "mc-moe:prefill=off,protect=0.3",
                                             "des-seq:k0=1",
                                             "des-vote:beta=0.4",
                                             "des-vote:m=5,voters=masked",
                                             "des-vote:m=6,scope=batch",
                                             "dmoe:floor=3",
                                             "xshare:m=6",
                                             "moe-spec:m=6",
                                             "random:m=6",
                                             "previous-step:m=5",
                                             "oracle-mass:m=6" };
    static const int prompts[] = { 0, 33, 95 };

    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on((*b)->name);
        bool is_ref = strcmp((*b)->name, "ref") == 0; /* slow: one prompt will do */

        for (size_t i = 0; e && i < sizeof(selectors) / sizeof(selectors[0]); i++)
            for (int p = is_ref; p < (is_ref ? 2 : 3); p++) {
                const char *decoder = i % 2 ? "edit" : "block-diffusion";

                /* an edit may end by itself */
                cr_assert_geq(compare_apart(e, selectors[i], decoder, prompts[p]),
                              (i % 2 == 0) + (p > 0), "%s, %d prompt tokens", selectors[i],
                              prompts[p]);
            }
        engine_close(e);
    }
}
