/* Rivals: the forward of a sequence's next step, under other selectors too. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/size.h"
#include "engine/sequence_impl.h"

struct rival {
    struct sequence *s;                    /* follows the one it is held against; has no cache */
    float *logits;                         /* (rows of the forward, n_vocab) */
    double *errors;                        /* (n_moe_layer) */
    struct position_comparison *positions; /* (block_length) */
    struct rival_view view;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory comparing selectors");
}

enum status rival_new(struct engine *e, const struct decode_options *opts, size_t n_prompt,
                      struct rival **ret, struct error *err)
{
    size_t n_rows = (size_t)opts->block_length, n = 0;
    int32_t *prompt = calloc(n_prompt + 1, sizeof(*prompt)); /* comes with the first forward */
    struct rival *r = calloc(1, sizeof(*r));
    enum status st = prompt && r ? ST_OK : no_memory(err);

    if (!st)
        st = sequence_make(e, opts, prompt, n_prompt, &r->s, err);
    if (!st && !size_mul(n_rows, (size_t)e->info->n_vocab, &n))
        st = no_memory(err);
    if (!st) {
        r->logits = calloc(n, sizeof(*r->logits));
        r->errors = calloc((size_t)e->info->n_moe_layer, sizeof(*r->errors));
        r->positions = calloc(n_rows, sizeof(*r->positions));
        if (!r->logits || !r->errors || !r->positions)
            st = no_memory(err);
    }
    free(prompt);
    if (st)
        rival_free(r);
    else
        *ret = r;
    return st;
}

void rival_free(struct rival *r)
{
    if (!r)
        return;
    sequence_free(r->s);
    free(r->logits);
    free(r->errors);
    free(r->positions);
    free(r);
}

const struct rival_view *rival_result(const struct rival *r)
{
    return &r->view;
}

/* ---- a forward -------------------------------------------------------------------------- */

static enum status keep_logits(struct engine *e, const float *logits, int n_rows, float *ret,
                               struct error *err)
{
    struct kernels *k = model_kernels(e->model);
    enum status st = k->ops->download(
        k, ret, logits, (size_t)n_rows * (size_t)e->info->n_vocab * sizeof(*ret), err);

    return st ? st : k->ops->sync(k, err);
}

/* The state of s, but for what r's own selector carries along. */
static void follow(struct sequence *r, const struct sequence *s)
{
    assert(r->n_canvas == s->n_canvas && r->block_length == s->block_length);
    memcpy(r->canvas, s->canvas, (size_t)s->n_canvas * sizeof(*s->canvas));
    memcpy(r->is_masked, s->is_masked, (size_t)s->block_length * sizeof(*s->is_masked));
    r->block = s->block;
    r->step = s->step;
    r->n_masked = s->n_masked;
    r->n_masked_start = s->n_masked_start;
    r->n_post = s->n_post;
    r->n_final = s->n_final;
    if (s->setup.decoder->has_credit)
        credit_copy(&r->credit[0], &s->credit[0]);
    r->result.n_forwards = s->result.n_forwards;
    if (s->step == 0)
        r->has_core = false;
}

static enum status run_rival(struct engine *e, struct rival *r, const struct sequence *s,
                             struct error *err)
{
    size_t n_layer = (size_t)e->info->n_moe_layer;
    struct forward_item item;
    struct forward_result fr;
    enum status st;

    follow(r->s, s);
    step_plan(r->s, &item);
    item.cache = s->cache; /* what is written there, the step of s writes anew */
    item.added = s->smooth[0];
    item.is_added = s->is_smooth;
    e->active[0] = r->s;
    st = model_forward(e->model, &item, 1, &fr, err);
    if (!st)
        st = step_pick(r->s, fr.logits, err);
    if (!st)
        st = keep_logits(e, fr.logits, r->s->n_rows, r->logits, err);
    if (st)
        return st;
    step_record(r->s, &fr, 0);
    if (fr.output_errors)
        memcpy(r->errors, fr.output_errors, n_layer * sizeof(*r->errors));
    step_decide(r->s);
    r->view = (struct rival_view){
        .layers = r->s->layers + r->s->result.n_forwards * n_layer,
        .output_errors = fr.output_errors ? r->errors : NULL,
    };
    step_keep_core(r->s, &r->s->forwards[r->s->result.n_forwards]);
    return ST_OK;
}

/* ---- comparing -------------------------------------------------------------------------- */

static double log_sum(const float *z, int n)
{
    double most = (double)z[0], sum = 0;

    for (int i = 1; i < n; i++)
        most = (double)z[i] > most ? (double)z[i] : most;
    for (int i = 0; i < n; i++)
        sum += exp((double)z[i] - most);
    return most + log(sum);
}

/* KL(softmax(p) || softmax(q)). */
static double divergence(const float *p, const float *q, int n, double *ret_lp, double *ret_lq)
{
    double lp = log_sum(p, n), lq = log_sum(q, n), kl = 0;

    for (int i = 0; i < n; i++) {
        double a = (double)p[i] - lp, x = exp(a);

        if (x > 0)
            kl += x * (a - ((double)q[i] - lq));
    }
    *ret_lp = lp;
    *ret_lq = lq;
    return kl > 0 ? kl : 0; /* below by rounding alone */
}

static void compare(struct rival *r, const struct sequence *s, const float *logits)
{
    int n_vocab = s->engine->info->n_vocab, n = 0;

    for (int i = 0; i < s->block_length; i++) {
        size_t row = (size_t)(i - s->row_first) * (size_t)n_vocab;
        const struct pick *own = &s->picks[i], *other = &r->s->picks[i];
        bool is_own = s->is_taken[i], is_other = r->s->is_taken[i];
        double lp, lq;
        struct position_comparison *c;

        if (!r->s->is_masked[i])
            continue;
        c = &r->positions[n++];
        c->kl = divergence(logits + row, r->logits + row, n_vocab, &lp, &lq);
        c->delta_p = exp((double)r->logits[row + (size_t)own->id] - lq) -
                     exp((double)logits[row + (size_t)own->id] - lp);
        c->is_same_token = own->id == other->id;
        c->is_flip = is_own != is_other || (is_own && own->id != other->id);
    }
    r->view.positions = r->positions;
    r->view.n_positions = n;
}

enum status engine_step_rivals(struct engine *e, struct sequence *s, struct rival *const *rivals,
                               size_t n, float *scratch, struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    struct forward_item item;
    struct forward_result fr;
    enum status st = ST_OK;

    if (s->is_done)
        return ST_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = run_rival(e, rivals[i], s, err);
    if (st)
        return st;
    step_plan(s, &item);
    e->active[0] = s;
    st = model_forward(e->model, &item, 1, &fr, err);
    if (!st)
        st = step_pick(s, fr.logits, err);
    if (!st)
        st = keep_logits(e, fr.logits, s->n_rows, scratch, err);
    if (st)
        return st;
    step_record(s, &fr, 0);
    step_decide(s);
    for (size_t i = 0; i < n; i++)
        compare(rivals[i], s, scratch);
    step_commit(s);
    step_end(s, start_ns, clock_mono_ns());
    return ST_OK;
}
