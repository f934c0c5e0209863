/*
 * bench moe --trace: a layer's experts on routing that a trace recorded (docs/traces.md), where
 * `bench moe` alone makes routing up.
 *
 * The recorded scores go through a selector as in `trace replay`; of the layers of forwards that
 * come out of it, a number is taken, evenly spread, and each is a routing: tokens, their experts.
 * Routings of as many tokens and about as many distinct experts are a row. Weights are random, of
 * the widths of the model, in copies that do not fit any cache and take turns.
 *
 * On a GPU four routings make the four layers that gpu_layer_time() runs in turn; elsewhere the op
 * `moe` runs each by itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "harness/bench.h"
#include "harness/bench_weights.h"
#include "harness/paths.h"
#include "harness/trace.h"
#include "kernels/kernels.h"

enum {
    N_TAKEN = 256,                     /* routings, unless --limit says another number */
    MAX_TAKEN = BENCH_MAX_RESULTS / 2, /* two results each, at worst */
    MAX_TOKENS = 4096,                 /* of a forward, as of --tokens */
    MAX_COPIES = 8,                    /* of a layer's weights */
    N_BUCKETS = 16                     /* of numbers of distinct experts */
};
#define MAX_COPIES_BYTES ((size_t)4 << 30)

/* Who goes where in one layer of one forward. */
struct routing {
    int n_tok, n_slot, n_unique;
    int32_t *ids;   /* (n_tok, n_slot); -1: none */
    float *weights; /* likewise */
};

struct trace_job {
    struct bench *b;
    const struct model_info *m;
    const char *path;
    struct trace_reader *reader;
    const struct trace_header *h;
    struct replay *replay;
    struct routing *taken; /* (n_taken) by tokens, then experts */
    size_t n_taken;
    size_t n_layers, n_long; /* of forwards that fill no cache; of too many tokens */

    /* of backends that run the op */
    struct kernels *k;
    struct rng rng;
    struct experts *copies[MAX_COPIES];
    int n_copies;
    /* backend memory, for the most tokens: (n_tok, d_model), and a routing */
    float *x, *y, *weights;
    int32_t *ids;
    void *buffers[4]; /* the same */

    const struct routing *row; /* under way: n_row of taken */
    size_t n_row;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for the trace's routing");
}

/* ---- the trace ---------------------------------------------------------------------------- */

static bool is_timed(const struct trace_forward *f)
{
    return !f->is_cache_refresh && f->n_tok <= MAX_TOKENS;
}

/* How many layers of forwards there are to choose from. */
static enum status count_layers(struct trace_job *j, struct error *err)
{
    enum trace_record kind = TRACE_SEQUENCE;
    struct trace_sequence s;
    struct trace_forward f;
    enum status st = ST_OK;

    while (!st && kind != TRACE_END) {
        st = trace_next(j->reader, &kind, &s, &f, err);
        if (st || kind != TRACE_FORWARD)
            continue;
        if (is_timed(&f))
            j->n_layers += (size_t)j->h->n_layer;
        else if (!f.is_cache_refresh)
            j->n_long++;
    }
    trace_rewind(j->reader);
    if (!st && !j->n_layers)
        return error_set(err, ST_INVALID,
                         "trace '%s' has no forward of at most %d tokens that fills no cache",
                         j->path, (int)MAX_TOKENS);
    if (j->n_long)
        log_warn("'%s': %zu forwards of more than %d tokens are left out", j->path, j->n_long,
                 (int)MAX_TOKENS);
    return st;
}

static enum status take(struct trace_job *j, const struct replay_layer *l, int n_tok,
                        struct error *err)
{
    size_t n = (size_t)n_tok * (size_t)l->n_slot;
    struct routing *r = &j->taken[j->n_taken];

    *r = (struct routing){ .n_tok = n_tok,
                           .n_slot = l->n_slot,
                           .n_unique = l->n_unique,
                           .ids = arena_array(&j->b->arena, n, sizeof(*r->ids)),
                           .weights = arena_array(&j->b->arena, n, sizeof(*r->weights)) };
    if (!r->ids || !r->weights)
        return no_memory(err);
    memcpy(r->ids, l->experts, n * sizeof(*r->ids));
    memcpy(r->weights, l->weights, n * sizeof(*r->weights));
    j->n_taken++;
    return ST_OK;
}

