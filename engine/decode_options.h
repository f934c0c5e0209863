/*
 * Decode options: where their defaults come from, and what they mean for one model.
 */
#ifndef ENGINE_DECODE_OPTIONS_H
#define ENGINE_DECODE_OPTIONS_H

#include <stddef.h>

#include "base/status.h"
#include "engine/decoder.h"
#include "engine/engine.h"
#include "engine/forward_plan.h"
#include "engine/selector.h"
#include "kernels/kernels.h"

/*
 * Defaults: the built-in ones of the architecture, overlaid by model_dir/generation_config.json
 * where that exists. Read from it: decoder, cache, threshold, temperature, block_length,
 * gen_length, steps, prefix_look, after_look, cache_warmup; do_sample false means temperature 0.
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
    int n_blocks;
    int n_steps; /* scheduled forwards of a block, for decoders with has_steps */
};

/* What the model was opened for. */
struct decode_limits {
    int max_canvas, max_block;
    struct route_params route; /* its own */
};

/* Check opts for a prompt of n_prompt tokens. The message names the option and its value. */
MUST_CHECK enum status decode_options_resolve(const struct decode_options *opts,
                                              const struct decode_limits *limits, size_t n_prompt,
                                              struct decode_setup *ret, struct error *err);

#endif
