/* Decode options: generation_config.json, built-in defaults, checks. */
#include "engine/decode_options.h"

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/selector.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* ---- defaults --------------------------------------------------------------------------- */

/*
 * Published evaluation settings of the two families, but without approximate caches, so that what
 * nobody asked for changes no result. LLaDA2.x: the report's gen_length, block, threshold and
 * decoder, with the exact cache; LLaDA-MoE: dInfer's.
 */
static const struct family {
    const char *architecture; /* NULL: any other */
    const char *decoder, *cache;
    int gen_length, block_length;
    double threshold;
} families[] = {
    { "LLaDA2MoeModelLM", "block-diffusion", "block", 2048, 32, 0.95 },
    { NULL, "threshold", "none", 1024, 64, 0.8 },
};

/* What is read by some decoders or caches only: dInfer's, Fast-dLLM's and LLaDA2.1's defaults. */
static void defaults_of(const char *architecture, struct decode_options *ret)
{
    const struct family *f = families;

    while (f->architecture && strcmp(f->architecture, architecture) != 0)
        f++;
    *ret = (struct decode_options){
        .decoder = decoder_find(f->decoder)->about->name,
        .cache = cache_policy_find(f->cache)->about->name,
        .selector = "vanilla",
        .gen_length = f->gen_length,
        .block_length = f->block_length,
        .threshold = f->threshold,
        .low_threshold = 0.62,
        .factor = 1,
        .edit_threshold = 0.9,
        .max_post_steps = 16,
        .credit_alpha = 0.7,
        .credit_decay = 0.8,
        .credit_boost = 0.2,
        .top_p = 1,
        .smoothing_init = 0.15,
        .smoothing_growth = 0.02,
        .smoothing_decay = 0.02,
        .prefix_look = 16,
        .after_look = 16,
        .cache_warmup = 4,
        .is_eos_early_stop = true,
    };
}

/* Keys of transformers' GenerationConfig (4.46 to 5.23) that say nothing about diffusion
 * decoding: sampling, beams, caches and assistants of autoregressive generation. Special ids
 * are taken from the tokenizer. */
static const char *const ignored_keys[] = {
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "constraints",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "diversity_penalty",
    "dola_layers",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token_id",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "generation_kwargs",
    "guidance_scale",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "penalty_alpha",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "return_dict_in_generate",
    "return_legacy_cache",
    "sequence_bias",
    "speculation_type",
    "stop_strings",
    "suppress_tokens",
    "target_lookbehind",
    "token_healing",
    "top_h",
    "transformers_version",
    "typical_p",
    "use_cache",
    "use_mtp",
    "watermarking_config",
};

static bool is_ignored(const char *key)
{
    for (size_t i = 0; i < sizeof(ignored_keys) / sizeof(ignored_keys[0]); i++)
        if (strcmp(ignored_keys[i], key) == 0)
            return true;
    return false;
}

static enum status read_int(const json_t *obj, const char *where, const char *key, int min, int max,
                            int *ret, struct error *err)
{
    int64_t v;
    enum status st = json_get_int(obj, where, key, min, max, &v, err);

    if (!st)
        *ret = (int)v;
    return st;
}

static enum status read_num(const json_t *obj, const char *where, const char *key, double max,
                            double *ret, struct error *err)
{
    double v;
    enum status st = json_get_num(obj, where, key, &v, err);

    if (st)
        return st;
    if (!(v >= 0 && v <= max))
        return error_set(err, ST_INVALID, "%s: field '%s' must be 0 .. %g, found %g", where, key,
                         max, v);
    *ret = v;
    return ST_OK;
}

static enum status read_field(const json_t *obj, const char *where, enum decode_field f,
                              struct decode_options *o, struct error *err)
{
    const struct decode_field_row *row = &decode_fields[f];
    double value = 0;
    int whole = 0;
    enum status st;

    if (row->is_int)
        st = read_int(obj, where, row->name, 0, (int)row->max, &whole, err);
    else
        st = read_num(obj, where, row->name, row->max, &value, err);
    if (!st)
        decode_field_set(o, f, row->is_int ? whole : value);
    return st;
}

/* A name of a table, kept as the table's own string. */
static enum status read_choice(const json_t *obj, const char *where, const char *key,
                               const struct engine_choice *table, const char **ret,
                               struct error *err)
{
    const char *name;
    enum status st = json_get_str(obj, where, key, &name, NULL, err);

