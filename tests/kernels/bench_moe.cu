/*
 * Speed and correctness of the experts' kernels (kernels/cuda/moe.h) alone, on a machine that has a
 * GPU and nothing else. Prints the bandwidth of a copy and of reading first, then for each shape,
 * number of tokens and number of active experts: microseconds, GB/s of unique expert bytes, percent
 * of a kernel that reads the same bytes and does nothing else.
 *
 * Weights are pseudo-random, computed from their place, so that the host can compute any of them
 * again; they rotate over LAYERS layers, together far larger than the cache. Exits 1 if a result is
 * wrong.
 *
 *      bench_moe [--all | --quick | --check [--tiles]]
 * --quick: fewer points; --check: small shapes only; --tiles: not the slices' kernel
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe.cuh"
#include "kernels/cuda/pack.cuh"

#ifdef MOE_ABLATIONS
namespace no_products
{
#define MOE_ABLATE 1
#include "kernels/cuda/moe_slices.cu"
#undef MOE_ABLATE
} // namespace no_products
#endif

enum { LAYERS = 4, GRAPH_LAUNCHES = 16, SAMPLES = 9, REPLAYS = 6, TOP_K = 8 };

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t rc_ = (call);                                                                  \
        if (rc_ != cudaSuccess) {                                                                  \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                          \
                    cudaGetErrorString(rc_));                                                      \
            exit(3);                                                                               \
        }                                                                                          \
    } while (0)

static int n_wrong;
static bool has_slices = true;
static cudaStream_t stream;

/* ---- data ---- */

PACK_FN uint32_t hash(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(x >> 32);
}

/* Element i of a packed matrix, as bf16: scale times a number in [-1, 1) with 8 bits. */
PACK_FN float weight_at(uint64_t seed, uint64_t i, float scale)
{
    return ((int)(hash(seed * 0x1000000000ull + i) >> 24) - 127.5f) / 128 * scale;
}

static __global__ void fill_kernel(uint16_t *w, int64_t n, uint64_t seed, float scale)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * blockDim.x)
        w[i] = (uint16_t)pack_bf16(weight_at(seed, i, scale), 0);
}

static float round_bf16(double v)
{
    float f = (float)v;
    uint32_t u;

    memcpy(&u, &f, 4);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &u, 4);
    return f;
}

/* ---- bandwidth ---- */

/* What every block has to read, and nothing else: the active experts' matrices. */
static __global__ void read_kernel(struct moe_weights w, uint32_t n_gate_up, uint32_t n_down,
                                   const int32_t *experts, const int32_t *n_active, uint32_t *sink)
{
    const uint32_t each = n_gate_up + n_down, n = *n_active * each;
    const uint32_t step = gridDim.x * blockDim.x;
    uint32_t x = 0;

    for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step * 8) {
        uint4 v[8];

#pragma unroll
        for (int j = 0; j < 8; j++) {
            const uint32_t at = i + j * step, in = at % each;
            const size_t e = at < n ? experts[at / each] : 0;
            const uint4 *from = in < n_gate_up
                                    ? (const uint4 *)w.gate_up + e * n_gate_up + in
                                    : (const uint4 *)w.down + e * n_down + (in - n_gate_up);

            v[j] = at < n ? __ldcs(from) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            x ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (x == 0x12345678)
        *sink = x;
}

static void launch_read(const struct moe_args *a, uint32_t *sink)
{
    read_kernel<<<132 * 8, 256, 0, stream>>>(
        a->weights, (uint32_t)(moe_gate_up_bytes(a->weights) / 16),
        (uint32_t)(moe_down_bytes(a->weights) / 16), a->list.experts, a->list.n_active, sink);
    CHECK(cudaGetLastError());
}

static bool takes_slices(const struct moe_args *a)
{
    return has_slices && moe_slices_fit(a, 132);
}

/* ---- timing ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Microseconds of one launch: median over SAMPLES. launch(i) enqueues the i-th of a graph. */
template <typename Launch> static float time_graph(Launch launch, int n_launches, float *ret_min)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t from, to;
    float us[SAMPLES];

    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < n_launches; i++)
        launch(i);
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaGraphLaunch(exec, stream));
    for (int s = 0; s < SAMPLES; s++) {
        CHECK(cudaEventRecord(from, stream));
        for (int r = 0; r < REPLAYS; r++)
            CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaEventRecord(to, stream));
        CHECK(cudaEventSynchronize(to));
        CHECK(cudaEventElapsedTime(&us[s], from, to));
        us[s] *= 1000.f / (REPLAYS * n_launches);
    }
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    qsort(us, SAMPLES, sizeof(us[0]), by_value);
    if (ret_min)
        *ret_min = us[0];
    return us[SAMPLES / 2];
}

