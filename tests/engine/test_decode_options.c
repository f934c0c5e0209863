/* Decode options: generation_config.json, built-in defaults, checks. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/decode_options.h"
#include "tests/base/fail_malloc.h"

static const struct decode_limits limits = {
    .max_canvas = 100,
    .max_block = 32,
    .route = { .n_exp = 8, .top_k = 2, .top_k_base = 2, .scale = 1 }
};

/* Read the defaults of a fresh model folder that holds text (NULL: nothing). */
static enum status read_text(const char *text, const char *architecture, struct decode_options *ret,
                             struct error *err)
{
    char dir[] = "/tmp/desbench-test-XXXXXX", path[64];
    enum status st;

    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/generation_config.json", dir);
    if (text)
        cr_assert_eq(file_write_atomic(path, text, strlen(text), NULL), ST_OK);
    st = decode_defaults_read(dir, architecture, ret, err);
    unlink(path);
    rmdir(dir);
    return st;
}

Test(decode_options, without_a_file_the_built_in_defaults_hold)
{
    struct decode_options o;

    cr_assert_eq(read_text(NULL, "LLaDAMoEModelLM", &o, NULL), ST_OK);
    cr_assert_str_eq(o.decoder, "threshold");
    cr_assert_str_eq(o.cache, "none");
    cr_assert_str_eq(o.selector, "vanilla");
    cr_assert(o.gen_length == 1024 && o.block_length == 64 && o.steps == 0);
    cr_assert(o.threshold == 0.8 && o.temperature == 0 && o.is_eos_early_stop);
    cr_assert_eq(read_text(NULL, "LLaDA2MoeModelLM", &o, NULL), ST_OK);
    cr_assert(o.gen_length == 2048 && o.block_length == 32 && o.threshold == 0.95);
    cr_assert_str_eq(o.decoder, "block-diffusion");
    cr_assert_str_eq(o.cache, "block");
    cr_assert(o.edit_threshold == 0.9 && o.max_post_steps == 16 && o.factor == 1);
    cr_assert(o.low_threshold == 0.62 && o.temperature == 0);
}

Test(decode_options, built_in_defaults_pass_their_own_check)
{
    static const char *const names[] = { "LLaDAMoEModelLM", "LLaDA2MoeModelLM" };
    static const int n_steps[] = { 64, 32 }; /* one a position */

    for (int i = 0; i < 2; i++) {
        struct decode_options o;
        struct decode_limits wide = limits;
        struct decode_setup s;

        wide.max_canvas = 4096;
        wide.max_block = 64;
        wide.is_block_causal = i == 1;
        cr_assert_eq(read_text(NULL, names[i], &o, NULL), ST_OK);
        cr_assert_eq(decode_options_resolve(&o, &wide, 100, &s, NULL), ST_OK);
        cr_assert_eq(s.rule.n_steps, n_steps[i]);
    }
}

Test(decode_options, every_key_of_ours_is_read)
{
    struct decode_options o;
    const char *text = "{\"decoder\": \"low-confidence\", \"cache\": \"dual\", \"gen_length\": 96,"
                       "\"block_length\": 32, \"steps\": 48, \"threshold\": 0.25,"
                       "\"temperature\": 0.5, \"top_k\": 7, \"top_p\": 0.875, \"prefix_look\": 1, "
                       "\"after_look\": 0,"
                       "\"cache_warmup\": 9, \"low_threshold\": 0.125, \"factor\": 2.5,"
                       "\"edit_threshold\": 0.75, \"max_post_steps\": 3,"
                       "\"credit_alpha\": 0.5, \"credit_decay\": 0.25, \"credit_boost\": 2.0,"
                       "\"smoothing\": 0.3, \"smoothing_init\": 0.1,"
                       "\"smoothing_growth\": 0.05, \"smoothing_decay\": 0.01}";

    cr_assert_eq(read_text(text, "X", &o, NULL), ST_OK);
    cr_assert(o.prefix_look == 1 && o.after_look == 0 && o.cache_warmup == 9);
    cr_assert_str_eq(o.decoder, "low-confidence");
    cr_assert_str_eq(o.cache, "dual");
    cr_assert(o.gen_length == 96 && o.block_length == 32 && o.steps == 48);
    cr_assert(o.threshold == 0.25 && o.temperature == 0.5 && o.top_k == 7 && o.top_p == 0.875);
    cr_assert(o.low_threshold == 0.125 && o.factor == 2.5 && o.edit_threshold == 0.75);
    cr_assert_eq(o.max_post_steps, 3);
    cr_assert(o.credit_alpha == 0.5 && o.credit_decay == 0.25 && o.credit_boost == 2);
    cr_assert(o.smoothing == 0.3 && o.smoothing_init == 0.1 && o.smoothing_growth == 0.05);
    cr_assert_eq(o.smoothing_decay, 0.01);
    cr_assert_str_eq(o.selector, "vanilla");
}

