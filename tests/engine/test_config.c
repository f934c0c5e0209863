/* config.json: what is read, what is refused and how it is said. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/config.h"

/* A small valid file of each family; tests change one key of it. */
static const char llada_moe[] =
    "{\"architectures\":[\"LLaDAMoEModelLM\"],\"model_type\":\"llada\",\"hidden_size\":64,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"num_experts\":8,\"num_experts_per_tok\":2,\"expert_intermediate_size\":32,"
    "\"dense_intermediate_size\":128,\"shared_expert_intermediate_size\":null,"
    "\"moe_layer_freq\":[1,1],\"moe_router_score_function\":\"softmax\","
    "\"moe_router_enable_expert_bias\":false,\"norm_topk_prob\":null,"
    "\"routed_scaling_factor\":1,\"router_num_group\":null,\"router_topk_group\":null,"
    "\"qk_layernorm\":true,\"rope_theta\":50000,\"partial_rotary_factor\":1,"
    "\"rope_scaling\":null,\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\","
    "\"attention_bias\":false,\"clip_qkv\":null,\"attention_dropout\":0.0,\"vocab_size\":288,"
    "\"tie_word_embeddings\":false,\"max_position_embeddings\":256,\"pad_token_id\":256,"
    "\"eos_token_id\":256,\"torch_dtype\":\"bfloat16\"}";

static const char llada2[] =
    "{\"architectures\":[\"LLaDA2MoeModelLM\"],\"model_type\":\"llada2_moe\","
    "\"hidden_size\":2048,\"intermediate_size\":5120,\"num_hidden_layers\":20,"
    "\"num_attention_heads\":16,\"num_key_value_heads\":4,\"head_dim\":128,\"num_experts\":256,"
    "\"num_experts_per_tok\":8,\"moe_intermediate_size\":512,\"num_shared_experts\":1,"
    "\"first_k_dense_replace\":1,\"n_group\":8,\"topk_group\":4,\"score_function\":\"sigmoid\","
    "\"moe_router_enable_expert_bias\":true,\"norm_topk_prob\":true,"
    "\"routed_scaling_factor\":2.5,\"router_dtype\":\"fp32\",\"rope_theta\":600000,"
    "\"rope_scaling\":null,\"partial_rotary_factor\":0.5,\"rms_norm_eps\":1e-06,"
    "\"hidden_act\":\"silu\",\"use_bias\":false,\"use_qkv_bias\":false,\"norm_head\":false,"
    "\"tie_word_embeddings\":false,\"vocab_size\":157184,\"pad_token_id\":156892,"
    "\"max_position_embeddings\":32768,\"sliding_window\":4096}";

static enum status parse(const char *text, struct model_config *c, struct error *err)
{
    return config_parse(text, strlen(text), "config.json", NULL, 0, c, err);
}

static enum status parse_with(const char *text, const char *override, struct model_config *c,
                              struct error *err)
{
    return config_parse(text, strlen(text), "config.json", &override, 1, c, err);
}

/* The text with one key taken out. */
static enum status parse_without(const char *text, const char *key, struct model_config *c,
                                 struct error *err)
{
    json_t *root = NULL;
    struct buf dump = { 0 };
    enum status st = json_parse(text, strlen(text), "text", 0, &root, NULL);

    cr_assert_eq(st, ST_OK);
    cr_assert_eq(json_object_del(root, key), 0, "no key '%s' to take out", key);
    json_put_value(&dump, root, JSON_COMPACT);
    st = parse(buf_str(&dump), c, err);
    buf_release(&dump);
    json_decref(root);
    return st;
}

