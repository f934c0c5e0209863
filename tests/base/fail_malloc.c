#include "tests/base/fail_malloc.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long n_calls, n_live, countdown; /* countdown 0: none is to fail */
static atomic_bool has_failed;
static pid_t armed_pid; /* a forked process has a countdown that nobody here sees the end of */

static bool is_due(void)
{
    atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0 || getpid() != armed_pid ||
        atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    errno = ENOMEM;
    return true;
}

static void *note(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&n_live, 1, memory_order_relaxed);
    return p;
}

#ifdef FAIL_MALLOC_WRAPS /* by the linker: tests/meson.build */
#define REAL(name) __real_##name
#define OURS(name) __wrap_##name
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
void __wrap_free(void *p);
#else /* glibc's own, which its malloc() is another name of */
#define REAL(name) __libc_##name
#define OURS(name) name
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);
#define __libc_aligned_alloc __libc_memalign
#endif

void *OURS(malloc)(size_t size)
{
    return is_due() ? NULL : note(REAL(malloc)(size));
}

void *OURS(calloc)(size_t n, size_t size)
{
    return is_due() ? NULL : note(REAL(calloc)(n, size));
}

void *OURS(realloc)(void *p, size_t size)
{
    void *r;

    if (p && size == 0) { /* glibc frees p, and may as well be seen to */
        OURS(free)(p);
        return NULL;
    }
    if (is_due())
        return NULL;
    r = REAL(realloc)(p, size);
    return p ? r : note(r);
}

void *OURS(aligned_alloc)(size_t align, size_t size)
{
    return is_due() ? NULL : note(REAL(aligned_alloc)(align, size));
}

int OURS(posix_memalign)(void **ret, size_t align, size_t size)
{
    void *p = OURS(aligned_alloc)(align, size);

    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}

void OURS(free)(void *p)
{
    if (p)
        atomic_fetch_sub_explicit(&n_live, 1, memory_order_relaxed);
    REAL(free)(p);
}

#ifdef FAIL_MALLOC_WRAPS

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#else
static int __lsan_do_recoverable_leak_check(void)
{
    return 0;
}
#endif

bool fail_malloc_is_total(void)
{
    return false;
}

#else

void *memalign(size_t align, size_t size); /* an older sibling; some library may call it */
void *memalign(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}

static int __lsan_do_recoverable_leak_check(void)
{
    return 0;
}

bool fail_malloc_is_total(void)
{
    return true;
}

#endif

void fail_malloc_arm(long n)
{
    atomic_store(&has_failed, false);
    armed_pid = getpid();
    atomic_store(&countdown, n);
}

bool fail_malloc_disarm(void)
{
    atomic_store(&countdown, 0);
    return atomic_load(&has_failed);
}

long fail_malloc_count(void)
{
    return atomic_load(&n_calls);
}

long fail_malloc_live(void)
{
    return atomic_load(&n_live);
}

/* One call with allocation n failing. False if there was none. */
static bool try_one(const struct fail_sweep *s, long n, enum status *ret_st, struct error *err,
                    long *ret_n_left)
{
    long before = fail_malloc_live();
    bool is_hit;

    *err = (struct error){ 0 };
    fail_malloc_arm(n);
    *ret_st = s->f(s->arg, err);
    is_hit = fail_malloc_disarm();
    *ret_n_left = fail_malloc_is_total() ? fail_malloc_live() - before : 0;
    return is_hit;
}

long fail_malloc_sweep(const struct fail_sweep *s)
{
    long n_failed = 0, n_left;
    struct error err = { 0 };
    enum status st = s->f(s->arg, &err);

    cr_assert_eq(st, ST_OK, "%s, left alone: %s", s->what, err.text);
    for (long n = 1;; n += s->n_dense && n >= s->n_dense ? n / 16 + 1 : 1) {
        if (!try_one(s, n, &st, &err, &n_left)) {
            cr_assert_eq(st, ST_OK, "%s: %s", s->what, err.text);
            cr_log_info("%s: %ld allocations, %ld calls failed", s->what, n - 1, n_failed);
            break;
        }
        if (st) {
            cr_expect(st == ST_NOMEM || (s->is_excused && s->is_excused(st, &err)),
                      "%s, allocation %ld: %s: %s", s->what, n, status_name(st), err.text);
            cr_expect_neq(err.text[0], '\0', "%s, allocation %ld", s->what, n);
            n_failed++;
        }
        if (n_left > 0) { /* a leak, if it comes again; else a library set up something for good */
            try_one(s, n, &st, &err, &n_left);
            cr_expect_leq(n_left, 0, "%s, allocation %ld: %ld blocks leak", s->what, n, n_left);
        }
    }
    cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "%s leaks", s->what);
    return n_failed;
}
