/* Opening a model: facts, refusals, memory. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "model_vectors.h"
#include "temp_dir.h"
#include "tests/base/fail_malloc.h"

TestSuite(model_open, .init = keep_no_hashes);

static struct engine_options options(const char *dir, const char *format)
{
    return (struct engine_options){ .model_dir = dir,
                                    .load_format = format,
                                    .backend = "ref",
                                    .dummy_seed = 1,
                                    .max_canvas = 40,
                                    .max_batch = 2,
                                    .max_block = 16 };
}

static void shape_path(const char *name, char *ret, size_t size)
{
    const char *base = getenv("DESBENCH_SOURCE");

    cr_assert(base);
    cr_assert_lt(snprintf(ret, size, "%s/models/shapes/%s", base, name), (int)size);
}

Test(model_open, facts_are_those_of_the_files)
{
    struct model *m = NULL;
    struct error err = { 0 };
    const struct model_info *info;
    char path[512], dir[512], sum[65];
    struct engine_options o = options(dir, NULL);

    vector_path("tiny-f32/", dir, sizeof(dir));
    cr_assert_eq(model_open(&o, &m, &err), ST_OK, "%s", err.text);
    info = model_get_info(m);
    cr_assert_str_eq(info->architecture, "LLaDAMoEModelLM");
    cr_assert_str_eq(info->name, "tiny-f32");
    cr_assert_str_eq(info->load_format, "safetensors");
    cr_assert_str_eq(info->backend, "ref");
    cr_assert(info->backend_details);
    cr_assert_eq(info->n_layer, 2);
    cr_assert_eq(info->n_moe_layer, 2);
    cr_assert_eq(info->n_exp, 8);
    cr_assert_eq(info->mask_id, 257);
    cr_assert_eq(info->eos_id, 256);
    cr_assert_eq(info->n_params, 169344);
    cr_assert_eq(info->weight_bytes, 4 * 169344);
    cr_assert_eq(info->expert_bytes, 4 * 3 * 32 * 64);
    vector_path("tiny-f32/model.safetensors", path, sizeof(path));
    cr_assert_eq(sha256_file(path, sum, &err), ST_OK);
    cr_assert_str_eq(info->weights_sha256, sum);
    vector_path("tiny-f32/tokenizer.json", path, sizeof(path));
    cr_assert_eq(sha256_file(path, sum, &err), ST_OK);
    cr_assert_str_eq(info->tokenizer_sha256, sum);
    cr_assert_eq(strlen(info->config_sha256), 64);
    cr_assert_eq(strlen(info->template_sha256), 64);
    cr_assert_eq(model_options(m)->max_block, 16);
    cr_assert_eq(model_route(m)->top_k, 2);
    cr_assert_eq(tokenizer_special_id(model_tokenizer(m), "<|mask|>"), 257);
    model_close(m);
}

Test(model_open, peek_needs_no_weights)
{
    static const struct {
        const char *name;
        int64_t n_params;
        int n_moe_layer;
    } shapes[] = {
        { "llada-moe-7b-a1b", 7356880896, 16 },
        { "llada2.0-mini", 16255643392, 19 },
    };

    for (size_t i = 0; i < 2; i++) {
        struct arena arena = { 0 };
        struct model_info info;
        struct error err = { 0 };
        char dir[512];
        struct engine_options o = options(dir, "dummy");

        shape_path(shapes[i].name, dir, sizeof(dir));
        cr_assert_eq(model_peek(&o, &arena, &info, &err), ST_OK, "%s", err.text);
        cr_assert_eq(info.n_params, shapes[i].n_params);
        cr_assert_eq(info.n_moe_layer, shapes[i].n_moe_layer);
        cr_assert_eq(info.mask_id, 156895);
        cr_assert_eq(info.eos_id, 156892);
        cr_assert_str_eq(info.name, shapes[i].name);
        cr_assert_null(info.backend);
        cr_assert_eq(info.weight_bytes, 0);
        arena_release(&arena);
    }
}

Test(model_open, llada2_routes_in_groups_and_has_a_dense_layer)
{
    struct model *m = NULL;
    struct error err = { 0 };
    char dir[512];
    struct engine_options o = options(dir, "dummy");
    const struct model_info *info;
    const struct route_params *r;

    shape_path("tiny-llada2", dir, sizeof(dir));
    o.backend = "ref";
    cr_assert_eq(model_open(&o, &m, &err), ST_OK, "%s", err.text);
    info = model_get_info(m);
    cr_assert_eq(info->n_layer, 3);
    cr_assert_eq(info->n_moe_layer, 2);
    cr_assert_eq(info->n_shared, 1);
    cr_assert_eq(info->d_ff_dense, 96);
    cr_assert_eq(info->expert_bytes, 2 * 3 * 32 * 64);
    r = model_route(m);
    cr_assert(r->renorm && r->top_k == 4 && r->scale == 2.5f);
    cr_assert(r->n_group == 4 && r->topk_group == 2);
    model_close(m);
}

Test(model_open, options_out_of_range_are_refused)
{
    static const char *const bad_override[] = { "num_experts_per_tok=9" };
    static const char *const good_override[] = { "num_experts_per_tok=3" };
    struct model *m = NULL;
    struct error err = { 0 };
    char dir[512];

    vector_path("tiny-bf16", dir, sizeof(dir));
    const struct {
        struct engine_options o;
        enum status st;
        const char *says;
    } cases[] = {
        { { .max_canvas = 0, .max_batch = 1 }, ST_INVALID, "max_canvas 0" },
        { { .max_canvas = 1, .max_batch = 0 }, ST_INVALID, "max_batch 0" },
        { { .max_canvas = 1, .max_batch = 1, .max_block = -1 }, ST_INVALID, "max_block -1" },
        { { .max_canvas = 257, .max_batch = 1 }, ST_INVALID, "max_position_embeddings 256" },
        { { .max_canvas = 256, .max_batch = INT_MAX }, ST_INVALID, "out of range" },
        { { .max_canvas = 8, .max_batch = 1, .load_format = "gguf" }, ST_INVALID, "'gguf'" },
        { { .max_canvas = 8, .max_batch = 1, .backend = "abacus" }, ST_INVALID, "'abacus'" },
        { { .max_canvas = 8, .max_batch = 1, .overrides = good_override, .n_overrides = 1 },
          ST_INVALID,
          "only dummy" },
        { { .max_canvas = 8,
            .max_batch = 1,
            .load_format = "dummy",
            .overrides = bad_override,
            .n_overrides = 1 },
          ST_INVALID,
          "'num_experts_per_tok'" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct engine_options o = cases[i].o;

        o.model_dir = dir;
        o.backend = o.backend ? o.backend : "ref";
        cr_expect_eq(model_open(&o, &m, &err), cases[i].st, "case %zu: %s", i, err.text);
        cr_expect(strstr(err.text, cases[i].says), "case %zu: %s", i, err.text);
        cr_expect_null(m);
    }
}

Test(model_open, what_does_not_fit_is_refused_with_both_numbers)
{
    static const char *const huge[] = { "num_hidden_layers=1",   "moe_layer_freq=[1]",
                                        "num_experts=1024",      "expert_intermediate_size=262144",
                                        "hidden_size=16384",     "num_attention_heads=64",
                                        "num_key_value_heads=64" };
    struct model *m = NULL;
    struct error err = { 0 };
    char dir[512];
    struct engine_options o = options(dir, "dummy");

    vector_path("tiny-bf16", dir, sizeof(dir));
    o.overrides = huge;
    o.n_overrides = sizeof(huge) / sizeof(huge[0]);
    cr_assert_eq(model_open(&o, &m, &err), ST_NOMEM, "%s", err.text);
    if (strstr(err.text, "no room for 26")) /* as under ThreadSanitizer */
        cr_skip_test("no address space of 26 TB");
    /* 26 TB of experts, and as much to make them up */
    cr_assert(strstr(err.text, "needs 52") && strstr(err.text, "are available"), "%s", err.text);

    o.n_overrides = 0; /* caches and workspace count, too */
    o.max_batch = 8000000;
    cr_assert_eq(model_open(&o, &m, &err), ST_NOMEM, "%s", err.text);
    cr_assert(strstr(err.text, "are available"), "%s", err.text);
}

