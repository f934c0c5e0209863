/*
 * config.json, read by table: one table of keys a family, each row a key with what it may hold
 * and where it goes. Whatever is in no row is refused.
 */
#include "engine/config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"

enum { CONFIG_MAX_BYTES = 1 << 20 };

enum key_kind {
    KEY_COUNT,    /* integer min .. max, to an int */
    KEY_NUMBER,   /* finite and > 0, to a double */
    KEY_ID,       /* token id or null, to an int32_t; -1 where absent or null */
    KEY_FIXED,    /* one of the '|'-separated JSON texts in `fixed`: the code here is written for
                   * these values and would compute something else for others */
    KEY_PER_MOE,  /* moe_layer_freq: [1, 1, ...], one for each layer */
    KEY_HARMLESS, /* does not touch the maths of inference */
};

struct key {
    const char *name;
    enum key_kind kind;
    bool is_required; /* for KEY_FIXED: the reference class's own default is another value */
    size_t offset;    /* into struct model_config */
    int min, max;
    const char *fixed;
};

#define COUNT(key, field, lo, hi)                                                                  \
    {                                                                                              \
        .name = key, .kind = KEY_COUNT, .is_required = true,                                       \
        .offset = offsetof(struct model_config, field), .min = lo, .max = hi                       \
    }
#define NUMBER(key, field)                                                                         \
    {                                                                                              \
        .name = key, .kind = KEY_NUMBER, .is_required = true,                                      \
        .offset = offsetof(struct model_config, field)                                             \
    }
#define ID(key, field)                                                                             \
    {                                                                                              \
        .name = key, .kind = KEY_ID, .offset = offsetof(struct model_config, field)                \
    }
#define FIXED(key, texts)                                                                          \
    {                                                                                              \
        .name = key, .kind = KEY_FIXED, .fixed = texts                                             \
    }
#define FIXED_REQUIRED(key, texts)                                                                 \
    {                                                                                              \
        .name = key, .kind = KEY_FIXED, .is_required = true, .fixed = texts                        \
    }
#define HARMLESS(key)                                                                              \
    {                                                                                              \
        .name = key, .kind = KEY_HARMLESS                                                          \
    }

/* Keys that both families share. */
static const struct key common_keys[] = {
    COUNT("hidden_size", d_model, 1, CONFIG_MAX_WIDTH),
    COUNT("num_hidden_layers", n_layer, 1, CONFIG_MAX_LAYERS),
    COUNT("num_attention_heads", n_head, 1, CONFIG_MAX_HEADS),
    COUNT("num_key_value_heads", n_kv_head, 1, CONFIG_MAX_HEADS),
    COUNT("num_experts", n_exp, 1, KERNEL_MAX_EXPERTS),
    COUNT("num_experts_per_tok", top_k, 1, KERNEL_MAX_TOP_K),
    COUNT("vocab_size", n_vocab, 1, CONFIG_MAX_VOCAB),
    COUNT("max_position_embeddings", max_positions, 1, CONFIG_MAX_POSITIONS),
    NUMBER("rope_theta", rope_theta),
    NUMBER("rms_norm_eps", rms_eps),
    ID("eos_token_id", eos_id),
    ID("pad_token_id", pad_id),
    ID("mask_token_id", mask_id),
    FIXED("hidden_act", "\"silu\""),
    FIXED("rope_scaling", "null"),
    FIXED("tie_word_embeddings", "false"),
    FIXED("is_encoder_decoder", "false"),
    FIXED("quantization_config", "null"),
    HARMLESS("architectures"), /* read before the tables are */
    HARMLESS("model_type"),
    HARMLESS("auto_map"),
    HARMLESS("_name_or_path"),
    HARMLESS("torch_dtype"), /* the tensors say their own type */
    HARMLESS("dtype"),
    HARMLESS("transformers_version"),
    HARMLESS("use_cache"),
    HARMLESS("initializer_range"),
    HARMLESS("attention_dropout"), /* dropout: training only */
    HARMLESS("embedding_dropout"),
    HARMLESS("hidden_dropout"),
    HARMLESS("output_dropout"),
    HARMLESS("resid_dropout"),
    HARMLESS("output_router_logits"),
    HARMLESS("router_aux_loss_coef"), /* losses: training only */
    HARMLESS("bos_token_id"),         /* the tokenizer adds none */
};

