/*
 * checkkern: hold a backend against the reference, and time it.
 *
 *   checkkern                      every backend of this build
 *   checkkern --backend cpu --isa avx2 --op moe --seed 7
 *   checkkern --backend cpu --bench
 *
 * Each case prints, when it fails, its seed, its shape, the element and both values; the seed
 * of a case is a function of --seed, the op and the number of the case. Exit status: 0 all
 * well, 1 a mismatch, 2 a mistake in the call or a backend that failed, 77 nothing to check
 * because this machine cannot run the backend.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { EXIT_MISMATCH = 1, EXIT_USAGE = 2, EXIT_SKIP = 77 };

/* An op, how far it may be off, and its cases. */
struct op_check {
    struct tolerance tol;
    int n_cases;
    void (*run)(struct check *c, int i);
};

static const struct op_check op_checks[] = {
    { { "embed", 0, 0, "a copy, exact widening" }, 30, check_embed },
    { { "rms_norm", 1e-37, 5e-7, "f64 sum; f32 roundings of 1/rms and two products" },
      90,
      check_rms_norm },
    { { "matmul", 1e-6, 0, "f32 sums of up to 2048 products; unit: |x| |w|, by Cauchy-Schwarz" },
      240,
      check_matmul },
    { { "rope", 3e-7, 0, "two f32 products and a sum; unit: max |x|" }, 60, check_rope },
    { { "kv_store", 0, 0, "a copy" }, 30, check_kv_store },
    { { "attention", 3e-7, 0,
        "f32 scores and sums, exp to an ulp; unit: max |v| (1 + bound of the scores)" },
      90,
      check_attention },
    { { "add", 0, 0, "one correct rounding" }, 30, check_add },
    { { "router", 2e-7, 5e-7, "f32 sums under exp; unit: 1 + |x| max |w|" }, 90, check_router },
    { { "route", 0, 1e-7, "ids and counts exact; weights in f64, one rounding" },
      600,
      check_route },
    { { "l1_norm", 1e-37, 1e-7, "f64 sums, one rounding" }, 30, check_l1_norm },
    { { "rel_error", 1e-37, 1e-7, "f64 sums" }, 30, check_rel_error },
    { { "moe", 4e-7, 0, "f32 sums, exp to an ulp; unit: first-order effect of such errors" },
      120,
      check_moe },
    { { "pick", 1e-37, 5e-7, "ids exact; f32 exp summed in f64" }, 400, check_pick },
    { { "bias_logits", 0, 0, "one correct rounding" }, 30, check_bias_logits },
    { { "expect", 1e-6, 0, "exp to an ulp, f32 sums of up to 1024; unit: max |row of the table|" },
      120,
      check_expect },
    { { "made", 0, 0, "weights that the backend makes up: those that it is handed" },
      24,
      check_made },
    { { "batch", 0, 0, "every op for 1, 8 and 32 sequences, 1, 2 and more threads: same bits" },
      6,
      check_batch },
    { { NULL, 0, 0, NULL }, 0, NULL },
};

/* What a backend, or cpu on some instruction sets (kernels/cpu/inner.h), does to activations beside
 * bf16 weights allows more: one rounding of each, to so much of it. Infinitely exact sums would be
 * off as far. Where one rounding to bf16 is all, the reference gets x rounded, too, and the sums
 * alone are compared. */
static const struct rounding {
    const char *of; /* a backend or an instruction set */
    const char *op;
    double abs;
    bool is_x_rounded;
    const char *reason;
} roundings[] = {
    { "amx", "matmul", 0x1p-17 + 1e-6, false,
      "activations as two bf16: 2^-17 of each; sums as above" },
    { "amx", "moe", 2 * 0x1p-17 + 4e-7, false, "the same, twice: x and the hidden values" },
    { "avx512bf16", "matmul", 1e-6, true, "sums as above, of activations as one bf16" },
    { "avx512bf16", "moe", 0x1p-8 + 4e-7, true,
      "the same; hidden values as one bf16: 2^-8 of each" },
    { "cuda", "matmul", 8e-6, true,
      "activations as one bf16; tensor cores cut sums off, 2^-22 of the largest a step" },
    { "cuda", "moe", 0x1p-8 + 16e-6, true,
      "the same, twice; hidden values as one bf16: 2^-8 of each" },
    { "cuda", "attention", 2e-5, false,
      "operands as two bf16: 2^-15 of products q k and p v, of which few are as large as the "
      "unit" },
};

struct options {
    const char *backend, *isa, *op;
    enum kernel_numeric numeric;
    uint64_t seed;
    int n_threads;
    int max_cases; /* of an op; 0: all */
    bool is_bench, is_small;
};

