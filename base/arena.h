/*
 * Arena: many small allocations with one lifetime, freed together.
 *
 * Per-sample data lives in one that the harness clears between samples; clear keeps the
 * largest block, so a steady state allocates nothing.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zero-initialised storage is an empty arena. */
struct arena {
    struct arena_block *head;
};

/* size zeroed bytes aligned to 16, or NULL when out of memory. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);

/* count * size zeroed bytes, or NULL on overflow or when out of memory. */
void *arena_array(struct arena *a, size_t count, size_t size);

/* Copy of len bytes with a NUL added, or NULL when out of memory. */
char *arena_strdup(struct arena *a, const char *s, size_t len);

/* printf into the arena, or NULL when out of memory. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Forget every allocation; memory is kept for reuse. */
void arena_clear(struct arena *a);

/* Free everything; the arena is empty and usable again. */
void arena_release(struct arena *a);

#endif