/* LLaDA-MoE. The class never renormalises nor scales, whatever norm_topk_prob and
 * routed_scaling_factor say; a file that says otherwise was meant for other code. */
static const struct key llada_moe_keys[] = {
    COUNT("expert_intermediate_size", d_ff, 1, CONFIG_MAX_FF),
    { .name = "moe_layer_freq", .kind = KEY_PER_MOE, .is_required = true },
    { .name = "head_dim",
      .kind = KEY_COUNT,
      .offset = offsetof(struct model_config, d_head),
      .min = 2,
      .max = CONFIG_MAX_WIDTH }, /* not in published files: hidden_size / heads */
    FIXED_REQUIRED("qk_layernorm", "true"),
    FIXED_REQUIRED("partial_rotary_factor", "1"),
    FIXED_REQUIRED("shared_expert_intermediate_size", "null"),
    FIXED("moe_router_score_function", "\"softmax\""),
    FIXED("moe_router_enable_expert_bias", "false|null"),
    FIXED("norm_topk_prob", "null|false"),
    FIXED("routed_scaling_factor", "1|null"),
    FIXED("router_num_group", "null|1"),
    FIXED("router_topk_group", "null|1"),
    FIXED("attention_bias", "false"),
    FIXED("clip_qkv", "null"),
    HARMLESS("dense_intermediate_size"), /* no dense layer: moe_layer_freq is all ones */
};

/* LLaDA2.x. Keys that would change the maths must be there where the configuration class has
 * another default, or none. sliding_window is 4096 in the 2.1 files, null in others; like the keys
 * beside it, none of the reference's paths reads it, and it is not applied here. */
static const struct key llada2_keys[] = {
    COUNT("intermediate_size", d_ff_dense, 1, CONFIG_MAX_FF),
    COUNT("moe_intermediate_size", d_ff, 1, CONFIG_MAX_FF),
    COUNT("num_shared_experts", n_shared, 0, KERNEL_MAX_EXPERTS), /* 0 or 1 below */
    COUNT("first_k_dense_replace", n_dense_layer, 0, CONFIG_MAX_LAYERS),
    COUNT("head_dim", d_head, 2, CONFIG_MAX_WIDTH),
    COUNT("n_group", n_group, 1, KERNEL_MAX_EXPERTS),
    COUNT("topk_group", topk_group, 1, KERNEL_MAX_EXPERTS),
    NUMBER("routed_scaling_factor", scale),
    FIXED_REQUIRED("score_function", "\"sigmoid\""),
    FIXED_REQUIRED("moe_router_enable_expert_bias", "true"),
    FIXED_REQUIRED("norm_topk_prob", "true"),
    FIXED_REQUIRED("partial_rotary_factor", "0.5|1"),
    FIXED("router_dtype", "\"fp32\""),
    FIXED("use_qk_norm", "true"),
    FIXED_REQUIRED("use_bias", "false"),
    FIXED("use_qkv_bias", "false"),
    FIXED("use_rmsnorm", "true"),
    FIXED("norm_head", "false"),
    FIXED("norm_softmax", "false"),
    FIXED("using_split_qkv_in_self_attention", "false"),
    FIXED("num_nextn_predict_layers", "0|null"),
    HARMLESS("sliding_window"),
    HARMLESS("use_sliding_window"),
    HARMLESS("max_window_layers"),
    HARMLESS("mtp_loss_scaling_factor"),
    HARMLESS("seq_aux"),
    HARMLESS("rotary_dim"), /* must say what partial_rotary_factor says: below */
};

struct family {
    const char *architecture;
    enum model_family family;
    const struct key *keys;
    size_t n_keys;
};

#define N_ROWS(a) (sizeof(a) / sizeof((a)[0]))

