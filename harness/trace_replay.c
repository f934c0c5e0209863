/* `trace replay`: the forwards of a trace through selectors, one after the other. */
#include "harness/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "harness/listing.h"

/* What a selector does in one layer, or in all. */
struct sums {
    int64_t n;                           /* layers of forwards that do not fill a cache */
    int64_t n_unique, n_natural, n_core; /* sums over them */
    int64_t n_tok, n_slots;              /* tokens, and slots that their own routing fills */
    int64_t n_rerouted, n_lost_top1;     /* of these */
    double kept_mass;                    /* times tokens */
    int64_t n_pairs;                     /* forwards that follow one of the same block */
    double jaccard;                      /* of their experts: shared by any that either ran */
    int64_t n_compared, n_same;          /* layers of all forwards; as recorded */
};

struct replayed {
    const char *selector; /* canonical */
    struct replay *replay;
    struct sums *layers; /* (n_layer) */
    uint8_t *last, *now; /* (n_layer, bytes) experts of the forward before and of this one */
    bool has_last;       /* it was of the same block */
};

struct job {
    const struct options *c;
    struct arena arena;
    struct trace_reader *reader;
    const struct trace_header *h;
    struct replayed *all;
    size_t n;
    int64_t n_forwards, n_refresh;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory replaying");
}

/* ---- opening ---------------------------------------------------------------------------- */

struct replay_model trace_replay_model(const struct trace_header *h)
{
    return (struct replay_model){ .n_layer = h->n_layer,
                                  .n_exp = h->n_exp,
                                  .top_k = h->top_k,
                                  .routing = { .is_sigmoid = h->is_sigmoid,
                                               .is_renormed = h->is_renormed,
                                               .scale = h->scale,
                                               .n_group = h->n_group,
                                               .topk_group = h->topk_group },
                                  .bias = h->bias,
                                  .n_known = h->n_top,
                                  .has_importance = h->has_importance,
                                  .mask_id = h->mask_id,
                                  .weights_sha256 = h->about.weights_sha256 };
}

struct replay_forward trace_replay_forward(const struct trace_sequence *s, int number,
                                           const struct trace_forward *f)
{
    return (struct replay_forward){ .seed = s->seed,
                                    .forward = number,
                                    .step = f->step,
                                    .is_cache_refresh = f->is_cache_refresh,
                                    .is_merged = f->is_merged,
                                    .block_start = s->n_prompt + f->block * s->block_length,
                                    .block_length = s->block_length,
                                    .n_tok = f->n_tok,
                                    .ids = f->ids,
                                    .positions = f->positions };
}

static enum status open_one(struct job *j, const char *text, struct error *err)
{
    const struct replay_model m = trace_replay_model(j->h);
    struct replayed *p = &j->all[j->n];
    const int n_layer = j->h->n_layer;
    size_t bytes = trace_executed_bytes(j->h->n_exp);
    struct buf canonical = { 0 };
    enum status st = engine_selector_text(text, &canonical, err);

    if (!st) {
        p->selector = arena_strdup(&j->arena, buf_str(&canonical), canonical.len);
        p->layers = arena_array(&j->arena, (size_t)n_layer, sizeof(*p->layers));
        p->last = arena_array(&j->arena, (size_t)n_layer, bytes);
        p->now = arena_array(&j->arena, (size_t)n_layer, bytes);
        if (!p->selector || !p->layers || !p->last || !p->now)
            st = no_memory(err);
    }
    buf_release(&canonical);
    for (size_t i = 0; i < j->n && !st; i++)
        if (strcmp(j->all[i].selector, p->selector) == 0)
            st = error_set(err, ST_INVALID, "selector '%s' is named twice", p->selector);
    if (!st)
        st = replay_new(&m, text, &p->replay, err);
    if (!st)
        j->n++;
    return st;
}

static enum status open_all(struct job *j, struct error *err)
{
    const struct option_value *v = &j->c->values[OPT_SELECTOR];
    bool is_given = options_is_given(j->c, OPT_SELECTOR);
    size_t n = is_given ? v->n : 1;
    enum status st = ST_OK;