/* Number `number` of those to choose from comes by: is it one of n_wanted, evenly spread? */
static bool is_taken(const struct trace_job *j, size_t number, size_t n_wanted)
{
    return j->n_taken < n_wanted && number == j->n_taken * j->n_layers / n_wanted;
}

static enum status take_routings(struct trace_job *j, size_t n_wanted, struct error *err)
{
    enum trace_record kind = TRACE_SEQUENCE;
    struct trace_sequence s = { 0 };
    size_t seen = 0;
    int number = 0;
    enum status st = ST_OK;

    while (!st && kind != TRACE_END) {
        struct trace_forward f;
        struct replay_forward forward;

        st = trace_next(j->reader, &kind, &s, &f, err);
        if (st || kind == TRACE_END)
            break;
        if (kind == TRACE_SEQUENCE) {
            number = 0;
            continue;
        }
        forward = trace_replay_forward(&s, number++, &f);
        st = replay_begin(j->replay, &forward, err);
        for (int l = 0; l < j->h->n_layer && !st; l++) {
            struct replay_layer routed;
            struct trace_layer t;

            st = trace_read_layer(j->reader, l, &t, err);
            if (!st) /* all of them: a selector may remember */
                st = replay_route(j->replay, l, t.scores, t.importance, &routed, err);
            if (!st && is_timed(&f) && is_taken(j, seen++, n_wanted))
                st = take(j, &routed, f.n_tok, err);
        }
    }
    return st;
}

/* Distinct experts are counted in steps: 1 .. width, width + 1 .. 2 width, ... */
static int bucket_width(const struct trace_job *j)
{
    return (j->h->n_exp + N_BUCKETS - 1) / N_BUCKETS;
}

static int bucket_of(const struct trace_job *j, const struct routing *r)
{
    return (r->n_unique - 1) / bucket_width(j);
}

static int by_size(const void *a, const void *b)
{
    const struct routing *x = a, *y = b;

    if (x->n_tok != y->n_tok)
        return x->n_tok < y->n_tok ? -1 : 1;
    if (x->n_slot != y->n_slot)
        return x->n_slot < y->n_slot ? -1 : 1;
    return (x->n_unique > y->n_unique) - (x->n_unique < y->n_unique);
}

static enum status read_trace(struct trace_job *j, struct error *err)
{
    const struct options *c = j->b->c;
    const struct option_value *selectors = &c->values[OPT_SELECTOR];
    const bool is_given = options_is_given(c, OPT_SELECTOR);
    const struct replay_model m = trace_replay_model(j->h);
    size_t n_wanted =
        options_has(c, OPT_LIMIT) ? (size_t)options_int(c, OPT_LIMIT) : (size_t)N_TAKEN;
    enum status st;

    if (is_given && selectors->n > 1)
        return error_set(err, ST_INVALID, "`bench moe --trace` takes one selector, not %zu",
                         selectors->n);
    if (n_wanted > MAX_TAKEN)
        return error_set(err, ST_INVALID,
                         "`bench moe --trace` times at most %d layers of forwards: "
                         "--limit %zu",
                         (int)MAX_TAKEN, n_wanted);
    st = replay_new(&m, is_given ? selectors->texts[0] : j->h->about.selector, &j->replay, err);
    if (!st)
        st = count_layers(j, err);
    if (st)
        return st;
    if (n_wanted > j->n_layers)
        n_wanted = j->n_layers;
    j->taken = arena_array(&j->b->arena, n_wanted, sizeof(*j->taken));
    if (!j->taken)
        return no_memory(err);
    st = take_routings(j, n_wanted, err);
    for (size_t i = 0, n = j->n_taken, kept = 0; i < n;
         i++) { /* without an expert: nothing to time */
        if (j->taken[i].n_unique)
            j->taken[kept++] = j->taken[i];
        j->n_taken = kept;
    }
    if (!st && !j->n_taken)
        return error_set(err, ST_INVALID, "trace '%s': no token goes to an expert", j->path);
    if (!st)
        qsort(j->taken, j->n_taken, sizeof(*j->taken), by_size);
    return st;
}

