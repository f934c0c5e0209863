/*
 * GMP (6.2) keeps no lock and no state across an allocation: its numbers are the caller's, its
 * temporaries are on the stack, or blocks that only a list on the stack knows. So it is left by
 * longjmp() when memory is out (base/guard.h).
 */
#include "tasks/math/memory.h"

#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/guard.h"

static _Thread_local struct guard *under_way;

/* Outside of gmp_run() are blocks of others in this process that use GMP: plain ones, as they may
 * have been made before these functions were set. */
static void *no_memory(size_t size)
{
    fprintf(stderr, "GNU MP: cannot allocate %zu bytes\n", size);
    abort();
}

static void *alloc(size_t size)
{
    void *p = under_way ? guard_alloc(under_way, size) : malloc(size);

    return p ? p : no_memory(size);
}

static void *resize(void *old, size_t old_size, size_t size)
{
    void *p = under_way ? guard_realloc(under_way, old, size) : realloc(old, size);

    (void)old_size;
    return p ? p : no_memory(size);
}

static void release(void *p, size_t size)
{
    (void)size;
    if (under_way)
        guard_free(p);
    else
        free(p);
}

__attribute__((constructor)) static void set_functions(void)
{
    mp_set_memory_functions(alloc, resize, release);
}

bool gmp_run(void (*f)(void *arg), void *arg)
{
    return guard_run(&under_way, f, arg);
}
