/*
 * The shipped models (models/mini-*): the trainer's logits, and the same tokens whatever runs them.
 *
 * Vectors: tests/vectors/mini/README.md. Generations are of word problems of mini-gsm8k, with the
 * defaults of each model's generation_config.json unless a test says otherwise.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "model_vectors.h"

enum { N_PROMPT = 8, MAX_PROMPT = 80, GEN = 64, BLOCK = 32, N_VOCAB = 800, TOP_K = 8 };

static const char *const names[] = { "mini-e64", "mini-e16" };

/*
 * A choice may differ between backends where it hung on less than this: of a router, by how much of
 * its own score the last expert taken is above the first one left out; of the decoder, by how much
 * a probability is above the threshold, or the best token above the next. Two bf16 parts of an
 * activation leave out 2^-17 of it in each product of backend cpu (docs/speed.md).
 */
static const double epsilon = 1e-4;

/* No hash of weights goes to the user's cache. */
static void setup(void)
{
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
}

TestSuite(mini, .init = setup);

static void model_path(const char *name, char *ret, size_t size)
{
    cr_assert_not_null(getenv("DESBENCH_SOURCE"), "DESBENCH_SOURCE is not set");
    cr_assert_lt(snprintf(ret, size, "%s/models/%s", getenv("DESBENCH_SOURCE"), name), (int)size);
}

static struct safetensors *open_vectors(const char *name)
{
    struct safetensors *s = NULL;
    struct error err = { 0 };
    char path[4200];

    snprintf(path, sizeof(path), "%s/vectors/mini/%s.safetensors", getenv("DESBENCH_TESTS"), name);
    cr_assert_eq(safetensors_open_file(path, &s, &err), ST_OK, "%s", err.text);
    return s;
}

/* NULL where this machine cannot run the backend. */
static struct model *open_model(const char *name, const char *backend)
{
    struct error err = { 0 };
    struct model *m = NULL;
    char path[4200];
    struct engine_options o = { .model_dir = path,
                                .load_format = "safetensors",
                                .backend = backend,
                                .n_threads = 1,
                                .max_canvas = MAX_PROMPT + GEN,
                                .max_batch = 2 };
    enum status st;

    model_path(name, path, sizeof(path));
    st = model_open(&o, &m, &err);
    cr_assert(st == ST_OK ||
                  ((st == ST_UNSUPPORTED || st == ST_NOT_FOUND) && strcmp(backend, "ref")),
              "%s: %s", backend, err.text);
    return m;
}

static struct kv_cache *new_cache(struct model *m)
{
    struct kv_cache *c = NULL;
    struct error err = { 0 };

    cr_assert_eq(kv_cache_new(m, &c, &err), ST_OK, "%s", err.text);
    return c;
}

static float *fetch(struct model *m, const float *p, size_t n)
{
    struct kernels *k = model_kernels(m);
    float *host = calloc(n, sizeof(*host));
    struct error err = { 0 };

    cr_assert(host);
    cr_assert_eq(k->ops->download(k, host, p, n * sizeof(*host), &err), ST_OK, "%s", err.text);
    return host;
}

/* ---- logits ----------------------------------------------------------------------------- */

/* Both sequences of the fixed batch in one forward. */
static void check_logits(const char *name, const char *backend)
{
    struct safetensors *v = open_vectors(name);
    struct model *m = open_model(name, backend);
    struct kv_cache *cache[2] = { NULL, NULL };
    struct forward_item item[2];
    struct canvas c[2];
    float *logits;
    char what[100];

    for (int i = 0; m && i < 2; i++) {
        snprintf(what, sizeof(what), "batch%d.tokens", i);
        canvas_get(v, what, &c[i]);
        cache[i] = new_cache(m);
        item[i] = whole_canvas(m, cache[i], &c[i]);
    }
    if (m) {
        size_t n[2] = { (size_t)c[0].n, (size_t)c[1].n };

        logits = fetch(m, run_forward(m, item, 2).logits, (n[0] + n[1]) * N_VOCAB);
        for (size_t i = 0; i < 2; i++) {
            snprintf(what, sizeof(what), "%s on %s, sequence %zu", name, backend, i);
            assert_rows(logits + i * n[0] * N_VOCAB, vector_get(v, NULL, "batch%zu.logits", i),
                        n[i], N_VOCAB, 1e-4, what);
        }
        free(logits);
    }
    kv_cache_free(cache[0]);
    kv_cache_free(cache[1]);
    model_close(m);
    safetensors_close(v);
}

Test(mini, logits_are_those_of_the_trainer_in_fp32)
{
    for (size_t i = 0; i < 2; i++) {
        check_logits(names[i], "ref");
        check_logits(names[i], "cpu");
    }
}

/* ---- generations ------------------------------------------------------------------------ */

