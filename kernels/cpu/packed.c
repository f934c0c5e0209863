/* Filling panels, and reading a row back. */
#include "kernels/cpu/packed.h"

#include <string.h>

#include "kernels/dtype.h"
#include "kernels/host.h"

enum { PAIRS = PACK_COLS / 2, STEP_WORDS = STEP_BYTES / 4 };

_Static_assert(STEP_WORDS == 2 * PAIRS * TILE_SIDE, "a step is two tiles of pairs");

/* Columns [c, c + 32) of up to 16 rows, filled up with zeros, as words of two columns. */
static void gather(const struct host_matrix *m, int64_t first, int64_t c,
                   uint32_t ret[TILE_SIDE][PAIRS])
{
    size_t n = m->cols - c < PACK_COLS ? (size_t)(m->cols - c) * 2 : sizeof(ret[0]);

    memset(ret, 0, sizeof(ret[0]) * TILE_SIDE);
    for (int r = 0; r < TILE_SIDE && first + r < m->rows; r++)
        memcpy(ret[r], (const char *)host_row(m, first + r) + c * 2, n);
}

void packed_fill(const struct host_matrix *m, int64_t first, int half, void *panel)
{
    uint32_t *tile = (uint32_t *)panel + (size_t)half * PAIRS * TILE_SIDE;
    uint32_t rows[TILE_SIDE][PAIRS];

    for (int64_t c = 0; c < m->cols; c += PACK_COLS, tile += STEP_WORDS) {
        gather(m, first, c, rows);
        for (int p = 0; p < PAIRS; p++)
            for (int r = 0; r < TILE_SIDE; r++)
                tile[p * TILE_SIDE + r] = rows[r][p];
    }
}

void packed_row(const void *packed, int64_t cols, int64_t r, float *ret)
{
    const uint16_t *panel =
        (const uint16_t *)packed + (size_t)(r / PANEL_ROWS) * packed_steps(cols) * (STEP_BYTES / 2);
    const uint16_t *at =
        panel + (size_t)(r % PANEL_ROWS / TILE_SIDE) * (STEP_BYTES / 4) + r % TILE_SIDE * 2;

    for (int64_t c = 0; c < cols; c++)
        ret[c] = bf16_to_f32(
            at[c / PACK_COLS * (STEP_BYTES / 2) + c % PACK_COLS / 2 * PANEL_ROWS + c % 2]);
}
