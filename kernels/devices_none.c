/* A build without CUDA knows no accelerators. */
#include "kernels/devices.h"

bool gpu_is_built(void)
{
    return false;
}

enum status gpu_list(struct gpu_device *ret, size_t cap, size_t *ret_n, struct error *err)
{
    (void)ret;
    (void)cap;
    (void)err;
    *ret_n = 0;
    return ST_OK;
}

enum status gpu_memory_rates(double *ret_read, double *ret_copy, struct error *err)
{
    (void)ret_read;
    (void)ret_copy;
    return error_set(err, ST_UNSUPPORTED, "this build knows no GPUs");
}

enum status gpu_layer_time(const struct gpu_experts *e, const struct route_params *route,
                           uint64_t seed, int n_samples, struct gpu_layer_samples *ret,
                           struct error *err)
{
    (void)e;
    (void)route;
    (void)seed;
    (void)n_samples;
    (void)ret;
    return error_set(err, ST_UNSUPPORTED, "this build knows no GPUs");
}
