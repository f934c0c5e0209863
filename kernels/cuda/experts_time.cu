/*
 * How long a layer of experts takes: gpu_layer_time() of kernels/devices.h.
 *
 * LAYERS layers of different weights take turns inside one CUDA graph, as in a forward of a model
 * with nothing else in it, launched early: the experts (moe.h), the router (route_time.h), or both.
 * Which experts a token takes is given, or made up: exactly n_active distinct ones in a layer, the
 * busiest some times the mean.
 *
 * Weights are random and never zero. They are written in the packed form directly: which number
 * stands for which element is of no matter here.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/route_time.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/worklist.h"
#include "kernels/deal.h"
#include "kernels/devices.h"

enum {
    LAYERS = TIMED_LAYERS,
    LAUNCHES = 16,
    REPLAYS = 4,
    WARM_UP = 2,
    THREADS = 256,
    READ_STAGES = 6 /* of a tile of weights */
};

struct job {
    struct gpu_experts e;
    int n_sm;
    cudaStream_t stream;
    cudaEvent_t from, to;
    void *dev; /* everything below */
    char *next;
    struct moe_args layers[LAYERS];
    int32_t *ids;
    float *weights, *x;
    struct timed_router router; /* of PART_ROUTER and PART_LAYER */
    bool has_experts;           /* else the router alone */
};

/* ---- weights ------------------------------------------------------------------------------ */

static __device__ __forceinline__ uint32_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(x >> 32);
}

/* n pairs of bf16, uniform over +-scale. */
static __global__ void fill_kernel(uint32_t *p, size_t n, uint64_t seed, float scale)
{
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS) {
        const uint32_t x = mix((seed << 40) + i);

        p[i] = pack_bf16(((int)(x & 0xffff) - 32767.5f) / 32768 * scale,
                         ((int)(x >> 16) - 32767.5f) / 32768 * scale);
    }
}

/* Read what the layer has to read, and nothing else: READ_STAGES tiles under way in each
 * multiprocessor. One thread a block works; gate_up, down: tiles of an expert. */
static __global__ void __launch_bounds__(32)
    read_kernel(const __grid_constant__ struct moe_args a, uint32_t gate_up, uint32_t down)
{
    extern __shared__ __align__(128) char ring[];
    __shared__ uint64_t full[READ_STAGES];
    const uint32_t each = gate_up + down;
    const uint64_t policy = policy_evict_first();
    uint32_t n, slot = 0, turn = 0, n_sent = 0;

    if (threadIdx.x)
        return;
    for (int i = 0; i < READ_STAGES; i++)
        barrier_init(&full[i], 1);
    barrier_init_fence();
    grid_release();
    grid_wait();
    n = (uint32_t)*a.list.n_active * each;
    for (uint32_t i = blockIdx.x; i < n; i += gridDim.x) {
        const size_t e = (size_t)a.list.experts[i / each];
        const uint32_t in = i % each;
        const char *from =
            in < gate_up
                ? (const char *)a.weights.gate_up + (e * gate_up + in) * PACK_TILE_BYTES
                : (const char *)a.weights.down + (e * down + in - gate_up) * PACK_TILE_BYTES;

        if (n_sent >= READ_STAGES)
            barrier_wait(&full[slot], turn ^ 1);
        barrier_expect(&full[slot], PACK_TILE_BYTES);
        bulk_copy(ring + slot * PACK_TILE_BYTES, from, PACK_TILE_BYTES, &full[slot], policy);
        n_sent++;
        if (++slot == READ_STAGES) {
            slot = 0;
            turn ^= 1;
        }
    }
    if (n_sent < READ_STAGES) {
        slot = 0;
        turn = 1;
    }
    for (uint32_t i = 0; i < READ_STAGES && i < n_sent; i++) { /* what is still under way */
        barrier_wait(&full[slot], turn ^ 1);
        if (++slot == READ_STAGES) {
            slot = 0;
            turn ^= 1;
        }
    }
}

/* ---- the job ------------------------------------------------------------------------------ */

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* The next bytes of device memory; before there is any, only *total counts. */
static void *take(struct job *j, size_t bytes, size_t *total)
{
    char *p = j->next;

    *total += aligned(bytes);
    if (p)
        j->next += aligned(bytes);
    return p;
}

