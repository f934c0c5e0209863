/*
 * The packed form of a weight matrix: tiles in the order in which the tensor cores eat them.
 *
 * A product y = W x runs "swapped": W is the A operand of mma.m16n8k16 (16 rows of W, 16 of K), the
 * tokens are its 8 columns. W (rows, cols) is cut into tiles of 64 rows by 256 columns (K); both
 * are padded with zeros. Tiles lie row tile by row tile, K ascending inside one; each is 32 KB in
 * one piece, so one plain bulk copy fetches it and a row tile is one run of memory:
 *
 *     tile (64 rows x 256 K)  = 4 slices, one for each 16 rows                   8 KB each
 *     slice (16 rows x 256 K) = 16 fragments, K ascending                        512 B each
 *     fragment (16 x 16)      = 32 lanes of 16 bytes: registers a0 a1 a2 a3 of that lane
 *
 * Inside each 32 columns K is permuted so that what a lane needs of an activation row for two
 * fragments is 16 bytes in a row: lane 4 g + t, fragment f = 2 p + s (p counts 32-column groups)
 *
 *     register a(i), half e:  row g + 8 (i & 1),  column 32 p + 8 t + 4 s + 2 (i >> 1) + e
 *     B register b(j), half e of the token in column g:       32 p + 8 t + 4 s + 2 j + e
 *
 * so one 16-byte load at column 32 p + 8 t of token g's row is b0 b1 of fragment 2 p, then of
 * 2 p + 1. An order of K changes which products an MMA sums together, not which it sums.
 *
 * The first product of an expert packs gate and up together: slice j holds gate rows 8 j .. 8 j +
 * 7, then up rows 8 j .. 8 j + 7. Accumulators c0 c1 (row g) are then gate, c2 c3 (row g + 8) up,
 * of the same d_ff row 8 j + g and the same tokens: SwiGLU needs no exchange between lanes.
 *
 * Plain C, so that the arithmetic is tested on the host; nvcc takes it for the device too.
 */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define PACK_FN static __host__ __device__ __forceinline__
#else
#define PACK_FN static inline
#endif

#define PACK_ROWS 64       /* rows of a tile */
#define PACK_K 256         /* columns of a tile */
#define PACK_SLICE_ROWS 16 /* rows of a slice */
#define PACK_TILE_ELEMS (PACK_ROWS * PACK_K)
#define PACK_TILE_BYTES (PACK_TILE_ELEMS * 2)
#define PACK_SLICE_ELEMS (PACK_SLICE_ROWS * PACK_K)
#define PACK_SLICE_BYTES (PACK_SLICE_ELEMS * 2)
#define PACK_FRAG_ELEMS 256 /* 16 x 16 */
#define PACK_LANE_ELEMS 8   /* what one lane holds of a fragment: 16 bytes */

/* Tiles that rows rows, or cols columns, take. */
PACK_FN int64_t pack_row_tiles(int64_t rows)
{
    return (rows + PACK_ROWS - 1) / PACK_ROWS;
}

PACK_FN int64_t pack_k_tiles(int64_t cols)
{
    return (cols + PACK_K - 1) / PACK_K;
}

/* Elements of an activation row that stands against packed weights of cols columns: cols rounded up
 * to whole tiles. What is past cols must be zero (0 times NaN is NaN). */
PACK_FN int64_t pack_row_elems(int64_t cols)
{
    return pack_k_tiles(cols) * PACK_K;
}

/* Elements of a packed matrix, padding included. */
PACK_FN int64_t pack_elems(int64_t rows, int64_t cols)
{
    return pack_row_tiles(rows) * pack_k_tiles(cols) * PACK_TILE_ELEMS;
}

/* Rows of gate and up packed together, before padding to whole tiles. */
PACK_FN int64_t pack_pair_rows(int64_t d_ff)
{
    return (d_ff + 7) / 8 * PACK_SLICE_ROWS;
}

/* Where element (row, col) lies in a matrix of k_tiles tiles a row tile. */
PACK_FN int64_t pack_index(int64_t row, int64_t col, int64_t k_tiles)
{
    int64_t tile = row / PACK_ROWS * k_tiles + col / PACK_K;
    int r = (int)(row % PACK_ROWS), k = (int)(col % PACK_K);
    int g = r % 8, upper = r / 8 % 2, t = k % 32 / 8, s = k % 8 / 4, i = k % 4 / 2 * 2 + upper;

    return tile * PACK_TILE_ELEMS + r / PACK_SLICE_ROWS * PACK_SLICE_ELEMS +
           (k / 32 * 2 + s) * PACK_FRAG_ELEMS + (g * 4 + t) * PACK_LANE_ELEMS + i * 2 + k % 2;
}

/*
 * The inverse for the 8 elements of one lane: element 8 * unit + 2 i + e lies at row
 * *ret_row + 8 (i & 1) and column *ret_col + 2 (i >> 1) + e.
 */
PACK_FN void pack_lane_origin(int64_t unit, int64_t k_tiles, int64_t *ret_row, int64_t *ret_col)
{
    int64_t tile = unit / (PACK_TILE_ELEMS / PACK_LANE_ELEMS);
    int in_tile = (int)(unit % (PACK_TILE_ELEMS / PACK_LANE_ELEMS));
    int lane = in_tile % 32, frag = in_tile / 32 % 16, slice = in_tile / 512;

    *ret_row = tile / k_tiles * PACK_ROWS + slice * PACK_SLICE_ROWS + lane / 4;
    *ret_col = tile % k_tiles * PACK_K + frag / 2 * 32 + lane % 4 * 8 + frag % 2 * 4;
}

/* Row of gate (or of up, *ret_is_up) that row row of the pair holds; may be >= d_ff: padding. */
PACK_FN int64_t pack_pair_source(int64_t row, int *ret_is_up)
{
    *ret_is_up = (int)(row % PACK_SLICE_ROWS / 8);
    return row / PACK_SLICE_ROWS * 8 + row % 8;
}

#endif