/* ---- a row -------------------------------------------------------------------------------- */

static double mean_unique(const struct trace_job *j)
{
    double sum = 0;

    for (size_t i = 0; i < j->n_row; i++)
        sum += j->row[i].n_unique;
    return sum / (double)j->n_row;
}

/* Of the experts that tokens go to; policies may leave a token fewer than it has slots. */
static double mean_pairs(const struct trace_job *j)
{
    double sum = 0;

    for (size_t i = 0; i < j->n_row; i++)
        for (int s = 0; s < j->row[i].n_tok * j->row[i].n_slot; s++)
            sum += j->row[i].ids[s] >= 0;
    return sum / (double)j->n_row;
}

/* A result for the row under way, with room for n samples. */
static enum status add_row(struct trace_job *j, const char *name, bool is_computed, size_t n,
                           struct bench_result **ret, struct error *err)
{
    const struct model_info *m = j->m;
    const int width = bucket_width(j), first = bucket_of(j, j->row) * width + 1;
    const int last = first + width - 1 < m->n_exp ? first + width - 1 : m->n_exp;
    /* bf16, as they are loaded here */
    const double each = 3.0 * m->d_model * m->d_ff;
    struct bench_result r = {
        .name = name,
        .shape = arena_printf(&j->b->arena, "%d tokens, %d to %d of %d experts, %zu recorded",
                              j->row->n_tok, first, last, m->n_exp, j->n_row),
    };
    enum status st;

    r.n_unique = mean_unique(j);
    r.bytes = 2 * each * r.n_unique;
    r.flops = is_computed ? 2 * each * mean_pairs(j) : 0;
    st = r.shape ? bench_samples(j->b, &r, n, err) : no_memory(err);
    if (st)
        return st;
    j->b->results[j->b->n_results] = r;
    *ret = &j->b->results[j->b->n_results++];
    return ST_OK;
}

/* The rows one after the other, each by time_row(). */
static enum status time_rows(struct trace_job *j,
                             enum status (*time_row)(struct trace_job *j, struct error *err),
                             struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < j->n_taken && !st; i += j->n_row) {
        const struct routing *r = &j->taken[i];

        j->row = r;
        for (j->n_row = 1; i + j->n_row < j->n_taken; j->n_row++) {
            const struct routing *next = r + j->n_row;

            if (next->n_tok != r->n_tok || next->n_slot != r->n_slot ||
                bucket_of(j, next) != bucket_of(j, r))
                break;
        }
        st = time_row(j, err);
    }
    return st;
}

/* ---- on a GPU ----------------------------------------------------------------------------- */

/* GPU_TIMED_LAYERS routings at a time; where the row has no more, some of them again. */
static enum status time_gpu_row(struct trace_job *j, struct error *err)
{
    const struct routing *r = j->row;
    const size_t n_repeats = (size_t)options_int(j->b->c, OPT_BENCH_REPEATS);
    const size_t n_slots = (size_t)r->n_tok * (size_t)r->n_slot;
    const size_t n_calls = (j->n_row + GPU_TIMED_LAYERS - 1) / GPU_TIMED_LAYERS;
    int32_t *ids = arena_array(&j->b->arena, GPU_TIMED_LAYERS * n_slots, sizeof(*ids));
    struct bench_result *read = NULL, *experts = NULL;
    double n_unique = 0;
    enum status st = ids ? ST_OK : no_memory(err);