static const struct family families[] = {
    { "LLaDAMoEModel", FAMILY_LLADA_MOE, llada_moe_keys, N_ROWS(llada_moe_keys) },
    { "LLaDAMoEModelLM", FAMILY_LLADA_MOE, llada_moe_keys, N_ROWS(llada_moe_keys) },
    { "LLaDA2MoeModelLM", FAMILY_LLADA2, llada2_keys, N_ROWS(llada2_keys) },
};

/* A config.json being read. */
struct reader {
    const json_t *root;
    const char *name; /* of the file */
    struct model_config *c;
    struct error *err;
};

/* A refusal that shows the key and its value, ending in `why`. */
static enum status refuse(const struct reader *r, enum status st, const char *key, const char *why)
{
    const json_t *v = json_object_get(r->root, key);
    struct buf text = { 0 };

    json_put_value(&text, v, JSON_COMPACT);
    error_set(r->err, st, "'%s': key '%s' is %.200s, %s", r->name, key,
              v ? buf_str(&text) : "absent", why);
    buf_release(&text);
    return st;
}

/* Is v the JSON value of text[0..len)? Numbers compare by value: 1 and 1.0 are one. Strings in
 * the tables have no escapes. */
static bool is_json_text(const json_t *v, const char *text, size_t len)
{
    const char *word = json_is_null(v) ? "null" : json_is_true(v) ? "true" : "false";
    char *end;

    if (json_is_number(v))
        return strtod(text, &end) == json_number_value(v) && end == text + len;
    if (json_is_string(v))
        return len == json_string_length(v) + 2 && text[0] == '"' &&
               memcmp(text + 1, json_string_value(v), len - 2) == 0;
    return (json_is_null(v) || json_is_boolean(v)) && len == strlen(word) &&
           memcmp(text, word, len) == 0;
}

static bool is_one_of(const json_t *v, const char *texts)
{
    for (const char *p = texts; *p;) {
        size_t len = strcspn(p, "|");

        if (is_json_text(v, p, len))
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

static enum status read_layer_freq(const struct reader *r, const struct key *k, const json_t *v)
{
    if (!json_is_array(v) || json_array_size(v) != (size_t)r->c->n_layer)
        return refuse(r, ST_INVALID, k->name, "needs an array with one number for each layer");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!is_json_text(json_array_get(v, i), "1", 1))
            return refuse(r, ST_UNSUPPORTED, k->name,
                          "only layers with experts (all ones) are supported");
    return ST_OK;
}

static enum status read_key(const struct reader *r, const struct key *k)
{
    const json_t *v = json_object_get(r->root, k->name);
    char *field = (char *)r->c + k->offset;
    struct error e;

    if (!v) {
        if (k->is_required)
            return error_set(r->err, ST_INVALID, "'%s': key '%s' is missing", r->name, k->name);
        return ST_OK;
    }
    switch (k->kind) {
    case KEY_COUNT:
        if (!json_is_integer(v) || json_integer_value(v) < k->min ||
            json_integer_value(v) > k->max) {
            error_set(&e, ST_INVALID, "an integer %d .. %d is needed", k->min, k->max);
            return refuse(r, ST_INVALID, k->name, e.text);
        }
        *(int *)field = (int)json_integer_value(v);
        return ST_OK;
    case KEY_NUMBER:
        if (!json_is_number(v) || !isfinite(json_number_value(v)) || json_number_value(v) <= 0)
            return refuse(r, ST_INVALID, k->name, "a number above 0 is needed");
        *(double *)field = json_number_value(v);
        return ST_OK;
    case KEY_ID:
        if (json_is_null(v))
            return ST_OK;
        if (json_is_array(v))
            return refuse(r, ST_UNSUPPORTED, k->name, "only a single id is supported");
        if (!json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) >= r->c->n_vocab) {
            error_set(&e, ST_INVALID, "an id within vocab_size %d is needed", r->c->n_vocab);
            return refuse(r, ST_INVALID, k->name, e.text);
        }
        *(int32_t *)field = (int32_t)json_integer_value(v);
        return ST_OK;
    case KEY_FIXED:
        if (is_one_of(v, k->fixed))
            return ST_OK;
        error_set(&e, ST_UNSUPPORTED, "supported: %s", k->fixed);
        return refuse(r, ST_UNSUPPORTED, k->name, e.text);
    case KEY_PER_MOE: return read_layer_freq(r, k, v);
    case KEY_HARMLESS: return ST_OK;
    }
    return ST_OK;
}

