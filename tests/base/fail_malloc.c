#include "tests/base/fail_malloc.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&       \
    !defined(HAS_SANITIZER)

/* glibc's own, which its malloc is another name of. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static _Thread_local long countdown; /* 0: none is to fail */
static _Thread_local bool has_failed;

static bool is_due(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    has_failed = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return is_due() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return is_due() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return is_due() ? NULL : __libc_realloc(p, size);
}

bool fail_malloc_works(void)
{
    return true;
}

void fail_malloc_arm(long n)
{
    has_failed = false;
    countdown = n;
}

bool fail_malloc_disarm(void)
{
    countdown = 0;
    return has_failed;
}

#else

bool fail_malloc_works(void)
{
    return false;
}

void fail_malloc_arm(long n)
{
    (void)n;
}

bool fail_malloc_disarm(void)
{
    return false;
}

#endif