Test(decode_options, keys_of_hugging_face_are_passed_over)
{
    struct decode_options o;
    const char *text = "{\"_from_model_config\": true, \"eos_token_id\": [1, 2], \"min_p\": 0.8,"
                       "\"pad_token_id\": 156892, \"transformers_version\": \"4.46.3\","
                       "\"max_new_tokens\": null, \"top_k\": null, \"top_p\": null,"
                       "\"block_length\": 16}";

    cr_assert_eq(read_text(text, "X", &o, NULL), ST_OK);
    cr_assert_eq(o.block_length, 16);
    cr_assert_eq(o.gen_length, 1024);
}

Test(decode_options, do_sample_false_means_temperature_zero)
{
    struct decode_options o;

    cr_assert_eq(read_text("{\"do_sample\": false, \"temperature\": 0.7}", "X", &o, NULL), ST_OK);
    cr_assert_eq(o.temperature, 0);
    cr_assert_eq(read_text("{\"temperature\": 0.7, \"do_sample\": true}", "X", &o, NULL), ST_OK);
    cr_assert_eq(o.temperature, 0.7);
}

struct bad_file {
    char text[64], part[64];
    enum status st;
};

ParameterizedTestParameters(decode_options, bad_files_are_refused_by_field_and_value)
{
    static struct bad_file cases[] = {
        { "", "generation_config.json", ST_INVALID },
        { "[1]", "not an object", ST_INVALID },
        { "{\"gen_length\": 8", "not valid JSON", ST_INVALID },
        { "{\"gen_length\": \"8\"}", "'gen_length'", ST_INVALID },
        { "{\"gen_length\": 8.0}", "'gen_length'", ST_INVALID },
        { "{\"gen_length\": 0}", "found 0", ST_INVALID },
        { "{\"gen_length\": 9999999999}", "found 9999999999", ST_INVALID },
        { "{\"block_length\": -4}", "found -4", ST_INVALID },
        { "{\"steps\": -1}", "found -1", ST_INVALID },
        { "{\"threshold\": true}", "'threshold'", ST_INVALID },
        { "{\"threshold\": 1.5}", "found 1.5", ST_INVALID },
        { "{\"threshold\": null}", "'threshold'", ST_INVALID },
        { "{\"temperature\": -0.5}", "found -0.5", ST_INVALID },
        { "{\"prefix_look\": -1}", "found -1", ST_INVALID },
        { "{\"cache_warmup\": 1.5}", "'cache_warmup'", ST_INVALID },
        { "{\"decoder\": 3}", "'decoder'", ST_INVALID },
        { "{\"decoder\": \"magic\"}", "unknown decoder 'magic'", ST_UNSUPPORTED },
        { "{\"cache\": \"prefixx\"}", "unknown cache 'prefixx'", ST_UNSUPPORTED },
        { "{\"do_sample\": 1}", "'do_sample'", ST_INVALID },
        { "{\"treshold\": 0.5}", "unknown field 'treshold'", ST_UNSUPPORTED },
        { "{\"threshold\": 0.5, \"threshold\": 0.6}", "duplicate", ST_INVALID },
    };

    return cr_make_param_array(struct bad_file, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad_file *c, decode_options, bad_files_are_refused_by_field_and_value)
{
    struct decode_options o = { .steps = -7 };
    struct error err = { 0 };

    cr_assert_eq(read_text(c->text, "X", &o, &err), c->st, "'%s'", c->text);
    cr_assert(strstr(err.text, c->part), "'%s' gives: %s", c->text, err.text);
    cr_assert(strstr(err.text, "generation_config.json"), "no file named: %s", err.text);
    cr_assert_eq(o.steps, -7, "the result was touched");
}

static enum status try_read(void *dir, struct error *err)
{
    struct decode_options o = { .steps = -7 };
    enum status st = decode_defaults_read(dir, "X", &o, err);

    cr_expect_eq(o.steps, st ? -7 : 8);
    return st;
}

Test(decode_options, a_failing_allocation_is_reported)
{
    char dir[] = "/tmp/desbench-test-XXXXXX", path[64];
    struct fail_sweep s = { .what = "decode_defaults_read", .f = try_read, .arg = dir };

    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/generation_config.json", dir);
    cr_assert_eq(file_write_atomic(path, "{\"steps\": 8}", 12, NULL), ST_OK);
    cr_expect_gt(fail_malloc_sweep(&s), 0);
    unlink(path);
    rmdir(dir);
}

static struct decode_options good(void)
{
    return (struct decode_options){ .decoder = "low-confidence",
                                    .cache = "none",
                                    .selector = "vanilla",
                                    .gen_length = 64,
                                    .block_length = 16,
                                    .steps = 32,
                                    .threshold = 0.9 };
}

static void refused(const struct decode_options *o, size_t n_prompt, const char *part)
{
    struct decode_setup s = { .rule.n_steps = -7 };
    struct error err = { 0 };

    cr_assert_eq(decode_options_resolve(o, &limits, n_prompt, &s, &err), ST_INVALID, "%s", part);
    cr_assert(strstr(err.text, part), "wanted '%s' in: %s", part, err.text);
    cr_assert_eq(s.rule.n_steps, -7, "the result was touched");
}

Test(decode_options, good_options_resolve)
{
    struct decode_options o = good();
    struct decode_setup s;

    o.selector = "topk:k=1";
    cr_assert_eq(decode_options_resolve(&o, &limits, 36, &s, NULL), ST_OK);
    cr_assert(s.rule.n_steps == 8 && !s.is_on_grid && s.route.top_k == 1);
    cr_assert_eq(s.decoder, decoder_find("low-confidence"));
    cr_assert_eq(s.cache, cache_policy_find("none"));
}

Test(decode_options, no_steps_means_one_position_a_step)
{
    struct decode_options o = good();
    struct decode_setup s;

    o.steps = 0;
    cr_assert_eq(decode_options_resolve(&o, &limits, 0, &s, NULL), ST_OK);
    cr_assert_eq(s.rule.n_steps, 16);
    o.decoder = "block-diffusion"; /* there it is of a block */
    cr_assert_eq(decode_options_resolve(&o, &limits, 0, &s, NULL), ST_OK);
    cr_assert_eq(s.rule.n_steps, 16);
    o.steps = 3;
    cr_assert_eq(decode_options_resolve(&o, &limits, 0, &s, NULL), ST_OK);
    cr_assert_eq(s.rule.n_steps, 3);
}

Test(decode_options, steps_matter_only_to_decoders_that_read_them)
{
    struct decode_options o = good();
    struct decode_setup s;

    o.steps = 30;
    refused(&o, 0, "steps 30 is not a multiple of the 4 blocks");
    o.steps = 2;
    refused(&o, 0, "steps 2 is not a multiple of the 4 blocks");
    o.decoder = "threshold";
    cr_assert_eq(decode_options_resolve(&o, &limits, 0, &s, NULL), ST_OK);
}

Test(decode_options, bad_options_are_named_with_their_value)
{
    struct decode_options o = good();

    o.decoder = "magic";
    refused(&o, 0,
            "unknown decoder 'magic'; known: low-confidence, threshold, factor, hierarchy, credit, "
            "block-diffusion, edit");
    o = good();
    o.cache = "full";
    refused(&o, 0, "unknown cache 'full'; known: none, prefix, dual, vicinity, block");
    o = good();
    o.selector = "topk:k=3";
    refused(&o, 0, "k 3 is more than the model's own top-k 2");
    o = good();
    o.after_look = -2;
    refused(&o, 0, "after_look -2");
    o = good();
    o.gen_length = 0;
    refused(&o, 0, "gen_length 0");
    o = good();
    o.block_length = -1;
    refused(&o, 0, "block_length -1");
    o = good();
    o.block_length = 24;
    refused(&o, 0, "gen_length 64 is not a multiple of block_length 24");
    o = good();
    o.block_length = 64;
    refused(&o, 0, "block_length 64 is more than the 32 positions");
    o = good();
    o.steps = -4;
    refused(&o, 0, "steps -4");
    o = good();
    o.threshold = 1.01;
    refused(&o, 0, "threshold 1.01");
    o.threshold = strtod("nan", NULL);
    refused(&o, 0, "threshold");
    o = good();
    o.temperature = -1;
    refused(&o, 0, "temperature -1");
    o.temperature = strtod("inf", NULL);
    refused(&o, 0, "temperature inf");
    o = good();
    o.low_threshold = 1.5;
    refused(&o, 0, "low_threshold 1.5");
    o = good();
    o.factor = -1;
    refused(&o, 0, "factor -1");
    o = good();
    o.edit_threshold = strtod("nan", NULL);
    refused(&o, 0, "edit_threshold");
    o = good();
    o.max_post_steps = 10001;
    refused(&o, 0, "max_post_steps 10001 is not within 0 .. 10000");
}

Test(decode_options, a_prompt_that_does_not_fit_is_refused_with_both_numbers)
{
    struct decode_options o = good();
    struct decode_setup s;

    cr_assert_eq(decode_options_resolve(&o, &limits, 36, &s, NULL), ST_OK);
    refused(&o, 37, "prompt of 37 tokens is longer than 36");
    refused(&o, (size_t)-1, "is longer than 36");
    o.gen_length = 112;
    refused(&o, 0, "gen_length 112 is more than the 100 positions");
}

static void check_text(struct decode_options *o, const char *decoder, const char *expected)
{
    struct buf b = { 0 };

    o->decoder = decoder;
    engine_decoder_text(o, &b);
    cr_assert_str_eq(buf_str(&b), expected);
    buf_release(&b);
}

/* ---- models whose mask is block-causal ------------------------------------------------------- */

Test(decode_options, a_cache_of_finished_blocks_is_for_block_causal_models)
{
    struct decode_limits causal = limits;
    struct decode_options o = good();
    struct decode_setup s;
    struct error err = { 0 };

    o.cache = "block";
    cr_assert_eq(decode_options_resolve(&o, &limits, 0, &s, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "'block'") && strstr(err.text, "block-causal"), "%s", err.text);
    causal.is_block_causal = true;
    cr_assert_eq(decode_options_resolve(&o, &causal, 0, &s, NULL), ST_OK);
    for (const struct engine_choice *c = engine_caches(); c->name; c++) {
        o.cache = c->name;
        cr_assert_eq(decode_options_resolve(&o, &causal, 0, &s, NULL), ST_OK);
        cr_assert(s.is_on_grid);
    }
}

Test(decode_options, a_canvas_on_a_grid_is_in_whole_blocks)
{
    static const struct {
        size_t n_prompt, n_positions, first_block;
    } cases[] = { { 0, 64, 0 },   { 1, 80, 0 },   { 15, 80, 0 },
                  { 16, 80, 16 }, { 17, 96, 16 }, { 32, 96, 32 } };
    struct decode_options o = good();
    struct decode_setup s;
    struct error err = { 0 };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct canvas_shape x = decode_canvas(&o, true, cases[i].n_prompt);

        cr_assert(x.n_positions == cases[i].n_positions && x.first_block == cases[i].first_block);
        x = decode_canvas(&o, false, cases[i].n_prompt);
        cr_assert(x.n_positions == 64 + cases[i].n_prompt && x.first_block == cases[i].n_prompt);
    }
    o.decoder = "edit"; /* on a grid by itself: 100 positions are 6 blocks of 16 */
    cr_assert_eq(decode_options_resolve(&o, &limits, 32, &s, NULL), ST_OK);
    cr_assert(s.is_on_grid);
    cr_assert_eq(decode_options_resolve(&o, &limits, 33, &s, &err), ST_INVALID);
    cr_assert(strstr(err.text, "prompt of 33 tokens is longer than 32"), "%s", err.text);
}

