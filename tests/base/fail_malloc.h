/*
 * Allocations that fail on demand, and are counted. Link with fail_malloc_dep (tests/meson.build).
 *
 * In an ordinary build the program's own malloc(), calloc(), realloc() and free() take the place
 * of libc's, so that libraries (jansson, SQLite, GMP, zlib, libc itself) fail and are counted as
 * our code is. A sanitizer needs that place for itself: there the linker wraps the calls of our
 * own objects alone, jansson's among them as base/json.c allocates for it, and a sweep asks
 * LeakSanitizer for leaks in place of counting.
 *
 * All counts are of the whole process, its other threads included, its children not.
 */
#ifndef TESTS_BASE_FAIL_MALLOC_H
#define TESTS_BASE_FAIL_MALLOC_H

#include <stdbool.h>

#include "base/status.h"

/* True where the allocations of libraries fail and count too. */
bool fail_malloc_is_total(void);

/* From now on the n-th allocation fails, n >= 1; the others succeed. */
void fail_malloc_arm(long n);

/* Back to normal. True if an allocation failed since fail_malloc_arm(). */
bool fail_malloc_disarm(void);

/* Calls so far that asked for memory. */
long fail_malloc_count(void);

/* Blocks allocated and not freed; only where fail_malloc_is_total(). */
long fail_malloc_live(void);

/*
 * Call f with its 1st, 2nd, ... allocation failing until there is none left to fail, after a call
 * that is left alone. Fails the running Criterion test unless each call
 *   - returns ST_NOMEM with a message, or ST_OK (something went without, and f found its result
 *     right), or what is_excused, if given, says is no fault of ours;
 *   - frees all that it allocated;
 * and the last one, unhindered, returns ST_OK. f checks its own results and frees them; what it
 * calls once only (a library's own set-up) belongs in front of the sweep or does no harm in it.
 *
 *   what      names the calls in messages
 *   arg       handed to f
 *   n_dense   0: every allocation. Else those up to here, and behind them every n/16-th: for
 *             calls whose full sweep takes minutes, as its time grows with the square
 *
 * Returns how many calls failed; a test that expects some should say so.
 */
struct fail_sweep {
    const char *what;
    enum status (*f)(void *arg, struct error *err);
    void *arg;
    long n_dense;
    bool (*is_excused)(enum status st, const struct error *err);
};

long fail_malloc_sweep(const struct fail_sweep *s);

#endif
