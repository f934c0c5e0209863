/* Pool of threads. */
#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Rounds of waiting before a thread goes to sleep: some tens of microseconds. */
enum { SPIN_ROUNDS = 1000 };

struct worker {
    struct pool *pool;
    pthread_t id;
    int thread;
};

struct pool {
    int n_workers;
    struct worker *workers; /* (n_workers) */

    pthread_mutex_t lock;
    pthread_cond_t start, done;
    /* Under lock; the atomics are also read outside it, by those who spin. */
    atomic_uint loop;      /* number of the latest loop; changes tell workers to join */
    atomic_int n_joined;   /* workers inside the loop */
    bool is_open, is_stop; /* a loop may still be joined; workers shall end */
    int n_asleep;

    /* The loop: written before it opens. */
    pool_ahead_fn fn;
    void *arg;
    int n_units;
    bool is_ahead; /* units are taken before the one before is done */
    atomic_int next_unit;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int take_unit(struct pool *p)
{
    int unit = atomic_fetch_add_explicit(&p->next_unit, 1, memory_order_relaxed);

    return unit < p->n_units ? unit : -1;
}

static void run_units(struct pool *p, int thread)
{
    for (int unit = take_unit(p), next = -1; unit >= 0; unit = next) {
        if (p->is_ahead)
            next = take_unit(p);
        p->fn(p->arg, unit, next, thread);
        if (!p->is_ahead) /* late, for balance */
            next = take_unit(p);
    }
}

/* Wait until a loop other than `seen` was opened or the pool stops; false on stop. */
static bool join_next(struct pool *p, unsigned *seen)
{
    bool is_joined = false;

    for (;;) {
        for (int i = 0; i < SPIN_ROUNDS; i++) {
            if (atomic_load_explicit(&p->loop, memory_order_relaxed) != *seen)
                break;
            relax();
        }
        pthread_mutex_lock(&p->lock);
        while (!p->is_stop && atomic_load(&p->loop) == *seen) {
            p->n_asleep++;
            pthread_cond_wait(&p->start, &p->lock);
            p->n_asleep--;
        }
        *seen = atomic_load(&p->loop);
        if (!p->is_stop && p->is_open) {
            atomic_fetch_add(&p->n_joined, 1);
            is_joined = true;
        }
        if (is_joined || p->is_stop) {
            pthread_mutex_unlock(&p->lock);
            return is_joined;
        }
        pthread_mutex_unlock(&p->lock); /* came too late: the loop is over */
    }
}

static void leave(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    if (atomic_fetch_sub(&p->n_joined, 1) == 1)
        pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    unsigned seen = 0;

    while (join_next(w->pool, &seen)) {
        run_units(w->pool, w->thread);
        leave(w->pool);
    }
    return NULL;
}

/* Signals are for the program's own threads. */
static int start_quietly(struct worker *w)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&w->id, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

/* A worker to each usable processor but the first, which is left to the caller. A processor that
 * cannot be had, or more threads than processors: the system decides, as ever. */
static void pin_workers(struct pool *p)
{
    cpu_set_t usable, one;
    int cpu = -1;

    if (sched_getaffinity(0, sizeof(usable), &usable) != 0 || CPU_COUNT(&usable) <= p->n_workers)
        return;
    for (int i = -1; i < p->n_workers; i++) {
        do
            cpu++;
        while (!CPU_ISSET(cpu, &usable));
        if (i < 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(p->workers[i].id, sizeof(one), &one);
    }
}

enum status pool_new(int n_threads, bool is_pinned, struct pool **ret, struct error *err)
{
    struct pool *p = calloc(1, sizeof(*p));

    if (p)
        p->workers = calloc((size_t)n_threads, sizeof(*p->workers));
    if (!p || !p->workers) {
        free(p);
        return error_set(err, ST_NOMEM, "out of memory starting %d threads", n_threads);
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < n_threads - 1; i++) {
        struct worker *w = &p->workers[i];
        int rc;

        w->pool = p;
        w->thread = i + 1;
        rc = start_quietly(w);
        if (rc) {
            pool_free(p);
            return error_set(err, ST_NOMEM, "cannot start thread %d of %d: %s", i + 2, n_threads,
                             strerror(rc));
        }
        p->n_workers++;
    }
    if (is_pinned)
        pin_workers(p);
    *ret = p;
    return ST_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stop = true;
    atomic_fetch_add(&p->loop, 1); /* for those who spin */
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_workers; i++)
        pthread_join(p->workers[i].id, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

int pool_n_threads(const struct pool *p)
{
    return p->n_workers + 1;
}

static void run(struct pool *p, pool_ahead_fn fn, void *arg, int n_units, bool is_ahead)
{
    if (p->n_workers == 0 || n_units <= 1) {
        for (int unit = 0; unit < n_units; unit++)
            fn(arg, unit, unit + 1 < n_units ? unit + 1 : -1, 0);
        return;
    }

    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->n_units = n_units;
    p->is_ahead = is_ahead;
    atomic_store(&p->next_unit, 0);
    p->is_open = true;
    atomic_fetch_add(&p->loop, 1);
    if (p->n_asleep)
        pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);

    run_units(p, 0);

    for (int i = 0; i < SPIN_ROUNDS && atomic_load_explicit(&p->n_joined, memory_order_relaxed);
         i++)
        relax();
    pthread_mutex_lock(&p->lock);
    p->is_open = false;
    while (atomic_load(&p->n_joined))
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

struct plain {
    pool_fn fn;
    void *arg;
};

static void run_plain(void *arg, int unit, int next, int thread)
{
    const struct plain *p = arg;

    (void)next;
    p->fn(p->arg, unit, thread);
}

void pool_run(struct pool *p, pool_fn fn, void *arg, int n_units)
{
    struct plain plain = { fn, arg };

    run(p, run_plain, &plain, n_units, false);
}

void pool_run_ahead(struct pool *p, pool_ahead_fn fn, void *arg, int n_units)
{
    run(p, fn, arg, n_units, true);
}
