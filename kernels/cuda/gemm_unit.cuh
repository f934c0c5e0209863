/*
 * The rows of up to three matrices (gemm.h) as one list of units, for kernels that deal them out.
 */
#ifndef KERNELS_CUDA_GEMM_UNIT_CUH
#define KERNELS_CUDA_GEMM_UNIT_CUH

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/pack.h"

struct gemm_unit {
    const char *w; /* its slice, or its row tiles */
    float *y;      /* of token 0, row 0 of the unit */
    int rows;      /* of the part: the stride of tokens */
    int n_rows;    /* of the unit that are there */
};

/* Unit u when each has unit_rows rows, a divisor or a multiple of PACK_ROWS. */
static __device__ __forceinline__ struct gemm_unit find_unit(const struct gemm_args &a, int u,
                                                             int unit_rows, int k_tiles)
{
    int part = 0, n = (a.parts[0].rows + unit_rows - 1) / unit_rows;
    struct gemm_unit ret;

#pragma unroll
    for (int i = 1; i < GEMM_MAX_PARTS; i++)
        if (part == i - 1 && i < a.n_parts && u >= n) {
            u -= n;
            part = i;
            n = (a.parts[i].rows + unit_rows - 1) / unit_rows;
        }
    const struct gemm_part *p = &a.parts[part];
    int64_t row = (int64_t)u * unit_rows;

    ret.w = (const char *)p->w + row / PACK_ROWS * k_tiles * PACK_TILE_BYTES +
            row % PACK_ROWS / PACK_SLICE_ROWS * PACK_SLICE_BYTES;
    ret.y = p->y + row;
    ret.rows = p->rows;
    ret.n_rows = (int)(p->rows - row < unit_rows ? p->rows - row : unit_rows);
    return ret;
}

static inline int count_units(const struct gemm_args *a, int unit_rows)
{
    int n = 0;

    for (int i = 0; i < a->n_parts; i++)
        n += (a->parts[i].rows + unit_rows - 1) / unit_rows;
    return n;
}

#endif