static struct engine *open_engine(const char *name, const char *backend, const char *isa,
                                  int max_batch)
{
    struct error err = { 0 };
    struct engine *e = NULL;
    char path[4200];
    struct engine_options o = { .model_dir = path,
                                .load_format = "safetensors",
                                .backend = backend,
                                .isa = isa,
                                .n_threads = 1,
                                .max_canvas = MAX_PROMPT + GEN,
                                .max_batch = max_batch,
                                .max_block = BLOCK };
    enum status st;

    model_path(name, path, sizeof(path));
    st = engine_open(&o, &e, &err);
    cr_assert(st == ST_OK ||
                  ((st == ST_UNSUPPORTED || st == ST_NOT_FOUND) && strcmp(backend, "ref")),
              "%s: %s", backend, err.text);
    return e;
}

static size_t prompt_get(const struct safetensors *v, int i, int32_t ret[MAX_PROMPT])
{
    size_t n;
    const float *ids = vector_get(v, &n, "prompt%d", i);

    cr_assert_leq(n, MAX_PROMPT);
    for (size_t k = 0; k < n; k++)
        ret[k] = (int32_t)ids[k];
    return n;
}

static struct sequence *start(struct engine *e, const struct safetensors *v, int i, int gen_length,
                              const char *cache)
{
    struct decode_options o = { .selector = "vanilla" };
    struct sequence *s = NULL;
    struct error err = { 0 };
    int32_t prompt[MAX_PROMPT];
    size_t n = prompt_get(v, i, prompt);

    engine_decode_defaults(e, &o);
    o.selector = "vanilla";
    o.gen_length = gen_length;
    o.is_eos_early_stop = true;
    if (cache)
        o.cache = cache;
    cr_assert_eq(sequence_start(e, &o, prompt, n, &s, &err), ST_OK, "%s", err.text);
    return s;
}

/* Until all of n are done. */
static void run(struct engine *e, struct sequence **s, size_t n)
{
    struct error err = { 0 };

    for (bool is_done = false; !is_done;) {
        is_done = true;
        for (size_t i = 0; i < n; i++)
            is_done &= sequence_is_done(s[i]);
        if (!is_done)
            cr_assert_eq(engine_step(e, s, n, &err), ST_OK, "%s", err.text);
    }
}

static bool is_same(const struct generation *a, const struct generation *b)
{
    return a->n_positions == b->n_positions && a->n_forwards == b->n_forwards &&
           memcmp(a->tokens, b->tokens, a->n_positions * sizeof(*a->tokens)) == 0 &&
           memcmp(a->commit_step, b->commit_step, a->n_positions * sizeof(*a->commit_step)) == 0;
}

Test(mini, tokens_are_the_same_in_two_runs_and_in_a_batch)
{
    for (size_t k = 0; k < 2; k++) {
        struct safetensors *v = open_vectors(names[k]);
        struct engine *e = open_engine(names[k], "cpu", NULL, 2 * N_PROMPT + 1);
        struct sequence *alone[N_PROMPT], *together[N_PROMPT], *again;
        size_t n_ended = 0;

        for (int i = 0; e && i < N_PROMPT; i++) {
            alone[i] = start(e, v, i, GEN, NULL);
            run(e, &alone[i], 1);
            together[i] = start(e, v, i, GEN, NULL);
            n_ended += sequence_result(alone[i])->stop == STOP_EOS;
        }
        if (e) {
            run(e, together, N_PROMPT);
            again = start(e, v, 0, GEN, NULL);
            run(e, &again, 1);
            cr_assert(is_same(sequence_result(alone[0]), sequence_result(again)));
            sequence_free(again);
            cr_assert_gt(n_ended, 0, "%s ends none of its answers", names[k]);
        }
        for (int i = 0; e && i < N_PROMPT; i++) {
            cr_assert(is_same(sequence_result(alone[i]), sequence_result(together[i])),
                      "%s, prompt %d", names[k], i);
            sequence_free(alone[i]);
            sequence_free(together[i]);
        }
        engine_close(e);
        safetensors_close(v);
    }
}

/* ---- ref against cpu -------------------------------------------------------------------- */

/* The smallest margin of a router's choice of TOP_K among those it is told of. */
static enum status see_layer(void *arg, int item, const struct layer_view *v, struct error *err)
{
    double *margin = arg;

    (void)item;
    (void)err;
    for (int t = 0; t < v->n_tok; t++) {
        double best[TOP_K + 1] = { 0 };

        for (int e = 0; e < v->n_exp; e++) {
            double s = (double)v->scores[(size_t)t * (size_t)v->n_exp + (size_t)e];

            for (int k = 0; k <= TOP_K; k++)
                if (s > best[k]) {
                    double tmp = best[k];

                    best[k] = s;
                    s = tmp;
                }
        }
        *margin = fmin(*margin, (best[TOP_K - 1] - best[TOP_K]) / best[TOP_K - 1]);
    }
    return ST_OK;
}

/* The smallest margin of the forward after which a canvas was as it is: of any router, and of the
 * decoder at the masks of the block at `first`. */
