/*
 * The tensors a configuration needs: names and shapes as published checkpoints have them.
 *
 * Sources: the model classes LLaDAMoEModelLM and LLaDA2MoeModelLM; the sums of sizes agree with
 * the published totals (7 356 880 896 and 16 255 643 392 parameters), which tests hold.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/weights.h"

/* A list being made; while specs is NULL it is only counted. */
struct list {
    const struct model_config *c;
    struct tensor_spec *specs;
    size_t n;
    int layer; /* -1 outside layers */
};

/* name stands behind "model.layers.N." within a layer; "%d" in it is the expert. */
static void add(struct list *l, struct tensor_spec s, const char *name)
{
    const char *mark = strstr(name, "%d");
    size_t size = sizeof(s.name);
    int at = 0;

    if (l->specs) {
        s.layer = l->layer;
        if (l->layer >= 0)
            at = snprintf(s.name, size, "model.layers.%d.", l->layer);
        if (mark)
            snprintf(s.name + at, size - (size_t)at, "%.*s%d%s", (int)(mark - name), name, s.expert,
                     mark + 2);
        else
            snprintf(s.name + at, size - (size_t)at, "%s", name);
        l->specs[l->n] = s;
    }
    l->n++;
}

static void add_vector(struct list *l, enum tensor_role role, int64_t n, const char *name)
{
    add(l, (struct tensor_spec){ .role = role, .n_dims = 1, .rows = 1, .cols = n }, name);
}

static void add_matrix(struct list *l, enum tensor_role role, int64_t rows, int64_t cols,
                       const char *name)
{
    add(l, (struct tensor_spec){ .role = role, .gain = 1, .n_dims = 2, .rows = rows, .cols = cols },
        name);
}

static void add_router(struct list *l, int gain)
{
    add(l,
        (struct tensor_spec){ .role = TENSOR_ROUTER,
                              .gain = gain,
                              .n_dims = 2,
                              .rows = l->c->n_exp,
                              .cols = l->c->d_model },
        "mlp.gate.weight");
}

/* gate, up and down of n_exp routed experts and n_shared more, each kind in a run. names: of the
 * latter, by kind. */
static void add_experts(struct list *l, int n_exp, int n_shared, int d_ff,
                        const char *const names[3])
{
    static const enum tensor_role roles[3] = { TENSOR_GATE, TENSOR_UP, TENSOR_DOWN };
    static const char *const routed_names[3] = { "mlp.experts.%d.gate_proj.weight",
                                                 "mlp.experts.%d.up_proj.weight",
                                                 "mlp.experts.%d.down_proj.weight" };
    int d_model = l->c->d_model;

    for (int k = 0; k < 3; k++)
        for (int e = 0; e < n_exp + n_shared; e++)
            add(l,
                (struct tensor_spec){ .role = roles[k],
                                      .expert = e < n_exp ? e : EXPERT_SHARED,
                                      .n_merged = e < n_exp ? n_exp : 0,
                                      .gain = 1,
                                      .n_dims = 2,
                                      .rows = roles[k] == TENSOR_DOWN ? d_model : d_ff,
                                      .cols = roles[k] == TENSOR_DOWN ? d_ff : d_model },
                e < n_exp ? routed_names[k] : names[k]);
}

static void add_llada_moe_layer(struct list *l)
{
    const struct model_config *c = l->c;
    int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_kv_head * c->d_head;

    add_vector(l, TENSOR_NORM_IN, c->d_model, "input_layernorm.weight");
    add_matrix(l, TENSOR_Q, q, c->d_model, "self_attn.q_proj.weight");
    add_matrix(l, TENSOR_K, kv, c->d_model, "self_attn.k_proj.weight");
    add_matrix(l, TENSOR_V, kv, c->d_model, "self_attn.v_proj.weight");
    add_matrix(l, TENSOR_O, c->d_model, q, "self_attn.o_proj.weight");
    add_vector(l, TENSOR_Q_NORM, c->d_head, "self_attn.q_norm.weight");
    add_vector(l, TENSOR_K_NORM, c->d_head, "self_attn.k_norm.weight");
    add_vector(l, TENSOR_NORM_FFN, c->d_model, "post_attention_layernorm.weight");
    add_router(l, 4);
    add_experts(l, c->n_exp, 0, c->d_ff, NULL);
}

static void add_llada2_layer(struct list *l)
{
    static const char *const dense_names[3] = { "mlp.gate_proj.weight", "mlp.up_proj.weight",
                                                "mlp.down_proj.weight" };
    static const char *const shared_names[3] = { "mlp.shared_experts.gate_proj.weight",
                                                 "mlp.shared_experts.up_proj.weight",
                                                 "mlp.shared_experts.down_proj.weight" };
    const struct model_config *c = l->c;
    int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_kv_head * c->d_head;

    add_vector(l, TENSOR_NORM_IN, c->d_model, "input_layernorm.weight");
    add_matrix(l, TENSOR_QKV, q + 2 * kv, c->d_model, "attention.query_key_value.weight");
    add_matrix(l, TENSOR_O, c->d_model, q, "attention.dense.weight");
    add_vector(l, TENSOR_Q_NORM, c->d_head, "attention.query_layernorm.weight");
    add_vector(l, TENSOR_K_NORM, c->d_head, "attention.key_layernorm.weight");
    add_vector(l, TENSOR_NORM_FFN, c->d_model, "post_attention_layernorm.weight");
    if (l->layer < c->n_dense_layer) {
        add_experts(l, 0, 1, c->d_ff_dense, dense_names);
        return;
    }
    add_router(l, 2);
    add_vector(l, TENSOR_ROUTER_BIAS, c->n_exp, "mlp.gate.expert_bias");
    add_experts(l, c->n_exp, c->n_shared, c->d_ff, shared_names);
}

static void add_all(struct list *l)
{
    const struct model_config *c = l->c;
    bool is_llada2 = c->family == FAMILY_LLADA2;

    l->layer = -1;
    add_matrix(l, TENSOR_EMBED, c->n_vocab, c->d_model,
               is_llada2 ? "model.word_embeddings.weight" : "model.embed_tokens.weight");
    for (l->layer = 0; l->layer < c->n_layer; l->layer++) {
        if (is_llada2)
            add_llada2_layer(l);
        else
            add_llada_moe_layer(l);
    }
    l->layer = -1;
    add_vector(l, TENSOR_NORM_OUT, c->d_model, "model.norm.weight");
    add_matrix(l, TENSOR_HEAD, c->n_vocab, c->d_model, "lm_head.weight");
}

enum status tensor_list_new(const struct model_config *c, struct tensor_spec **ret, size_t *ret_n,
                            struct error *err)
{
    struct list l = { .c = c };

    add_all(&l);
    l.specs = calloc(l.n, sizeof(*l.specs));
    if (!l.specs)
        return error_set(err, ST_NOMEM, "out of memory for a list of %zu tensors", l.n);
    l.n = 0;
    add_all(&l);
    *ret = l.specs;
    *ret_n = l.n;
    return ST_OK;
}

void tensor_merged_name(const struct tensor_spec *spec, char ret[64])
{
    snprintf(ret, sizeof(spec->name), "model.layers.%d.mlp.experts.%s_proj.weight", spec->layer,
             spec->role == TENSOR_GATE ? "gate"
             : spec->role == TENSOR_UP ? "up"
                                       : "down");
}

int64_t tensor_list_params(const struct tensor_spec *specs, size_t n)
{
    int64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += specs[i].rows * specs[i].cols;
    return sum;
}
