/* bench: taking samples, ceilings, and the record in JSON; bench_show.c reads it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "harness/bench.h"
#include "harness/verb.h"

enum status bench_samples(struct bench *b, struct bench_result *r, size_t n, struct error *err)
{
    r->samples_ns = arena_array(&b->arena, n, sizeof(*r->samples_ns));
    r->sorted_ns = arena_array(&b->arena, n, sizeof(*r->sorted_ns));
    return r->samples_ns && r->sorted_ns
               ? ST_OK
               : error_set(err, ST_NOMEM, "out of memory keeping %zu samples", n);
}

enum status bench_time(struct bench *b, const char *name, const char *shape, bench_fn setup,
                       bench_fn fn, void *arg, struct bench_result **ret, struct error *err)
{
    int n = (int)options_int(b->c, OPT_BENCH_REPEATS);
    struct bench_result *r = &b->results[b->n_results];
    enum status st = ST_OK;

    if (b->n_results == BENCH_MAX_RESULTS)
        return error_set(err, ST_INTERNAL, "more than %d things to time", (int)BENCH_MAX_RESULTS);
    *r = (struct bench_result){ .name = arena_strdup(&b->arena, name, strlen(name)),
                                .shape = arena_strdup(&b->arena, shape, strlen(shape)) };
    if (!r->name || !r->shape)
        return error_set(err, ST_NOMEM, "out of memory keeping '%s'", name);
    st = bench_samples(b, r, (size_t)n, err);
    for (int i = -BENCH_WARM_UP; i < n && !st; i++) {
        int64_t start;

        if (setup)
            st = setup(arg, i + BENCH_WARM_UP, err);
        start = clock_mono_ns();
        if (!st)
            st = fn(arg, i + BENCH_WARM_UP, err);
        if (i >= 0 && !st)
            r->samples_ns[r->n_samples++] = clock_mono_ns() - start;
    }
    if (st)
        return st;
    b->n_results++;
    *ret = r;
    return ST_OK;
}

enum status bench_limits(struct bench *b, struct error *err)
{
    const char *comma = strchr(b->details, ',');
    enum status st = ST_OK;
    size_t n_gpus = 0;

    if (strcmp(b->backend, "cuda") == 0) {
        st = gpu_list(&b->gpu, 1, &n_gpus, err);
        return st ? st : gpu_memory_rates(&b->gpu_read_rate, &b->gpu_copy_rate, err);
    }
    if (strcmp(b->backend, "cpu") != 0 || !comma || sscanf(comma, ", %d", &b->n_threads) != 1)
        return ST_OK;
    b->read_rates = arena_array(&b->arena, (size_t)b->n_threads, sizeof(double));
    if (!b->read_rates)
        return error_set(err, ST_NOMEM, "out of memory measuring this machine");
    for (int n = 1; n <= b->n_threads && !st; n++)
        st = limit_read_rate(n, &b->read_rates[n - 1], err);
    b->n_isas = limit_isas(b->isas);
    for (int i = 0; i < b->n_isas && !st; i++)
        st = limit_arithmetic(b->isas[i], b->n_threads, &b->peaks[i], err);
    return st;
}

/* Arithmetic ceiling of the instruction set that a result ran on. */
static double peak_of(const struct bench *b, const struct bench_result *r)
{
    size_t len = strcspn(b->details, ",");
    double peak = 0;

    for (int i = 0; i < b->n_isas; i++) {
        bool is_own = strlen(b->isas[i]) == len && memcmp(b->isas[i], b->details, len) == 0;
        bool is_bf16 = strcmp(b->isas[i], "amx") == 0 || strcmp(b->isas[i], "avx512bf16") == 0;

        if (r->is_f32 ? !is_bf16 : is_own) /* the plainest first: the last is the widest */
            peak = b->peaks[i];
        if (is_own)
            break;
    }
    return peak;
}

static double floor_ns(const struct bench *b, const struct bench_result *r)
{
    double peak = peak_of(b, r), read = 0, compute = 0;

    if (b->n_threads)
        read = r->bytes / b->read_rates[b->n_threads - 1] * 1e9;
    if (b->gpu_read_rate > 0)
        read = r->bytes / b->gpu_read_rate * 1e9;
    if (peak > 0)
        compute = r->flops / peak * 1e9;
    return read > compute ? read : compute;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void put_field(struct buf *out, const char *key, const char *value)
{
    buf_printf(out, "\"%s\": ", key);
    json_put_str(out, value, strlen(value));
    buf_puts(out, ", ");
}

static void put_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, "\"%s\": ", key);
    json_put_num(out, value);
    buf_puts(out, ", ");
}