    j->all = arena_array(&j->arena, n, sizeof(*j->all));
    if (!j->all)
        return no_memory(err);
    for (size_t i = 0; i < n && !st; i++)
        st = open_one(j, is_given ? v->texts[i] : j->h->about.selector, err);
    return st;
}

/* ---- a layer ---------------------------------------------------------------------------- */

static int count_bits(const uint8_t *a, size_t n)
{
    int count = 0;

    for (size_t i = 0; i < n; i++)
        count += __builtin_popcount(a[i]);
    return count;
}

static double jaccard_of(const uint8_t *a, const uint8_t *b, size_t n)
{
    int both = 0, any = 0;

    for (size_t i = 0; i < n; i++) {
        both += __builtin_popcount((unsigned)(a[i] & b[i]));
        any += __builtin_popcount((unsigned)(a[i] | b[i]));
    }
    return any ? (double)both / any : 1;
}

static void add_layer(struct job *j, struct replayed *p, int layer, const struct trace_forward *f,
                      const struct replay_layer *l, const uint8_t *recorded)
{
    size_t bytes = trace_executed_bytes(j->h->n_exp), at = (size_t)layer * bytes;
    struct sums *s = &p->layers[layer];

    memset(p->now + at, 0, bytes);
    for (int e = 0; e < j->h->n_exp; e++)
        if (l->tokens_per_expert[e])
            p->now[at + (size_t)e / 8] |= (uint8_t)(1 << e % 8);
    if (recorded) {
        s->n_compared++;
        s->n_same += memcmp(recorded, p->now + at, bytes) == 0;
    }
    if (f->is_cache_refresh)
        return;
    s->n++;
    s->n_unique += count_bits(p->now + at, bytes);
    s->n_natural += l->n_natural;
    s->n_core += l->n_core;
    s->n_tok += f->n_tok;
    s->n_slots += (int64_t)f->n_tok * j->h->top_k;
    s->n_rerouted += l->n_rerouted;
    s->n_lost_top1 += l->n_lost_top1;
    s->kept_mass += l->kept_mass * f->n_tok;
    if (p->has_last) {
        s->n_pairs++;
        s->jaccard += jaccard_of(p->last + at, p->now + at, bytes);
    }
}

static enum status replay_forward(struct job *j, const struct trace_sequence *s, int number,
                                  const struct trace_forward *f, struct error *err)
{
    const struct replay_forward forward = trace_replay_forward(s, number, f);
    enum status st = ST_OK;

    for (size_t i = 0; i < j->n && !st; i++) {
        st = replay_begin(j->all[i].replay, &forward, err);
        j->all[i].has_last = j->all[i].has_last && f->step > 0 && number > 0;
    }
    for (int layer = 0; layer < j->h->n_layer && !st; layer++) {
        struct trace_layer t;

        st = trace_read_layer(j->reader, layer, &t, err);
        for (size_t i = 0; i < j->n && !st; i++) {
            struct replay_layer l;

            st = replay_route(j->all[i].replay, layer, t.scores, t.importance, &l, err);
            if (!st)
                add_layer(j, &j->all[i], layer, f, &l, t.executed);
        }
    }
    for (size_t i = 0; i < j->n && !st; i++) {
        struct replayed *p = &j->all[i];
        uint8_t *now = p->now;

        p->now = p->last;
        p->last = now;
        p->has_last = !f->is_cache_refresh;
    }
    j->n_forwards++;
    j->n_refresh += f->is_cache_refresh;
    return st;
}

static enum status replay_all(struct job *j, struct error *err)
{
    enum trace_record kind = TRACE_SEQUENCE;
    struct trace_sequence s = { 0 };
    int number = 0;
    enum status st = ST_OK;

    while (!st && kind != TRACE_END) {
        struct trace_forward f;

        st = trace_next(j->reader, &kind, &s, &f, err);
        if (!st && kind == TRACE_SEQUENCE)
            number = 0;
        if (!st && kind == TRACE_FORWARD)
            st = replay_forward(j, &s, number++, &f, err);
    }
    return st;
}

