/*
 * Growable byte string. A zeroed struct is empty and usable; data, once anything was
 * appended, is followed by a NUL that len does not count.
 *
 * Appends after a failed one do nothing, so a caller may append many times and check
 * buf_ok() once.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* may be NULL while empty */
    size_t len, cap;
    bool is_failed; /* an append ran out of memory */
};

void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append one code point (0 .. 0x10ffff) as UTF-8. */
void buf_put_utf8(struct buf *b, unsigned codepoint);

/* Make room for len more bytes, returning where they start, or NULL when out of memory.
 * The caller writes there and adds what it wrote to b->len. */
char *buf_reserve(struct buf *b, size_t len);

/* False after any append ran out of memory. */
static inline bool buf_ok(const struct buf *b)
{
    return !b->is_failed;
}

/* NUL-terminated content, "" while empty; valid until the next append. */
const char *buf_str(const struct buf *b);

void buf_clear(struct buf *b);   /* empty, memory kept, failure forgotten */
void buf_release(struct buf *b); /* memory freed, usable again */

#endif
