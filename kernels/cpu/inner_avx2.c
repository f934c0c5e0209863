/* Inner loops for AVX2 with FMA and F16C (Haswell and later, Zen): 256-bit vectors, 16 registers.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#define INNER_TABLE inner_avx2
#define INNER_NAME "avx2"
#define VL 8
#define TILE_TOKENS 3
#define GEMM_TOKENS 6
#define TARGET __attribute__((target("avx2,fma,f16c")))

#include "kernels/cpu/inner_vec.h"

INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

INLINE __m128 fold(vf a)
{
    return _mm_add_ps(_mm256_castps256_ps128((__m256)a), _mm256_extractf128_ps((__m256)a, 1));
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
    __m128 m = _mm_max_ps(_mm256_castps256_ps128((__m256)a), _mm256_extractf128_ps((__m256)a, 1));

    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

INLINE bool v_any(vw mask)
{
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}

INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

#include "kernels/cpu/inner_body.h"

#else
typedef int no_avx2; /* a file may not be empty */
#endif
