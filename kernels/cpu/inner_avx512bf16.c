/*
 * Inner loops for AVX-512 with BF16 (Cooper Lake, Sapphire Rapids, Zen 4): as AVX-512, but for
 * products with packed weights, where vdpbf16ps multiplies pairs of columns.
 *
 * Activations are rounded to bf16. On Sapphire Rapids vdpbf16ps does half the multiply-adds a
 * cycle that f32 FMA does, so this is no faster there; on Zen 4 it does twice as many.
 */
#if defined(__x86_64__)

#define INNER_TABLE inner_avx512bf16
#define INNER_NAME "avx512bf16"
#define TARGET __attribute__((target(TARGET512 ",avx512bf16")))

#include "kernels/cpu/inner_vec512.h"

#define GEMM in_gemm_bf16
#define GEMM_PREPARE in_prepare_bf16
#define GEMM_STEP_BYTES (PACK_COLS * sizeof(uint16_t))

TARGET static void in_prepare_bf16(const float *x, size_t n_cols, size_t step, size_t n_steps,
                                   int i, int n, void *group)
{
    uint16_t *ret = (uint16_t *)group + (step * (size_t)n + (size_t)i) * PACK_COLS;

    (void)n_steps;
    for (size_t c = 0; c < n_cols; c += PACK_COLS, ret += n * PACK_COLS) {
        vf low = v_load_n(x + c, n_cols - c, 0), high = { 0 };
        __m512bh both;

        if (n_cols - c > VL)
            high = v_load_n(x + c + VL, n_cols - c - VL, 0);
        both = _mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
        memcpy(ret, &both, sizeof(both));
    }
}

INLINE vf dot(vf acc, const char *w, uint32_t pair)
{
    __m512i raw = _mm512_loadu_si512(w), v = _mm512_set1_epi32((int)pair);

    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)raw, (__m512bh)v);
}

INLINE void tile_bf16(const char *w, size_t n_steps, const char *x, int n, int tokens, float *ret,
                      struct ahead ahead)
{
    vf acc[2][GEMM_TOKENS];

    UNROLL
    for (int t = 0; t < tokens; t++)
        acc[0][t] = acc[1][t] = (vf){ 0 };
    for (size_t s = 0; s < n_steps; s++, w += STEP_BYTES, x += (size_t)n * GEMM_STEP_BYTES) {
        if (ahead.panel)
            fetch_ahead(ahead, n_steps, s);
        for (int p = 0; p < PACK_COLS / 2; p++) {
            UNROLL
            for (int t = 0; t < tokens; t++) {
                uint32_t pair;

                memcpy(&pair, x + (size_t)t * GEMM_STEP_BYTES + 4 * p, sizeof(pair));
                acc[0][t] = dot(acc[0][t], w + 64 * p, pair);
                acc[1][t] = dot(acc[1][t], w + 64 * p + STEP_BYTES / 2, pair);
            }
        }
    }
    UNROLL
    for (int t = 0; t < tokens; t++) {
        v_store(ret + t * PANEL_ROWS, acc[0][t]);
        v_store(ret + t * PANEL_ROWS + VL, acc[1][t]);
    }
}

TARGET static void in_gemm_bf16(const void *panel, size_t n_steps, const void *group, int n,
                                float *ret, struct ahead ahead)
{
    const char *x = group;
    int t = 0;

    for (; t + 8 <= n; t += 8, ahead.panel = NULL)
        tile_bf16(panel, n_steps, x + (size_t)t * GEMM_STEP_BYTES, n, 8, ret + t * PANEL_ROWS,
                  ahead);
    for (; t + 4 <= n; t += 4, ahead.panel = NULL)
        tile_bf16(panel, n_steps, x + (size_t)t * GEMM_STEP_BYTES, n, 4, ret + t * PANEL_ROWS,
                  ahead);
    for (; t < n; t++, ahead.panel = NULL)
        tile_bf16(panel, n_steps, x + (size_t)t * GEMM_STEP_BYTES, n, 1, ret + t * PANEL_ROWS,
                  ahead);
}

#include "kernels/cpu/inner_body.h"

#else
typedef int no_avx512bf16; /* a file may not be empty */
#endif