static size_t gate_up_bytes(const struct gpu_experts *e)
{
    return (size_t)pack_elems(pack_pair_rows(e->d_ff), e->d_model) * 2;
}

static size_t down_bytes(const struct gpu_experts *e)
{
    return (size_t)pack_elems(e->d_model, e->d_ff) * 2;
}

/* Lay everything out; returns the bytes it takes. */
static size_t lay_out(struct job *j)
{
    const struct gpu_experts *e = &j->e;
    const size_t n_tok = (size_t)e->n_tok, n_slots = n_tok * (size_t)e->top_k;
    const size_t d_model = (size_t)e->d_model, n_exp = (size_t)e->n_exp;
    struct moe_args shared = {};
    size_t total = 0;

    shared.weights.n_exp = e->n_exp;
    shared.weights.d_model = e->d_model;
    shared.weights.d_ff = e->d_ff;
    shared.n_tok = e->n_tok;
    shared.top_k = e->top_k;
    shared.is_fast = e->is_fast;
    (void)moe_work_place(
        (char *)take(j, moe_work_place(NULL, e->n_tok, e->top_k, &shared.weights, NULL), &total),
        e->n_tok, e->top_k, &shared.weights, &shared.work);
    shared.work.ready =
        (uint32_t *)take(j, moe_ready_words(e->n_exp, e->d_model) * sizeof(uint32_t), &total);
    shared.x = (uint16_t *)take(j, gemm_rounded_bytes(e->n_tok, e->d_model), &total);
    shared.y = (float *)take(j, n_tok * d_model * sizeof(float), &total);
    j->ids = (int32_t *)take(j, n_slots * sizeof(int32_t), &total);
    j->weights = (float *)take(j, n_slots * sizeof(float), &total);
    j->x = (float *)take(j, n_tok * d_model * sizeof(float), &total);
    for (int i = 0; i < LAYERS; i++) {
        struct moe_args *a = &j->layers[i];

        *a = shared;
        a->weights.gate_up = take(j, gate_up_bytes(e) * n_exp, &total);
        a->weights.down = take(j, down_bytes(e) * n_exp, &total);
        a->list = worklist_place(take(j, worklist_bytes(e->n_tok, e->top_k, e->n_exp), &total),
                                 e->n_tok, e->top_k, e->n_exp);
    }
    return total;
}

static cudaError_t fill(struct job *j, const void *p, size_t bytes, uint64_t seed, float scale)
{
    fill_kernel<<<j->n_sm * 8, THREADS, 0, j->stream>>>((uint32_t *)p, bytes / 4, seed, scale);
    return cudaGetLastError();
}

/* ids (LAYERS, n_tok, top_k): which experts tokens take. */
static enum status deal_layers(const struct gpu_experts *e, uint64_t seed, int32_t *ids,
                               struct error *err)
{
    struct deal d = {};
    struct rng rng;
    enum status st = ST_OK;

    d.n_exp = e->n_exp;
    d.top_k = e->top_k;
    d.n_tok = e->n_tok;
    d.n_active = e->n_active;
    d.skew = e->skew;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < LAYERS && !st; i++)
        st = deal_experts(&d, &rng, ids + i * (size_t)e->n_tok * (size_t)e->top_k, err);
    return st;
}

/* Weights and list of layer i. */
static cudaError_t fill_layer(struct job *j, const int32_t *ids, int i)
{
    const struct gpu_experts *e = &j->e;
    const struct moe_args *a = &j->layers[i];
    const size_t n_exp = (size_t)e->n_exp, n_slots = (size_t)e->n_tok * (size_t)e->top_k;
    cudaError_t rc;

    rc = fill(j, a->weights.gate_up, gate_up_bytes(e) * n_exp, (uint64_t)(2 * i + 2),
              sqrtf(3.f / (float)e->d_model));
    if (!rc)
        rc = fill(j, a->weights.down, down_bytes(e) * n_exp, (uint64_t)(2 * i + 3),
                  sqrtf(3.f / (float)e->d_ff));
    if (!rc)
        rc = cudaMemcpyAsync(j->ids, ids + (size_t)i * n_slots, n_slots * sizeof(*ids),
                             cudaMemcpyHostToDevice, j->stream);
    if (!rc)
        rc = worklist_launch(j->ids, j->weights, NULL, e->n_tok, e->top_k, e->n_exp, 0, a->list,
                             NULL, j->stream);
    return rc ? rc : cudaStreamSynchronize(j->stream); /* j->ids take the next ones */
}

