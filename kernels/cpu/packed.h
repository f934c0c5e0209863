/*
 * How the cpu backend keeps bf16 matrices: panels, one layout for every instruction set.
 *
 *   panel   PANEL_ROWS (32) rows of the matrix, all its columns; panels follow each other
 *   step    PACK_COLS (32) columns of a panel, 2 KB: two tiles of 16 rows, one after the other
 *   tile    16 pairs of columns by 16 rows by the 2 columns of the pair, 1 KB
 *
 * so element (r, c) is bf16 number
 *
 *   ((r / 32 * n_steps + c / 32) * 2 + r % 32 / 16) * 512 + c % 32 / 2 * 32 + r % 16 * 2 + c % 2
 *
 * with n_steps = ceil(cols / 32). Rows and columns that the matrix does not have are zero. A tile
 * is what AMX wants as its second operand, one 64-byte line of it (a pair of columns of 16 rows)
 * what vdpbf16ps wants, and two shifts make floats of it; a thread that multiplies a panel reads
 * memory in one run.
 *
 * The experts of a layer lie in one block, an expert after the other: first gate and up as one
 * matrix whose panels are 16 rows of gate above the same 16 rows of up, so that both products of
 * a hidden unit come out of one panel; then down.
 */
#ifndef KERNELS_CPU_PACKED_H
#define KERNELS_CPU_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { TILE_SIDE = 16, PANEL_ROWS = 32, PACK_COLS = 32, STEP_BYTES = PANEL_ROWS * PACK_COLS * 2 };

/* Steps of a panel of a matrix with that many columns; panels of that many rows. */
static inline size_t packed_steps(int64_t cols)
{
    return ((size_t)cols + PACK_COLS - 1) / PACK_COLS;
}

static inline size_t packed_panels(int64_t rows)
{
    return ((size_t)rows + PANEL_ROWS - 1) / PANEL_ROWS;
}

static inline size_t packed_bytes(int64_t rows, int64_t cols)
{
    return packed_panels(rows) * packed_steps(cols) * STEP_BYTES;
}

/* Tile column `half` (0 or 1) of a panel from rows first .. first + 15 of m, bf16; those that m
 * does not have become zero. */
void packed_fill(const struct host_matrix *m, int64_t first, int half, void *panel);

/* Row r of a packed matrix as floats. */
void packed_row(const void *packed, int64_t cols, int64_t r, float *ret);

#endif
