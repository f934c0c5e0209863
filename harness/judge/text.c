/* What programs wrote, made fit to store and show. */
#include "harness/judge/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void tail_add(struct tail *t, const char *data, size_t len)
{
    if (len > TAIL_BYTES) {
        t->n_total += len - TAIL_BYTES;
        data += len - TAIL_BYTES;
        len = TAIL_BYTES;
    }
    size_t at = t->n_total % TAIL_BYTES;
    size_t first = len < TAIL_BYTES - at ? len : TAIL_BYTES - at;

    memcpy(t->ring + at, data, first);
    memcpy(t->ring, data + first, len - first);
    t->n_total += len;
}

static bool is_shown_as_is(uint32_t c)
{
    if (c == '\n' || c == '\t')
        return true;
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
        return false;
    /* Marks that turn the direction of the text around them. */
    return !(c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
             (c >= 0x2066 && c <= 0x2069));
}

/* The visible form of what starts at s; returns the bytes consumed. out holds 8 bytes. */
static size_t visible_next(const char *s, size_t len, char out[8], size_t *ret_len)
{
    uint32_t c;
    int n = utf8_decode(s, len, &c);

    if (n == 0) {
        *ret_len = (size_t)snprintf(out, 8, "\\x%02x", (unsigned char)*s);
        return 1;
    }
    if (is_shown_as_is(c)) {
        memcpy(out, s, (size_t)n);
        *ret_len = (size_t)n;
    } else {
        *ret_len =
            (size_t)snprintf(out, 8, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c & 0xffff);
    }
    return (size_t)n;
}

void text_visible(const char *data, size_t len, int is_end_kept, char *out, size_t size)
{
    size_t total = 0, used = 0, step, n;
    char piece[8];

    if (is_end_kept)
        for (size_t i = 0; i < len; i += step) {
            step = visible_next(data + i, len - i, piece, &n);
            total += n;
        }
    for (size_t i = 0; i < len; i += step) {
        step = visible_next(data + i, len - i, piece, &n);
        if (total >= size) { /* still too much from here to the end */
            total -= n;
            continue;
        }
        if (used + n >= size)
            break;
        memcpy(out + used, piece, n);
        used += n;
    }
    out[used] = '\0';
}

void tail_visible(const struct tail *t, char *out, size_t size)
{
    char flat[TAIL_BYTES];
    size_t at = t->n_total % TAIL_BYTES;

    if (t->n_total <= TAIL_BYTES) {
        text_visible(t->ring, (size_t)t->n_total, 1, out, size);
        return;
    }
    memcpy(flat, t->ring + at, TAIL_BYTES - at);
    memcpy(flat + TAIL_BYTES - at, t->ring, at);
    /* The cut may have split a character: drop what is left of it. */
    size_t skip = 0;
    while (skip < 3 && ((unsigned char)flat[skip] & 0xc0) == 0x80)
        skip++;
    text_visible(flat + skip, TAIL_BYTES - skip, 1, out, size);
}
