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
 * Registers: sums of two tiles of activations with two of the panel, and these. Macros, as gcc
 * makes names of them.
 */
#define SUM_00 0
#define SUM_01 1
#define SUM_10 2
#define SUM_11 3
#define PANEL_0 4
#define PANEL_1 5
#define TOKENS_0 6
#define TOKENS_1 7
enum { N_TILES = 8 };

/* Shapes for two tiles of activations of m0 and m1 rows. */
TARGET static void configure(int m0, int m1)
{
    struct tile_config c = { .palette = 1 };
    const int rows[N_TILES] = { m0, m0, m1, m1, TILE_SIDE, TILE_SIDE, m0, m1 };

    for (int i = 0; i < N_TILES; i++) {
        c.rows[i] = (uint8_t)rows[i];
        c.row_bytes[i] = LINE;
    }
    __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc 12 does not know what is read */
    _tile_loadconfig(&c);
}

/* What goes between two tile instructions of step s: half a tile of the next step into the first
 * level, and 1 / n_parts of what this step shall fetch for the next panel. */
INLINE void fetch(const char *next, struct ahead ahead, size_t n_steps, size_t s, int part,
                  int n_parts)
{
    enum { HALF = TILE_SIDE / 2 * LINE };

    UNROLL
    for (int i = 0; i < HALF; i += LINE)
        __builtin_prefetch(next + i, 0, 3);
    if (ahead.panel)
        fetch_part(ahead, n_steps, s, part, n_parts);
}

/*
 * Both loops below fetch their own next step, and all fetching is spread over the step. A core that
 * runs another thread beside this one (of another guest of the host, for one) takes three times as
 * long for a tile instruction that waits for the second level, and as many follow each other: with
 * this, 64 rows by a panel take 118 ns a KB of weights there, not 226, and 83, not 93, on a core of
 * its own (Xeon, one thread, weights from memory).
 */

/* A tile of m rows of activations times a panel. */
INLINE void multiply_one(const char *w, size_t n_steps, const char *x, size_t m, float *ret,
                         struct ahead ahead)
{
    const size_t half = STEP_BYTES / 4;

    _tile_zero(SUM_00);
    _tile_zero(SUM_01);
    for (size_t s = 0; s < n_steps; s++) {
        const char *panel = w, *tokens = x;

        w += STEP_BYTES;
        x += m * LINE;
        _tile_loadd(PANEL_0, panel, LINE);
        fetch(w, ahead, n_steps, s, 0, 6);
        _tile_loadd(PANEL_1, panel + 2 * half, LINE);
        fetch(w + half, ahead, n_steps, s, 1, 6);
        _tile_loadd(TOKENS_0, tokens, LINE);
        fetch(x, ahead, n_steps, s, 2, 6);
        _tile_dpbf16ps(SUM_00, TOKENS_0, PANEL_0);
        fetch(w + 2 * half, ahead, n_steps, s, 3, 6);
        _tile_dpbf16ps(SUM_01, TOKENS_0, PANEL_1);
        fetch(w + 3 * half, ahead, n_steps, s, 4, 6);
        fetch(x + half, ahead, n_steps, s, 5, 6);
    }
    _tile_stored(SUM_00, ret, SUM_STRIDE);
    _tile_stored(SUM_01, ret + TILE_SIDE, SUM_STRIDE);
}

/* A whole tile of activations and the one after it, of m rows, times a panel. */
INLINE void multiply_two(const char *w, size_t n_steps, const char *x, size_t m, float *ret,
                         struct ahead ahead)
{
    const char *y = x + (size_t)TILE_SIDE * n_steps * LINE;
    const size_t half = STEP_BYTES / 4;

    _tile_zero(SUM_00);
    _tile_zero(SUM_01);
    _tile_zero(SUM_10);
    _tile_zero(SUM_11);
    for (size_t s = 0; s < n_steps; s++) {
        const char *panel = w, *tokens_0 = x, *tokens_1 = y;

        w += STEP_BYTES;
        x += TILE_SIDE * LINE;
        y += m * LINE;
        _tile_loadd(PANEL_0, panel, LINE);
        fetch(w, ahead, n_steps, s, 0, 8);
        _tile_loadd(PANEL_1, panel + 2 * half, LINE);
        fetch(w + half, ahead, n_steps, s, 1, 8);
        _tile_loadd(TOKENS_0, tokens_0, LINE);
        fetch(w + 2 * half, ahead, n_steps, s, 2, 8);
        _tile_loadd(TOKENS_1, tokens_1, LINE);
        fetch(w + 3 * half, ahead, n_steps, s, 3, 8);
        _tile_dpbf16ps(SUM_00, TOKENS_0, PANEL_0);
        fetch(x, ahead, n_steps, s, 4, 8);
        _tile_dpbf16ps(SUM_01, TOKENS_0, PANEL_1);
        fetch(x + half, ahead, n_steps, s, 5, 8);
        _tile_dpbf16ps(SUM_10, TOKENS_1, PANEL_0);
        fetch(y, ahead, n_steps, s, 6, 8);
        _tile_dpbf16ps(SUM_11, TOKENS_1, PANEL_1);
        fetch(y + half, ahead, n_steps, s, 7, 8);
    }
    _tile_stored(SUM_00, ret, SUM_STRIDE);
    _tile_stored(SUM_01, ret + TILE_SIDE, SUM_STRIDE);
    _tile_stored(SUM_10, ret + TILE_SIDE * PANEL_ROWS, SUM_STRIDE);
    _tile_stored(SUM_11, ret + TILE_SIDE * PANEL_ROWS + TILE_SIDE, SUM_STRIDE);
}

TARGET static void in_gemm_amx(const void *panel, size_t n_steps, const void *group, int n,
                               float *ret, struct ahead ahead)
{
    enum { MAX_ROWS = 2 * TILE_SIDE };
    float sums[MAX_ROWS * PANEL_ROWS];
    int n_rows = n * PARTS, shape = 0, every = ahead.every;

    /* each pass over the panel fetches its share */
    ahead.every *= (n_rows + MAX_ROWS - 1) / MAX_ROWS;
    for (int row = 0; row < n_rows; row += MAX_ROWS, ahead.first += every) {
        int m = n_rows - row < MAX_ROWS ? n_rows - row : MAX_ROWS;
        const char *x = (const char *)group + (size_t)row * n_steps * LINE;

        if (m != shape)
            configure(m < TILE_SIDE ? m : TILE_SIDE, m > TILE_SIDE ? m - TILE_SIDE : TILE_SIDE);
        shape = m;
        if (m > TILE_SIDE)
            multiply_two(panel, n_steps, x, (size_t)(m - TILE_SIDE), sums, ahead);
        else
            multiply_one(panel, n_steps, x, (size_t)m, sums, ahead);
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
