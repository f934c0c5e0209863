/*
 * Inner loops of the cpu backend: one table for each instruction set, chosen at open.
 *
 * All tables come from one body (inner_body.h) over vectors of `lanes` floats. They differ in
 * vector width and so in the order of sums: results are the same bits for any number of
 * tokens, rows and threads, but not from one instruction set to another.
 */
#ifndef KERNELS_CPU_INNER_H
#define KERNELS_CPU_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Rows of panel()'s x are padded with zeros to a multiple of 2 * lanes; this is the largest. */
enum { INNER_MAX_PAD = 32 };

struct inner {
    const char *name;
    int lanes;

    /* Bring n floats of x into the order panel() wants beside weights of type t, zeros up to the
     * next multiple of 2 * lanes. Every run of 2 * lanes floats keeps its place, so a row may
     * be packed in pieces that start at such multiples. */
    void (*pack)(const float *x, size_t n, enum dtype t, float *ret);

    /* ret[t * ret_stride + r] = dot(row r of w, x[t]) for n_rows rows that lie row_bytes apart and
     * n_tok packed rows x. A row of w is read from memory once. */
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
};

extern const struct inner inner_generic;
#if defined(__x86_64__)
extern const struct inner inner_avx2, inner_avx512;
#endif

#endif
