/*
 * A management library of NVIDIA's that is none: one GPU, "GPU-fake", that draws 250 W by the
 * clock, or as the environment says: FAKE_NVML=noenergy has no energy counter, noinit fails to
 * start.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int rc);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret);
int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *ret_mj);
int nvmlDeviceGetClockInfo(void *d, int type, unsigned *ret_mhz);
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *ret_c);
int nvmlDeviceGetCurrentClocksEventReasons(void *d, unsigned long long *ret_bits);

static int device, n_open;

static int is_set(const char *word)
{
    const char *set = getenv("FAKE_NVML");

    return set && strcmp(set, word) == 0;
}

int nvmlInit_v2(void)
{
    n_open++;
    return is_set("noinit") ? 9 : 0;
}

int nvmlShutdown(void)
{
    n_open--;
    return 0;
}

const char *nvmlErrorString(int rc)
{
    return rc == 9 ? "Driver Not Loaded" : "Not Found";
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret)
{
    *ret = &device;
    return strcmp(uuid, "GPU-fake") == 0 ? 0 : 6;
}

int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *ret_mj)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    *ret_mj = (unsigned long long)((double)t.tv_sec * 250e3 + (double)t.tv_nsec * 250e-6);
    return d != &device || n_open != 1 || is_set("noenergy") ? 3 : 0;
}

int nvmlDeviceGetClockInfo(void *d, int type, unsigned *ret_mhz)
{
    *ret_mhz = type == 1 ? 1980 : type == 2 ? 2619 : 0;
    return d != &device;
}

int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *ret_c)
{
    *ret_c = 45;
    return d != &device || sensor != 0;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *d, unsigned long long *ret_bits)
{
    *ret_bits = 0x24;
    return d != &device;
}