static bool has_key(const struct key *keys, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].name, name) == 0)
            return true;
    return false;
}

static enum status refuse_unknown_keys(const struct reader *r, const struct family *f)
{
    json_t *root = (json_t *)(uintptr_t)r->root; /* jansson's iterators take no const */
    const char *key;
    json_t *v;

    json_object_foreach(root, key, v)
    {
        if (!has_key(common_keys, N_ROWS(common_keys), key) && !has_key(f->keys, f->n_keys, key))
            return refuse(r, ST_UNSUPPORTED, key,
                          "a key that is not known here and might change the maths");
    }
    return ST_OK;
}

/* `architectures`: one name, of a family that is known. */
static enum status find_family(const struct reader *r, const struct family **ret)
{
    const json_t *v = json_object_get(r->root, "architectures");
    const char *name;

    if (!json_is_object(r->root))
        return error_set(r->err, ST_INVALID, "'%s': a JSON object is needed", r->name);
    if (!json_is_array(v) || json_array_size(v) != 1 || !json_is_string(json_array_get(v, 0)))
        return refuse(r, ST_INVALID, "architectures", "an array of one name is needed");
    name = json_string_value(json_array_get(v, 0));
    for (size_t i = 0; i < N_ROWS(families); i++)
        if (strcmp(families[i].architecture, name) == 0) {
            *ret = &families[i];
            return ST_OK;
        }
    return refuse(r, ST_UNSUPPORTED, "architectures",
                  "known: LLaDAMoEModel, LLaDAMoEModelLM, LLaDA2MoeModelLM");
}

/* What a family fixes without a key, and what follows from the keys. */
static enum status derive(const struct reader *r)
{
    struct model_config *c = r->c;

    if (c->n_head % c->n_kv_head)
        return refuse(r, ST_INVALID, "num_key_value_heads", "it must divide num_attention_heads");
    if (c->top_k > c->n_exp)
        return refuse(r, ST_INVALID, "num_experts_per_tok", "it is more than num_experts");
    if (c->family == FAMILY_LLADA_MOE) {
        if (c->d_model % c->n_head)
            return refuse(r, ST_INVALID, "hidden_size", "num_attention_heads must divide it");
        if (c->d_head && c->d_head != c->d_model / c->n_head)
            return refuse(r, ST_UNSUPPORTED, "head_dim",
                          "only hidden_size / num_attention_heads is supported");
        c->d_head = c->d_model / c->n_head;
        c->d_rot = c->d_head;
        c->score = ROUTER_SOFTMAX;
        c->scale = 1;
        c->n_group = c->topk_group = 1;
    } else {
        double part = json_number_value(json_object_get(r->root, "partial_rotary_factor"));
        const json_t *rotary_dim = json_object_get(r->root, "rotary_dim");

        c->d_rot = (int)(c->d_head * part);
        if (rotary_dim &&
            (!json_is_integer(rotary_dim) || json_integer_value(rotary_dim) != c->d_rot))
            return refuse(r, ST_UNSUPPORTED, "rotary_dim",
                          "not head_dim times partial_rotary_factor");
        c->score = ROUTER_SIGMOID;
        c->has_expert_bias = true;
        c->renorm = true;
        c->mask_block = 32;
        if (c->n_shared > 1)
            return refuse(r, ST_UNSUPPORTED, "num_shared_experts", "supported: 0|1");
        if (c->n_dense_layer >= c->n_layer)
            return refuse(r, ST_INVALID, "first_k_dense_replace",
                          "it leaves no layer of num_hidden_layers with experts");
        if (!c->n_dense_layer)
            c->d_ff_dense = 0;
        if (c->n_exp % c->n_group || c->topk_group > c->n_group)
            return refuse(r, ST_INVALID, "n_group",
                          "it must divide num_experts and be at least topk_group");
        if (c->top_k > c->n_exp / c->n_group * c->topk_group)
            return refuse(r, ST_INVALID, "topk_group",
                          "its groups hold fewer experts than num_experts_per_tok");
    }
    if (c->d_rot < 2 || c->d_rot % 2)
        return error_set(r->err, ST_INVALID,
                         "'%s': RoPE would turn %d dims of a head, an even "
                         "number is needed",
                         r->name, c->d_rot);
    if ((int64_t)c->n_head * c->d_head > CONFIG_MAX_WIDTH)
        return error_set(r->err, ST_INVALID, "'%s': %d heads of %d dims are more than %d", r->name,
                         c->n_head, c->d_head, CONFIG_MAX_WIDTH);
    return ST_OK;
}

