/* Inner loops for any CPU: 128-bit vectors, which every 64-bit machine has. */
#define INNER_TABLE inner_generic
#define INNER_NAME "generic"
#define VL 4
#define TILE_TOKENS 3
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

#include "kernels/cpu/inner_body.h"
