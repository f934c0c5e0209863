/* The cpu backend's own parts: its pool of threads, how it opens, its working memory. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pool.h"

enum { MAX_UNITS = 300, MAX_THREADS = 5 };

struct tally {
    atomic_int units[MAX_UNITS];
    atomic_int busy[MAX_THREADS]; /* a thread runs one unit at a time */
    atomic_int n_wrong;
    int n_threads;
};

static void tally_unit(void *arg, int unit, int thread)
{
    struct tally *t = arg;

    if (thread < 0 || thread >= t->n_threads || atomic_fetch_add(&t->busy[thread], 1))
        t->n_wrong++;
    t->units[unit]++;
    if (thread >= 0 && thread < t->n_threads)
        t->busy[thread]--;
}

Test(pool, every_unit_runs_once_however_many_threads)
{
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct pool *p = NULL;

        cr_assert_eq(pool_new(n_threads, n_threads % 2, &p, NULL), ST_OK);
        cr_assert_eq(pool_n_threads(p), n_threads);
        for (int loop = 0; loop < 400; loop++) {
            struct tally t = { .n_threads = n_threads };
            int n_units = loop % MAX_UNITS;

            pool_run(p, tally_unit, &t, n_units);
            for (int i = 0; i < MAX_UNITS; i++)
                cr_assert_eq(t.units[i], i < n_units, "unit %d of %d ran %d times", i, n_units,
                             t.units[i]);
            cr_assert_eq(t.n_wrong, 0);
            if (loop % 100 == 0)
                usleep(2000); /* long enough for the workers to fall asleep */
        }
        pool_free(p);
    }
    pool_free(NULL);
}

Test(pool, what_units_wrote_is_seen_after_the_loop)
{
    struct tally t = { .n_threads = 3 };
    struct pool *p = NULL;

    cr_assert_eq(pool_new(3, true, &p, NULL), ST_OK);
    for (int loop = 0; loop < 2000; loop++)
        pool_run(p, tally_unit, &t, 8);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(t.units[i], 2000);
    pool_free(p);
}

static struct kernels *open_cpu(int n_threads, const char *isa, enum status want)
{
    const struct kernel_params params = { .n_threads = n_threads, .isa = isa };
    struct kernels *k = NULL;
    struct error err = { 0 };

    cr_assert_eq(cpu_ops.open(&params, &k, &err), want, "%s", err.text);
    cr_assert_eq(k != NULL, want == ST_OK);
    cr_assert_eq(err.status, want);
    return k;
}

Test(cpu, opens_with_the_threads_asked_for_and_says_what_it_runs_on)
{
    struct kernels *k = open_cpu(3, "generic", ST_OK);

    cr_assert_str_eq(cpu_ops.describe(k), "generic, 3 threads");
    cr_assert_str_eq(cpu_ops.isa(k), "generic");
    cpu_ops.close(k);
    k = open_cpu(0, NULL, ST_OK);
    cr_assert(strstr(cpu_ops.describe(k), "thread"));
    cpu_ops.close(k);
    cpu_ops.close(NULL);
}

Test(cpu, refuses_thread_counts_and_instruction_sets_that_make_no_sense)
{
    open_cpu(-1, NULL, ST_INVALID);
    open_cpu(1000000, NULL, ST_INVALID);
    open_cpu(1, "mmx", ST_INVALID);
}

Test(cpu, is_what_a_run_uses_where_there_is_no_gpu)
{
    const struct kernel_ops *cuda = kernel_backend_find("cuda");
    struct kernels *k = NULL;

    if (cuda && cuda->open(&(struct kernel_params){ 0 }, &k, NULL) == ST_OK) {
        cuda->close(k);
        cr_assert_eq(kernel_backend_best(), cuda);
    } else {
        cr_assert_eq(kernel_backend_best(), &cpu_ops);
    }
    cr_assert_eq(kernel_backend_find("cpu"), &cpu_ops);
    cr_assert_null(kernel_backend_find("abacus"));
}

Test(cpu, working_memory_grows_only_for_a_larger_call_than_ever)
{
    enum { D = 2048, N_TOK = 16 };
    static float w[D * 4], x[N_TOK * D], y[N_TOK * 4];
    struct kernels *k = open_cpu(1, NULL, ST_OK);
    const struct scratch *s = &((struct cpu *)k)->scratch;
    struct host_matrix m = { w, DT_F32, 4, D };
    struct weight *weight = NULL;
    struct scratch first;

    cr_assert_eq(cpu_ops.weight_load(k, &m, &weight, NULL), ST_OK);
    cr_assert_eq(cpu_ops.matmul(k, x, weight, N_TOK, y, NULL), ST_OK);
    first = *s;
    cr_assert_geq(first.cap, sizeof(x));
    for (int n_tok = 1; n_tok <= N_TOK; n_tok++)
        cr_assert_eq(cpu_ops.matmul(k, x, weight, n_tok, y, NULL), ST_OK);
    cr_assert(s->data == first.data && s->cap == first.cap);
    cpu_ops.close(k);
}
