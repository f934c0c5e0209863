/* Energy by windows: harness/energy.h. */
#include "harness/energy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "kernels/devices.h"

/* $DESBENCH_NVML_UUID names a device where there is none, for tests of what stands on it. */
static bool find_device(const char *backend, char *ret, size_t size)
{
    const char *named = getenv("DESBENCH_NVML_UUID");
    struct gpu_device gpu;
    size_t n = 0;

    if (named && *named) {
        snprintf(ret, size, "%s", named);
        return true;
    }
    if (strcmp(backend, "cuda") != 0 || gpu_list(&gpu, 1, &n, NULL) || !n)
        return false;
    snprintf(ret, size, "%s", gpu.uuid);
    return true;
}

void energy_open(struct energy *e, const char *backend)
{
    struct error err;

    *e = (struct energy){ 0 };
    if (find_device(backend, e->device, sizeof(e->device)) && nvml_open(e->device, &e->nvml, &err))
        log_info("energy is not measured: %s", err.text);
}

void energy_close(struct energy *e)
{
    nvml_close(e->nvml);
    *e = (struct energy){ 0 };
}

void energy_begin(struct energy *e, const char *cell_key)
{
    if (!e->nvml || (e->cell_key && cell_key && strcmp(e->cell_key, cell_key) == 0))
        return;
    e->cell_key = cell_key; /* a window of another cell that was too short is dropped */
    if (!cell_key)
        return;
    e->n_committed = 0;
    e->start_mj = nvml_read(e->nvml).energy_mj;
    e->start_ns = clock_mono_ns();
}

enum status energy_end(struct energy *e, int64_t n_committed, struct store *s, const char *run_id,
                       struct error *err)
{
    int64_t now_ns = clock_mono_ns();
    struct nvml_reading r;
    struct power_row row;
    struct timespec t;
    enum status st;

    if (!e->nvml || !e->cell_key)
        return ST_OK;
    e->n_committed += n_committed;
    if (now_ns - e->start_ns < (int64_t)ENERGY_WINDOW_MS * 1000000)
        return ST_OK;
    r = nvml_read(e->nvml);
    clock_gettime(CLOCK_REALTIME, &t);
    row = (struct power_row){ .run_id = run_id,
                              .cell_key = e->cell_key,
                              .device = e->device,
                              .t_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec,
                              .wall_ns = now_ns - e->start_ns,
                              .n_committed = e->n_committed,
                              .energy_mj =
                                  r.energy_mj < 0 || e->start_mj < 0 || r.energy_mj < e->start_mj
                                      ? -1
                                      : r.energy_mj - e->start_mj,
                              .sm_clock_mhz = r.sm_clock_mhz,
                              .mem_clock_mhz = r.mem_clock_mhz,
                              .temp_c = r.temp_c,
                              .throttle_bits = r.throttle_bits };
    st = store_put_power(s, &row, err);
    e->start_mj = r.energy_mj;
    e->start_ns = now_ns;
    e->n_committed = 0;
    return st;
}
