/*
 * NVML, opened at run time: base/nvml.h.
 *
 * The few functions are declared here, as nvml.h does not come with the driver. Source: NVML API
 * reference, vR580; their names and types have not changed since version 2 of the initialisation.
 */
#include "base/nvml.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2, NVML_TEMPERATURE_GPU = 0 }; /* nvml.h's values */

typedef int nvml_rc; /* 0: fine */
typedef struct nvml_device *nvml_device;

struct nvml {
    void *library;
    nvml_device device;
    nvml_rc (*shutdown)(void); /* NULL: was not initialised */
    const char *(*error_text)(nvml_rc rc);
    /* Each of these may be missing. */
    nvml_rc (*energy)(nvml_device d, unsigned long long *ret_mj);
    nvml_rc (*clock)(nvml_device d, int type, unsigned *ret_mhz);
    nvml_rc (*temperature)(nvml_device d, int sensor, unsigned *ret_c);
    nvml_rc (*throttle)(nvml_device d, unsigned long long *ret_bits);
};

/* The address of a function, put where a pointer to it lies: ISO C has no conversion for that. */
static bool find(const struct nvml *n, const char *name, void *ret)
{
    void *p = dlsym(n->library, name);

    memcpy(ret, &p, sizeof(p));
    return p;
}

static enum status start(struct nvml *n, const char *uuid, struct error *err)
{
    nvml_rc (*init)(void) = NULL, (*shutdown)(void) = NULL;
    nvml_rc (*by_uuid)(const char *uuid, nvml_device *ret) = NULL;
    nvml_rc rc;

    if (!find(n, "nvmlInit_v2", &init) || !find(n, "nvmlShutdown", &shutdown) ||
        !find(n, "nvmlErrorString", &n->error_text) ||
        !find(n, "nvmlDeviceGetHandleByUUID", &by_uuid))
        return error_set(err, ST_UNSUPPORTED, "NVIDIA's management library lacks its functions");
    rc = init();
    if (rc)
        return error_set(err, ST_DEVICE, "NVIDIA's management library fails: %s",
                         n->error_text(rc));
    n->shutdown = shutdown;
    rc = by_uuid(uuid, &n->device);
    if (rc)
        return error_set(err, ST_NOT_FOUND, "NVIDIA's management library knows no GPU '%s': %s",
                         uuid, n->error_text(rc));
    (void)find(n, "nvmlDeviceGetTotalEnergyConsumption", &n->energy);
    (void)find(n, "nvmlDeviceGetClockInfo", &n->clock);
    (void)find(n, "nvmlDeviceGetTemperature", &n->temperature);
    if (!find(n, "nvmlDeviceGetCurrentClocksEventReasons", &n->throttle)) /* its older name */
        (void)find(n, "nvmlDeviceGetCurrentClocksThrottleReasons", &n->throttle);
    return ST_OK;
}

enum status nvml_open(const char *uuid, struct nvml **ret, struct error *err)
{
    const char *path = getenv("DESBENCH_NVML");
    struct nvml *n = calloc(1, sizeof(*n));
    enum status st;

    if (!n)
        return error_set(err, ST_NOMEM, "out of memory opening NVIDIA's management library");
    n->library = dlopen(path && *path ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    st = n->library
             ? start(n, uuid, err)
             : error_set(err, ST_NOT_FOUND, "no management library of NVIDIA's: %s", dlerror());
    if (st)
        nvml_close(n);
    else
        *ret = n;
    return st;
}

void nvml_close(struct nvml *n)
{
    if (!n)
        return;
    if (n->shutdown)
        (void)n->shutdown();
    if (n->library)
        (void)dlclose(n->library);
    free(n);
}

static int64_t read_clock(const struct nvml *n, int type)
{
    unsigned mhz = 0;

    return n->clock && !n->clock(n->device, type, &mhz) ? (int64_t)mhz : -1;
}

struct nvml_reading nvml_read(const struct nvml *n)
{
    struct nvml_reading r = { -1, read_clock(n, NVML_CLOCK_SM), read_clock(n, NVML_CLOCK_MEM), -1,
                              -1 };
    unsigned long long wide = 0;
    unsigned c = 0;

    if (n->energy && !n->energy(n->device, &wide))
        r.energy_mj = (int64_t)wide;
    if (n->temperature && !n->temperature(n->device, NVML_TEMPERATURE_GPU, &c))
        r.temp_c = c;
    if (n->throttle && !n->throttle(n->device, &wide))
        r.throttle_bits = (int64_t)wide;
    return r;
}