/* ---- one layer's shape and its cases ---- */

struct shape {
    const char *name;
    int n_exp, d_ff, d_model;
};

struct bench {
    struct shape shape;
    struct moe_weights w[LAYERS];
    size_t expert_bytes;
    int32_t *ids;   /* (LAYERS, n_tok, TOP_K) device */
    float *weights; /* likewise */
    uint16_t *x;    /* (n_tok, d_model) bf16 */
    float *x32;
    float *y, *y_other;
    void *lists[LAYERS];
    struct moe_args args[LAYERS];
    int32_t *host_ids;
    float *host_weights, *host_x, *host_y;
    int n_tok, n_active;
};

static uint64_t rng_state = 88172645463325252ull;

static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static double rng_unit(void)
{
    return (rng() + 0.5) / 4294967296.0;
}

/* Routing of n_tok tokens to exactly n_active experts, the busiest some times the mean. */
static void make_routing(const struct bench *b, int32_t *ids, float *weights)
{
    const int n_exp = b->shape.n_exp;
    int *pool = (int *)malloc(n_exp * sizeof(*pool)), *count = (int *)calloc(n_exp, sizeof(*count));
    double *popular = (double *)malloc(b->n_active * sizeof(*popular));

    for (int i = 0; i < n_exp; i++)
        pool[i] = i;
    for (int i = 0; i < b->n_active; i++) {
        int j = i + rng() % (n_exp - i), e = pool[j];

        pool[j] = pool[i];
        pool[i] = e;
        popular[i] = pow(i + 1, -0.7);
    }
    for (int t = 0; t < b->n_tok; t++) {
        double total = 0;

        for (int s = 0; s < TOP_K; s++) {
            int choice;
            bool is_new;

            do {
                double sum = 0, at;

                for (int i = 0; i < b->n_active; i++)
                    sum += popular[i];
                at = rng_unit() * sum;
                for (choice = 0; choice < b->n_active - 1 && at >= popular[choice]; choice++)
                    at -= popular[choice];
                is_new = true;
                for (int q = 0; q < s; q++)
                    is_new &= ids[t * TOP_K + q] != pool[choice];
            } while (!is_new);
            ids[t * TOP_K + s] = pool[choice];
            count[pool[choice]]++;
            weights[t * TOP_K + s] = (float)(0.02 + rng_unit());
            total += weights[t * TOP_K + s];
        }
        for (int s = 0; s < TOP_K; s++)
            weights[t * TOP_K + s] /= (float)total;
    }
    for (int i = 0; i < b->n_active; i++) /* whom nobody chose takes a slot of the busiest */
        while (count[pool[i]] == 0) {
            int slot = (int)(rng() % (b->n_tok * TOP_K));

            if (count[ids[slot]] > 1) {
                count[ids[slot]]--;
                ids[slot] = pool[i];
                count[pool[i]]++;
            }
        }
    free(pool);
    free(count);
    free(popular);
}

static void *device_alloc(size_t bytes)
{
    void *ret;

    CHECK(cudaMalloc(&ret, bytes));
    return ret;
}

enum { MAX_TOK = 2048 };