static double margin_of(const char *name, const int32_t *ids, int n, int first, double threshold)
{
    struct model *m = open_model(name, "ref");
    struct kv_cache *cache = new_cache(m);
    int32_t positions[MAX_PROMPT + GEN];
    double margin = INFINITY;
    struct model_observer o = { .layer = see_layer, .arg = &margin };
    struct forward_item item = { .cache = cache,
                                 .ids = ids,
                                 .positions = positions,
                                 .n_tok = n,
                                 .n_kv = n,
                                 .logits_row = first,
                                 .n_logits = BLOCK,
                                 .route = model_route(m) };
    int32_t mask_id = model_get_info(m)->mask_id;
    float *logits;

    for (int i = 0; i < n; i++)
        positions[i] = i;
    cr_assert_eq(model_observe(m, &o, NULL), ST_OK);
    logits = fetch(m, run_forward(m, &item, 1).logits, (size_t)BLOCK * N_VOCAB);
    for (int t = 0; t < BLOCK; t++) {
        const float *row = logits + (size_t)t * N_VOCAB;
        double best = -INFINITY, second = -INFINITY, sum = 0;

        if (ids[first + t] != mask_id)
            continue;
        for (int i = 0; i < N_VOCAB; i++) {
            double x = (double)row[i];

            if (i == mask_id) /* never proposed */
                continue;
            second = fmax(second, fmin(x, best));
            best = fmax(best, x);
        }
        for (int i = 0; i < N_VOCAB; i++)
            sum += i == mask_id ? 0 : exp((double)row[i] - best);
        margin = fmin(margin, (1 - exp(second - best)) / sum);
        margin = fmin(margin, fabs(1 / sum - threshold));
    }
    free(logits);
    kv_cache_free(cache);
    model_close(m);
    return margin;
}

/* Up to the first forward that commits something else. */
static void check_divergence(const char *name, const struct sequence *sa, const struct sequence *sb,
                             const int32_t *prompt, size_t n_prompt, double threshold, int mask_id)
{
    const struct generation *a = sequence_result(sa), *b = sequence_result(sb);
    int32_t canvas[MAX_PROMPT + GEN];
    int when = INT32_MAX, where = 0;

    for (int i = 0; i < (int)a->n_positions; i++) {
        int at = a->commit_step[i], bt = b->commit_step[i];
        int first = at < 0 ? bt : bt < 0 || at < bt ? at : bt;

        if (first >= 0 && first < when && (at != bt || a->tokens[i] != b->tokens[i])) {
            when = first;
            where = i;
        }
    }
    if (when == INT32_MAX)
        return;
    memcpy(canvas, prompt, n_prompt * sizeof(*canvas));
    for (size_t i = 0; i < a->n_positions; i++)
        canvas[n_prompt + i] =
            a->commit_step[i] >= 0 && a->commit_step[i] < when ? a->tokens[i] : mask_id;
    cr_log_warn("%s: forward %d differs at position %d", name, when, where);
    cr_expect_lt(margin_of(name, canvas, (int)(n_prompt + a->n_positions),
                           (int)n_prompt + where / BLOCK * BLOCK, threshold),
                 epsilon, "%s: forward %d differs at position %d, and nothing was close", name,
                 when, where);
}

/* That margins are found at all: of each prompt's first forward. */
Test(mini, margins_are_small_and_positive)
{
    struct safetensors *v = open_vectors(names[1]);

    for (int i = 0; i < 2; i++) {
        int32_t canvas[MAX_PROMPT + GEN];
        int n = (int)prompt_get(v, i, canvas);
        struct model *m = open_model(names[1], "ref");
        double margin;

        for (int k = 0; k < BLOCK; k++)
            canvas[n + k] = model_get_info(m)->mask_id;
        model_close(m);
        margin = margin_of(names[1], canvas, n + BLOCK, n, 0.95);
        cr_assert(margin > 0 && margin < 0.01, "%g", margin);
    }
    safetensors_close(v);
}

/* Without a cache, so that a forward depends on its canvas alone. */
Test(mini, ref_and_cpu_part_only_where_a_choice_was_close)
{
    for (size_t k = 0; k < 2; k++) {
        struct safetensors *v = open_vectors(names[k]);
        struct engine *ref = open_engine(names[k], "ref", NULL, 1);
        struct engine *cpu = open_engine(names[k], "cpu", NULL, 1);
        struct decode_options o = { 0 };

        engine_decode_defaults(ref, &o);
        for (int i = 0; cpu && i < 2; i++) {
            struct sequence *a = start(ref, v, i, BLOCK, "none");
            struct sequence *b = start(cpu, v, i, BLOCK, "none");
            int32_t prompt[MAX_PROMPT];
            size_t n = prompt_get(v, i, prompt);

            run(ref, &a, 1);
            run(cpu, &b, 1);
            check_divergence(names[k], a, b, prompt, n, o.threshold, engine_info(ref)->mask_id);
            sequence_free(a);
            sequence_free(b);
        }
        engine_close(ref);
        engine_close(cpu);
        safetensors_close(v);
    }
}
