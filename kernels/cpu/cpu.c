/* The cpu backend: lifecycle and table. */
#include "kernels/cpu/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { MAX_THREADS = 1024 };

/* What this build has, the best last. */
static const struct inner *const inners[] = {
    &inner_generic,
#if defined(__x86_64__)
    &inner_avx2,    &inner_avx512bf16, /* rounds activations: only when asked for */
    &inner_avx512,  &inner_amx,
#endif
};

#if defined(__x86_64__)
/* A bit of a CPUID leaf: what compilers before gcc 13 and clang 16 cannot ask for by name. */
static bool cpuid_bit(unsigned leaf, unsigned subleaf, int reg, int bit)
{
    unsigned r[4];

    return __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> bit & 1;
}

enum { EAX, EBX, ECX, EDX };

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* Tiles are 8 KB more to save for each thread, so Linux wants to be asked (since 5.16). */
static bool ask_for_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

/* NULL, or why this machine cannot run it. */
static const char *why_not(const struct inner *in)
{
#if defined(__x86_64__)
    if (in == &inner_avx2 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                               cpuid_bit(1, 0, ECX, 29)))
        return "the CPU has no AVX2 with FMA and F16C";
    if (in != &inner_avx2 && in != &inner_generic && !has_avx512())
        return "the CPU has no AVX-512 F, BW, DQ and VL";
    if ((in == &inner_avx512bf16 || in == &inner_amx) && !cpuid_bit(7, 1, EAX, 5))
        return "the CPU has no AVX-512 BF16";
    if (in == &inner_amx && !(cpuid_bit(7, 0, EDX, 22) && cpuid_bit(7, 0, EDX, 24)))
        return "the CPU has no AMX with BF16";
    if (in == &inner_amx && !ask_for_tiles())
        return "the system does not let the process use AMX tiles";
#endif
    (void)in;
    return NULL;
}

/* The one called isa, or the best (NULL). */
static enum status choose_inner(const char *isa, const struct inner **ret, struct error *err)
{
    const struct inner *best = NULL;

    for (size_t i = 0; i < sizeof(inners) / sizeof(inners[0]); i++) {
        const char *why;

        if (isa && strcmp(isa, inners[i]->name) != 0)
            continue;
        why = why_not(inners[i]);
        if (!why)
            best = inners[i];
        else if (isa)
            return error_set(err, ST_UNSUPPORTED, "this machine cannot run '%s': %s", isa, why);
    }
    if (!best)
        return error_set(err, ST_INVALID, "backend 'cpu' has no instruction set '%s'", isa);
    *ret = best;
    return ST_OK;
}

/* Processors' worth of time that the process's control group grants it (cgroup v2), rounded up;
 * INT_MAX where there is no limit or it cannot be told. Groups above it may grant less still. */
static int count_granted(void)
{
    char path[512] = "", file[600];
    long long quota = 0, period = 0;
    int n_read = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");

    if (!f)
        return INT_MAX;
    if (fscanf(f, "0::%511s", path) != 1)
        path[0] = '\0';
    fclose(f);
    snprintf(file, sizeof(file), "/sys/fs/cgroup%s/cpu.max", path);
    f = fopen(file, "re");
    if (!f)
        return INT_MAX;
    n_read = fscanf(f, "%lld %lld", &quota, &period); /* "max 100000" is no number */
    fclose(f);
    if (n_read != 2 || quota < 1 || period < 1 || quota / period >= MAX_THREADS)
        return INT_MAX;
    return (int)(quota / period) + (quota % period != 0);
}

/* Processors the process may keep busy. */
static int count_cpus(void)
{
    int granted = count_granted();
    cpu_set_t set;
    long n;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    else /* more CPUs than the set has bits */
        n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n > granted ? granted : n;
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static void cpu_close(struct kernels *k)
{
    struct cpu *c = (struct cpu *)k;

    if (!c)
        return;
    pool_free(c->pool);
    host_release(&c->host);
    scratch_release(&c->scratch);
    scratch_release(&c->angles.memory);
    free(c);
}

static enum status cpu_open(const struct kernel_params *params, struct kernels **ret,
                            struct error *err)
{
    int n_threads = params->n_threads ? params->n_threads : count_cpus();
    const struct inner *inner = NULL;
    struct cpu *c;
    enum status st = choose_inner(params->isa, &inner, err);

    if (st)
        return st;
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return error_set(err, ST_INVALID, "need 1 <= threads %d <= %d", n_threads,
                         (int)MAX_THREADS);
    c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, ST_NOMEM, "out of memory opening backend 'cpu'");
    c->host.base.ops = &cpu_ops;
    c->inner = inner;
    st = pool_new(n_threads, !params->is_unpinned, &c->pool, err);
    if (st) {
        cpu_close(&c->host.base);
        return st;
    }
    snprintf(c->description, sizeof(c->description), "%s, %d thread%s", inner->name, n_threads,
             n_threads == 1 ? "" : "s");
    *ret = &c->host.base;
    return ST_OK;
}

static const char *cpu_isa(const struct kernels *k)
{
    return ((const struct cpu *)k)->inner->name;
}

static const char *cpu_describe(const struct kernels *k)
{
    return ((const struct cpu *)k)->description;
}

void *layout_take(struct layout *l, size_t count, size_t size)
{
    void *p = l->base ? l->base + l->used : NULL;

    l->used += (count * size + 63) / 64 * 64;
    return p;
}

const struct kernel_ops cpu_ops = {
    .name = "cpu",
    .help = "AMX, AVX-512, AVX2 or portable vectors, threads",
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .isa = cpu_isa,
    .alloc = host_alloc,
    .free = host_free,
    .upload = host_upload,
    .download = host_download,
    .sync = host_sync,
    .weight_load = cpu_weight_load,
    .experts_load = cpu_experts_load,
    .keeps_host = cpu_keeps_host,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .matmul = cpu_matmul,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attention = cpu_attention,
    .add = cpu_add,
    .router = cpu_router,
    .l1_norm = cpu_l1_norm,
    .route = cpu_route,
    .rel_error = cpu_rel_error,
    .moe = cpu_moe,
    .pick = cpu_pick,
    .bias_logits = cpu_bias_logits,
    .expect = cpu_expect,
};
