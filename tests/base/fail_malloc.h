/*
 * Allocations that fail on demand, in our code and in every library the test program loads: the
 * program's own malloc, calloc and realloc take the place of libc's.
 */
#ifndef TESTS_BASE_FAIL_MALLOC_H
#define TESTS_BASE_FAIL_MALLOC_H

#include <stdbool.h>

/* False where the allocator cannot be replaced: under a sanitizer, or without glibc. */
bool fail_malloc_works(void);

/* From now on the n-th allocation of this thread fails, n >= 1; the others succeed. */
void fail_malloc_arm(long n);

/* Back to normal. True if an allocation failed since fail_malloc_arm(). */
bool fail_malloc_disarm(void);

#endif