Test(config, llada_moe_is_read)
{
    struct error err = { 0 };
    struct model_config c;

    cr_assert_eq(parse(llada_moe, &c, &err), ST_OK, "%s", err.text);
    cr_assert_eq(c.family, FAMILY_LLADA_MOE);
    cr_assert_str_eq(c.architecture, "LLaDAMoEModelLM");
    cr_assert_eq(c.n_layer, 2);
    cr_assert_eq(c.d_model, 64);
    cr_assert_eq(c.n_vocab, 288);
    cr_assert_eq(c.max_positions, 256);
    cr_assert_eq(c.n_head, 4);
    cr_assert_eq(c.n_kv_head, 2);
    cr_assert_eq(c.d_head, 16);
    cr_assert_eq(c.d_rot, 16);
    cr_assert_eq(c.rope_theta, 50000);
    cr_assert_eq(c.rms_eps, 1e-5);
    cr_assert_eq(c.mask_block, 0);
    cr_assert_eq(c.n_exp, 8);
    cr_assert_eq(c.top_k, 2);
    cr_assert_eq(c.d_ff, 32);
    cr_assert_eq(c.score, ROUTER_SOFTMAX);
    cr_assert(!c.renorm && !c.has_expert_bias);
    cr_assert_eq(c.scale, 1);
    cr_assert_eq(c.n_dense_layer, 0);
    cr_assert_eq(c.n_shared, 0);
    cr_assert_eq(c.eos_id, 256);
    cr_assert_eq(c.mask_id, -1);
}

Test(config, llada2_is_read)
{
    struct error err = { 0 };
    struct model_config c;

    cr_assert_eq(parse(llada2, &c, &err), ST_OK, "%s", err.text);
    cr_assert_eq(c.family, FAMILY_LLADA2);
    cr_assert_eq(c.d_head, 128);
    cr_assert_eq(c.d_rot, 64);
    cr_assert_eq(c.mask_block, 32);
    cr_assert_eq(c.score, ROUTER_SIGMOID);
    cr_assert(c.renorm && c.has_expert_bias);
    cr_assert_eq(c.scale, 2.5);
    cr_assert_eq(c.n_group, 8);
    cr_assert_eq(c.topk_group, 4);
    cr_assert_eq(c.n_dense_layer, 1);
    cr_assert_eq(c.d_ff_dense, 5120);
    cr_assert_eq(c.n_shared, 1);
    cr_assert_eq(c.eos_id, -1);
}