/* The tiny checkpoint with one file replaced; NULL: left out. */
static void make_variant(struct temp_dir *d, const char *name, const char *text)
{
    static const char *const files[] = { "config.json", "tokenizer.json", "model.safetensors" };
    char from[512], to[512], below[100];

    temp_dir_init(d);
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(files[i], name) == 0) {
            if (text)
                temp_dir_write(d, name, text, strlen(text));
            continue;
        }
        snprintf(below, sizeof(below), "tiny-f32/%s", files[i]);
        vector_path(below, from, sizeof(from));
        temp_dir_path(d, files[i], to, sizeof(to));
        cr_assert_eq(symlink(from, to), 0);
    }
}

/* config.json of the tiny checkpoint with one text in it replaced. */
static char *changed_config(const char *from, const char *to)
{
    struct buf b = { 0 }, out = { 0 };
    struct error err = { 0 };
    char path[512], *at;

    vector_path("tiny-f32/config.json", path, sizeof(path));
    cr_assert_eq(file_read(path, 100000, &b, &err), ST_OK, "%s", err.text);
    at = strstr(b.data, from);
    cr_assert(at, "no %s", from);
    buf_append(&out, b.data, (size_t)(at - b.data));
    buf_puts(&out, to);
    buf_puts(&out, at + strlen(from));
    buf_release(&b);
    return out.data;
}