    if (st)
        return st;
    for (const struct engine_choice *c = table; c->name; c++)
        if (strcmp(c->name, name) == 0) {
            *ret = c->name;
            return ST_OK;
        }
    return error_set(err, ST_UNSUPPORTED, "%s: unknown %s '%s'", where, key, name);
}

static enum status read_key(const json_t *obj, const char *where, const char *key,
                            struct decode_options *o, bool *do_sample, struct error *err)
{
    if (strcmp(key, "decoder") == 0)
        return read_choice(obj, where, key, engine_decoders(), &o->decoder, err);
    if (strcmp(key, "cache") == 0)
        return read_choice(obj, where, key, engine_caches(), &o->cache, err);
    if (strcmp(key, "gen_length") == 0)
        return read_int(obj, where, key, 1, INT_MAX, &o->gen_length, err);
    if (strcmp(key, "block_length") == 0)
        return read_int(obj, where, key, 1, INT_MAX, &o->block_length, err);
    if ((strcmp(key, "top_k") == 0 || strcmp(key, "top_p") == 0) &&
        json_is_null(json_object_get(obj, key))) /* as transformers writes what is not set */
        return ST_OK;
    for (int f = 0; f < N_DECODE_FIELDS; f++)
        if (strcmp(key, decode_fields[f].name) == 0)
            return read_field(obj, where, f, o, err);
    if (strcmp(key, "temperature") == 0)
        return read_num(obj, where, key, DBL_MAX, &o->temperature, err);
    if (strcmp(key, "do_sample") == 0)
        return json_get_bool(obj, where, key, do_sample, err);
    if (is_ignored(key))
        return ST_OK;
    return error_set(err, ST_UNSUPPORTED, "%s: unknown field '%s'", where, key);
}

static enum status overlay(const json_t *obj, const char *where, struct decode_options *o,
                           struct error *err)
{
    bool do_sample = true;
    const char *key;
    json_t *value;

    if (!json_is_object(obj))
        return error_set(err, ST_INVALID, "%s: not an object", where);
    json_object_foreach((json_t *)obj, key, value)
    {
        enum status st = read_key(obj, where, key, o, &do_sample, err);

        if (st)
            return st;
    }
    if (!do_sample)
        o->temperature = 0;
    return ST_OK;
}

enum status decode_defaults_read(const char *model_dir, const char *architecture,
                                 struct decode_options *ret, struct error *err)
{
    struct decode_options o;
    struct buf path = { 0 }, where = { 0 };
    json_t *obj = NULL;
    enum status st = ST_OK;

    defaults_of(architecture, &o);
    buf_printf(&path, "%s/generation_config.json", model_dir);
    buf_printf(&where, "'%s'", buf_str(&path));
    if (!buf_ok(&path) || !buf_ok(&where)) {
        st = error_set(err, ST_NOMEM, "out of memory");
        goto out;
    }
    if (file_exists(buf_str(&path))) {
        st = json_read(buf_str(&path), CONFIG_BYTES_MAX, &obj, err);
        if (!st)
            st = overlay(obj, buf_str(&where), &o, err);
    }
    if (!st)
        *ret = o;
out:
    json_decref(obj);
    buf_release(&where);
    buf_release(&path);
    return st;
}

/* ---- checks ----------------------------------------------------------------------------- */

/* "unknown decoder 'x'; known: a, b" */
static enum status unknown(const char *what, const char *name, const struct engine_choice *table,
                           struct error *err)
{
    struct buf list = { 0 };

    for (const struct engine_choice *c = table; c->name; c++)
        buf_printf(&list, "%s%s", c == table ? "" : ", ", c->name);
    error_set(err, ST_INVALID, "unknown %s '%.64s'; known: %s", what, name, buf_str(&list));
    buf_release(&list);
    return ST_INVALID;
}

struct canvas_shape decode_canvas(const struct decode_options *o, bool is_on_grid, size_t n_prompt)
{
    size_t n = n_prompt + (size_t)o->gen_length, block = (size_t)o->block_length;

    if (!is_on_grid)
        return (struct canvas_shape){ n, n_prompt };
    return (struct canvas_shape){ (n + block - 1) / block * block, n_prompt / block * block };
}

