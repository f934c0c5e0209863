/*
 * Inner loops of the cpu backend: one table for each instruction set, chosen at open.
 *
 * All tables come from one body (inner_body.h) over vectors of `lanes` floats. They differ in
 * vector width and so in the order of sums: results are the same bits for any number of
 * tokens, rows and threads, but not from one instruction set to another.
 *
 * Products with packed bf16 weights (packed.h) are gemm's. What it does to the activations, and
 * the order of its sums for one (token, row), the same for any number of tokens:
 *
 *   generic, avx2, avx512  f32 as they are; one f32 sum (fused but for generic), columns ascending
 *   avx512bf16             rounded to bf16, as transformers does in a bf16 model; one f32 sum,
 *                          pairs of columns ascending. Of another accuracy, so never chosen unasked
 *   amx                    two bf16 that add up to the f32 but for 2^-17 of it; a sum for each:
 *                          step by step (32 columns), the machine adds 16 products in even and in
 *                          odd columns, then both, then these to the sum; last, both sums
 *
 * The router's scores decide which experts run, so they are products in f32 on all of them.
 */
#ifndef KERNELS_CPU_INNER_H
#define KERNELS_CPU_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Rows of panel()'s x are padded with zeros to a multiple of 2 * lanes; this is the largest. */
enum { INNER_MAX_PAD = 32 };

/* Tokens that a product takes at once, a group. */
enum { GROUP_TOKENS = 32 };

/* What to fetch into the cache while a panel is multiplied: the panel after it, in as many streams
 * as keep the memory busy (a single one does not), or part of them. */
struct ahead {
    const char *panel; /* NULL: nothing */
    int first, every;  /* streams first, first + every, ... of AHEAD_STREAMS */
};
enum { AHEAD_STREAMS = 16 };

/* Products with packed weights. */
struct gemm {
    size_t step_bytes; /* of a token's prepared activations, for PACK_COLS columns */

    /* Bring the columns of token i of a group of n (<= GROUP_TOKENS) into the form run() wants:
     * n_cols floats at x, columns from step * PACK_COLS on, filled up with zeros to whole steps, of
     * n_steps that a row has.
     * The group takes n * n_steps * step_bytes at `group`, aligned to 64 bytes. */
    void (*prepare)(const float *x, size_t n_cols, size_t step, size_t n_steps, int i, int n,
                    void *group);

    /* ret (n, PANEL_ROWS) = a prepared group of n tokens times a panel of n_steps, transposed. */
    void (*run)(const void *panel, size_t n_steps, const void *group, int n, float *ret,
                struct ahead ahead);
};

struct inner {
    const char *name;
    int lanes;
    struct gemm gemm, gemm_f32; /* the latter multiplies f32 with any table */

    /* Copy n floats of x, zeros up to the next multiple of 2 * lanes, for panel(). */
    void (*pack)(const float *x, size_t n, float *ret);

    /* ret[t * ret_stride + r] = dot(row r of w, x[t]) for n_rows rows that lie row_bytes apart and
     * n_tok packed rows x; t is DT_F32 or DT_F16. A row of w is read from memory once. */
    void (*panel)(const void *w, enum dtype t, size_t row_bytes, size_t cols, int n_rows,
                  const float *const *x, int n_tok, float *ret, size_t ret_stride);

    /* o[q * d + i] += sum over j of p[q * p_stride + j] * v[j * v_stride + i], i < d, j < n_keys in
     * ascending order. */
    void (*mix)(const float *p, size_t p_stride, int n_q, const float *v, size_t v_stride,
                int n_keys, float *o, size_t d);

    /* One step of a running softmax: s[0 .. n) are new scores before scaling, a multiple of
     * lanes of them (pad with -inf). They become exp(s * scale - max), *max and *sum are brought
     * up to date, and the factor that what was summed before has to be multiplied by is
     * returned. Start with -inf and 0. */
    float (*soft_step)(float *s, size_t n, float scale, float *max, float *sum);

    void (*scale)(float *x, size_t n, float a);                /* x *= a */
    void (*axpy)(float *y, float a, const float *x, size_t n); /* y += a * x */
    void (*add)(float *x, const float *y, size_t n);           /* x += y */
    void (*silu_mul)(float *g, const float *u, size_t n);      /* g = g / (1 + exp(-g)) * u */
    void (*rms_norm)(const float *x, const float *w, size_t d, float eps, float *ret);
    void (*rotate)(float *x, const float *c, const float *s, size_t half); /* pairs (j, j + half) */
    void (*softmax)(float *z, size_t n);                                   /* in place */
    void (*sigmoid)(float *z, size_t n);                                   /* in place */

    /* Index of the first of the largest values, NaN aside; -1 if there is none. */
    ptrdiff_t (*argmax)(const float *x, size_t n);
    /* Sum of exp(x - max), in f64; a value equal to max counts 1, NaN nothing. */
    double (*sum_exp)(const float *x, size_t n, float max);

    /* Index, from first on, of the next of n tokens whose logit plus temperature times the most
     * that its noise can be (cpu_pick.c) reaches best; n if there is none. key: gumbel_row_key().
     */
    size_t (*next_draw)(const float *logits, size_t first, size_t n, uint64_t key,
                        double temperature, double best);
};

extern const struct inner inner_generic;
#if defined(__x86_64__)
extern const struct inner inner_avx2, inner_avx512, inner_avx512bf16, inner_amx;
#endif

#endif