Test(model_open, folders_that_are_not_whole_are_refused)
{
    static const struct {
        const char *file, *from, *to; /* from: a text of config.json */
        enum status st;
        const char *says;
    } cases[] = {
        { "config.json", NULL, NULL, ST_NOT_FOUND, "config.json" },
        { "tokenizer.json", NULL, NULL, ST_NOT_FOUND, "tokenizer.json" },
        { "model.safetensors", NULL, NULL, ST_NOT_FOUND, "model.safetensors" },
        { "config.json", "\"vocab_size\": 288", "\"vocab_size\": 260", ST_INVALID,
          "vocab_size 260" },
        { "config.json", "\"eos_token_id\": 256", "\"eos_token_id\": 258", ST_INVALID,
          "'eos_token_id' of config.json is 258" },
        { "config.json", "\"use_cache\": false", "\"mask_token_id\": 3", ST_INVALID,
          "'mask_token_id' of config.json is 3" },
        { "config.json", "\"num_experts\": 8", "\"num_experts\": 7", ST_INVALID,
          "mlp.gate.weight" },
        { "config.json", "\"use_cache\": false", "\"use_cachd\": false", ST_UNSUPPORTED,
          "'use_cachd'" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = cases[i].from ? changed_config(cases[i].from, cases[i].to) : NULL;
        struct model *m = NULL;
        struct error err = { 0 };
        struct temp_dir d;
        struct engine_options o;

        make_variant(&d, cases[i].file, text);
        o = options(d.path, "safetensors");
        cr_expect_eq(model_open(&o, &m, &err), cases[i].st, "case %zu: %s", i, err.text);
        cr_expect(strstr(err.text, cases[i].says) && strstr(err.text, d.path), "case %zu: %s", i,
                  err.text);
        model_close(m);
        temp_dir_release(&d);
        free(text);
    }
}

Test(model_open, max_block_bounds_the_logits_of_a_forward)
{
    struct model *m = NULL;
    struct kv_cache *caches[2] = { NULL, NULL };
    struct canvas c = { .n = 40 };
    struct forward_item items[2];
    struct forward_result r;
    struct error err = { 0 };
    char dir[512];
    struct engine_options o = options(dir, "dummy");

    vector_path("tiny-bf16", dir, sizeof(dir));
    cr_assert_eq(model_open(&o, &m, &err), ST_OK, "%s", err.text);
    for (int i = 0; i < 40; i++)
        c.positions[i] = i;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(kv_cache_new(m, &caches[i], &err), ST_OK);
        items[i] = whole_canvas(m, caches[i], &c);
        items[i].n_logits = 16;
    }
    cr_assert_eq(model_forward(m, items, 2, &r, &err), ST_OK, "%s", err.text);
    items[1].n_logits = 17;
    cr_assert_eq(model_forward(m, items, 2, &r, &err), ST_INVALID);
    cr_assert(strstr(err.text, "33 positions") && strstr(err.text, "max_block 16"), "%s", err.text);
    cr_assert_eq(model_forward(m, items, 3, &r, &err), ST_INVALID);
    kv_cache_free(caches[0]);
    kv_cache_free(caches[1]);
    model_close(m);
}