static enum status check_lengths(const struct decode_options *o, const struct decode_limits *limits,
                                 bool is_on_grid, size_t n_prompt, struct error *err)
{
    int max_canvas = limits->max_canvas, room;

    if (o->gen_length < 1)
        return error_set(err, ST_INVALID, "gen_length %d must be at least 1", o->gen_length);
    if (o->block_length < 1)
        return error_set(err, ST_INVALID, "block_length %d must be at least 1", o->block_length);
    if (o->gen_length % o->block_length)
        return error_set(err, ST_INVALID, "gen_length %d is not a multiple of block_length %d",
                         o->gen_length, o->block_length);
    if (o->block_length > limits->max_block)
        return error_set(err, ST_INVALID,
                         "block_length %d is more than the %d positions (max_block) that the "
                         "model was opened for",
                         o->block_length, limits->max_block);
    if (o->gen_length > max_canvas)
        return error_set(err, ST_INVALID,
                         "gen_length %d is more than the %d positions that the model was opened "
                         "for",
                         o->gen_length, max_canvas);
    room = (is_on_grid ? max_canvas / o->block_length * o->block_length : max_canvas) -
           o->gen_length; /* >= 0: gen_length is in whole blocks */
    if (n_prompt > (size_t)room)
        return error_set(err, ST_INVALID,
                         "prompt of %zu tokens is longer than %d: the model was opened for %d "
                         "positions, gen_length %d of them generated%s",
                         n_prompt, room, max_canvas, o->gen_length,
                         is_on_grid ? ", in whole blocks" : "");
    return ST_OK;
}

static enum status check_numbers(const struct decode_options *o, struct error *err)
{
    for (int f = 0; f < N_DECODE_FIELDS; f++) {
        const struct decode_field_row *row = &decode_fields[f];
        double value = decode_field_get(o, f);

        if (!(value >= 0))
            return error_set(err, ST_INVALID, "%s %g must not be negative", row->name, value);
        if (!(value <= row->max))
            return error_set(err, ST_INVALID, "%s %g is not within 0 .. %g", row->name, value,
                             row->max);
    }
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return error_set(err, ST_INVALID, "temperature %g is not a number >= 0", o->temperature);
    return ST_OK;
}

/* Scheduled forwards of a block. */
static enum status check_steps(const struct decode_options *o, const struct decoder *d, int *ret,
                               struct error *err)
{
    int n_blocks = o->gen_length / o->block_length, steps = engine_decode_steps(o);

    if (d->is_steps_of_block) {
        *ret = steps;
        return ST_OK;
    }
    if ((d->reads & DECODE_BIT(DECODE_STEPS)) && steps % n_blocks)
        return error_set(err, ST_INVALID,
                         "steps %d is not a multiple of the %d blocks (gen_length %d / "
                         "block_length %d)",
                         steps, n_blocks, o->gen_length, o->block_length);
    *ret = steps / n_blocks;
    return ST_OK;
}

enum status decode_options_resolve(const struct decode_options *opts,
                                   const struct decode_limits *limits, size_t n_prompt,
                                   struct decode_setup *ret, struct error *err)
{
    struct decode_setup s = { 0 };
    enum status st;

    assert(opts->decoder && opts->cache && opts->selector);
    s.decoder = decoder_find(opts->decoder);
    if (!s.decoder)
        return unknown("decoder", opts->decoder, engine_decoders(), err);
    s.cache = cache_policy_find(opts->cache);
    if (!s.cache)
        return unknown("cache", opts->cache, engine_caches(), err);
    if (s.cache->is_causal_only && !limits->is_block_causal)
        return error_set(err, ST_UNSUPPORTED,
                         "cache '%s' keeps finished blocks, which in this model see the later "
                         "ones: it is for block-causal models",
                         s.cache->about->name);
    s.is_on_grid = s.decoder->is_on_grid || limits->is_block_causal;
    st = selector_parse(opts->selector, &s.selector, err);
    if (!st)
        st = selector_route(&s.selector, &limits->route, &s.route, err);
    if (!st)
        st = check_lengths(opts, limits, s.is_on_grid, n_prompt, err);
    if (!st)
        st = check_numbers(opts, err);
    if (!st)
        st = check_steps(opts, s.decoder, &s.rule.n_steps, err);
    if (st)
        return st;
    s.rule.threshold = (float)opts->threshold;
    s.rule.low_threshold = (float)opts->low_threshold;
    s.rule.factor = opts->factor;
    s.rule.edit_threshold = (float)opts->edit_threshold;
    s.rule.max_post_steps = opts->max_post_steps;
    s.rule.credit_alpha = opts->credit_alpha;
    s.rule.credit_decay = opts->credit_decay;
    s.rule.credit_boost = opts->credit_boost;
    s.rule.smoothing = opts->smoothing;
    s.rule.smoothing_init = opts->smoothing_init;
    s.rule.smoothing_growth = opts->smoothing_growth;
    s.rule.smoothing_decay = opts->smoothing_decay;
    *ret = s;
    return ST_OK;
}