static void bench_open(struct bench *b, const struct shape *shape)
{
    const int64_t gate_up = pack_elems(pack_pair_rows(shape->d_ff), shape->d_model);
    const int64_t down = pack_elems(shape->d_model, shape->d_ff);
    const size_t n_pairs = (size_t)MAX_TOK * TOP_K;

    memset(b, 0, sizeof(*b));
    b->shape = *shape;
    b->expert_bytes = (size_t)(gate_up + down) * 2;
    for (int l = 0; l < LAYERS; l++) {
        struct moe_weights *w = &b->w[l];
        void *a = device_alloc((size_t)gate_up * 2 * shape->n_exp);
        void *d = device_alloc((size_t)down * 2 * shape->n_exp);

        fill_kernel<<<4096, 256, 0, stream>>>((uint16_t *)a, gate_up * shape->n_exp, 2 * l + 1,
                                              sqrtf(3.f / shape->d_model));
        fill_kernel<<<4096, 256, 0, stream>>>((uint16_t *)d, down * shape->n_exp, 2 * l + 2,
                                              sqrtf(3.f / shape->d_ff));
        CHECK(cudaGetLastError());
        w->n_exp = shape->n_exp;
        w->d_model = shape->d_model;
        w->d_ff = shape->d_ff;
        w->gate_up = a;
        w->down = d;
        b->lists[l] = device_alloc(worklist_bytes(MAX_TOK, TOP_K, shape->n_exp));
    }
    b->ids = (int32_t *)device_alloc(LAYERS * n_pairs * 4);
    b->weights = (float *)device_alloc(LAYERS * n_pairs * 4);
    b->x = (uint16_t *)device_alloc((size_t)MAX_TOK * pack_row_elems(shape->d_model) * 2);
    b->x32 = (float *)device_alloc((size_t)MAX_TOK * shape->d_model * 4);
    b->y = (float *)device_alloc((size_t)MAX_TOK * shape->d_model * 4);
    b->y_other = (float *)device_alloc((size_t)MAX_TOK * shape->d_model * 4);
    b->host_ids = (int32_t *)malloc(LAYERS * n_pairs * 4);
    b->host_weights = (float *)malloc(LAYERS * n_pairs * 4);
    b->host_x = (float *)malloc((size_t)MAX_TOK * shape->d_model * 4);
    b->host_y = (float *)malloc((size_t)MAX_TOK * shape->d_model * 4);
    struct moe_work work;
    work.h = (uint16_t *)device_alloc(n_pairs * pack_row_elems(shape->d_ff) * 2);
    work.results = (float *)device_alloc(n_pairs * shape->d_model * 4);
    work.ready = (uint32_t *)device_alloc((shape->n_exp + 1) * 4);
    CHECK(cudaMemsetAsync(work.ready, 0, (shape->n_exp + 1) * 4, stream));
    CHECK(cudaMemsetAsync(work.h, 0xff, n_pairs * pack_row_elems(shape->d_ff) * 2, stream));
    for (int l = 0; l < LAYERS; l++)
        b->args[l].work = work;
    for (int i = 0; i < MAX_TOK * shape->d_model; i++) { /* about a unit normal */
        b->host_x[i] = (float)((rng_unit() + rng_unit() + rng_unit() - 1.5) * 2);
    }
    CHECK(cudaMemcpyAsync(b->x32, b->host_x, (size_t)MAX_TOK * shape->d_model * 4,
                          cudaMemcpyHostToDevice, stream));
    CHECK(moe_round_launch(b->x32, MAX_TOK, shape->d_model, b->x, stream));
    CHECK(cudaStreamSynchronize(stream));
}

static void bench_close(struct bench *b)
{
    for (int l = 0; l < LAYERS; l++) {
        CHECK(cudaFree((void *)b->w[l].gate_up));
        CHECK(cudaFree((void *)b->w[l].down));
        CHECK(cudaFree(b->lists[l]));
    }
    CHECK(cudaFree(b->args[0].work.h));
    CHECK(cudaFree(b->args[0].work.results));
    CHECK(cudaFree(b->args[0].work.ready));
    CHECK(cudaFree(b->ids));
    CHECK(cudaFree(b->weights));
    CHECK(cudaFree(b->x));
    CHECK(cudaFree(b->x32));
    CHECK(cudaFree(b->y));
    CHECK(cudaFree(b->y_other));
    free(b->host_ids);
    free(b->host_weights);
    free(b->host_x);
    free(b->host_y);
}

static void bench_route(struct bench *b, int n_tok, int n_active)
{
    const size_t n_slots = (size_t)n_tok * TOP_K;

    b->n_tok = n_tok;
    b->n_active = n_active;
    for (int l = 0; l < LAYERS; l++)
        make_routing(b, b->host_ids + l * n_slots, b->host_weights + l * n_slots);
    CHECK(
        cudaMemcpyAsync(b->ids, b->host_ids, LAYERS * n_slots * 4, cudaMemcpyHostToDevice, stream));
    CHECK(cudaMemcpyAsync(b->weights, b->host_weights, LAYERS * n_slots * 4, cudaMemcpyHostToDevice,
                          stream));
    for (int l = 0; l < LAYERS; l++) {
        struct moe_args *a = &b->args[l];

        a->weights = b->w[l];
        a->list = worklist_place(b->lists[l], n_tok, TOP_K, b->shape.n_exp);
        a->n_tok = n_tok;
        a->top_k = TOP_K;
        a->x = b->x;
        a->y = b->y;
        CHECK(worklist_launch(b->ids + l * n_slots, b->weights + l * n_slots, n_tok, TOP_K,
                              b->shape.n_exp, a->list, stream));
    }
    CHECK(cudaStreamSynchronize(stream));
}

