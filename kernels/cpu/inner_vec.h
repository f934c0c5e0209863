/*
 * Vectors of VL floats for inner_body.h, by the compiler's vector types (gcc and clang).
 *
 * Included by a file that defined VL and TARGET, the function attribute that turns the
 * instruction set on. No include guard: each instruction set is a file of its own.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/packed.h"

#define INLINE TARGET static inline __attribute__((always_inline))

/* Loops over a tile must vanish for its sums to live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef double vd __attribute__((vector_size(VL * 4))); /* VL / 2 of them */
typedef uint64_t vw __attribute__((vector_size(VL * 4)));

INLINE vf v_load(const float *p)
{
    vf v;

    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE void v_store(float *p, vf v)
{
    memcpy(p, &v, sizeof(v));
}

/* The first min(n, VL) of n values, fill after them. */
INLINE vf v_load_n(const float *p, size_t n, float fill)
{
    float part[VL];

    if (n >= VL)
        return v_load(p);
    for (size_t i = 0; i < VL; i++)
        part[i] = i < n ? p[i] : fill;
    return v_load(part);
}

/* Store the first min(n, VL) values. */
INLINE void v_store_n(float *p, vf v, size_t n)
{
    if (n >= VL)
        v_store(p, v);
    else
        memcpy(p, &v, n * sizeof(*p));
}

/* The lower and the upper half of the lanes as f64. */
INLINE void v_to_f64(vf v, vd *low, vd *high)
{
    typedef float half __attribute__((vector_size(VL * 2)));
    half h[2];

    memcpy(h, &v, sizeof(v));
    *low = __builtin_convertvector(h[0], vd);
    *high = __builtin_convertvector(h[1], vd);
}

/* Sum of all lanes, in order. */
INLINE double v_sum_f64(vd low, vd high)
{
    double sum = 0;

    for (int i = 0; i < VL / 2; i++)
        sum += low[i];
    for (int i = 0; i < VL / 2; i++)
        sum += high[i];
    return sum;
}

INLINE vf v_set(float x)
{
    return x - (vf){ 0 }; /* - keeps the sign of -0 */
}

/* a where mask is all ones, b where it is zero. */
INLINE vf v_select(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* Part `part` of n_parts of one step of the panel to fetch: its streams are
 * n_steps * STEP_BYTES / AHEAD_STREAMS long. */
INLINE void fetch_part(struct ahead a, size_t n_steps, size_t step, int part, int n_parts)
{
    const size_t bytes = STEP_BYTES / AHEAD_STREAMS;
    const char *p = a.panel + step * bytes;

    for (int i = a.first + part * a.every; i < AHEAD_STREAMS; i += n_parts * a.every)
        for (size_t line = 0; line < bytes; line += 64)
            __builtin_prefetch(p + (size_t)i * n_steps * bytes + line, 0, 2); /* second level */
}

INLINE void fetch_ahead(struct ahead a, size_t n_steps, size_t step)
{
    fetch_part(a, n_steps, step, 0, 1);
}
