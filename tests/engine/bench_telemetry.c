/*
 * What telemetry costs: the share of a denoising step that goes into its records.
 *
 *   bench_telemetry MODEL_DIR [KEY=VALUE ...]     (dummy weights; overrides of config.json)
 *
 * It is always on, so that there is nothing to compare with. What is timed instead, inside the
 * steps of a generation, is everything that it could hide in, and counted in full:
 *
 *   route    the op that chooses experts, which also counts them: mostly the choice
 *   step     engine_step() without the forward pass and without picking tokens: records, commits,
 *            planning
 *   encode   packing the records for the store, a step's part of it
 *
 * Prints medians; exits with 1 only if something fails.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/sequence.h"
#include "results/results.h"

enum { N_PROMPT = 64, BLOCK = 32, N_WARM_UP = 2 };

/* Of the step under way. */
static int64_t forward_ns, route_ns, pick_ns;
static const struct kernel_ops *real;

/* The linker puts it in the place of model_forward(). */
enum status __real_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err);
enum status __wrap_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err);

enum status __wrap_model_forward(struct model *m, const struct forward_item *items, int n_items,
                                 struct forward_result *ret, struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    enum status st = __real_model_forward(m, items, n_items, ret, err);

    forward_ns += clock_mono_ns() - start_ns;
    return st;
}

static enum status timed_route(struct kernels *k, const struct route_params *p,
                               const struct route_input *in, const struct route_segment *segs,
                               int n_segs, const struct route_output *out, struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    enum status st = real->route(k, p, in, segs, n_segs, out, err);

    route_ns += clock_mono_ns() - start_ns;
    return st;
}

static enum status timed_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                              const struct pick_params *p, struct pick *ret, struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    enum status st = real->pick(k, logits, n_rows, n_vocab, p, ret, err);

    pick_ns += clock_mono_ns() - start_ns;
    return st;
}

/* Nanoseconds of one step. */
struct step {
    int64_t all, route, rest;
};

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Median of one field of n steps. */
static double median(const struct step *steps, size_t n, size_t offset)
{
    int64_t *v = calloc(n, sizeof(*v));
    double ret;

    if (!v)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < n; i++)
        memcpy(&v[i], (const char *)&steps[i] + offset, sizeof(*v));
    qsort(v, n, sizeof(*v), compare);
    ret = ((double)v[(n - 1) / 2] + (double)v[n / 2]) / 2;
    free(v);
    return ret;
}

/* Time to pack what the generation recorded. */
static int64_t time_encode(const struct generation *g)
{
    size_t n_rows = g->n_forwards * (size_t)g->n_moe_layer;
    struct telemetry_forward *f = calloc(g->n_forwards, sizeof(*f));
    struct telemetry_layer *l = calloc(n_rows, sizeof(*l));
    int64_t start_ns = clock_mono_ns(), ns;
    struct buf blob = { 0 };
    struct telemetry t = { .n_forwards = (int32_t)g->n_forwards,
                           .n_layer = g->n_moe_layer,
                           .n_exp = g->n_exp,
                           .n_positions = (int32_t)g->n_positions,
                           .forwards = f,
                           .layers = l,
                           .tokens_per_expert = g->tokens_per_expert,
                           .commit_step = g->commit_step };

    if (!f || !l)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < g->n_forwards; i++)
        f[i] = (struct telemetry_forward){ .block = g->forwards[i].block,
                                           .step = g->forwards[i].step,
                                           .n_tok = g->forwards[i].n_tok,
                                           .n_masked_before = g->forwards[i].n_masked_before,
                                           .n_committed = g->forwards[i].n_committed,
                                           .n_edited = g->forwards[i].n_edited,
                                           .is_cache_refresh = g->forwards[i].is_cache_refresh,
                                           .wall_ns = g->forwards[i].wall_ns };
    for (size_t i = 0; i < n_rows; i++)
        l[i] = (struct telemetry_layer){ .n_unique = g->layers[i].n_unique,
                                         .n_rerouted = g->layers[i].n_rerouted,
                                         .n_lost_top1 = g->layers[i].n_lost_top1,
                                         .n_natural = g->layers[i].n_natural,
                                         .n_core = g->layers[i].n_core,
                                         .kept_mass = (float)g->layers[i].kept_mass,
                                         .expert_bytes = g->layers[i].expert_bytes };
    if (telemetry_encode(&t, &blob, NULL))
        exit(EXIT_FAILURE);
    ns = clock_mono_ns() - start_ns;
    buf_release(&blob);
    free(f);
    free(l);
    return ns;
}