Test(config, values_that_would_change_the_maths_are_refused_by_name)
{
    static const struct {
        const char *base, *override;
        enum status st;
        const char *key, *value; /* both are in the message */
    } cases[] = {
        { llada_moe, "hidden_act=\"gelu\"", ST_UNSUPPORTED, "'hidden_act'", "\"gelu\"" },
        { llada_moe, "rope_scaling={\"type\":\"yarn\"}", ST_UNSUPPORTED, "'rope_scaling'", "yarn" },
        { llada_moe, "tie_word_embeddings=true", ST_UNSUPPORTED, "'tie_word_embeddings'", "true" },
        { llada_moe, "qk_layernorm=false", ST_UNSUPPORTED, "'qk_layernorm'", "false" },
        { llada_moe, "qk_layernorm=null", ST_UNSUPPORTED, "'qk_layernorm'", "null" },
        { llada_moe, "partial_rotary_factor=0.5", ST_UNSUPPORTED, "'partial_rotary_factor'",
          "0.5" },
        { llada_moe, "norm_topk_prob=true", ST_UNSUPPORTED, "'norm_topk_prob'", "true" },
        { llada_moe, "routed_scaling_factor=2.5", ST_UNSUPPORTED, "'routed_scaling_factor'",
          "2.5" },
        { llada_moe, "shared_expert_intermediate_size=64", ST_UNSUPPORTED,
          "'shared_expert_intermediate_size'", "64" },
        { llada_moe, "moe_router_score_function=\"sigmoid\"", ST_UNSUPPORTED,
          "'moe_router_score_function'", "sigmoid" },
        { llada_moe, "moe_router_enable_expert_bias=true", ST_UNSUPPORTED,
          "'moe_router_enable_expert_bias'", "true" },
        { llada_moe, "router_num_group=8", ST_UNSUPPORTED, "'router_num_group'", "8" },
        { llada_moe, "router_topk_group=4", ST_UNSUPPORTED, "'router_topk_group'", "4" },
        { llada_moe, "attention_bias=true", ST_UNSUPPORTED, "'attention_bias'", "true" },
        { llada_moe, "clip_qkv=8.0", ST_UNSUPPORTED, "'clip_qkv'", "8.0" },
        { llada_moe, "moe_layer_freq=[0,1]", ST_UNSUPPORTED, "'moe_layer_freq'", "[0,1]" },
        { llada_moe, "moe_layer_freq=[1]", ST_INVALID, "'moe_layer_freq'", "[1]" },
        { llada_moe, "moe_layer_freq=1", ST_INVALID, "'moe_layer_freq'", "1" },
        { llada_moe, "head_dim=32", ST_UNSUPPORTED, "'head_dim'", "32" },
        { llada_moe, "quantization_config={\"bits\":4}", ST_UNSUPPORTED, "'quantization_config'",
          "bits" },
        { llada_moe, "attn_logit_softcap=30", ST_UNSUPPORTED, "'attn_logit_softcap'", "30" },
        { llada_moe, "sliding_window=4096", ST_UNSUPPORTED, "'sliding_window'", "4096" },
        { llada_moe, "architectures=[\"LLaDAModelLM\"]", ST_UNSUPPORTED, "'architectures'",
          "LLaDAModelLM" },
        { llada_moe, "architectures=[]", ST_INVALID, "'architectures'", "[]" },
        { llada_moe, "architectures=\"LLaDAMoEModel\"", ST_INVALID, "'architectures'", "LLaDAMoE" },
        { llada_moe, "hidden_size=0", ST_INVALID, "'hidden_size'", "0" },
        { llada_moe, "hidden_size=-64", ST_INVALID, "'hidden_size'", "-64" },
        { llada_moe, "hidden_size=1e300", ST_INVALID, "'hidden_size'", "e300" },
        { llada_moe, "hidden_size=\"64\"", ST_INVALID, "'hidden_size'", "\"64\"" },
        { llada_moe, "hidden_size=62", ST_INVALID, "'hidden_size'", "62" },
        { llada_moe, "hidden_size=4", ST_INVALID, "RoPE", "1 dims" },
        { llada_moe, "vocab_size=9223372036854775807", ST_INVALID, "'vocab_size'", "922337203685" },
        { llada_moe, "num_hidden_layers=2147483648", ST_INVALID, "'num_hidden_layers'",
          "2147483648" },
        { llada_moe, "num_key_value_heads=3", ST_INVALID, "'num_key_value_heads'", "3" },
        { llada_moe, "num_experts_per_tok=9", ST_INVALID, "'num_experts_per_tok'", "9" },
        { llada_moe, "num_experts=5000", ST_INVALID, "'num_experts'", "5000" },
        { llada_moe, "rope_theta=0", ST_INVALID, "'rope_theta'", "0" },
        { llada_moe, "rope_theta=\"big\"", ST_INVALID, "'rope_theta'", "big" },
        { llada_moe, "rms_norm_eps=-1e-5", ST_INVALID, "'rms_norm_eps'", "-" },
        { llada_moe, "eos_token_id=288", ST_INVALID, "'eos_token_id'", "288" },
        { llada_moe, "eos_token_id=-1", ST_INVALID, "'eos_token_id'", "-1" },
        { llada_moe, "eos_token_id=[256,257]", ST_UNSUPPORTED, "'eos_token_id'", "[256,257]" },
        { llada_moe, "mask_token_id=1.5", ST_INVALID, "'mask_token_id'", "1.5" },
        { llada2, "score_function=\"softmax\"", ST_UNSUPPORTED, "'score_function'", "softmax" },
        { llada2, "norm_topk_prob=false", ST_UNSUPPORTED, "'norm_topk_prob'", "false" },
        { llada2, "use_qk_norm=false", ST_UNSUPPORTED, "'use_qk_norm'", "false" },
        { llada2, "router_dtype=\"bf16\"", ST_UNSUPPORTED, "'router_dtype'", "bf16" },
        { llada2, "n_group=7", ST_INVALID, "'n_group'", "7" },
        { llada2, "topk_group=9", ST_INVALID, "'n_group'", "8" },
        { llada2, "first_k_dense_replace=20", ST_INVALID, "'first_k_dense_replace'", "20" },
        { llada2, "num_shared_experts=2", ST_UNSUPPORTED, "'num_shared_experts'", "2" },
        { llada2, "num_shared_experts=-1", ST_INVALID, "'num_shared_experts'", "-1" },
        { llada2, "score_function=null", ST_UNSUPPORTED, "'score_function'", "null" },
        { llada2, "moe_router_enable_expert_bias=false", ST_UNSUPPORTED,
          "'moe_router_enable_expert_bias'", "false" },
        { llada2, "partial_rotary_factor=0.25", ST_UNSUPPORTED, "'partial_rotary_factor'", "0.25" },
        { llada2, "rotary_dim=128", ST_UNSUPPORTED, "'rotary_dim'", "128" },
        { llada2, "rope_scaling={\"type\":\"yarn\"}", ST_UNSUPPORTED, "'rope_scaling'", "yarn" },
        { llada2, "use_bias=true", ST_UNSUPPORTED, "'use_bias'", "true" },
        { llada2, "use_qkv_bias=true", ST_UNSUPPORTED, "'use_qkv_bias'", "true" },
        { llada2, "use_rmsnorm=false", ST_UNSUPPORTED, "'use_rmsnorm'", "false" },
        { llada2, "norm_head=true", ST_UNSUPPORTED, "'norm_head'", "true" },
        { llada2, "norm_softmax=true", ST_UNSUPPORTED, "'norm_softmax'", "true" },
        { llada2, "num_nextn_predict_layers=1", ST_UNSUPPORTED, "'num_nextn_predict_layers'", "1" },
        { llada2, "using_split_qkv_in_self_attention=true", ST_UNSUPPORTED,
          "'using_split_qkv_in_self_attention'", "true" },
        { llada2, "topk_group=0", ST_INVALID, "'topk_group'", "0" },
        { llada2, "routed_scaling_factor=0", ST_INVALID, "'routed_scaling_factor'", "0" },
        { llada2, "num_key_value_heads=3", ST_INVALID, "'num_key_value_heads'", "3" },
        { llada2, "image_token_offset=157184", ST_UNSUPPORTED, "'image_token_offset'", "157184" },
        { llada2, "expert_intermediate_size=64", ST_UNSUPPORTED, "'expert_intermediate_size'",
          "64" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model_config c = { .n_layer = -7 };
        struct error err = { 0 };
        enum status st = parse_with(cases[i].base, cases[i].override, &c, &err);

        cr_expect_eq(st, cases[i].st, "%s gave %s: %s", cases[i].override, status_name(st),
                     err.text);
        cr_expect(strstr(err.text, "'config.json'") && strstr(err.text, cases[i].key) &&
                      strstr(err.text, cases[i].value),
                  "%s said: %s", cases[i].override, err.text);
        cr_expect_eq(c.n_layer, -7, "%s touched the result", cases[i].override);
    }
}

Test(config, keys_whose_absence_would_change_the_maths_are_required)
{
    static const char *const keys[] = {
        "architectures",
        "hidden_size",
        "num_hidden_layers",
        "num_experts",
        "num_experts_per_tok",
        "expert_intermediate_size",
        "vocab_size",
        "num_attention_heads",
        "num_key_value_heads",
        "moe_layer_freq",
        "qk_layernorm",
        "rope_theta",
        "rms_norm_eps",
        "partial_rotary_factor",
        "max_position_embeddings",
        "shared_expert_intermediate_size",
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct model_config c;
        struct error err = { 0 };

        cr_expect_eq(parse_without(llada_moe, keys[i], &c, &err), ST_INVALID, "%s", keys[i]);
        cr_expect(strstr(err.text, keys[i]), "without %s: %s", keys[i], err.text);
    }
}

Test(config, keys_whose_absence_would_change_the_maths_are_required_of_llada2)
{
    static const char *const keys[] = {
        "intermediate_size",  "moe_intermediate_size",
        "num_shared_experts", "first_k_dense_replace",
        "head_dim",           "n_group",
        "topk_group",         "routed_scaling_factor",
        "score_function",     "moe_router_enable_expert_bias",
        "norm_topk_prob",     "partial_rotary_factor",
        "use_bias",
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct model_config c;
        struct error err = { 0 };

        cr_expect_eq(parse_without(llada2, keys[i], &c, &err), ST_INVALID, "%s", keys[i]);
        cr_expect(strstr(err.text, keys[i]), "without %s: %s", keys[i], err.text);
    }
}

Test(config, harmless_keys_and_other_spellings_of_a_value_are_accepted)
{
    static const char *const overrides[] = {
        "attention_dropout=0.1",
        "torch_dtype=\"float32\"",
        "transformers_version=\"4.53.2\"",
        "routed_scaling_factor=1.0",
        "norm_topk_prob=false",
        "head_dim=16",
        "partial_rotary_factor=1.0",
        "mask_token_id=257",
        "eos_token_id=null",
        "router_aux_loss_coef=0.01",
        "rms_norm_eps=1",
        "auto_map={\"AutoModel\":\"x\"}",
        "architectures=[\"LLaDAMoEModel\"]",
    };

    for (size_t i = 0; i < sizeof(overrides) / sizeof(overrides[0]); i++) {
        struct model_config c;
        struct error err = { 0 };

        cr_expect_eq(parse_with(llada_moe, overrides[i], &c, &err), ST_OK, "%s", err.text);
    }
}

Test(config, text_that_is_no_json_object_is_refused)
{
    static const char *const texts[] = {
        "", "{", "[]", "null", "7", "{\"a\":1}x", "{\"vocab_size\":1,\"vocab_size\":2}", "\xff\xfe"
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct model_config c;
        struct error err = { 0 };

        cr_expect_eq(parse(texts[i], &c, &err), ST_INVALID, "'%s'", texts[i]);
        cr_expect(strstr(err.text, "config.json"), "%s", err.text);
        cr_expect_neq(parse_with(texts[i], "vocab_size=3", &c, &err), ST_OK, "'%s'", texts[i]);
    }
}

Test(config, overrides_must_be_key_and_json)
{
    static const char *const bad[] = { "vocab_size", "=3", "hidden_act=silu",
                                       "vocab_size=", "\xff=1" };
    struct model_config c;
    struct error err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(parse_with(llada_moe, bad[i], &c, &err), ST_INVALID, "%s", bad[i]);
        cr_expect(strstr(err.text, "override"), "%s", err.text);
    }
    cr_assert_eq(parse_with(llada_moe, "num_experts=16", &c, &err), ST_OK);
    cr_assert_eq(c.n_exp, 16);
}