    if (!st)
        st = add_row(j, "read", false, n_calls * n_repeats, &read, err);
    if (!st)
        st = add_row(j, "experts", true, n_calls * n_repeats, &experts, err);
    for (size_t call = 0; call < n_calls && !st; call++) {
        const struct gpu_experts e = { .n_exp = j->m->n_exp,
                                       .top_k = r->n_slot,
                                       .d_model = j->m->d_model,
                                       .d_ff = j->m->d_ff,
                                       .n_tok = r->n_tok,
                                       .ids = ids,
                                       .is_fast = strcmp(options_text(j->b->c, OPT_NUMERIC),
                                                         "fast") == 0 };
        struct gpu_layer_samples samples = { .read_ns = read->samples_ns + call * n_repeats,
                                             .experts_ns = experts->samples_ns + call * n_repeats };

        for (size_t i = 0; i < GPU_TIMED_LAYERS; i++) {
            const struct routing *one = &r[(call * GPU_TIMED_LAYERS + i) % j->n_row];

            memcpy(ids + i * n_slots, one->ids, n_slots * sizeof(*ids));
            n_unique += one->n_unique;
        }
        st = gpu_layer_time(&e, NULL, (uint64_t)options_int(j->b->c, OPT_DUMMY_SEED),
                            (int)n_repeats, &samples, err);
    }
    if (st)
        return st;
    n_unique /= (double)(n_calls * GPU_TIMED_LAYERS);
    for (struct bench_result *one = read; one <= experts; one++) {
        one->n_samples = (int)(n_calls * n_repeats);
        one->bytes *= n_unique / one->n_unique;
        one->n_unique = n_unique;
    }
    return ST_OK;
}

/* ---- elsewhere ---------------------------------------------------------------------------- */

/* As many copies of the layer as leave no cache what it had, even if a token's experts are all that
 * is read. */
static enum status load_copies(struct trace_job *j, struct error *err)
{
    const struct model_info *m = j->m;
    struct random_weights w;
    size_t each, layer, n;
    enum status st = random_weights_init(&w, j->k, &j->rng, &j->b->arena, err);

    if (st)
        return st;
    if (!size_mul((size_t)m->d_model * 6, (size_t)m->d_ff, &each) ||
        !size_mul(each, (size_t)m->n_exp, &layer))
        return no_memory(err);
    n = BENCH_BEYOND_CACHES / (each * (size_t)j->h->top_k) + 1;
    if (n > MAX_COPIES_BYTES / layer)
        n = MAX_COPIES_BYTES / layer;
    n = n < 1 ? 1 : n > MAX_COPIES ? MAX_COPIES : n;
    while (j->n_copies < (int)n && !st) {
        st = random_experts(&w, m->n_exp, 0, m->d_model, m->d_ff, &j->copies[j->n_copies], err);
        j->n_copies += !st;
    }
    return st;
}

/* x, y and what the routings of all rows need. */
static enum status make_buffers(struct trace_job *j, struct error *err)
{
    const struct kernel_ops *ops = j->k->ops;
    size_t most = 0, most_slots = 0, n;
    float *values;
    void *p[4] = { NULL };
    enum status st = ST_OK;

    for (size_t i = 0; i < j->n_taken; i++) {
        const struct routing *r = &j->taken[i];
        size_t n_slots = (size_t)r->n_tok * (size_t)r->n_slot;

        most = (size_t)r->n_tok > most ? (size_t)r->n_tok : most;
        most_slots = n_slots > most_slots ? n_slots : most_slots;
    }
    if (!size_mul(most, (size_t)j->m->d_model, &n))
        return no_memory(err);
    values = arena_array(&j->b->arena, n, sizeof(*values));
    if (!values)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(2 * rng_uniform(&j->rng) - 1);
    for (int i = 0; i < 4 && !st; i++) {
        st = ops->alloc(j->k, (i < 2 ? n : most_slots) * 4, &p[i], err);
        j->buffers[i] = p[i];
    }
    j->x = p[0];
    j->y = p[1];
    j->ids = p[2];
    j->weights = p[3];
    return st ? st : ops->upload(j->k, j->x, values, n * sizeof(*values), err);
}

/* --repeats times each routing of the row, in turn. */
static enum status time_op_row(struct trace_job *j, struct error *err)
{
    const struct kernel_ops *ops = j->k->ops;
    const size_t n = (size_t)options_int(j->b->c, OPT_BENCH_REPEATS) * j->n_row;
    const size_t n_slots = (size_t)j->row->n_tok * (size_t)j->row->n_slot;
    struct bench_result *result = NULL;
    enum status st = add_row(j, "experts", true, n, &result, err);

