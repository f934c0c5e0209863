/* Arena: a list of blocks, newest first; allocation bumps a pointer in the newest. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { ALIGN = 16, BLOCK_MIN = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* bytes in data */
    _Alignas(ALIGN) unsigned char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->head;
    size_t need, want;
    void *p;

    if (!size_add(size ? size : 1, ALIGN - 1, &need))
        return NULL;
    need &= ~(size_t)(ALIGN - 1);
    if (!b || b->size - b->used < need) {
        want = b ? b->size : BLOCK_MIN / 2;
        if (!size_mul(want, 2, &want) || want < need)
            want = need;
        if (want > SIZE_MAX - sizeof(*b))
            return NULL;
        b = malloc(sizeof(*b) + want);
        if (!b)
            return NULL;
        b->size = want;
        b->used = 0;
        b->next = a->head;
        a->head = b;
    }
    p = b->data + b->used;
    b->used += need;
    return memset(p, 0, need);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;

    return size_mul(count, size, &n) ? arena_alloc(a, n) : NULL;
}

char *arena_strdup(struct arena *a, const char *s, size_t len)
{
    char *p = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

    if (p && len)
        memcpy(p, s, len);
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    p = arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void arena_clear(struct arena *a)
{
    struct arena_block *keep = a->head;

    if (!keep)
        return;
    for (struct arena_block *b = keep->next, *next; b; b = next) { /* the newest is the largest */
        next = b->next;
        free(b);
    }
    keep->next = NULL;
    keep->used = 0;
}

void arena_release(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
}