Test(decode_options, top_k_and_top_p_are_read_by_decoders_that_filter_and_with_a_temperature)
{
    struct decode_options o = good();

    for (const struct engine_choice *c = engine_decoders(); c->name; c++) {
        bool is_filtered = strcmp(c->name, "block-diffusion") == 0 || strcmp(c->name, "edit") == 0;

        o.decoder = c->name;
        for (o.temperature = 0; o.temperature < 2; o.temperature++) {
            cr_assert_eq(engine_decode_reads(&o, "top_k"), is_filtered && o.temperature > 0);
            cr_assert_eq(engine_decode_reads(&o, "top_p"), is_filtered && o.temperature > 0);
        }
    }
    o.temperature = 1;
    o.top_p = 1.5;
    refused(&o, 0, "top_p 1.5");
    o.top_p = 1;
    o.top_k = -1;
    refused(&o, 0, "top_k -1");
}

Test(decode_options, numbers_are_read_by_who_has_them_in_the_text)
{
    struct decode_options o = good();

    o.cache = "vicinity";
    o.smoothing = 0.3;
    for (const struct engine_choice *c = engine_decoders(); c->name; c++) {
        struct buf b = { 0 };

        o.decoder = c->name;
        engine_decoder_text(&o, &b);
        engine_cache_text(&o, &b);
        for (int f = 0; f < N_DECODE_FIELDS; f++) {
            char first[64], later[64];

            snprintf(first, sizeof(first), ":%s=", decode_fields[f].name);
            snprintf(later, sizeof(later), ",%s=", decode_fields[f].name);
            cr_assert_eq(engine_decode_reads(&o, decode_fields[f].name),
                         strstr(buf_str(&b), first) || strstr(buf_str(&b), later), "%s in %s",
                         first, buf_str(&b));
        }
        buf_release(&b);
    }
    cr_assert_not(engine_decode_reads(&o, "temperature"));
    o.smoothing = 0; /* may be asked for with every decoder; the rest means nothing without it */
    cr_assert(engine_decode_reads(&o, "smoothing"));
    cr_assert_not(engine_decode_reads(&o, "smoothing_init"));
}