/* "model name" of the first processor, or "unknown". */
static void put_cpu_model(struct buf *out)
{
    char line[512], name[256] = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "re");

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "model name : %255[^\n]", name) == 1)
            break;
    if (f)
        fclose(f);
    put_field(out, "cpu_model", name);
}

static void put_gpu(const struct bench *b, struct buf *out)
{
    const struct gpu_device *g = &b->gpu;

    if (!*g->name)
        return;
    buf_puts(out, "\"gpu\": {");
    put_field(out, "name", g->name);
    put_field(out, "uuid", g->uuid);
    put_number(out, "driver_version", g->driver_version);
    put_number(out, "runtime_version", g->runtime_version);
    put_number(out, "n_sm", g->n_sm);
    put_number(out, "max_clock_hz", 1e3 * g->max_clock_khz);
    put_number(out, "read_bytes_per_s", b->gpu_read_rate);
    buf_puts(out, "\"copy_bytes_per_s\": ");
    json_put_num(out, b->gpu_copy_rate);
    buf_puts(out, "}, ");
}

static void put_json(const struct bench *b, struct buf *out)
{
    buf_puts(out, "{");
    put_field(out, "bench", b->what);
    put_field(out, "date", b->date);
    put_field(out, "version", build_version);
    put_field(out, "commit", b->commit);
    put_field(out, "compiler", build_compiler);
    put_field(out, "flags", build_flags);
    put_field(out, "backend", b->backend);
    put_field(out, "backend_details", b->details);
    put_cpu_model(out);
    put_gpu(b, out);
    put_number(out, "load_average_before", b->load_before);
    put_field(out, "model", b->info->name);
    put_number(out, "n_layer", b->info->n_layer);
    put_number(out, "weight_bytes", (double)b->info->weight_bytes);
    buf_puts(out, "\n \"options\": ");
    options_put_json(b->c, out);
    buf_puts(out, ",\n \"read_bytes_per_s\": [");
    for (int n = 0; n < b->n_threads; n++) {
        buf_puts(out, n ? ", " : "");
        json_put_num(out, b->read_rates[n]);
    }
    buf_puts(out, "], \"flops_per_s\": {");
    for (int i = 0; i < b->n_isas; i++) {
        buf_printf(out, "%s\"%s\": ", i ? ", " : "", b->isas[i]);
        json_put_num(out, b->peaks[i]);
    }
    buf_puts(out, "},\n \"results\": [");
    for (int i = 0; i < b->n_results; i++) {
        const struct bench_result *r = &b->results[i];
        const struct bench_summary s = bench_summarize(r);

        buf_puts(out, i ? ",\n  {" : "\n  {");
        put_field(out, "name", r->name);
        put_field(out, "shape", r->shape);
        put_number(out, "bytes", r->bytes);
        put_number(out, "flops", r->flops);
        if (r->n_unique > 0)
            put_number(out, "unique_experts", r->n_unique);
        put_number(out, "floor_ns", r->floor_ns);
        put_number(out, "median_ns", s.median_ns);
        put_number(out, "min_ns", s.min_ns);
        put_number(out, "max_ns", s.max_ns);
        if (r->n_tokens)
            put_number(out, "n_tokens", (double)r->n_tokens);
        buf_puts(out, "\"samples_ns\": [");
        for (int n = 0; n < r->n_samples; n++)
            buf_printf(out, "%s%" PRId64, n ? ", " : "", r->samples_ns[n]);
        buf_puts(out, "]}");
    }
    buf_puts(out, "\n ]}\n");
}

enum status bench_print(struct bench *b, struct error *err)
{
    struct buf out = { 0 };
    enum status st;

    clock_utc(b->date, sizeof(b->date));
    b->commit = build_commit;
    for (int i = 0; i < b->n_results; i++)
        b->results[i].floor_ns = floor_ns(b, &b->results[i]);
    if (!verb_wants_json(b->c))
        return bench_tables(b, 1, NULL, err);
    put_json(b, &out);
    st = verb_print(&out, err);
    buf_release(&out);
    return st;
}
