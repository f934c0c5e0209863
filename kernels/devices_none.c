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
