/*
 * Inner loops for AMX (Sapphire Rapids and later): as AVX-512, but for products with packed
 * weights, where tdpbf16ps multiplies tiles of 16 tokens by 32 columns with such of 32 columns by
 * 16 rows.
 *
 * An activation goes in as two bf16, itself rounded and what that leaves, rounded: each a row of
 * its own, with a sum of its own; the two sums are added at the end. What is lost is below 2^-17 of
 * an activation. Above 3.39e38 it counts as infinity, and parts below 2^-126 as 0.
 *
 * A group of n tokens is 2 n such rows in tiles of up to 16: a tile after the other, within it
 * step by step, 64 bytes of a row after the other.
 *
 * Two parts, not three, which would be exact but half as much work again; one part alone is bf16
 * rounding, 512 times the error.
 */
#if defined(__x86_64__)

#define INNER_TABLE inner_amx
#define INNER_NAME "amx"
#define TARGET __attribute__((target(TARGET512 ",avx512bf16,amx-tile,amx-bf16")))

#include "kernels/cpu/inner_vec512.h"

#define GEMM in_gemm_amx
#define GEMM_PREPARE in_prepare_amx
#define GEMM_STEP_BYTES ((size_t)PARTS * LINE)

enum { PARTS = 2, LINE = 64, SUM_STRIDE = PANEL_ROWS * 4 };

/* The 32 floats in low and high, rounded; what that leaves is put in their place, 0 where it makes
 * no sense. */
INLINE __m512i round_off(__m512 *low, __m512 *high)
{
    __m512i all = (__m512i)_mm512_cvtne2ps_pbh(*high, *low), exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 is_finite = _mm512_cmpneq_epi16_mask(_mm512_and_si512(all, exponent), exponent);
    __m512i l = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(all));
    __m512i h = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(all, 1));

    *low = _mm512_maskz_sub_ps((__mmask16)is_finite, *low,
                               _mm512_castsi512_ps(_mm512_slli_epi32(l, 16)));
    *high = _mm512_maskz_sub_ps((__mmask16)(is_finite >> 16), *high,
                                _mm512_castsi512_ps(_mm512_slli_epi32(h, 16)));
    return all;
}

TARGET static void in_prepare_amx(const float *x, size_t n_cols, size_t step, size_t n_steps, int i,
                                  int n, void *group)
{
    int row = i * PARTS, tile = row / TILE_SIDE, left = n * PARTS - tile * TILE_SIDE;
    size_t m = left < TILE_SIDE ? (size_t)left : TILE_SIDE; /* rows of the tile */
    char *ret = (char *)group + (size_t)tile * TILE_SIDE * n_steps * LINE + step * m * LINE +
                (size_t)(row % TILE_SIDE) * LINE;

    for (size_t c = 0; c < n_cols; c += PACK_COLS, ret += m * LINE) {
        __m512 low = (__m512)v_load_n(x + c, n_cols - c, 0), high = _mm512_setzero_ps();

        if (n_cols - c > VL)
            high = (__m512)v_load_n(x + c + VL, n_cols - c - VL, 0);
        for (int part = 0; part < PARTS; part++)
            _mm512_storeu_si512(ret + part * LINE, round_off(&low, &high));
    }
}

_Static_assert(TILE_SIDE % PARTS == 0, "a token's rows lie in one tile");

/* What LDTILECFG reads. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as the machine has it");

/*
 * Registers: two sums, a tile of activations, two tiles of the panel. Macros, as gcc makes names of
 * them. Two tiles of activations and four sums would do the same with fewer loads, but use all
 * eight registers: where the machine then has none left to rename them to, that takes twice as long
 * (34 against 17.5 ns a tdpbf16ps on a Xeon of 2 cores; 17.5 is 13.6 GB/s of weights at 32 tokens).
 */
#define SUM_0 0
#define SUM_1 1
#define TOKENS 2
#define PANEL_0 3
#define PANEL_1 4
enum { N_TILES = 5 };

/* Shapes for m rows of activations. */
TARGET static void configure(int m)
{
    struct tile_config c = { .palette = 1 };
    const int rows[N_TILES] = { m, m, m, TILE_SIDE, TILE_SIDE };

    for (int i = 0; i < N_TILES; i++) {
        c.rows[i] = (uint8_t)rows[i];
        c.row_bytes[i] = LINE;
    }
    __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc 12 does not know what is read */
    _tile_loadconfig(&c);
}

/* A tile of activations, of m rows, times a panel. */
INLINE void multiply(const char *w, size_t n_steps, const char *x, size_t m, float *ret,
                     struct ahead ahead)
{
    _tile_zero(SUM_0);
    _tile_zero(SUM_1);
    for (size_t s = 0; s < n_steps; s++, w += STEP_BYTES, x += m * LINE) {
        _tile_loadd(TOKENS, x, LINE);
        _tile_loadd(PANEL_0, w, LINE);
        _tile_dpbf16ps(SUM_0, TOKENS, PANEL_0);
        _tile_loadd(PANEL_1, w + STEP_BYTES / 2, LINE);
        _tile_dpbf16ps(SUM_1, TOKENS, PANEL_1);
        if (ahead.panel)
            fetch_ahead(ahead, n_steps, s);
    }
    _tile_stored(SUM_0, ret, SUM_STRIDE);
    _tile_stored(SUM_1, ret + TILE_SIDE, SUM_STRIDE);
}

TARGET static void in_gemm_amx(const void *panel, size_t n_steps, const void *group, int n,
                               float *ret, struct ahead ahead)
{
    float sums[TILE_SIDE * PANEL_ROWS];
    int n_rows = n * PARTS, shape = 0, every = ahead.every;

    /* each tile of activations fetches its share */
    ahead.every *= (n_rows + TILE_SIDE - 1) / TILE_SIDE;
    for (int row = 0; row < n_rows; row += TILE_SIDE, ahead.first += every) {
        int m = n_rows - row < TILE_SIDE ? n_rows - row : TILE_SIDE;

        if (m != shape)
            configure(m);
        shape = m;
        multiply(panel, n_steps, (const char *)group + (size_t)row * n_steps * LINE, (size_t)m,
                 sums, ahead);
        for (int r = 0; r < m; r += PARTS, ret += PANEL_ROWS) {
            const float *s = sums + r * PANEL_ROWS;

            for (int i = 0; i < PANEL_ROWS; i += VL)
                v_store(ret + i, v_load(s + i) + v_load(s + PANEL_ROWS + i));
        }
    }
    _tile_release();
}

#include "kernels/cpu/inner_body.h"

#else
typedef int no_amx; /* a file may not be empty */
#endif
