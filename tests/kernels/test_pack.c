/* The packed form of weights that the GPU reads: kernels/cuda/pack.h. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "kernels/cuda/pack.h"

static const struct shape {
    int rows, cols;
} shapes[] = { { 64, 256 }, { 128, 512 }, { 1, 1 }, { 65, 257 }, { 33, 320 }, { 200, 96 } };

Test(pack, each_element_has_a_place_of_its_own)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct shape s = shapes[i];
        int64_t n = pack_elems(s.rows, s.cols), k_tiles = pack_k_tiles(s.cols);
        unsigned char *is_taken = calloc((size_t)n, 1);

        cr_assert(is_taken);
        for (int64_t r = 0; r < pack_row_tiles(s.rows) * PACK_ROWS; r++) {
            for (int64_t c = 0; c < pack_row_elems(s.cols); c++) {
                int64_t at = pack_index(r, c, k_tiles);

                cr_assert(at >= 0 && at < n && !is_taken[at], "(%d, %d): %d", (int)r, (int)c,
                          (int)at);
                is_taken[at] = 1;
            }
        }
        free(is_taken);
    }
}

Test(pack, the_inverse_agrees_with_the_index)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct shape s = shapes[i];
        int64_t k_tiles = pack_k_tiles(s.cols), n = pack_elems(s.rows, s.cols);

        for (int64_t unit = 0; unit < n / PACK_LANE_ELEMS; unit++) {
            int64_t row, col;

            pack_lane_origin(unit, k_tiles, &row, &col);
            for (int j = 0; j < PACK_LANE_ELEMS; j++) {
                int reg = j / 2;
                int64_t at = pack_index(row + 8 * (reg & 1), col + 2 * (reg >> 1) + j % 2, k_tiles);

                cr_assert_eq(at, unit * PACK_LANE_ELEMS + j);
            }
        }
    }
}

/*
 * Products taken fragment by fragment with the operand layouts of mma.m16n8k16 as PTX defines them
 * (A: a0 row g columns 2t, 2t+1; a1 row g + 8; a2 columns 2t + 8, 2t + 9; a3 both; B: b0 rows 2t,
 * 2t + 1 of column g, b1 rows 2t + 8, 2t + 9), the B registers filled from 16 bytes in a row: must
 * be the plain product.
 */
Test(pack, fragments_multiply_to_the_plain_product)
{
    enum { ROWS = 128, COLS = 512, TOKENS = 8 };
    static int32_t w[ROWS][COLS], x[TOKENS][COLS], packed[ROWS * COLS];
    static int64_t y[ROWS][TOKENS];

    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLS; c++) {
            w[r][c] = (r * 131 + c * 71) % 251 - 125;
            packed[pack_index(r, c, COLS / PACK_K)] = w[r][c];
        }
    }
    for (int t = 0; t < TOKENS; t++) {
        for (int c = 0; c < COLS; c++)
            x[t][c] = (t * 57 + c * 29) % 239 - 119;
    }
    for (int slice = 0; slice < ROWS / PACK_SLICE_ROWS; slice++) {
        for (int k16 = 0; k16 < COLS / 16; k16++) {
            const int32_t *frag = packed + slice / 4 * (COLS / PACK_K) * PACK_TILE_ELEMS +
                                  k16 / 16 * PACK_TILE_ELEMS + slice % 4 * PACK_SLICE_ELEMS +
                                  k16 % 16 * PACK_FRAG_ELEMS;
            int32_t a[16][16], b[16][TOKENS];

            for (int lane = 0; lane < 32; lane++) {
                int g = lane / 4, t = lane % 4;
                const int32_t *bytes16 = x[g] + k16 / 2 * 32 + 8 * t; /* one load, two fragments */

                for (int reg = 0; reg < 4; reg++) {
                    for (int e = 0; e < 2; e++)
                        a[g + 8 * (reg & 1)][2 * t + 8 * (reg >> 1) + e] =
                            frag[lane * PACK_LANE_ELEMS + reg * 2 + e];
                }
                for (int reg = 0; reg < 2; reg++) {
                    for (int e = 0; e < 2; e++)
                        b[2 * t + 8 * reg + e][g] = bytes16[k16 % 2 * 4 + reg * 2 + e];
                }
            }
            for (int m = 0; m < 16; m++) {
                for (int k = 0; k < 16; k++) {
                    for (int n = 0; n < TOKENS; n++)
                        y[slice * 16 + m][n] += (int64_t)a[m][k] * b[k][n];
                }
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int t = 0; t < TOKENS; t++) {
            int64_t want = 0;

            for (int c = 0; c < COLS; c++)
                want += (int64_t)w[r][c] * x[t][c];
            cr_assert_eq(y[r][t], want, "row %d, token %d", r, t);
        }
    }
}

/* Gate and up of one d_ff row meet in one lane: rows g and g + 8 of a slice. */
Test(pack, gate_and_up_lie_eight_rows_apart)
{
    for (int d_ff = 1; d_ff <= 40; d_ff += 13) {
        int64_t rows = pack_pair_rows(d_ff);
        int n_gate = 0, n_up = 0;

        cr_assert_eq(rows % PACK_SLICE_ROWS, 0);
        for (int64_t row = 0; row < rows; row++) {
            int is_up, partner_is_up;
            int64_t source = pack_pair_source(row, &is_up);

            if (source < d_ff) {
                n_gate += !is_up;
                n_up += is_up;
            }
            if (row % PACK_SLICE_ROWS < 8) {
                cr_assert(!is_up);
                cr_assert_eq(pack_pair_source(row + 8, &partner_is_up), source);
                cr_assert(partner_is_up);
            }
        }
        cr_assert_eq(n_gate, d_ff);
        cr_assert_eq(n_up, d_ff);
    }
}