/* ids: (LAYERS, n_tok, top_k) */
static cudaError_t fill_all(struct job *j, const int32_t *ids)
{
    const struct gpu_experts *e = &j->e;
    const struct moe_args *a = &j->layers[0];
    /* pairs of bf16 make fine f32: the upper one, and more digits */
    cudaError_t rc = fill(j, j->weights, (size_t)e->n_tok * (size_t)e->top_k * 4, 0, 0.25f);

    if (!rc)
        rc = fill(j, j->x, (size_t)e->n_tok * (size_t)e->d_model * 4, 1, 1.7f);
    if (!rc)
        rc = gemm_round(j->x, e->n_tok, e->d_model, (uint16_t *)a->x, j->stream);
    if (!rc)
        rc = cudaMemsetAsync(a->work.ready, 0,
                             moe_ready_words(e->n_exp, e->d_model) * sizeof(uint32_t), j->stream);
    for (int i = 0; i < LAYERS && !rc; i++)
        rc = fill_layer(j, ids, i);
    return rc;
}

/* ---- timing ------------------------------------------------------------------------------- */

enum part { PART_EXPERTS, PART_READ, PART_ROUTER, PART_LAYER };

static cudaError_t enqueue(struct job *j, enum part part, int i)
{
    const struct moe_args *a = &j->layers[i % LAYERS];

    if (part == PART_ROUTER)
        return timed_router_launch(&j->router, i % LAYERS, j->stream);
    if (part == PART_LAYER) {
        struct moe_args routed = *a;
        cudaError_t rc = timed_router_launch(&j->router, i % LAYERS, j->stream);

        routed.x = j->router.h;
        routed.is_placed = j->router.is_placed;
        routed.list = j->router.lists[i % LAYERS];
        return rc ? rc : moe_launch(&routed, true, j->stream);
    }
    if (part == PART_EXPERTS)
        return moe_launch(a, true, j->stream);
    return launch_kernel(read_kernel, dim3((unsigned)j->n_sm), 32, READ_STAGES * PACK_TILE_BYTES,
                         true, j->stream, *a, (uint32_t)(gate_up_bytes(&j->e) / PACK_TILE_BYTES),
                         (uint32_t)(down_bytes(&j->e) / PACK_TILE_BYTES));
}

/* Samples of a part: time of one layer, mean of REPLAYS graphs of n_launches. */
static cudaError_t time_part(struct job *j, enum part part, int n_samples, int64_t *ret_ns)
{
    const int n_launches = j->e.n_tok > 256 ? (int)LAYERS : (int)LAUNCHES;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t rc = cudaStreamBeginCapture(j->stream, cudaStreamCaptureModeThreadLocal), end;

    if (rc)
        return rc;
    for (int i = 0; i < n_launches && !rc; i++)
        rc = enqueue(j, part, i);
    end = cudaStreamEndCapture(j->stream, &graph); /* in either case */
    rc = rc ? rc : end;
    if (!rc)
        rc = cudaGraphInstantiate(&exec, graph, 0);
    for (int n = -WARM_UP; n < n_samples && !rc; n++) {
        float ms = 0;

        rc = cudaEventRecord(j->from, j->stream);
        for (int r = 0; r < REPLAYS && !rc; r++)
            rc = cudaGraphLaunch(exec, j->stream);
        if (!rc)
            rc = cudaEventRecord(j->to, j->stream);
        if (!rc)
            rc = cudaEventSynchronize(j->to);
        if (!rc)
            rc = cudaEventElapsedTime(&ms, j->from, j->to);
        if (n >= 0)
            ret_ns[n] = (int64_t)(ms * 1e6 / (REPLAYS * n_launches));
    }
    if (exec)
        (void)cudaGraphExecDestroy(exec);
    if (graph)
        (void)cudaGraphDestroy(graph);
    return rc;
}

