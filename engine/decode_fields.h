/*
 * Settings of decoders and caches that are numbers: one table drives generation_config.json, the
 * checks, the canonical text and who reads what. Names are those of struct decode_options.
 */
#ifndef ENGINE_DECODE_FIELDS_H
#define ENGINE_DECODE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"

enum decode_field {
    DECODE_STEPS,
    DECODE_THRESHOLD,
    DECODE_LOW_THRESHOLD,
    DECODE_FACTOR,
    DECODE_EDIT_THRESHOLD,
    DECODE_MAX_POST_STEPS,
    DECODE_CREDIT_ALPHA,
    DECODE_CREDIT_DECAY,
    DECODE_CREDIT_BOOST,
    DECODE_TOP_K,
    DECODE_TOP_P,
    DECODE_PREFIX_LOOK,
    DECODE_AFTER_LOOK,
    DECODE_CACHE_WARMUP,
    DECODE_SMOOTHING,
    DECODE_SMOOTHING_INIT,
    DECODE_SMOOTHING_GROWTH,
    DECODE_SMOOTHING_DECAY,
    N_DECODE_FIELDS
};

#define DECODE_BIT(f) (1U << (f))

struct decode_field_row {
    const char *name;
    size_t at;   /* in struct decode_options */
    bool is_int; /* an int there, else a double */
    double max;  /* 0 .. max */
};

extern const struct decode_field_row decode_fields[N_DECODE_FIELDS];

double decode_field_get(const struct decode_options *o, enum decode_field f);
void decode_field_set(struct decode_options *o, enum decode_field f, double value);

#endif
