/*
 * Inside of the cpu op that runs experts: the job, shared by cpu_moe.c and cpu_moe_packed.c.
 */
#ifndef KERNELS_CPU_CPU_MOE_H
#define KERNELS_CPU_CPU_MOE_H

#include "kernels/cpu/cpu.h"

struct moe_job {
    struct cpu *cpu;
    const struct inner *inner;
    const struct experts *e;
    int n_tok, n_active, n_pairs;
    const float *x; /* (n_tok, d_model) */
    float *y;       /* (n_tok, d_model), the result */

    /* In scratch. Pairs of active expert number i are first[i] .. first[i + 1] - 1. */
    int32_t *active; /* (n_active) expert ids, ascending */
    int32_t *first;  /* (n_active + 1) */
    int32_t *token;  /* (n_pairs) */
    float *weight;   /* (n_pairs) */

    /* Of experts as they lie. */
    size_t x_padded, h_padded;      /* floats of a packed row */
    float *packed;                  /* (n_tok, x_padded) */
    float *h;                       /* (n_pairs, h_padded) */
    const float **x_rows, **h_rows; /* (n_pairs) rows of packed and h */

    /* Of packed experts: inputs of gate and up, and of down. An expert's pairs come in groups. */
    size_t x_bytes, h_bytes;       /* of a pair */
    char *prepared_x, *prepared_h; /* (n_pairs) */
};

/* y of all tokens, once pairs are gathered. */
void moe_run_packed(struct moe_job *j);

#endif
