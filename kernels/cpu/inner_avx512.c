/* Inner loops for AVX-512 (F, BW, DQ, VL: Skylake-SP and later, Zen 4): 512-bit vectors, 32
 * registers. */
#if defined(__x86_64__)

#include <immintrin.h>

#define INNER_TABLE inner_avx512
#define INNER_NAME "avx512"
#define VL 16
#define TILE_TOKENS 6
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))

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

INLINE vf v_even(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}

INLINE vf v_odd(vf a, vf b)
{
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

#include "kernels/cpu/inner_body.h"

#else
typedef int no_avx512; /* a file may not be empty */
#endif