/* ---- correctness ---- */

static double packed_dot(uint64_t seed, uint64_t base, int64_t row, int cols, float scale,
                         const float *x)
{
    double sum = 0;

    for (int c = 0; c < cols; c++)
        sum += (double)round_bf16(weight_at(
                   seed, base + (uint64_t)pack_index(row, c, pack_k_tiles(cols)), scale)) *
               x[c];
    return sum;
}

/* Token t of layer 0 against f64, a sample of its columns. */
static void check_token(struct bench *b, int t, const char *what)
{
    const int d_model = b->shape.d_model, d_ff = b->shape.d_ff, n_cols = 64;
    const uint64_t gate_up = (uint64_t)pack_elems(pack_pair_rows(d_ff), d_model);
    const uint64_t down = (uint64_t)pack_elems(d_model, d_ff);
    float *x = (float *)malloc(d_model * 4), *h = (float *)malloc(d_ff * 4);
    double *want = (double *)calloc(n_cols, sizeof(*want)), error = 0, norm = 0;

    for (int i = 0; i < d_model; i++)
        x[i] = round_bf16(b->host_x[(size_t)t * d_model + i]);
    for (int s = 0; s < TOP_K; s++) {
        const uint64_t e = (uint64_t)b->host_ids[t * TOP_K + s];
        const float scale_in = sqrtf(3.f / d_model), scale_out = sqrtf(3.f / d_ff);

        for (int i = 0; i < d_ff; i++) {
            const int64_t row = i / 8 * 16 + i % 8;
            double g = packed_dot(1, e * gate_up, row, d_model, scale_in, x);
            double u = packed_dot(1, e * gate_up, row + 8, d_model, scale_in, x);

            h[i] = round_bf16(g / (1 + exp(-g)) * u);
        }
        for (int j = 0; j < n_cols; j++)
            want[j] += (double)b->host_weights[t * TOP_K + s] *
                       packed_dot(2, e * down, (int64_t)j * 31 % d_model, d_ff, scale_out, h);
    }
    for (int j = 0; j < n_cols; j++) {
        double diff = b->host_y[(size_t)t * d_model + j * 31 % d_model] - want[j];

        error += diff * diff;
        norm += want[j] * want[j];
    }
    error = sqrt(error / norm);
    if (!(error <= 4e-3)) {
        printf("WRONG %s: token %d: relative error %g (rms %g)\n", what, t, error,
               sqrt(norm / n_cols));
        n_wrong++;
    } else {
        printf("ok %s: token %d: relative error %.2e\n", what, t, error);
    }
    free(x);
    free(h);
    free(want);
}

