/* Blocks carry links in front of what the library sees, which chain those of a guarded call. */
#include "base/guard.h"

#include <assert.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

struct block {
    alignas(max_align_t) struct block *next;
    struct block *prev; /* both NULL outside of a guarded call */
};

struct guard {
    struct block ring; /* its head */
    jmp_buf out;
};

static void link_block(struct guard *g, struct block *b)
{
    b->next = b->prev = NULL;
    if (!g)
        return;
    b->next = &g->ring;
    b->prev = g->ring.prev;
    b->prev->next = b->next->prev = b;
}

static void unlink_block(struct block *b)
{
    if (!b->next)
        return;
    b->prev->next = b->next;
    b->next->prev = b->prev;
}

void *guard_alloc(struct guard *g, size_t size)
{
    struct block *b = size <= SIZE_MAX - sizeof(*b) ? malloc(sizeof(*b) + size) : NULL;

    if (b) {
        link_block(g, b);
        return b + 1;
    }
    if (g)
        longjmp(g->out, 1);
    return NULL;
}

void *guard_realloc(struct guard *g, void *p, size_t size)
{
    struct block *b = p ? (struct block *)p - 1 : NULL, *r;

    if (!b)
        return guard_alloc(g, size);
    unlink_block(b);
    r = size <= SIZE_MAX - sizeof(*b) ? realloc(b, sizeof(*b) + size) : NULL;
    link_block(g, r ? r : b);
    if (r)
        return r + 1;
    if (g)
        longjmp(g->out, 1);
    return NULL;
}

void guard_free(void *p)
{
    struct block *b = p ? (struct block *)p - 1 : NULL;

    if (b)
        unlink_block(b);
    free(b);
}

/* The one frame with a setjmp(). Its variables are not changed behind it, which a longjmp() might
 * undo: *g is the caller's. */
static bool run(struct guard *g, void (*f)(void *arg), void *arg)
{
    if (setjmp(g->out))
        return false;
    f(arg);
    return true;
}

bool guard_run(struct guard **slot, void (*f)(void *arg), void *arg)
{
    struct guard g;
    struct block *next;
    bool is_done;

    assert(!*slot); /* one at a time */
    g.ring.next = g.ring.prev = &g.ring;
    *slot = &g;
    is_done = run(&g, f, arg);
    *slot = NULL;
    for (struct block *b = g.ring.next; b != &g.ring; b = next) {
        next = b->next;
        b->next = b->prev = NULL;
        if (!is_done)
            free(b);
    }
    return is_done;
}