static cudaError_t open_job(struct job *j)
{
    cudaError_t rc = count_sms(&j->n_sm);

    if (!rc)
        rc = allow_shared(read_kernel, READ_STAGES * PACK_TILE_BYTES);
    if (!rc && j->has_experts)
        rc = cudaMalloc(&j->dev, lay_out(j));
    if (rc)
        return rc;
    j->next = (char *)j->dev;
    if (j->has_experts)
        (void)lay_out(j);
    rc = cudaStreamCreateWithFlags(&j->stream, cudaStreamNonBlocking);
    if (!rc)
        rc = cudaEventCreate(&j->from);
    return rc ? rc : cudaEventCreate(&j->to);
}

static void close_job(struct job *j)
{
    if (j->stream)
        (void)cudaStreamSynchronize(j->stream);
    if (j->from)
        (void)cudaEventDestroy(j->from);
    if (j->to)
        (void)cudaEventDestroy(j->to);
    if (j->stream)
        (void)cudaStreamDestroy(j->stream);
    timed_router_close(&j->router);
    (void)cudaFree(j->dev);
}

/* Distinct experts that the router sends tokens to, mean over the layers. */
static cudaError_t count_active(struct job *j, double *ret)
{
    cudaError_t rc = cudaSuccess;
    double sum = 0;

    for (int i = 0; i < LAYERS && !rc; i++) {
        int32_t n = 0;

        rc = timed_router_launch(&j->router, i, j->stream);
        if (!rc)
            rc = cudaMemcpyAsync(&n, j->router.lists[i].n_active, sizeof(n), cudaMemcpyDeviceToHost,
                                 j->stream);
        if (!rc)
            rc = cudaStreamSynchronize(j->stream);
        sum += n;
    }
    *ret = sum / LAYERS;
    return rc;
}

static cudaError_t time_layer(struct job *j, const struct route_params *route, const int32_t *ids,
                              uint64_t seed, int n_samples, struct gpu_layer_samples *ret)
{
    cudaError_t rc = open_job(j);

    if (!rc && j->has_experts)
        rc = fill_all(j, ids);
    if (!rc && route)
        rc = timed_router_open(&j->router, route, j->e.d_model, j->e.n_tok, ids, seed, j->stream);
    if (!rc && route)
        rc = count_active(j, &ret->n_active);
    if (!rc && ret->read_ns)
        rc = time_part(j, PART_READ, n_samples, ret->read_ns);
    if (!rc && ret->experts_ns)
        rc = time_part(j, PART_EXPERTS, n_samples, ret->experts_ns);
    if (!rc && ret->router_ns)
        rc = time_part(j, PART_ROUTER, n_samples, ret->router_ns);
    if (!rc && ret->layer_ns)
        rc = time_part(j, PART_LAYER, n_samples, ret->layer_ns);
    return rc;
}

enum status gpu_layer_time(const struct gpu_experts *e, const struct route_params *route,
                           uint64_t seed, int n_samples, struct gpu_layer_samples *ret,
                           struct error *err)
{
    const size_t n_slots = (size_t)e->n_tok * (size_t)e->top_k;
    int32_t *ids = (int32_t *)malloc(LAYERS * n_slots * sizeof(*ids));
    struct job j = {};
    enum status st = ST_OK;

    j.e = *e;
    j.has_experts = ret->read_ns || ret->experts_ns || ret->layer_ns;
    if (!ids)
        st = error_set(err, ST_NOMEM, "out of memory for %d tokens", e->n_tok);
    if (!st && e->ids)
        memcpy(ids, e->ids, LAYERS * n_slots * sizeof(*ids));
    else if (!st)
        st = deal_layers(e, seed, ids, err);
    if (!st) {
        cudaError_t rc = time_layer(&j, route, ids, seed, n_samples, ret);

        if (rc)
            st = error_set(err, rc == cudaErrorMemoryAllocation ? ST_NOMEM : ST_DEVICE,
                           "cannot time a layer of %d experts: %s", e->n_exp,
                           cudaGetErrorString(rc));
        if (rc == cudaErrorMemoryAllocation)
            (void)cudaGetLastError(); /* it does not stick */
    }
    close_job(&j);
    free(ids);
    return st;
}
