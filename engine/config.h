/*
 * Model configuration: config.json of a Hugging Face folder, read into the numbers that the
 * forward pass runs on.
 *
 * Two families are known, told apart by `architectures` (the model_type "llada" also names the
 * dense LLaDA-8B): LLaDA-MoE and LLaDA2.x. They differ in data only. A key that would change the
 * maths and is unknown here, or known with a value that is not supported, is ST_UNSUPPORTED; the
 * tables in config.c list every key that is accepted, the harmless ones included.
 *
 * Source: the configuration classes and config.json files published with the checkpoints
 * (inclusionAI/LLaDA-MoE-7B-A1B-*, inclusionAI/LLaDA2.*).
 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "kernels/kernels.h"

enum model_family { FAMILY_LLADA_MOE, FAMILY_LLADA2 };

/* Limits on what a file may ask for; with them no product of sizes leaves int64_t. */
enum {
    CONFIG_MAX_LAYERS = 1024,
    CONFIG_MAX_HEADS = 1024,
    CONFIG_MAX_WIDTH = 1 << 16, /* d_model */
    CONFIG_MAX_FF = 1 << 18,    /* any feed-forward width */
    CONFIG_MAX_VOCAB = 1 << 22,
    CONFIG_MAX_POSITIONS = 1 << 22,
};

struct model_config {
    enum model_family family;
    char architecture[64]; /* as the file has it */

    int n_layer, d_model, n_vocab, max_positions;
    int n_head, n_kv_head, d_head;
    int d_rot;         /* dims of a head that RoPE turns, even, 2 .. d_head */
    double rope_theta; /* finite, > 0 */
    double rms_eps;    /* finite, > 0; of every norm, q/k norm included */
    int mask_block;    /* 0: every position sees every other; B: block-causal with blocks of B */

    int n_dense_layer; /* layers before the first with routed experts (LLaDA-MoE 0, LLaDA2.x 1) */
    int d_ff_dense;    /* width of those, 0 if there are none */
    int n_shared;      /* experts of width d_ff that every token goes through, 0 or 1 */
    int n_exp, top_k, d_ff;
    enum router_score score;
    bool has_expert_bias;    /* added to the scores for the choice, not for the weights */
    int n_group, topk_group; /* experts are chosen among topk_group of n_group groups; 1 of 1 */
    bool renorm;             /* chosen scores are divided by their sum */
    double scale;            /* and multiplied by this */

    int32_t eos_id, pad_id, mask_id; /* -1: not in the file (the tokenizer knows them) */

    char sha256[SHA256_HEX_SIZE]; /* of the file after overrides, as JSON with sorted keys */
};

/*
 * Read DIR/config.json. Each of n_overrides strings "key=value" (value: JSON) replaces or adds a
 * key first. ST_NOT_FOUND: no such file; ST_INVALID: not JSON, or a value of the wrong type or
 * out of range; ST_UNSUPPORTED: as above. Messages name the file, the key and the value.
 */
MUST_CHECK enum status config_read(const char *dir, const char *const *overrides,
                                   size_t n_overrides, struct model_config *ret, struct error *err);

/* The same from bytes; name stands for the file in messages. */
MUST_CHECK enum status config_parse(const char *text, size_t len, const char *name,
                                    const char *const *overrides, size_t n_overrides,
                                    struct model_config *ret, struct error *err);

#endif
