/* Dummy values of a tensor, as weights.h defines them. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "engine/weights.h"
#include "kernels/made.h"

#define STREAM_STEP 0x9e3779b97f4a7c15u /* of splitmix64 */

/* Round to nearest even; v is finite. */
static uint16_t bf16_of(float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof(bits));
    bits += 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

static uint64_t draw(uint64_t stream, int64_t i)
{
    uint64_t state = stream + (uint64_t)i * STREAM_STEP;

    return splitmix64(&state);
}

static float uniform(uint64_t stream, int64_t i)
{
    return (float)(draw(stream, i) >> 40) * 0x1p-24f;
}

static void fill_bias(uint64_t stream, int64_t first, size_t n, uint16_t *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = bf16_of(0.2f * (2 * uniform(stream, first + (int64_t)i) - 1));
}

static void fill_norm(uint64_t stream, int64_t first, size_t n, uint16_t *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = bf16_of(0.5f + uniform(stream, first + (int64_t)i));
}

static uint64_t stream_of(const struct tensor_spec *spec, uint64_t seed)
{
    return splitmix64(&seed) ^ rng_hash(spec->name, strlen(spec->name));
}

bool dummy_is_made(const struct tensor_spec *spec, uint64_t seed, struct made_matrix *ret)
{
    if (spec->role == TENSOR_ROUTER_BIAS || spec->n_dims == 1)
        return false;
    *ret = (struct made_matrix){ .rows = spec->rows,
                                 .cols = spec->cols,
                                 .stream = stream_of(spec, seed),
                                 .scale =
                                     (float)(spec->gain * sqrt(3.0 / (double)spec->cols) / 65536) };
    return true;
}

void dummy_fill(const struct tensor_spec *spec, uint64_t seed, int64_t first, size_t n,
                uint16_t *ret)
{
    const uint64_t stream = stream_of(spec, seed);
    struct made_matrix m;

    if (dummy_is_made(spec, seed, &m))
        for (size_t i = 0; i < n; i++)
            ret[i] = made_value(m.stream, first + (int64_t)i, m.scale);
    else if (spec->role == TENSOR_ROUTER_BIAS)
        fill_bias(stream, first, n, ret);
    else
        fill_norm(stream, first, n, ret);
}
