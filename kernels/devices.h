/*
 * Accelerators of this machine, as the driver tells them.
 */
#ifndef KERNELS_DEVICES_H
#define KERNELS_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/route.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_device {
    char name[256];
    char uuid[48]; /* "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as nvidia-smi prints it */
    int64_t memory_bytes;
    int compute_major, compute_minor;    /* 9.0: Hopper */
    int driver_version, runtime_version; /* CUDA's numbers: 13000 is 13.0 */
    int n_sm;                            /* multiprocessors */
    int max_clock_khz;                   /* of these; 0: not told */
};

/* Was this program built with CUDA? */
bool gpu_is_built(void);

/* Devices, at most cap of them, into ret; *ret_n how many. None is ST_OK with 0, also in a build
 * without CUDA or on a machine without a driver. ST_DEVICE: a driver that is there but fails. */
MUST_CHECK enum status gpu_list(struct gpu_device *ret, size_t cap, size_t *ret_n,
                                struct error *err);

/*
 * What the memory of the device that backend cuda takes can do, in bytes per second: read front to
 * back, and copied, bytes read plus bytes written. The best of a few passes over 2 GiB. ST_NOMEM:
 * it has no room for them; ST_UNSUPPORTED: not in this build.
 */
MUST_CHECK enum status gpu_memory_rates(double *ret_read, double *ret_copy, struct error *err);

enum { GPU_TIMED_LAYERS = 4 }; /* that take turns */

/* The routed experts of a layer, and who goes to them, made up to be timed. */
struct gpu_experts {
    int n_exp, top_k, d_model, d_ff;
    int n_tok;
    const int32_t *ids; /* (GPU_TIMED_LAYERS, n_tok, top_k) who goes where, -1: nowhere; the two
                         * below are not read then. NULL: it is made up */
    int n_active; /* distinct experts that the tokens go to: top_k .. n_exp, at most n_tok * top_k
                   */
    double skew;  /* the i-th favourite is taken in proportion to i^-skew */
    bool is_fast; /* KERNEL_FAST */
};

/* (n_samples) nanoseconds of a layer each; NULL: not asked for. */
struct gpu_layer_samples {
    int64_t *read_ns; /* a kernel that reads the weights of the active experts, and nothing else */
    int64_t *experts_ns; /* from the list of who goes where to the sum of their results */
    int64_t *router_ns;  /* from x to that list: norm, product, scores, selection */
    int64_t *layer_ns;   /* both */
    double n_active;     /* filled in with a router: distinct experts that it sends tokens to */
};

/*
 * Time parts of a layer of experts, in bf16 on the device that backend cuda takes. Inside a CUDA
 * graph, several layers of different random weights in turn; a sample is the mean of at least 16
 * layers. route: what the router does; its natural experts are those made up, its scores are of its
 * own. NULL where router_ns and layer_ns are. ST_NOMEM: the device has no room for the layers;
 * ST_UNSUPPORTED: not in this build.
 */
MUST_CHECK enum status gpu_layer_time(const struct gpu_experts *e, const struct route_params *route,
                                      uint64_t seed, int n_samples, struct gpu_layer_samples *ret,
                                      struct error *err);

#ifdef __cplusplus
}
#endif

#endif
