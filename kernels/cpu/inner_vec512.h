/*
 * What inner_body.h wants, in AVX-512 (F, BW, DQ, VL: Skylake-SP and later, Zen 4): 512-bit
 * vectors, 32 registers.
 *
 * Included by files that defined TARGET. No include guard, like the headers around it.
 */
#include <immintrin.h>

#define VL 16
#define TILE_TOKENS 6
#define GEMM_TOKENS 12
#define TARGET512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"

#include "kernels/cpu/inner_vec.h"

INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

INLINE __m128 fold(vf a)
{
    __m256 s =
        _mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1));

    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

INLINE void v_store_sums4(float *ret, vf a, vf b, vf c, vf d)
{
    __m128 ab = _mm_hadd_ps(fold(a), fold(b)), cd = _mm_hadd_ps(fold(c), fold(d));

    _mm_storeu_ps(ret, _mm_hadd_ps(ab, cd));
}

/* The same order of additions. */
INLINE float v_sum(vf a)
{
    __m128 s = fold(a);

    s = _mm_hadd_ps(s, s);
    return _mm_cvtss_f32(_mm_hadd_ps(s, s));
}

INLINE float v_max(vf a)
{
    return _mm512_reduce_max_ps((__m512)a);
}

INLINE bool v_any(vw mask)
{
    return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask);
}

INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