/* A copy of tiny-bf16 in which one expert's matrix claims to be f16, which is as long. */
Test(model_open, experts_of_mixed_types_are_refused_by_name)
{
    static const char *const files[] = { "config.json", "tokenizer.json",
                                         "model.safetensors.index.json",
                                         "model-00001-of-00002.safetensors",
                                         "model-00002-of-00002.safetensors" };
    static const char tensor[] = "\"model.layers.0.mlp.experts.1.up_proj.weight\":{\"dtype\":";
    struct temp_dir d;
    struct model *m = NULL;
    struct error err = { 0 };
    struct engine_options o;
    bool is_changed = false;

    temp_dir_init(&d);
    o = options(d.path, "safetensors");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buf b = { 0 };
        char name[128], path[512], *at;

        snprintf(name, sizeof(name), "tiny-bf16/%s", files[i]);
        vector_path(name, path, sizeof(path));
        cr_assert_eq(file_read(path, 1 << 22, &b, &err), ST_OK, "%s", err.text);
        at = memmem(b.data, b.len, tensor, strlen(tensor));
        if (at) {
            cr_assert_eq(memcmp(at + strlen(tensor), "\"BF16\"", 6), 0);
            memcpy(at + strlen(tensor), "\"F16\" ", 6);
            is_changed = true;
        }
        temp_dir_write(&d, files[i], b.data, b.len);
        buf_release(&b);
    }
    cr_assert(is_changed);
    cr_assert_eq(model_open(&o, &m, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "experts.1.up_proj") && strstr(err.text, "is f16"), "%s", err.text);
    cr_assert_null(m);
    temp_dir_release(&d);
}

static enum status try_open(void *arg, struct error *err)
{
    struct model *m = NULL;
    struct kv_cache *cache = NULL;
    enum status st = model_open(arg, &m, err);

    if (!st)
        st = kv_cache_new(m, &cache, err);
    cr_expect_eq(st == ST_OK, cache != NULL);
    kv_cache_free(cache);
    model_close(m);
    return st;
}

static void sweep_allocations(const char *backend, const char *format)
{
    char dir[512];
    struct engine_options o = options(dir, format);
    struct fail_sweep s = { .what = backend, .f = try_open, .arg = &o };

    o.backend = backend;
    o.n_threads = 3;
    vector_path("tiny-bf16", dir, sizeof(dir));
    cr_expect_gt(fail_malloc_sweep(&s), 50);
}

Test(model_open, every_failed_allocation_is_reported)
{
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct kernels *k = NULL;

        if ((*b)->open(&(struct kernel_params){ 0 }, &k, NULL))
            continue; /* not on this machine */
        (*b)->close(k);
        sweep_allocations((*b)->name, "dummy");
        sweep_allocations((*b)->name, "safetensors");
    }
}