Test(config, hash_is_of_the_content_after_overrides_not_of_its_spelling)
{
    struct model_config a, b, c;
    struct error err;
    json_t *root = NULL;
    struct buf text = { 0 };

    cr_assert_eq(json_parse(llada_moe, strlen(llada_moe), "x", 0, &root, &err), ST_OK);
    json_put_value(&text, root, JSON_SORT_KEYS | JSON_INDENT(4));
    cr_assert_eq(parse(llada_moe, &a, &err), ST_OK);
    cr_assert_eq(parse(buf_str(&text), &b, &err), ST_OK);
    cr_assert_str_eq(a.sha256, b.sha256);
    cr_assert_eq(strlen(a.sha256), 64);
    cr_assert_eq(parse_with(llada_moe, "num_experts=16", &c, &err), ST_OK);
    cr_assert_str_neq(a.sha256, c.sha256);
    buf_release(&text);
    json_decref(root);
}

Test(config, published_shapes_are_read)
{
    static const struct {
        const char *name;
        int n_layer, n_exp;
    } shapes[] = {
        { "llada-moe-7b-a1b", 16, 64 }, { "llada2.0-mini", 20, 256 },
        { "llada2.0-flash", 32, 256 },  { "llada2.1-mini", 20, 256 },
        { "llada2.1-flash", 32, 256 },  { "tiny-llada-moe", 2, 8 },
        { "tiny-llada2", 3, 16 },
    };
    const char *source = getenv("DESBENCH_SOURCE");

    cr_assert(source);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct buf dir = { 0 };
        struct model_config c;
        struct error err = { 0 };

        buf_printf(&dir, "%s/models/shapes/%s", source, shapes[i].name);
        cr_expect_eq(config_read(buf_str(&dir), NULL, 0, &c, &err), ST_OK, "%s", err.text);
        cr_expect_eq(c.n_layer, shapes[i].n_layer, "%s", shapes[i].name);
        cr_expect_eq(c.n_exp, shapes[i].n_exp, "%s", shapes[i].name);
        buf_release(&dir);
    }
}

