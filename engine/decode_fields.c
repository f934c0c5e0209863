/* Settings of decoders and caches: the table. */
#include "engine/decode_fields.h"

#include <limits.h>
#include <string.h>

#include "engine/decoder.h"
#include "engine/forward_plan.h"

#define INT_FIELD(name, max)                                                                       \
    {                                                                                              \
#name, offsetof(struct decode_options, name), true, max                                    \
    }
#define REAL_FIELD(name, max)                                                                      \
    {                                                                                              \
#name, offsetof(struct decode_options, name), false, max                                   \
    }

const struct decode_field_row decode_fields[N_DECODE_FIELDS] = {
    [DECODE_STEPS] = INT_FIELD(steps, INT_MAX),
    [DECODE_THRESHOLD] = REAL_FIELD(threshold, 1),
    [DECODE_LOW_THRESHOLD] = REAL_FIELD(low_threshold, 1),
    [DECODE_FACTOR] = REAL_FIELD(factor, 1e6),
    [DECODE_EDIT_THRESHOLD] = REAL_FIELD(edit_threshold, 1),
    [DECODE_MAX_POST_STEPS] = INT_FIELD(max_post_steps, 10000),
    [DECODE_CREDIT_ALPHA] = REAL_FIELD(credit_alpha, 1000),
    [DECODE_CREDIT_DECAY] = REAL_FIELD(credit_decay, 1),
    [DECODE_CREDIT_BOOST] = REAL_FIELD(credit_boost, 1000),
    [DECODE_TOP_K] = INT_FIELD(top_k, INT_MAX),
    [DECODE_TOP_P] = REAL_FIELD(top_p, 1),
    [DECODE_PREFIX_LOOK] = INT_FIELD(prefix_look, INT_MAX),
    [DECODE_AFTER_LOOK] = INT_FIELD(after_look, INT_MAX),
    [DECODE_CACHE_WARMUP] = INT_FIELD(cache_warmup, INT_MAX),
    [DECODE_SMOOTHING] = REAL_FIELD(smoothing, 1),
    [DECODE_SMOOTHING_INIT] = REAL_FIELD(smoothing_init, 1),
    [DECODE_SMOOTHING_GROWTH] = REAL_FIELD(smoothing_growth, 1),
    [DECODE_SMOOTHING_DECAY] = REAL_FIELD(smoothing_decay, 1),
};

double decode_field_get(const struct decode_options *o, enum decode_field f)
{
    const char *at = (const char *)o + decode_fields[f].at;
    double real;
    int whole;

    if (decode_fields[f].is_int) {
        memcpy(&whole, at, sizeof(whole));
        return whole;
    }
    memcpy(&real, at, sizeof(real));
    return real;
}

void decode_field_set(struct decode_options *o, enum decode_field f, double value)
{
    char *at = (char *)o + decode_fields[f].at;
    int whole = (int)value;

    if (decode_fields[f].is_int)
        memcpy(at, &whole, sizeof(whole));
    else
        memcpy(at, &value, sizeof(value));
}

int engine_decode_steps(const struct decode_options *opts)
{
    if (opts->steps)
        return opts->steps;
    return decoder_find(opts->decoder)->is_steps_of_block ? opts->block_length : opts->gen_length;
}

/* What a decoder reads: settings of its own; those of smoothing, which goes with every decoder, but
 * for what it does to a threshold that is not there; those of sampling. */
static unsigned decoder_reads(const struct decode_options *o)
{
    const struct decoder *d = decoder_find(o->decoder);
    unsigned reads = d->reads;

    if (o->smoothing > 0)
        reads |= DECODE_BIT(DECODE_SMOOTHING) | DECODE_BIT(DECODE_SMOOTHING_INIT) |
                 DECODE_BIT(DECODE_SMOOTHING_GROWTH);
    if (o->smoothing > 0 && (d->reads & DECODE_BIT(DECODE_THRESHOLD)))
        reads |= DECODE_BIT(DECODE_SMOOTHING_DECAY);
    if (o->temperature > 0 && d->is_filtered)
        reads |= DECODE_BIT(DECODE_TOP_K) | DECODE_BIT(DECODE_TOP_P);
    return reads;
}

bool engine_decode_reads(const struct decode_options *opts, const char *name)
{
    unsigned reads =
        decoder_reads(opts) | cache_policy_find(opts->cache)->reads | DECODE_BIT(DECODE_SMOOTHING);

    for (int f = 0; f < N_DECODE_FIELDS; f++)
        if (strcmp(decode_fields[f].name, name) == 0)
            return (reads & DECODE_BIT(f)) != 0;
    return false;
}

/* "NAME", "NAME:field=value,..." */
static void put_text(const struct decode_options *o, const char *name, unsigned reads,
                     struct buf *ret)
{
    const char *before = ":";

    buf_puts(ret, name);
    for (int f = 0; f < N_DECODE_FIELDS; f++) {
        double value = f == DECODE_STEPS ? engine_decode_steps(o) : decode_field_get(o, f);

        if (!(reads & DECODE_BIT(f)))
            continue;
        buf_printf(ret, "%s%s=%.*g", before, decode_fields[f].name,
                   decode_fields[f].is_int ? 10 : 9, value);
        before = ",";
    }
}

void engine_decoder_text(const struct decode_options *opts, struct buf *ret)
{
    put_text(opts, decoder_find(opts->decoder)->about->name, decoder_reads(opts), ret);
}

void engine_cache_text(const struct decode_options *opts, struct buf *ret)
{
    const struct cache_policy *c = cache_policy_find(opts->cache);

    put_text(opts, c->about->name, c->reads, ret);
}
