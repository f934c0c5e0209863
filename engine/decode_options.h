/*
 * Decode options: where their defaults come from, and what they mean for one model.
 */
#ifndef ENGINE_DECODE_OPTIONS_H
#define ENGINE_DECODE_OPTIONS_H

#include <stddef.h>

#include "base/status.h"
#include "engine/decode_fields.h"
#include "engine/decoder.h"
#include "engine/engine.h"
#include "engine/forward_plan.h"
#include "engine/selector.h"
#include "kernels/kernels.h"

/*
 * Defaults: the built-in ones of the architecture, overlaid by model_dir/generation_config.json
 * where that exists. Read from it: decoder, cache, temperature, block_length, gen_length and the
 * settings of decode_fields by their names; do_sample false means temperature 0.
 * The keys that Hugging Face's GenerationConfig writes are passed over; any other is
 * ST_UNSUPPORTED. ST_INVALID names the file, the key and the value. Strings are static.
 */
MUST_CHECK enum status decode_defaults_read(const char *model_dir, const char *architecture,
                                            struct decode_options *ret, struct error *err);

/* Options looked up and checked: what a sequence runs by. */
struct decode_setup {
    const struct decoder *decoder;
    const struct cache_policy *cache;
    struct selector selector;  /* its file, if any, lies in the options' text */
    struct route_params route; /* of forwards that decode */
    struct decode_rule rule;
    bool
        is_on_grid; /* blocks lie on multiples of their length, else they begin behind the prompt */
};

/* What the model was opened for. */
struct decode_limits {
    int max_canvas, max_block;
    struct route_params route; /* its own */
    bool is_block_causal;      /* a position sees its own block and those before it */
};

struct canvas_shape decode_canvas(const struct decode_options *o, bool is_on_grid, size_t n_prompt);

/* Check opts for a prompt of n_prompt tokens. The message names the option and its value. */
MUST_CHECK enum status decode_options_resolve(const struct decode_options *opts,
                                              const struct decode_limits *limits, size_t n_prompt,
                                              struct decode_setup *ret, struct error *err);

#endif