/* ---- printing --------------------------------------------------------------------------- */

static double per(double sum, int64_t n)
{
    return n ? sum / (double)n : NAN;
}

static void put_row(struct listing *l, const struct replayed *p, const char *layer,
                    const struct sums *s)
{
    listing_row(l);
    listing_cell(l, p->selector);
    listing_cell(l, layer);
    listing_number(l, s->n);
    listing_real(l, per((double)s->n_unique, s->n), 2);
    listing_real(l, per((double)s->n_natural, s->n), 2);
    listing_real(l, s->n_core ? per((double)s->n_core, s->n) : NAN, 2);
    listing_real(l, per(s->kept_mass, s->n_tok), 4);
    listing_real(l, per((double)s->n_rerouted, s->n_slots), 4);
    listing_real(l, per((double)s->n_lost_top1, s->n_tok), 4);
    listing_real(l, per(s->jaccard, s->n_pairs), 4);
    listing_real(l, per((double)s->n_same, s->n_compared), 4);
    listing_number(l, s->n_same);
    listing_number(l, s->n_compared);
}

static void add_sums(struct sums *to, const struct sums *s)
{
    to->n += s->n;
    to->n_unique += s->n_unique;
    to->n_natural += s->n_natural;
    to->n_core += s->n_core;
    to->n_tok += s->n_tok;
    to->n_slots += s->n_slots;
    to->n_rerouted += s->n_rerouted;
    to->n_lost_top1 += s->n_lost_top1;
    to->kept_mass += s->kept_mass;
    to->n_pairs += s->n_pairs;
    to->jaccard += s->jaccard;
    to->n_compared += s->n_compared;
    to->n_same += s->n_same;
}

static enum status print(const struct job *j, struct error *err)
{
    struct buf note = { 0 };
    struct listing l;
    enum status st;

    listing_start(
        &l, j->c,
        "selector|layer|>n_layer_forwards=forwards|>mean_unique=U|>mean_natural=natural U"
        "|>mean_core=coreset|>kept_mass=kept mass|>rerouted=rerouted|>lost_top1=lost top-1"
        "|>jaccard=Jaccard|>as_recorded=as recorded|->n_same|->n_compared");
    for (size_t i = 0; i < j->n; i++) {
        const struct replayed *p = &j->all[i];
        struct sums all = { 0 };
        char name[32];

        for (int k = 0; k < j->h->n_layer; k++) {
            snprintf(name, sizeof(name), "%d", k);
            put_row(&l, p, name, &p->layers[k]);
            add_sums(&all, &p->layers[k]);
        }
        put_row(&l, p, "all", &all);
    }
    buf_printf(
        &note,
        "U: distinct experts of a layer in a forward; kept mass: router scores of the experts "
        "a token\nruns, by those of its natural ones; rerouted: share of slots on another "
        "expert; lost top-1: share of\ntokens without their first expert; Jaccard: of the "
        "experts of two forwards that follow each other in\na block; as recorded: share of "
        "layers in which the same experts ran when the trace was made.\n%lld of %lld "
        "forwards fill a cache: they count in the last column alone.",
        (long long)j->n_refresh, (long long)j->n_forwards);
    listing_note(&l, buf_str(&note));
    st = buf_ok(&note) ? ST_OK : no_memory(err);
    buf_release(&note);
    return listing_end(&l, st, err);
}

enum status trace_replay(const struct options *c, struct error *err)
{
    struct job j = { .c = c };
    enum status st = trace_open(c->args[1], &j.reader, err);

    if (!st) {
        j.h = trace_get_header(j.reader);
        st = open_all(&j, err);
    }
    if (!st)
        st = replay_all(&j, err);
    if (!st)
        st = print(&j, err);
    for (size_t i = 0; i < j.n; i++)
        replay_free(j.all[i].replay);
    trace_close(j.reader);
    arena_release(&j.arena);
    return st;
}