Test(decode_options, texts_hold_every_setting_that_is_read_and_no_other)
{
    struct decode_options o = good();
    struct buf b = { 0 };

    o.threshold = 0.1;
    o.low_threshold = 0.625;
    o.factor = 1.5;
    o.edit_threshold = 0.25;
    o.max_post_steps = 2;
    o.steps = 8;
    o.prefix_look = 3;
    o.after_look = 2;
    o.cache_warmup = 1;
    o.decoder = "threshold";
    o.cache = "dual";
    engine_decoder_text(&o, &b);
    buf_putc(&b, ' ');
    engine_cache_text(&o, &b);
    cr_assert_str_eq(buf_str(&b), "threshold:threshold=0.1 dual");
    buf_clear(&b);
    o.decoder = "low-confidence";
    o.cache = "vicinity";
    engine_decoder_text(&o, &b);
    buf_putc(&b, ' ');
    engine_cache_text(&o, &b);
    cr_assert_str_eq(buf_str(&b),
                     "low-confidence:steps=8 vicinity:prefix_look=3,after_look=2,cache_warmup=1");
    check_text(&o, "factor", "factor:factor=1.5");
    check_text(&o, "hierarchy", "hierarchy:threshold=0.1,low_threshold=0.625");
    check_text(&o, "block-diffusion", "block-diffusion:steps=8,threshold=0.1");
    o.credit_alpha = 0.5;
    o.credit_decay = 0.25;
    o.credit_boost = 2;
    check_text(&o, "credit",
               "credit:threshold=0.1,credit_alpha=0.5,credit_decay=0.25,credit_boost=2");
    o.smoothing = 0.3;
    o.smoothing_init = 0.15;
    check_text(&o, "threshold",
               "threshold:threshold=0.1,smoothing=0.3,smoothing_init=0.15,smoothing_growth=0,"
               "smoothing_decay=0");
    check_text(&o, "factor",
               "factor:factor=1.5,smoothing=0.3,smoothing_init=0.15,"
               "smoothing_growth=0"); /* has no threshold that might decay */
    o.smoothing = 0;
    check_text(&o, "edit", "edit:threshold=0.1,edit_threshold=0.25,max_post_steps=2");
    o.steps = 0;
    check_text(&o, "block-diffusion", "block-diffusion:steps=16,threshold=0.1");
    check_text(&o, "low-confidence", "low-confidence:steps=64");
    o.temperature = 0.5;
    o.top_k = 9;
    o.top_p = 0.75;
    check_text(&o, "low-confidence", "low-confidence:steps=64");
    check_text(&o, "block-diffusion", "block-diffusion:steps=16,threshold=0.1,top_k=9,top_p=0.75");
    buf_release(&b);
}
