/*
 * Weights: the tensors a configuration needs, by name and shape, and their values: mapped from
 * a checkpoint or made up ("dummy").
 *
 * The list of a configuration is in one fixed order that the forward pass is built along, so a
 * tensor is named in one place only. A layer's expert matrices are runs in expert order, the
 * shared one last: all gates, all ups, all downs. A dense layer has one expert, a shared one.
 *
 * Dummy values depend on the seed and the tensor's name alone, so any tool can make them again.
 * Element i of a tensor, row-major, with FNV-1a 64 as hash:
 *
 *   s   = splitmix64_first(seed) XOR hash(name)
 *   z   = splitmix64_first(s + i * 0x9e3779b97f4a7c15)     (the i-th draw of the stream s)
 *   norm:    v = 0.5 + (z >> 40) * 2^-24                    uniform in [0.5, 1.5)
 *   bias:    v = 0.2 * (2 * (z >> 40) * 2^-24 - 1)          of routers: uniform in [-0.2, 0.2)
 *   matrix:  u = sum of the four 16-bit parts of z, less 131070
 *            v = f32(u) * f32(gain * sqrt(3 / cols) / 65536)
 *            about N(0, gain^2 / cols), cut off at 3.46 deviations; gain 4 for routers with a
 *            softmax, so that their choice is clear-cut, 2 with a sigmoid, which is flat beyond,
 *            else 1. With the bias, 32 tokens that have nothing in common then go to 82 of 256
 *            experts, 8 each; 84 are LLaDA2.0-mini's, says arXiv:2602.00879, Table 1
 *   stored:  bf16, v rounded to nearest even
 *
 * where splitmix64_first(x) is the first value of a stream with state x. The sum of four
 * uniforms (Irwin-Hall) is exact in integers, cheap, and close enough to a normal.
 */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/config.h"
#include "kernels/kernels.h"

enum tensor_role {
    TENSOR_EMBED,       /* (n_vocab, d_model) */
    TENSOR_NORM_IN,     /* (d_model), before attention */
    TENSOR_Q,           /* (n_head * d_head, d_model) */
    TENSOR_K,           /* (n_kv_head * d_head, d_model) */
    TENSOR_V,           /* the same */
    TENSOR_QKV,         /* LLaDA2.x: the three, one below the other */
    TENSOR_O,           /* (d_model, n_head * d_head) */
    TENSOR_Q_NORM,      /* (d_head) */
    TENSOR_K_NORM,      /* (d_head) */
    TENSOR_NORM_FFN,    /* (d_model), before the experts */
    TENSOR_ROUTER,      /* (n_exp, d_model) */
    TENSOR_ROUTER_BIAS, /* (n_exp) */
    TENSOR_GATE,        /* (d_ff, d_model), of an expert */
    TENSOR_UP,          /* the same */
    TENSOR_DOWN,        /* (d_model, d_ff) */
    TENSOR_NORM_OUT,
    TENSOR_HEAD, /* (n_vocab, d_model) */
};

enum { EXPERT_SHARED = -1 };

struct tensor_spec {
    char name[64];
    enum tensor_role role;
    int layer;          /* -1 outside layers */
    int expert;         /* of TENSOR_GATE, _UP, _DOWN: from 0, or EXPERT_SHARED */
    int gain;           /* of dummy values, of a matrix */
    int n_merged;       /* routed experts of the layer, which a file may hold merged; else 0 */
    int n_dims;         /* 1 or 2 */
    int64_t rows, cols; /* a vector has rows 1 */
};

/* The tensors of c in order; *ret (n) is freed by the caller with free(). ST_NOMEM. */
MUST_CHECK enum status tensor_list_new(const struct model_config *c, struct tensor_spec **ret,
                                       size_t *ret_n, struct error *err);

/* Where a checkpoint has the experts of a layer merged, (n_merged, rows, cols), the name of that.
 */
void tensor_merged_name(const struct tensor_spec *spec, char ret[64]);

/* Elements of n tensors. */
int64_t tensor_list_params(const struct tensor_spec *specs, size_t n);

struct weights;

/*
 * Map the checkpoint in DIR and match it with the list of c: a missing tensor, one of another
 * shape, and one that is not in the list are ST_INVALID, named. Experts may lie there one by one
 * or merged, as dFactory trains them. Otherwise as safetensors_open_dir().
 */
MUST_CHECK enum status weights_open(const char *dir, const struct model_config *c,
                                    struct weights **ret, struct error *err);

/* Room for dummy weights of c, not touched yet; weights_fill() gives them values. */
MUST_CHECK enum status weights_open_dummy(const struct model_config *c, uint64_t seed,
                                          struct weights **ret, struct error *err);

void weights_close(struct weights *w); /* accepts NULL */

/* Make up the dummy values of tensors [i, i + n) with n_threads (0: as many as the process may run
 * on); the values do not depend on how many. Leaves off once *n_stops (may be NULL) is above 0.
 * Does nothing for a checkpoint. */
void weights_fill(struct weights *w, size_t i, size_t n, int n_threads,
                  const volatile sig_atomic_t *n_stops);

/* Give back the memory of tensors [i, i + n), but for pages that they share with others. Those of
 * a checkpoint would be read again if they were looked at, dummy ones are zero. */
void weights_drop(struct weights *w, size_t i, size_t n);

size_t weights_count(const struct weights *w);
const struct tensor_spec *weights_spec(const struct weights *w, size_t i);

/* The i-th tensor of the list; neighbours lie one after the other in memory, so that a run of
 * expert matrices is an array. Data valid until close. */
const struct host_matrix *weights_at(const struct weights *w, size_t i);

int64_t weights_n_params(const struct weights *w);
int64_t weights_bytes(const struct weights *w);

/* Of a checkpoint: safetensors_sha256(). Of dummy weights: over seed, names and shapes. */
MUST_CHECK enum status weights_sha256(const struct weights *w, const volatile sig_atomic_t *n_stops,
                                      char ret[65], struct error *err);

/* ST_IO if a mapped file changed its size since open. */
MUST_CHECK enum status weights_check_files(const struct weights *w, struct error *err);

/* How the values of tensor i are made, where a backend can do it; false: those of a checkpoint, of
 * a vector, or of a matrix of one row, which it is handed. */
bool weights_made(const struct weights *w, size_t i, struct made_matrix *ret);

/* The same of a dummy tensor. */
bool dummy_is_made(const struct tensor_spec *spec, uint64_t seed, struct made_matrix *ret);

/* Elements [first, first + n) of a dummy tensor, bf16. */
void dummy_fill(const struct tensor_spec *spec, uint64_t seed, int64_t first, size_t n,
                uint16_t *ret);

#endif
