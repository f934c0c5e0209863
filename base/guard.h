/*
 * Libraries that cannot do without memory: those that end the process, or read on in a value cut
 * short, when an allocation fails. Run under a guard, a failed allocation leaves the library by
 * longjmp(), and what it had allocated is freed.
 *
 * The library is told to allocate by guard_alloc() and its kin, within the guard of its thread.
 * For this to be sound it must keep no lock, file or state of its own across an allocation; the
 * user of this header says why that is so.
 */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* A call under way. Opaque; lies on the stack of guard_run(). */
struct guard;

/*
 * f(arg) under a guard that *slot, a thread-local variable of the caller's and NULL outside of
 * such calls, points to meanwhile. True: f returned; its blocks are now on their own, freed one
 * by one by guard_free() in any thread. False: memory ran out; every block that f allocated and
 * had not freed is gone, and whatever else f was about to do or release is left as it was then.
 */
MUST_CHECK bool guard_run(struct guard **slot, void (*f)(void *arg), void *arg);

/* A block like malloc()'s. When there is no memory this does not return if g is not NULL (the
 * slot's value, in the thread that runs under it), and is NULL otherwise. */
void *guard_alloc(struct guard *g, size_t size);

/* Blocks of guard_alloc() alone; p may be NULL. */
void *guard_realloc(struct guard *g, void *p, size_t size);
void guard_free(void *p);

#endif
