/* NFC: decompose and compose by utf8proc, canonical ordering by a stable counting sort. */
#include "engine/tokenizer_nfc.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/size.h"
#include "base/utf8.h"

enum {
    MAX_EXPANSION = 4, /* code points in a full canonical decomposition, Unicode 16 and before */
    SHORT_RUN = 32,    /* up to here insertion sort is the faster one */
};

bool nfc_is_trivial(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] >= 0xcc) /* the lead byte of U+0300 */
            return false;
    return true;
}

/* utf8proc's words for NFC; an enum of its own, so no constant can be of that type */
static const utf8proc_option_t nfc_options =
    (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static void sort_short(int32_t *run, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t c = run[i];
        size_t k = i;

        for (; k && combining_class(run[k - 1]) > combining_class(c); k--)
            run[k] = run[k - 1];
        run[k] = c;
    }
}

static void sort_long(int32_t *run, size_t n, int32_t *scratch)
{
    size_t start[257] = { 0 };

    for (size_t i = 0; i < n; i++)
        start[(combining_class(run[i]) & 255) + 1]++;
    for (int k = 0; k < 256; k++)
        start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++)
        scratch[start[combining_class(run[i]) & 255]++] = run[i];
    memcpy(run, scratch, n * sizeof(*run));
}

/* Order each run of non-starters by combining class, keeping the order of equals (Unicode
 * standard, D109). scratch has room for n. */
static void reorder(int32_t *cp, size_t n, int32_t *scratch)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;

        while (end < n && combining_class(cp[end]) != 0)
            end++;
        if (end - i > SHORT_RUN)
            sort_long(cp + i, end - i, scratch);
        else if (end - i > 1)
            sort_short(cp + i, end - i);
        i = end + 1;
    }
}

/*
 * Compose cp (n), in canonical order, and append it to ret as UTF-8.
 *
 * U+11A7 is one before the first trailing consonant of Hangul and composes with nothing, but
 * utf8proc (2.8) takes it for an empty one and drops it behind a syllable. So a new call starts at
 * each: as a starter, it may.
 */
static enum status put_composed(int32_t *cp, size_t n, struct buf *ret, struct error *err)
{
    for (size_t start = 0, end; start < n; start = end) {
        utf8proc_ssize_t composed;

        for (end = start + 1; end < n && cp[end] != 0x11a7; end++)
            ;
        composed =
            utf8proc_normalize_utf32(cp + start, (utf8proc_ssize_t)(end - start), nfc_options);
        if (composed < 0)
            return error_set(err, ST_INTERNAL, "cannot compose: %s", utf8proc_errmsg(composed));
        for (utf8proc_ssize_t i = 0; i < composed; i++)
            buf_put_utf8(ret, (unsigned)cp[start + (size_t)i]);
    }
    return ST_OK;
}

enum status nfc_normalize(const char *s, size_t len, struct buf *ret, struct error *err)
{
    enum status st = ST_OK;
    int32_t *cp = NULL, *scratch;
    size_t n = 0, n_max, bytes;
    int n_cp = 0;

    buf_clear(ret);
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    if (!size_mul(n, MAX_EXPANSION, &n_max) || !size_mul(n_max + 1, 2 * sizeof(*cp), &bytes) ||
        !(cp = malloc(bytes)))
        return error_set(err, ST_NOMEM, "out of memory normalizing %zu bytes", len);
    scratch = cp + n_max + 1;

    n = 0;
    for (size_t at = 0; at < len;) {
        uint32_t c = 0;
        int k = utf8_decode(s + at, len - at, &c);
        utf8proc_ssize_t got;

        assert(k > 0); /* the caller promises UTF-8 */
        at += (size_t)k;
        got = utf8proc_decompose_char((utf8proc_int32_t)c, cp + n, (utf8proc_ssize_t)(n_max - n),
                                      nfc_options, &n_cp);
        if (got < 0 || (size_t)got > n_max - n) {
            st = error_set(err, ST_INTERNAL, "cannot decompose U+%04X", (unsigned)c);
            goto out;
        }
        n += (size_t)got;
    }
    reorder(cp, n, scratch);
    st = put_composed(cp, n, ret, err);
    if (!st && !buf_ok(ret))
        st = error_set(err, ST_NOMEM, "out of memory normalizing %zu bytes", len);
out:
    free(cp);
    return st;
}
