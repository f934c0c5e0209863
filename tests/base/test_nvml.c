/* NVIDIA's management library, against one made up for it (fake_nvml.c). */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nvml.h"

static struct error err;

static enum status open_fake(const char *uuid, const char *how, struct nvml **ret)
{
    cr_assert_not_null(getenv("DESBENCH_FAKE_NVML"), "DESBENCH_FAKE_NVML is not set");
    setenv("DESBENCH_NVML", getenv("DESBENCH_FAKE_NVML"), 1);
    setenv("FAKE_NVML", how, 1);
    return nvml_open(uuid, ret, &err);
}

Test(nvml, a_device_tells_energy_clocks_temperature_and_what_slows_it)
{
    struct nvml *n = NULL;
    struct nvml_reading a, b;

    cr_assert_eq(open_fake("GPU-fake", "", &n), ST_OK, "%s", err.text);
    a = nvml_read(n);
    usleep(100000);
    b = nvml_read(n);
    cr_assert_geq(b.energy_mj - a.energy_mj, 24000);
    cr_assert_lt(b.energy_mj - a.energy_mj, 2500000);
    cr_assert_eq(a.sm_clock_mhz, 1980);
    cr_assert_eq(a.mem_clock_mhz, 2619);
    cr_assert_eq(a.temp_c, 45);
    cr_assert_eq(a.throttle_bits, 0x24);
    nvml_close(n);
    nvml_close(NULL);
}

Test(nvml, what_a_device_does_not_have_is_not_zero)
{
    struct nvml *n = NULL;

    cr_assert_eq(open_fake("GPU-fake", "noenergy", &n), ST_OK, "%s", err.text);
    cr_assert_eq(nvml_read(n).energy_mj, -1);
    cr_assert_eq(nvml_read(n).temp_c, 45);
    nvml_close(n);
}

Test(nvml, failures_say_what_is_missing)
{
    struct nvml *n = NULL;

    cr_assert_eq(open_fake("GPU-other", "", &n), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "'GPU-other'"), "%s", err.text);
    cr_assert_eq(open_fake("GPU-fake", "noinit", &n), ST_DEVICE);
    cr_assert(strstr(err.text, "Driver Not Loaded"), "%s", err.text);
    setenv("DESBENCH_NVML", "/nowhere/libnvidia-ml.so.1", 1);
    cr_assert_eq(nvml_open("GPU-fake", &n, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "/nowhere/"), "%s", err.text);
    setenv("DESBENCH_NVML", "libm.so.6", 1);
    cr_assert_eq(nvml_open("GPU-fake", &n, &err), ST_UNSUPPORTED);
    cr_assert_null(n);
}
