/*
 * What a step makes of its forward's logits: proposals, those of the credit decoder in two rounds,
 * and what iteration smoothing adds to the next forward's embeddings.
 *
 * Nothing here shows until the step's end: credit and smoothing are kept twice, the one that holds
 * and the one to come.
 */
#include <math.h>

#include "engine/sequence_impl.h"

bool step_wants_logits(const struct sequence *s)
{
    return s->setup.decoder->has_credit || s->smooth[0] ||
           (s->setup.decoder->is_filtered && s->temperature > 0);
}

/* How proposals are made for the rows that get logits. */
struct pick_params step_pick_params(const struct sequence *s)
{
    const struct engine *e = s->engine;
    int first = sequence_block_start(s) + s->row_first;

    return (struct pick_params){ .mask_id = e->info->mask_id,
                                 .banned_id = -1,
                                 .temperature = s->temperature,
                                 .seed = s->seed,
                                 .draw = (uint64_t)s->result.n_forwards,
                                 .positions = e->positions + first,
                                 .is_filtered = s->setup.decoder->is_filtered,
                                 .top_k = s->top_k,
                                 .top_p = s->top_p,
                                 .is_wanted = s->setup.decoder->has_edits
                                                  ? NULL
                                                  : s->is_masked + s->row_first };
}

enum status step_check_picks(const struct sequence *s, struct error *err)
{
    const struct engine *e = s->engine;
    int first = sequence_block_start(s) + s->row_first;
    const struct pick *picks = s->picks + s->row_first;

    for (int i = 0; i < s->n_rows; i++) {
        if (!s->is_masked[s->row_first + i] && !s->setup.decoder->has_edits)
            continue;
        if (!(picks[i].prob >= 0 && picks[i].prob <= 1.001F)) /* rounding may pass 1 */
            return error_set(err, ST_INVALID,
                             "model '%s' gives position %d a probability of %g: logits that are "
                             "not finite",
                             e->info->name, first + i, (double)picks[i].prob);
        if (picks[i].id < 0 || picks[i].id >= e->info->n_vocab || picks[i].id == e->info->mask_id)
            return error_set(err, ST_INTERNAL, "backend '%s' proposes token %d at position %d",
                             model_kernels(e->model)->ops->name, picks[i].id, first + i);
    }
    return ST_OK;
}

static enum status pick_rows(struct sequence *s, const float *logits,
                             const struct pick_params *params, struct error *err)
{
    struct kernels *k = model_kernels(s->engine->model);
    enum status st = k->ops->pick(k, logits, s->n_rows, s->engine->info->n_vocab, params,
                                  s->picks + s->row_first, err);

    return st ? st : step_check_picks(s, err);
}

/* Raise logits by the credit of earlier forwards and of this one's own proposals. */
static enum status raise_logits(struct sequence *s, float *logits, struct error *err)
{
    struct kernels *k = model_kernels(s->engine->model);
    struct pick_params greedy = step_pick_params(s);
    enum status st;
    int n;

    greedy.temperature = 0;
    st = pick_rows(s, logits, &greedy, err);
    if (st)
        return st;
    credit_next(&s->credit[0], &s->setup.rule, s->picks, s->is_masked, &s->credit[1]);
    n = credit_biases(&s->credit[1], &s->setup.rule, s->is_masked, s->row_first, s->biases);
    return k->ops->bias_logits(k, logits, s->engine->info->n_vocab, s->biases, n, err);
}

/* What the next forward's embeddings get, for all rows with logits. */
static enum status smooth_rows(struct sequence *s, const float *logits, struct error *err)
{
    struct kernels *k = model_kernels(s->engine->model);
    const struct decode_rule *r = &s->setup.rule;
    double share = r->smoothing_init + r->smoothing_growth * (double)s->result.n_forwards;
    size_t at = (size_t)s->row_first * (size_t)s->engine->info->d_model;

    return k->ops->expect(k, logits, s->n_rows, model_embedding(s->engine->model),
                          (float)fmin(share, r->smoothing), s->smooth[1] + at, err);
}

enum status step_pick(struct sequence *s, float *logits, struct error *err)
{
    const struct pick_params params = step_pick_params(s);
    enum status st = ST_OK;

    if (s->smooth[1]) /* before logits are raised */
        st = smooth_rows(s, logits, err);
    if (!st && s->setup.decoder->has_credit)
        st = raise_logits(s, logits, err);
    return st ? st : pick_rows(s, logits, &params, err);
}

struct decode_rule step_rule(const struct sequence *s)
{
    struct decode_rule r = s->setup.rule;
    double least = 1 - r.smoothing_decay * (double)s->result.n_forwards;

    if (r.smoothing > 0 && least > (double)r.threshold)
        r.threshold = (float)least;
    return r;
}

void step_keep_logits(struct sequence *s)
{
    struct credit credit = s->credit[0];
    float *smooth = s->smooth[0];

    s->credit[0] = s->credit[1];
    s->credit[1] = credit;
    s->smooth[0] = s->smooth[1];
    s->smooth[1] = smooth;
    for (int i = 0; s->is_smooth && i < s->block_length; i++)
        s->is_smooth[i] = s->is_masked[i];
}

void step_forget_logits(struct sequence *s)
{
    if (s->credit[0].n)
        credit_clear(&s->credit[0]);
    for (int i = 0; s->is_smooth && i < s->block_length; i++)
        s->is_smooth[i] = false;
}

/* ---- memory ----------------------------------------------------------------------------- */

enum status sequence_alloc_credit(struct sequence *s, struct error *err)
{
    size_t n = (size_t)s->block_length;
    const struct kernel_ops *ops = model_kernels(s->engine->model)->ops;

    if (!s->setup.decoder->has_credit)
        return ST_OK;
    if (!ops->bias_logits)
        return error_set(err, ST_UNSUPPORTED, "backend '%s' has no op 'bias_logits'", ops->name);
    if (credit_init(&s->credit[0], &s->arena, s->block_length) &&
        credit_init(&s->credit[1], &s->arena, s->block_length))
        s->biases = arena_array(&s->arena, n * n, sizeof(*s->biases)); /* as many entries exist */
    return s->biases ? ST_OK : error_set(err, ST_NOMEM, "out of memory for a decoder");
}

enum status sequence_alloc_smoothing(struct sequence *s, struct error *err)
{
    size_t bytes = (size_t)s->block_length * (size_t)s->engine->info->d_model * sizeof(float);
    struct kernels *k = model_kernels(s->engine->model);
    enum status st = ST_OK;

    if (!(s->setup.rule.smoothing > 0))
        return ST_OK;
    if (!k->ops->expect)
        return error_set(err, ST_UNSUPPORTED, "backend '%s' has no op 'expect'", k->ops->name);
    s->is_smooth = arena_array(&s->arena, (size_t)s->block_length, sizeof(*s->is_smooth));
    if (!s->is_smooth)
        return error_set(err, ST_NOMEM, "out of memory for smoothing");
    for (int i = 0; i < 2 && !st; i++) {
        void *p = NULL;

        st = k->ops->alloc(k, bytes, &p, err);
        s->smooth[i] = p;
    }
    step_forget_logits(s);
    return st;
}
