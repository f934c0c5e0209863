/* Tiles of activations, of rows: gemm_fast.h, gemm_tile.cuh. */
#include "kernels/cuda/gemm_tile.cuh"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/wgmma.cuh"

#define TILE_THREADS 256

/* Columns col .. col + 7 of a token; zeros where there are none. ld: of a row in elements. */
static __device__ __forceinline__ uint4 load8(const uint16_t *x, int64_t token, int col, int cols)
{
    (void)cols;
    return __ldcg((const uint4 *)(x + token * pack_row_elems(cols) + col));
}

static __device__ __forceinline__ uint4 load8(const float *x, int64_t token, int col, int cols)
{
    const float *from = x + token * cols + col;
    float v[8];

    if (cols % 4 == 0 && col + 8 <= cols) {
        const float4 lo = __ldcg((const float4 *)from), hi = __ldcg((const float4 *)from + 1);

        return make_uint4(pack_bf16(lo.x, lo.y), pack_bf16(lo.z, lo.w), pack_bf16(hi.x, hi.y),
                          pack_bf16(hi.z, hi.w));
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = col + i < cols ? from[i] : 0;
    return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                      pack_bf16(v[6], v[7]));
}

/* Any grid. A thread makes 32 columns of a token: 8 lanes a row of atoms, 4 of these at a time. */
template <typename T>
static __global__ void __launch_bounds__(TILE_THREADS)
    tile_kernel(const T *x, int n_tok, int cols, char *ret)
{
    const int64_t n_octets = tile_octets(n_tok);
    const int n_groups = (int)(pack_row_elems(cols) / 32);
    const int64_t n = n_octets * n_groups * TILE_OCTET;

    grid_release();
    grid_wait();
    for (int64_t i = (int64_t)blockIdx.x * TILE_THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * TILE_THREADS) {
        const int in_octet = (int)(i % TILE_OCTET), group = (int)(i / TILE_OCTET % n_groups);
        const int64_t octet = i / TILE_OCTET / n_groups, token = octet * TILE_OCTET + in_octet;
        char *atom = ret + ((group / 2) * n_octets + octet) * TILE_ATOM_BYTES;
        uint4 v[4] = {};

        if (token < n_tok)
#pragma unroll
            for (int t = 0; t < 4; t++)
                v[t] = load8(x, token, group * 32 + t * 8, cols);
        /* the words j of the four are the pair of columns that B has side by side */
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4)) =
            make_uint4(v[0].x, v[1].x, v[2].x, v[3].x);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 1)) =
            make_uint4(v[0].y, v[1].y, v[2].y, v[3].y);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 2)) =
            make_uint4(v[0].z, v[1].z, v[2].z, v[3].z);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 3)) =
            make_uint4(v[0].w, v[1].w, v[2].w, v[3].w);
    }
}

size_t gemm_fast_tiled_bytes(int n_tok, int cols)
{
    return (size_t)tile_octets(n_tok) * TILE_OCTET * (size_t)pack_row_elems(cols) * 2;
}

template <typename T>
static cudaError_t launch_tile(const T *x, int n_tok, int cols, void *ret, cudaStream_t stream)
{
    const int64_t n = tile_octets(n_tok) * TILE_OCTET * (pack_row_elems(cols) / 32);
    const int64_t n_blocks = (n + TILE_THREADS - 1) / TILE_THREADS;

    if (!n_tok)
        return cudaSuccess;
    return launch_kernel(tile_kernel<T>, dim3((unsigned)(n_blocks < 65536 ? n_blocks : 65536)),
                         TILE_THREADS, 0, true, stream, x, n_tok, cols, (char *)ret);
}

cudaError_t gemm_fast_tile(const float *x, int n_tok, int cols, void *ret, cudaStream_t stream)
{
    return launch_tile(x, n_tok, cols, ret, stream);
}

cudaError_t gemm_fast_tile_rounded(const uint16_t *x, int n_tok, int cols, void *ret,
                                   cudaStream_t stream)
{
    return launch_tile(x, n_tok, cols, ret, stream);
}