static enum status run(struct engine *e, int n_steps, struct error *err)
{
    struct decode_options o;
    struct step *steps = calloc((size_t)n_steps, sizeof(*steps));
    struct sequence *s = NULL;
    int32_t prompt[N_PROMPT];
    size_t n = 0, first = N_WARM_UP;
    double all, route, rest, encode, sum;
    enum status st;

    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = i * 7919 % 256;
    engine_decode_defaults(e, &o);
    o.decoder = "low-confidence";
    o.cache = "none";
    o.gen_length = o.block_length = BLOCK;
    o.steps = n_steps;
    o.is_eos_early_stop = false;
    st = steps ? sequence_start(e, &o, prompt, N_PROMPT, &s, err)
               : error_set(err, ST_NOMEM, "out of memory");
    while (!st && !sequence_is_done(s)) {
        int64_t start_ns = clock_mono_ns();

        forward_ns = route_ns = pick_ns = 0;
        st = engine_step(e, &s, 1, err);
        steps[n].all = clock_mono_ns() - start_ns;
        steps[n].route = route_ns;
        steps[n].rest = steps[n].all - forward_ns - pick_ns;
        n++;
    }
    if (!st) {
        all = median(steps + first, n - first, offsetof(struct step, all));
        route = median(steps + first, n - first, offsetof(struct step, route));
        rest = median(steps + first, n - first, offsetof(struct step, rest));
        encode = (double)time_encode(sequence_result(s)) / (double)n;
        sum = route + rest + encode;
        printf("%s, %s: %zu steps of %d tokens, medians\n", engine_info(e)->name,
               engine_info(e)->backend_details, n - first, N_PROMPT + BLOCK);
        printf("  step        %12.1f us\n", all / 1e3);
        printf("    route     %12.1f us  %.3f %%\n", route / 1e3, 100 * route / all);
        printf("    step      %12.1f us  %.3f %%\n", rest / 1e3, 100 * rest / all);
        printf("    encode    %12.1f us  %.3f %%\n", encode / 1e3, 100 * encode / all);
        printf("  telemetry costs at most %.3f %%: %s 1 %%\n", 100 * sum / all,
               sum < all / 100 ? "under" : "NOT under");
    }
    sequence_free(s);
    free(steps);
    return st;
}

int main(int argc, char **argv)
{
    struct engine_options o = {
        .load_format = "dummy", .max_canvas = N_PROMPT + BLOCK, .max_batch = 1, .max_block = BLOCK
    };
    struct engine *e = NULL;
    struct error err = { 0 };
    struct kernel_ops timed;
    struct kernels *k;
    enum status st;

    if (argc < 2) {
        fputs("usage: bench_telemetry MODEL_DIR [KEY=VALUE ...]\n", stderr);
        return EXIT_FAILURE;
    }
    o.model_dir = argv[1];
    o.overrides = (const char *const *)argv + 2;
    o.n_overrides = (size_t)argc - 2;
    st = engine_open(&o, &e, &err);
    if (!st) {
        k = model_kernels(e->model);
        real = k->ops;
        timed = *real;
        timed.route = timed_route;
        timed.pick = timed_pick;
        k->ops = &timed;
        st = run(e, BLOCK, &err);
        k->ops = real;
    }
    if (st)
        fprintf(stderr, "bench_telemetry: %s\n", err.text);
    engine_close(e);
    return st ? EXIT_FAILURE : EXIT_SUCCESS;
}
