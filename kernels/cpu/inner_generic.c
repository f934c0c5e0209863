/* Inner loops for any CPU: 128-bit vectors, which every 64-bit machine has. */
#include "kernels/dtype.h"

#define INNER_TABLE inner_generic
#define INNER_NAME "generic"
#define VL 4
#define TILE_TOKENS 3
#define GEMM_TOKENS 4
#define TARGET

#include "kernels/cpu/inner_vec.h"

INLINE vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

INLINE float v_sum(vf a)
{
    return (a[0] + a[1]) + (a[2] + a[3]);
}

INLINE void v_store_sums4(float *ret, vf a, vf b, vf c, vf d)
{
    ret[0] = v_sum(a);
    ret[1] = v_sum(b);
    ret[2] = v_sum(c);
    ret[3] = v_sum(d);
}

INLINE float v_max(vf a)
{
    float low = a[0] > a[1] ? a[0] : a[1], high = a[2] > a[3] ? a[2] : a[3];

    return low > high ? low : high;
}

INLINE bool v_any(vw mask)
{
    return mask[0] | mask[1];
}

INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf){ f16_to_f32(p[0]), f16_to_f32(p[1]), f16_to_f32(p[2]), f16_to_f32(p[3]) };
}

#include "kernels/cpu/inner_body.h"