/* What the files of the listed models have beside the keys that the text above has: those of
 * dFactory's copies, of the preview, of 2.1, and of what newer transformers writes. */
Test(config, keys_of_every_llada2_model_are_read_and_change_nothing)
{
    static const char *const flash[] = { "hidden_size=4096", "intermediate_size=9216",
                                         "num_hidden_layers=32", "num_attention_heads=32",
                                         "moe_intermediate_size=1024" };
    static const char *const more[] = {
        "attention_dropout=0.0",
        "auto_map={\"AutoConfig\":\"configuration_llada2_moe.LLaDA2MoeConfig\"}",
        "dtype=\"bfloat16\"",
        "embedding_dropout=0.0",
        "eos_token_id=156892",
        "initializer_range=0.02",
        "mask_token_id=156895",
        "max_position_embeddings=16384",
        "max_window_layers=28",
        "model_type=\"llada2_moe_veomni\"",
        "norm_softmax=false",
        "output_dropout=0.0",
        "output_router_logits=false",
        "rotary_dim=64",
        "sliding_window=null",
        "torch_dtype=\"bfloat16\"",
        "transformers_version=\"4.57.1\"",
        "use_cache=false",
        "use_qk_norm=true",
        "use_rmsnorm=true",
        "use_sliding_window=false",
        "using_split_qkv_in_self_attention=false",
    };
    enum { N_FLASH = sizeof(flash) / sizeof(flash[0]), N_MORE = sizeof(more) / sizeof(more[0]) };
    const char *all[N_MORE + N_FLASH];
    struct model_config mini, c;
    struct error err = { 0 };

    cr_assert_eq(parse(llada2, &mini, &err), ST_OK, "%s", err.text);
    memcpy(all, more, sizeof(more));
    memcpy(all + N_MORE, flash, sizeof(flash));
    for (int is_flash = 0; is_flash < 2; is_flash++) {
        cr_assert_eq(config_parse(llada2, strlen(llada2), "config.json", all,
                                  N_MORE + (is_flash ? N_FLASH : 0), &c, &err),
                     ST_OK, "%s", err.text);
        cr_assert_eq(c.n_layer, is_flash ? 32 : 20);
        cr_assert_eq(c.d_ff_dense, is_flash ? 9216 : 5120);
        cr_assert(c.n_kv_head == 4 && c.d_head == 128 && c.d_rot == 64 && c.mask_block == 32);
        cr_assert(c.n_dense_layer == mini.n_dense_layer && c.n_shared == mini.n_shared);
        cr_assert(c.n_group == 8 && c.topk_group == 4 && c.scale == mini.scale && c.renorm);
        cr_assert(c.max_positions == 16384 && c.eos_id == 156892 && c.mask_id == 156895);
    }
}

Test(config, folder_without_config_is_not_found)
{
    struct model_config c;
    struct error err;

    cr_assert_eq(config_read("/nowhere/at/all", NULL, 0, &c, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "/nowhere/at/all/config.json"), "%s", err.text);
}
