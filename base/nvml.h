/*
 * NVIDIA's management library (NVML): energy, clocks and temperature of a GPU. It comes with the
 * driver and is opened when it is first asked for, so nothing needs it to build or to start.
 */
#ifndef BASE_NVML_H
#define BASE_NVML_H

#include <stdint.h>

#include "base/status.h"

struct nvml;

/*
 * Open the library ($DESBENCH_NVML, or libnvidia-ml.so.1) and find the GPU of a UUID ("GPU-...").
 * *ret is freed by nvml_close(). ST_NOT_FOUND: no such library, or no such GPU in it;
 * ST_UNSUPPORTED: it lacks a function that every NVML since 2018 has; ST_DEVICE: it fails.
 */
MUST_CHECK enum status nvml_open(const char *uuid, struct nvml **ret, struct error *err);
void nvml_close(struct nvml *n); /* accepts NULL */

/* What the GPU tells of itself now; -1: it does not. */
struct nvml_reading {
    int64_t energy_mj; /* since the driver was loaded */
    int64_t sm_clock_mhz, mem_clock_mhz, temp_c;
    int64_t throttle_bits; /* clocks event reasons, nvml.h's nvmlClocksEventReason* */
};
struct nvml_reading nvml_read(const struct nvml *n);

#endif