static void print_help(void)
{
    puts("usage: checkkern [options]\n"
         "Hold the ops of a backend against the reference.\n"
         "\n"
         "  --backend NAME  only this one (default: all but the reference)\n"
         "  --isa NAME      instruction set of the cpu backend (default: the best)\n"
         "  --numeric MODE  invariant (default), or fast: where a backend has it\n"
         "  --op NAME       only this op\n"
         "  --cases N       at most N cases of each op (default: all)\n"
         "  --small         shapes of router, route and moe that a sanitizer can follow\n"
         "  --seed N        seed of the cases (default: 1)\n"
         "  --threads N     threads of the backend (default: 3; with --bench: all CPUs)\n"
         "  --bench         time the ops at the widths of LLaDA-MoE instead\n"
         "  --help          this text\n"
         "\n"
         "ops:");
    for (const struct op_check *o = op_checks; o->tol.op; o++)
        printf("  %-10s abs %-7g rel %-7g %s\n", o->tol.op, o->tol.abs, o->tol.rel, o->tol.reason);
    puts("\nwider, for bf16 weights where there are any:");
    for (size_t i = 0; i < sizeof(roundings) / sizeof(roundings[0]); i++)
        printf("  %-10s abs %-7.2g %s: %s\n", roundings[i].op, roundings[i].abs, roundings[i].of,
               roundings[i].reason);
}

/* A whole decimal number of at most max, or a message and exit. */
static uint64_t parse_number(const char *option, const char *text, uint64_t max)
{
    unsigned long long v;
    char *end;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || v > max)
        die("--%s needs a number from 0 to %llu, not '%s'", option, (unsigned long long)max, text);
    return v;
}

static const struct op_check *find_op(const char *name)
{
    for (const struct op_check *o = op_checks; o->tol.op; o++)
        if (!strcmp(o->tol.op, name))
            return o;
    die("no op '%s'; --help lists them", name);
}

/* False if this machine cannot run it. */
static bool open_side(struct side *s, const struct kernel_ops *ops, const struct options *opts,
                      int n_threads)
{
    const struct kernel_params params = { .n_threads = n_threads,
                                          .isa = opts ? opts->isa : NULL,
                                          .numeric = opts ? opts->numeric : KERNEL_INVARIANT };
    struct error err;
    enum status st = ops->open(&params, &s->k, &err);

    s->ops = ops;
    if (st == ST_UNSUPPORTED || st == ST_NOT_FOUND) { /* no such CPU, or no such GPU */
        printf("skipped: %s\n", err.text);
        return false;
    }
    check_status(st, &err);
    return true;
}

/* True if the backend has the op at all: NULL in the table is a refusal, not a fault. */
static bool has_op(const struct kernel_ops *ops, const char *name)
{
    const struct {
        const char *name;
        bool is_there;
    } table[] = {
        { "embed", ops->embed },
        { "rms_norm", ops->rms_norm },
        { "matmul", ops->matmul },
        { "rope", ops->rope },
        { "kv_store", ops->kv_store },
        { "attention", ops->attention },
        { "add", ops->add },
        { "router", ops->router },
        { "route", ops->route },
        { "moe", ops->moe },
        { "pick", ops->pick },
        { "l1_norm", ops->l1_norm },
        { "rel_error", ops->rel_error },
        { "bias_logits", ops->bias_logits },
        { "expect", ops->expect },
    };

    bool has_all = true;

    if (!strcmp(name, "made")) /* "batch" does without */
        return ops->weight_make;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!strcmp(table[i].name, name))
            return table[i].is_there;
        has_all = has_all && table[i].is_there;
    }
    return has_all; /* "batch" runs them one after the other */
}

/* What the backend's arithmetic is called in roundings[]. */
static bool is_rounding_of(const struct check *c, const struct rounding *r)
{
    const char *isa = c->new.ops->isa ? c->new.ops->isa(c->new.k) : NULL;

    return !strcmp(r->of, c->new.ops->name) || (isa && !strcmp(r->of, isa));
}

/* The op's tolerance on this backend, and whether the reference is to round x as it does. */
static struct tolerance tolerance_of(const struct check *c, const struct op_check *o,
                                     bool *ret_is_x_rounded)
{
    struct tolerance t = o->tol;

    *ret_is_x_rounded = false;
    for (size_t i = 0; i < sizeof(roundings) / sizeof(roundings[0]); i++) {
        const struct rounding *r = &roundings[i];

        if (is_rounding_of(c, r) && !strcmp(r->op, t.op)) {
            t.abs = r->abs;
            t.reason = r->reason;
            *ret_is_x_rounded = r->is_x_rounded;
        }
    }
    return t;
}

static void check_op(struct check *c, const struct op_check *o, const struct options *opts)
{
    const struct tolerance strict = o->tol, wide = tolerance_of(c, o, &c->is_x_rounded);
    int n = opts->max_cases && opts->max_cases < o->n_cases ? opts->max_cases : o->n_cases;
    long failed = c->n_failed;

    if (!has_op(c->new.ops, o->tol.op)) {
        printf("  %-10s absent\n", o->tol.op);
        return;
    }
    if (c->is_fast && !strcmp(o->tol.op, "batch")) {
        printf("  %-10s not promised\n", o->tol.op);
        return;
    }
    c->tol_bf16 = &wide;
    c->worst = 0;
    for (int i = 0; i < n; i++) {
        c->case_seed = opts->seed ^ rng_hash(o->tol.op, strlen(o->tol.op)) ^ (uint64_t)i << 32;
        rng_seed(&c->rng, c->case_seed);
        c->tol = strcmp(o->tol.op, "attention") ? &strict : &wide; /* it has no weights */
        o->run(c, i);
        c->n_cases++;
    }
    printf("  %-10s %4d cases, %s, largest error %.3f of what is allowed\n", o->tol.op, n,
           c->n_failed == failed ? "ok" : "FAILED", c->worst);
    fflush(stdout);
}