static enum status hash_json(const json_t *root, const char *name, char ret[SHA256_HEX_SIZE],
                             struct error *err)
{
    struct buf text = { 0 };
    enum status st;

    json_put_value(&text, root, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (buf_ok(&text))
        st = sha256_hex(text.data, text.len, ret, err);
    else
        st = error_set(err, ST_NOMEM, "out of memory hashing '%s'", name);
    buf_release(&text);
    return st;
}

static enum status apply_override(json_t *root, const char *text, struct error *err)
{
    const char *eq = strchr(text, '=');
    struct buf key = { 0 };
    json_t *v = NULL;
    enum status st;

    if (!eq || eq == text)
        return error_set(err, ST_INVALID, "override '%s' is not key=value", text);
    buf_append(&key, text, (size_t)(eq - text));
    if (!buf_ok(&key))
        return error_set(err, ST_NOMEM, "out of memory at override '%s'", text);
    st = json_parse(eq + 1, strlen(eq + 1), "override", 0, &v, err);
    if (st)
        st = error_prefix(err, st, "override '%s': the value must be JSON", text);
    else if (json_object_set_new(root, buf_str(&key), v) != 0) /* takes v in any case */
        st = error_set(err, ST_INVALID, "override '%s' cannot be set", text);
    buf_release(&key);
    return st;
}

static enum status read_root(struct reader *r)
{
    const struct family *f = NULL;
    enum status st = find_family(r, &f);

    if (st)
        return st;
    r->c->family = f->family;
    memcpy(r->c->architecture, f->architecture, strlen(f->architecture) + 1);
    st = refuse_unknown_keys(r, f);
    for (size_t i = 0; i < N_ROWS(common_keys) && !st; i++)
        st = read_key(r, &common_keys[i]);
    for (size_t i = 0; i < f->n_keys && !st; i++)
        st = read_key(r, &f->keys[i]);
    return st ? st : derive(r);
}

enum status config_parse(const char *text, size_t len, const char *name,
                         const char *const *overrides, size_t n_overrides, struct model_config *ret,
                         struct error *err)
{
    struct model_config c = { .eos_id = -1, .pad_id = -1, .mask_id = -1 };
    json_t *root = NULL;
    enum status st = json_parse(text, len, name, 0, &root, err);
    struct reader r = { .name = name, .c = &c, .err = err };

    if (!st && !json_is_object(root) && n_overrides)
        st = error_set(err, ST_INVALID, "'%s': a JSON object is needed", name);
    for (size_t i = 0; i < n_overrides && !st; i++)
        st = apply_override(root, overrides[i], err);
    r.root = root;
    if (!st)
        st = read_root(&r);
    if (!st)
        st = hash_json(root, name, c.sha256, err);
    if (!st)
        *ret = c;
    json_decref(root);
    return st;
}

enum status config_read(const char *dir, const char *const *overrides, size_t n_overrides,
                        struct model_config *ret, struct error *err)
{
    struct buf path = { 0 }, text = { 0 };
    enum status st;

    buf_printf(&path, "%s/config.json", dir);
    if (buf_ok(&path))
        st = file_read(buf_str(&path), CONFIG_MAX_BYTES, &text, err);
    else
        st = error_set(err, ST_NOMEM, "out of memory reading '%s/config.json'", dir);
    if (!st)
        st = config_parse(buf_str(&text), text.len, buf_str(&path), overrides, n_overrides, ret,
                          err);
    buf_release(&text);
    buf_release(&path);
    return st;
}