static void run_once(struct bench *b, enum moe_way way, float *y)
{
    struct moe_args a = b->args[0];

    a.y = y;
    CHECK(cudaMemsetAsync(y, 0xff, (size_t)b->n_tok * b->shape.d_model * 4, stream));
    CHECK(cudaMemsetAsync(a.work.h, 0xff,
                          (size_t)b->n_tok * TOP_K * pack_row_elems(b->shape.d_ff) * 2, stream));
    CHECK(moe_launch(&a, way, false, stream));
    CHECK(cudaMemcpyAsync(b->host_y, y, (size_t)b->n_tok * b->shape.d_model * 4,
                          cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
}

static __global__ void differ_kernel(const uint32_t *a, const uint32_t *b, int n, unsigned *ret)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        if (a[i] != b[i])
            atomicAdd(ret, 1);
}

static unsigned *n_differ;

static unsigned count_differ(const float *a, const float *b, size_t n)
{
    unsigned ret;

    CHECK(cudaMemsetAsync(n_differ, 0, 4, stream));
    differ_kernel<<<132, 256, 0, stream>>>((const uint32_t *)a, (const uint32_t *)b, (int)n,
                                           n_differ);
    CHECK(cudaMemcpyAsync(&ret, n_differ, 4, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    return ret;
}

/* The two ways give the same bits, and so does a token alone. */
static void check_bits(struct bench *b)
{
    const size_t n = (size_t)b->n_tok * b->shape.d_model;
    struct moe_args a = b->args[0];
    const int t = b->n_tok / 2;
    unsigned differ;

    run_once(b, MOE_TILES, b->y);
    if (takes_slices(&a)) {
        run_once(b, MOE_SLICES, b->y_other);
        differ = count_differ(b->y, b->y_other, n);
        if (differ) {
            printf("WRONG %s T %d U %d: slices and tiles differ in %u of %zu\n", b->shape.name,
                   b->n_tok, b->n_active, differ, n);
            n_wrong++;
        }
    }
    a.n_tok = 1;
    a.x = b->x + (size_t)t * pack_row_elems(b->shape.d_model);
    a.y = b->y_other;
    a.list = worklist_place(b->lists[1], 1, TOP_K, b->shape.n_exp);
    CHECK(worklist_launch(b->ids + t * TOP_K, b->weights + t * TOP_K, 1, TOP_K, b->shape.n_exp,
                          a.list, stream));
    CHECK(moe_launch(&a, has_slices ? MOE_AUTO : MOE_TILES, false, stream));
    differ = count_differ(b->y + (size_t)t * b->shape.d_model, b->y_other, b->shape.d_model);
    if (differ) {
        printf("WRONG %s T %d U %d: a token alone differs in %u\n", b->shape.name, b->n_tok,
               b->n_active, differ);
        n_wrong++;
    }
    a = b->args[1]; /* its list again */
    CHECK(worklist_launch(b->ids + (size_t)b->n_tok * TOP_K, b->weights + (size_t)b->n_tok * TOP_K,
                          b->n_tok, TOP_K, b->shape.n_exp, a.list, stream));
}

static __global__ void pressure_kernel(int n)
{
    for (int i = 0; i < n; i++)
        __nanosleep(100);
}

static void check_replays(struct bench *b, enum moe_way way, int n)
{
    const size_t elems = (size_t)b->n_tok * b->shape.d_model;
    struct moe_args a = b->args[0];
    cudaStream_t beside;
    unsigned differ;

    CHECK(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking));
    run_once(b, way, b->y_other);
    CHECK(cudaMemsetAsync(n_differ, 0, 4, stream));
    for (int i = 0; i < n; i++) {
        if (i % 2)
            pressure_kernel<<<1 + i % 140, 64, 0, beside>>>(i % 64);
        CHECK(cudaMemsetAsync(b->y, 0xff, elems * 4, stream));
        CHECK(moe_launch(&a, way, i % 3 == 0, stream));
        differ_kernel<<<32, 256, 0, stream>>>((const uint32_t *)b->y, (const uint32_t *)b->y_other,
                                              (int)elems, n_differ);
    }
    CHECK(cudaMemcpyAsync(&differ, n_differ, 4, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaStreamDestroy(beside));
    printf("%s T %d U %d way %d: %d replays, %u values differ\n", b->shape.name, b->n_tok,
           b->n_active, way, n, differ);
    n_wrong += differ != 0;
}

/* A small layer packed by the device from rows, all of its results against f64. */
static void check_small(int n_exp, int d_ff, int d_model, int n_tok, int top_k)
{
    const size_t n_gate = (size_t)d_ff * d_model, n_slots = (size_t)n_tok * top_k;
    const size_t gate_up = (size_t)pack_elems(pack_pair_rows(d_ff), d_model);
    const size_t down = (size_t)pack_elems(d_model, d_ff);
    uint16_t *rows = (uint16_t *)malloc(3 * n_exp * n_gate * 2), *dev_rows;
    float *w = (float *)malloc(3 * n_exp * n_gate * 4); /* gate, up, down of each expert */
    float *x = (float *)malloc((size_t)n_tok * d_model * 4), *h = (float *)malloc(d_ff * 4);
    float *y = (float *)malloc((size_t)n_tok * d_model * 4);
    float *weights = (float *)malloc(n_slots * 4);
    int32_t *ids = (int32_t *)malloc(n_slots * 4);
    double *want = (double *)calloc((size_t)n_tok * d_model, 8), error = 0, norm = 0;
    struct moe_args a = {};

    for (size_t i = 0; i < 3 * n_exp * n_gate; i++) {
        w[i] = round_bf16((rng_unit() * 2 - 1) * sqrt(3. / (i / n_gate % 3 < 2 ? d_model : d_ff)));
        uint32_t u;
        memcpy(&u, &w[i], 4);
        rows[i] = (uint16_t)(u >> 16);
    }
    for (int t = 0; t < n_tok; t++) {
        for (int i = 0; i < d_model; i++)
            x[t * d_model + i] = (float)(rng_unit() * 4 - 2);
        for (int s = 0; s < top_k; s++) {
            ids[t * top_k + s] = (t * 7 + s) % n_exp;
            if (t % 5 == 4 && s == 1)
                ids[t * top_k + s] = -1;
            weights[t * top_k + s] = (float)rng_unit();
        }
    }
    a.weights.n_exp = n_exp;
    a.weights.d_model = d_model;
    a.weights.d_ff = d_ff;
    a.weights.gate_up = device_alloc(gate_up * n_exp * 2);
    a.weights.down = device_alloc(down * n_exp * 2);
    dev_rows = (uint16_t *)device_alloc(3 * n_exp * n_gate * 2);
    CHECK(cudaMemcpy(dev_rows, rows, 3 * n_exp * n_gate * 2, cudaMemcpyHostToDevice));
    for (int e = 0; e < n_exp; e++) {
        const uint16_t *from = dev_rows + (size_t)e * 3 * n_gate;

        CHECK(pack_pair_launch(from, from + n_gate, d_ff, d_model,
                               (uint16_t *)a.weights.gate_up + e * gate_up, stream));
        CHECK(pack_rows_launch(from + 2 * n_gate, 0, d_model, d_ff,
                               (uint16_t *)a.weights.down + e * down, stream));
    }
    void *list = device_alloc(worklist_bytes(n_tok, top_k, n_exp));
    int32_t *dev_ids = (int32_t *)device_alloc(n_slots * 4);
    float *dev_weights = (float *)device_alloc(n_slots * 4);
    float *dev_x = (float *)device_alloc((size_t)n_tok * d_model * 4);
    CHECK(cudaMemcpy(dev_ids, ids, n_slots * 4, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(dev_weights, weights, n_slots * 4, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(dev_x, x, (size_t)n_tok * d_model * 4, cudaMemcpyHostToDevice));
    a.list = worklist_place(list, n_tok, top_k, n_exp);
    a.work.h = (uint16_t *)device_alloc(n_slots * pack_row_elems(d_ff) * 2);
    a.work.results = (float *)device_alloc(n_slots * d_model * 4);
    a.work.ready = (uint32_t *)device_alloc((n_exp + 1) * 4);
    CHECK(cudaMemset(a.work.h, 0xff, n_slots * pack_row_elems(d_ff) * 2));
    CHECK(cudaMemset(a.work.ready, 0, (n_exp + 1) * 4));
    a.n_tok = n_tok;
    a.top_k = top_k;
    uint16_t *x16 = (uint16_t *)device_alloc((size_t)n_tok * pack_row_elems(d_model) * 2);
    a.x = x16;
    a.y = (float *)device_alloc((size_t)n_tok * d_model * 4);
    CHECK(moe_round_launch(dev_x, n_tok, d_model, x16, stream));
    CHECK(worklist_launch(dev_ids, dev_weights, n_tok, top_k, n_exp, a.list, stream));
    for (int t = 0; t < n_tok; t++)
        for (int s = 0; s < top_k; s++) {
            const float *we = w + (size_t)ids[t * top_k + s] * 3 * n_gate;

            if (ids[t * top_k + s] < 0)
                continue;
            for (int i = 0; i < d_ff; i++) {
                double g = 0, u = 0;

                for (int c = 0; c < d_model; c++) {
                    g += (double)we[(size_t)i * d_model + c] * round_bf16(x[t * d_model + c]);
                    u += (double)we[n_gate + (size_t)i * d_model + c] *
                         round_bf16(x[t * d_model + c]);
                }
                h[i] = round_bf16(g / (1 + exp(-g)) * u);
            }
            for (int r = 0; r < d_model; r++) {
                double sum = 0;

                for (int i = 0; i < d_ff; i++)
                    sum += (double)we[2 * n_gate + (size_t)r * d_ff + i] * h[i];
                want[(size_t)t * d_model + r] += weights[t * top_k + s] * sum;
            }
        }
    for (int way = MOE_TILES; way >= MOE_SLICES; way--) {
        if (way == MOE_SLICES && !takes_slices(&a))
            continue;
        CHECK(cudaMemsetAsync(a.y, 0xff, (size_t)n_tok * d_model * 4, stream));
        CHECK(moe_launch(&a, (enum moe_way)way, false, stream));
        CHECK(cudaMemcpyAsync(y, a.y, (size_t)n_tok * d_model * 4, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        error = norm = 0;
        for (size_t i = 0; i < (size_t)n_tok * d_model; i++) {
            error += (y[i] - want[i]) * (y[i] - want[i]);
            norm += want[i] * want[i];
        }
        error = sqrt(error / norm);
        printf("%s E %d I %d H %d T %d k %d way %d: relative error %.2e\n",
               error <= 4e-3 ? "ok" : "WRONG", n_exp, d_ff, d_model, n_tok, top_k, way, error);
        n_wrong += !(error <= 4e-3);
    }
    CHECK(cudaFree((void *)a.weights.gate_up));
    CHECK(cudaFree((void *)a.weights.down));
    CHECK(cudaFree(dev_rows));
    CHECK(cudaFree(list));
    CHECK(cudaFree(dev_ids));
    CHECK(cudaFree(dev_weights));
    CHECK(cudaFree(dev_x));
    CHECK(cudaFree(a.work.h));
    CHECK(cudaFree(a.work.results));
    CHECK(cudaFree(a.work.ready));
    CHECK(cudaFree(x16));
    CHECK(cudaFree(a.y));
    free(rows);
    free(w);
    free(x);
    free(h);
    free(y);
    free(weights);
    free(ids);
    free(want);
}

static void check_small_shapes(void)
{
    check_small(16, 32, 256, 32, 4);
    check_small(16, 64, 256, 7, 2);
    check_small(5, 33, 80, 9, 2);
    check_small(7, 20, 51, 40, 3);
    check_small(64, 32, 256, 17, 8);
    check_small(3, 300, 528, 70, 2);
    check_small(9, 40, 272, 1, 1);
}

/* ---- the table ---- */

static float copy_gbps;

static void bench_point(struct bench *b, int n_tok, int n_active, uint32_t *sink)
{
    float us_read, us_way[3] = { 0 }, us_early = 0;
    double bytes;

    bench_route(b, n_tok, n_active);
    check_bits(b);
    bytes = (double)b->expert_bytes * n_active;
    us_read =
        time_graph([&](int i) { launch_read(&b->args[i % LAYERS], sink); }, GRAPH_LAUNCHES, NULL);
    for (int way = MOE_SLICES; way <= MOE_TILES; way++) {
        if (way == MOE_SLICES && !takes_slices(&b->args[0]))
            continue;
        us_way[way] = time_graph(
            [&](int i) {
                CHECK(moe_launch(&b->args[i % LAYERS], (enum moe_way)way, false, stream));
            },
            GRAPH_LAUNCHES, NULL);
    }
    us_early = time_graph(
        [&](int i) {
            CHECK(
                moe_launch(&b->args[i % LAYERS], has_slices ? MOE_AUTO : MOE_TILES, true, stream));
        },
        GRAPH_LAUNCHES, NULL);
    float best = us_way[MOE_SLICES] > 0 ? us_way[MOE_SLICES] : us_way[MOE_TILES];
    printf("%-8s %5d %4d %8.1f %8.1f | %8.1f %8.1f %8.1f | %7.0f %5.1f %5.1f", b->shape.name, n_tok,
           n_active, bytes / copy_gbps * 1e-3, us_read, us_way[MOE_SLICES], us_way[MOE_TILES],
           us_early, bytes / best * 1e-3, 100 * us_read / best,
           100 * bytes / copy_gbps * 1e-3 / best);
#ifdef MOE_ABLATIONS
    if (takes_slices(&b->args[0])) {
        float us = time_graph(
            [&](int i) {
                CHECK(no_products::moe_slices_launch(&b->args[i % LAYERS], false, stream));
            },
            GRAPH_LAUNCHES, NULL);
        printf(" | no products %.1f", us);
    }
#endif
    printf("\n");
    fflush(stdout);
}

static void check_point(struct bench *b, int n_tok, int n_active, enum moe_way way)
{
    char what[64];

    bench_route(b, n_tok, n_active);
    snprintf(what, sizeof(what), "%s T %d U %d way %d", b->shape.name, n_tok, n_active, way);
    if (way == MOE_SLICES && !takes_slices(&b->args[0]))
        return;
    run_once(b, way, b->y);
    check_token(b, n_tok - 1, what);
}

int main(int argc, char **argv)
{
    static const struct shape llada = { "llada", 64, 1024, 2048 };
    static const struct shape mini = { "llada2", 256, 512, 2048 };
    static const int u_llada[] = { 64, 59, 38, 25, 16, 8 }, u_mini[] = { 84, 38, 25 };
    const bool is_quick = argc > 1 && !strcmp(argv[1], "--quick");
    struct cudaDeviceProp prop;
    struct bench b;
    uint32_t *sink;
    float us;
    int clock = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    has_slices = !(argc > 2 && !strcmp(argv[2], "--tiles"));
    CHECK(cudaGetDeviceProperties(&prop, 0));
    CHECK(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0));
    printf("%s, %d SMs, %d MHz, L2 %.0f MB\n", prop.name, prop.multiProcessorCount, clock / 1000,
           prop.l2CacheSize / 1e6);
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    sink = (uint32_t *)device_alloc(4);
    n_differ = (unsigned *)device_alloc(4);
    check_small_shapes();
    if (argc > 1 && !strcmp(argv[1], "--check")) {
        printf(n_wrong ? "%d WRONG\n" : "all right\n", n_wrong);
        return n_wrong ? 1 : 0;
    }
    bench_open(&b, &llada);
    {
        const size_t bytes = (size_t)256 << 20;

        us = time_graph(
            [&](int i) {
                CHECK(cudaMemcpyAsync((char *)b.w[2].gate_up + (i & 1) * (bytes / 2),
                                      (const char *)b.w[i % 2].gate_up + (i & 1) * (bytes / 2),
                                      bytes, cudaMemcpyDeviceToDevice, stream));
            },
            4, NULL);
        copy_gbps = (float)(2 * bytes / us * 1e-3);
        fill_kernel<<<4096, 256, 0, stream>>>(
            (uint16_t *)b.w[2].gate_up,
            pack_elems(pack_pair_rows(llada.d_ff), llada.d_model) * llada.n_exp, 5,
            sqrtf(3.f / llada.d_model));
    }
    bench_route(&b, 32, 64);
    us = time_graph([&](int i) { launch_read(&b.args[i % LAYERS], sink); }, LAYERS, NULL);
    printf("copy %.0f GB/s (read + written), reading %.0f GB/s\n", copy_gbps,
           (double)b.expert_bytes * llada.n_exp / us * 1e-3);
    check_point(&b, 32, 64, MOE_TILES);
    check_point(&b, 32, 64, MOE_SLICES);
    check_point(&b, 32, 16, MOE_SLICES);
    check_point(&b, 128, 25, MOE_TILES);
    check_point(&b, 31, 9, MOE_SLICES);
    if (n_wrong)
        return 1;
    printf("shape       T    U    floor read_us |   slices    tiles    early |    GB/s %%read "
           "%%copy\n");
    for (size_t i = 0; i < sizeof(u_llada) / sizeof(u_llada[0]); i++)
        bench_point(&b, 32, u_llada[i], sink);
    for (size_t i = 0; i < sizeof(u_llada) / sizeof(u_llada[0]) && !is_quick; i++)
        bench_point(&b, 128, u_llada[i], sink);
    if (!is_quick) {
        bench_point(&b, 64, 64, sink);
        bench_point(&b, 64, 16, sink);
        bench_point(&b, 16, 38, sink);
        bench_point(&b, 1, 8, sink);
        bench_point(&b, 1024, 64, sink);
        bench_point(&b, 2048, 64, sink);
    }
    bench_route(&b, 32, 25);
    if (has_slices)
        check_replays(&b, MOE_SLICES, 1000);
    check_replays(&b, MOE_TILES, 200);
    bench_close(&b);
    bench_open(&b, &mini);
    check_point(&b, 32, 84, MOE_SLICES);
    check_point(&b, 32, 84, MOE_TILES);
    for (size_t i = 0; i < sizeof(u_mini) / sizeof(u_mini[0]); i++)
        bench_point(&b, 32, u_mini[i], sink);
    bench_close(&b);
    printf(n_wrong ? "%d WRONG\n" : "all right\n", n_wrong);
    return n_wrong ? 1 : 0;
}