static int check_backend(const struct options *opts, const struct kernel_ops *ops)
{
    struct check c = { .is_small = opts->is_small };
    int n_threads = opts->n_threads ? opts->n_threads : 3; /* more than cores is fine */

    c.is_fast = opts->numeric == KERNEL_FAST;
    if (!open_side(&c.ref, kernel_backends[0], NULL, 1))
        die("the reference does not open");
    if (!open_side(&c.new, ops, opts, n_threads)) {
        c.ref.ops->close(c.ref.k);
        return EXIT_SKIP;
    }
    open_side(&c.two, ops, opts, 2);
    open_side(&c.other, ops, opts, 1);
    printf("backend %s (%s), seed %llu\n", ops->name, ops->describe(c.new.k),
           (unsigned long long)opts->seed);
    for (const struct op_check *o = op_checks; o->tol.op; o++)
        if (!opts->op || !strcmp(opts->op, o->tol.op))
            check_op(&c, o, opts);
    printf("%ld cases, %ld failures\n", c.n_cases, c.n_failed);
    c.other.ops->close(c.other.k);
    c.two.ops->close(c.two.k);
    c.new.ops->close(c.new.k);
    c.ref.ops->close(c.ref.k);
    return c.n_failed ? EXIT_MISMATCH : EXIT_SUCCESS;
}

static int bench_backend(const struct options *opts, const struct kernel_ops *ops)
{
    struct side s = { 0 };

    int n_threads = opts->n_threads;
    cpu_set_t set;

    if (!n_threads)
        n_threads = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
    if (!open_side(&s, ops, opts, n_threads))
        return EXIT_SKIP;
    bench(&s, opts->op, n_threads, opts->seed);
    ops->close(s.k);
    return EXIT_SUCCESS;
}

static struct options parse_options(int argc, char **argv)
{
    enum {
        OPT_BACKEND = 1,
        OPT_ISA,
        OPT_NUMERIC,
        OPT_OP,
        OPT_SEED,
        OPT_CASES,
        OPT_THREADS,
        OPT_SMALL,
        OPT_BENCH,
        OPT_HELP
    };
    static const struct option longs[] = {
        { "backend", required_argument, NULL, OPT_BACKEND },
        { "isa", required_argument, NULL, OPT_ISA },
        { "numeric", required_argument, NULL, OPT_NUMERIC },
        { "op", required_argument, NULL, OPT_OP },
        { "seed", required_argument, NULL, OPT_SEED },
        { "cases", required_argument, NULL, OPT_CASES },
        { "threads", required_argument, NULL, OPT_THREADS },
        { "small", no_argument, NULL, OPT_SMALL },
        { "bench", no_argument, NULL, OPT_BENCH },
        { "help", no_argument, NULL, OPT_HELP },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { .seed = 1 };
    int opt;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (opt) {
        case OPT_BACKEND: o.backend = optarg; break;
        case OPT_ISA: o.isa = optarg; break;
        case OPT_NUMERIC:
            if (strcmp(optarg, "invariant") != 0 && strcmp(optarg, "fast") != 0)
                die("--numeric is invariant or fast, not '%s'", optarg);
            o.numeric = strcmp(optarg, "fast") ? KERNEL_INVARIANT : KERNEL_FAST;
            break;
        case OPT_OP: o.op = find_op(optarg)->tol.op; break;
        case OPT_SEED: o.seed = parse_number("seed", optarg, UINT64_MAX); break;
        case OPT_CASES: o.max_cases = (int)parse_number("cases", optarg, 1000000); break;
        case OPT_THREADS: o.n_threads = (int)parse_number("threads", optarg, 1024); break;
        case OPT_SMALL: o.is_small = true; break;
        case OPT_BENCH: o.is_bench = true; break;
        case OPT_HELP: print_help(); exit(EXIT_SUCCESS);
        default: exit(EXIT_USAGE); /* getopt has said why */
        }
    }
    if (optind < argc)
        die("'%s' is not an option; try --help", argv[optind]);
    return o;
}

int main(int argc, char **argv)
{
    struct options opts = parse_options(argc, argv);
    int rc = EXIT_SKIP;

    if (opts.backend && !kernel_backend_find(opts.backend))
        die("no backend '%s' in this build", opts.backend);
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        int one;

        if (opts.backend ? strcmp((*b)->name, opts.backend) != 0 : b == kernel_backends)
            continue;
        if (opts.numeric == KERNEL_FAST && !(*b)->has_fast) {
            printf("skipped: backend %s has no numeric mode fast\n", (*b)->name);
            continue;
        }
        one = opts.is_bench ? bench_backend(&opts, *b) : check_backend(&opts, *b);
        if (rc == EXIT_SKIP || one == EXIT_MISMATCH)
            rc = one;
    }
    return rc;
}
