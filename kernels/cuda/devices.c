/* Accelerators through the CUDA runtime, linked statically: the program starts without a driver. */
#include "kernels/devices.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

bool gpu_is_built(void)
{
    return true;
}

/* 8-4-4-4-12 hex digits. */
static void format_uuid(const cudaUUID_t *u, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "GPU-");

    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%02x",
                              i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                              (unsigned char)u->bytes[i]);
}

enum status gpu_list(struct gpu_device *ret, size_t cap, size_t *ret_n, struct error *err)
{
    int n = 0, driver = 0, runtime = 0;
    cudaError_t rc;

    *ret_n = 0;
    rc = cudaGetDeviceCount(&n);
    if (rc == cudaErrorNoDevice || rc == cudaErrorInsufficientDriver)
        return ST_OK; /* the latter is what a machine without any driver answers */
    if (rc == cudaSuccess)
        rc = cudaDriverGetVersion(&driver);
    if (rc == cudaSuccess)
        rc = cudaRuntimeGetVersion(&runtime);
    for (int i = 0; rc == cudaSuccess && i < n && (size_t)i < cap; i++) {
        struct cudaDeviceProp p;

        rc = cudaGetDeviceProperties(&p, i);
        if (rc != cudaSuccess)
            break;
        ret[i] = (struct gpu_device){ .memory_bytes = (int64_t)p.totalGlobalMem,
                                      .compute_major = p.major,
                                      .compute_minor = p.minor,
                                      .driver_version = driver,
                                      .runtime_version = runtime,
                                      .n_sm = p.multiProcessorCount };
        rc = cudaDeviceGetAttribute(&ret[i].max_clock_khz, cudaDevAttrClockRate, i);
        if (rc != cudaSuccess)
            break;
        snprintf(ret[i].name, sizeof(ret[i].name), "%s", p.name);
        format_uuid(&p.uuid, ret[i].uuid, sizeof(ret[i].uuid));
        *ret_n = (size_t)i + 1;
    }
    if (rc != cudaSuccess)
        return error_set(err, ST_DEVICE, "cannot list GPUs: %s", cudaGetErrorString(rc));
    return ST_OK;
}