    for (int i = -BENCH_WARM_UP; i < (int)n && !st; i++) {
        const struct routing *r = &j->row[(size_t)(i + BENCH_WARM_UP) % j->n_row];
        int64_t start;

        st = ops->upload(j->k, j->ids, r->ids, n_slots * sizeof(*r->ids), err);
        if (!st)
            st = ops->upload(j->k, j->weights, r->weights, n_slots * sizeof(*r->weights), err);
        if (!st)
            st = ops->sync(j->k, err);
        start = clock_mono_ns();
        if (!st)
            st = ops->moe(j->k, j->x, j->copies[(i + BENCH_WARM_UP) % j->n_copies], j->ids,
                          j->weights, r->n_tok, r->n_slot, j->y, err);
        if (!st)
            st = ops->sync(j->k, err);
        if (i >= 0 && !st)
            result->samples_ns[result->n_samples++] = clock_mono_ns() - start;
    }
    return st;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static enum status time_all(struct trace_job *j, const struct engine_options *o, struct error *err)
{
    const struct kernel_params params = { .n_threads = o->n_threads,
                                          .is_unpinned = o->is_unpinned,
                                          .isa = o->isa,
                                          .numeric = o->is_fast ? KERNEL_FAST : KERNEL_INVARIANT };
    const struct kernel_ops *ops =
        o->backend ? kernel_backend_find(o->backend) : kernel_backend_best();
    enum status st;

    if (!ops)
        return error_set(err, ST_UNSUPPORTED, "backend '%s' is not part of this build",
                         o->backend ? o->backend : "");
    st = kernel_check_params(ops, &params, err);
    if (!st)
        st = ops->open(&params, &j->k, err);
    if (st)
        return st;
    j->b->backend = ops->name;
    j->b->details = ops->describe(j->k);
    st = bench_limits(j->b, err);
    if (!st && ops->memory) { /* not the host's: a GPU */
        st = time_rows(j, time_gpu_row, err);
    } else if (!st) {
        st = load_copies(j, err);
        if (!st)
            st = make_buffers(j, err);
        if (!st)
            st = time_rows(j, time_op_row, err);
    }
    if (!st)
        st = bench_print(j->b, err);
    for (size_t i = 0; i < sizeof(j->buffers) / sizeof(j->buffers[0]); i++)
        ops->free(j->k, j->buffers[i]);
    ops->close(j->k);
    return st;
}

/* The model whose widths are taken: -m, or the one that the trace is of. */
static enum status open_model(struct trace_job *j, struct engine_options *o, struct engine **ret,
                              struct error *err)
{
    enum status st = ST_OK;

    if (!options_text(j->b->c, OPT_MODEL))
        st = path_model(j->h->about.model, &j->b->arena, &o->model_dir, err);
    if (st && st != ST_NOT_FOUND)
        return st;
    if (st)
        return error_set(err, ST_INVALID,
                         "'%s' is a trace of model '%s', which is not bundled: -m names a model of "
                         "as many experts",
                         j->path, j->h->about.model);
    o->is_text_only = true;
    st = engine_open(o, ret, err);
    if (st)
        return st;
    j->b->info = j->m = engine_info(*ret);
    if (j->m->n_exp != j->h->n_exp)
        return error_set(err, ST_INVALID,
                         "trace '%s' is of a model of %d experts a layer, '%s' has %d", j->path,
                         j->h->n_exp, j->m->name, j->m->n_exp);
    return ST_OK;
}

enum status bench_trace(struct bench *b, const struct engine_options *opts, struct error *err)
{
    struct engine_options o = *opts;
    struct trace_job j = { .b = b, .path = options_text(b->c, OPT_BENCH_TRACE) };
    struct engine *e = NULL;
    enum status st = trace_open(j.path, &j.reader, err);

    rng_seed(&j.rng, o.dummy_seed);
    if (!st) {
        j.h = trace_get_header(j.reader);
        st = open_model(&j, &o, &e, err);
    }
    if (!st)
        st = read_trace(&j, err);
    if (!st)
        st = time_all(&j, &o, err);
    replay_free(j.replay);
    trace_close(j.reader);
    engine_close(e);
    return st;
}
