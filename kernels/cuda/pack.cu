/* Making packed weights on the device: pack.cuh. Not fast, only memory-bound: runs once a matrix.
 */
#include "kernels/cuda/pack.cuh"

#define THREADS 256

/*
 * Each thread makes the 16 bytes of one lane (pack_lane_origin()): two runs of 4 elements, 8 rows
 * apart. The unit of a grid-stride loop is one lane of one fragment.
 *   src      (n_rows, cols); with src_up, gate and up of n_rows rows each
 *   n_units  lanes to make, whole tiles
 */
static __global__ void pack_kernel(const uint16_t *src, const uint16_t *src_up, int64_t n_rows,
                                   int64_t cols, int64_t n_units, uint4 *dst)
{
    const int64_t k_tiles = pack_k_tiles(cols);
    int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    for (; unit < n_units; unit += (int64_t)gridDim.x * THREADS) {
        uint16_t v[PACK_LANE_ELEMS];
        int64_t row, col;

        pack_lane_origin(unit, k_tiles, &row, &col);
        for (int j = 0; j < PACK_LANE_ELEMS; j++) {
            int64_t r = row + 8 * (j / 2 & 1), c = col + 2 * (j / 4) + j % 2;
            const uint16_t *from = src;
            int is_up = 0;

            if (src_up) {
                r = pack_pair_source(r, &is_up);
                from = is_up ? src_up : src;
            }
            v[j] = r < n_rows && c < cols ? from[r * cols + c] : (uint16_t)0;
        }
        dst[unit] = make_uint4(v[0] | (uint32_t)v[1] << 16, v[2] | (uint32_t)v[3] << 16,
                               v[4] | (uint32_t)v[5] << 16, v[6] | (uint32_t)v[7] << 16);
    }
}

static cudaError_t launch(const void *src, const void *src_up, int64_t n_rows, int64_t cols,
                          int64_t n_elems, void *dst, cudaStream_t stream)
{
    int64_t n_units = n_elems / PACK_LANE_ELEMS, n_blocks = (n_units + THREADS - 1) / THREADS;

    if (n_units == 0)
        return cudaSuccess;
    pack_kernel<<<(unsigned)(n_blocks < 65536 ? n_blocks : 65536), THREADS, 0, stream>>>(
        (const uint16_t *)src, (const uint16_t *)src_up, n_rows, cols, n_units, (uint4 *)dst);
    return cudaGetLastError();
}

cudaError_t pack_rows_launch(const void *src, int64_t row0, int64_t n_rows, int64_t cols, void *dst,
                             cudaStream_t stream)
{
    uint16_t *first = (uint16_t *)dst + pack_elems(row0, cols); /* row0: whole row tiles */

    return launch(src, NULL, n_rows, cols, pack_elems(n_rows, cols), first, stream);
}

cudaError_t pack_pair_launch(const void *gate, const void *up, int64_t d_ff, int64_t d_model,
                             void *dst, cudaStream_t stream)
{
    return launch(gate, up, d_ff, d_model, pack_elems(pack_pair_rows(d_ff), d_model), dst, stream);
}
