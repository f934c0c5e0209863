/*
 * Tokenizer: text to ids and back.
 *
 *   text -> cut at added tokens -> NFC -> cut at normalized added tokens -> pieces -> BPE
 */
#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"
#include "engine/pretokenize.h"
#include "engine/tokenizer_impl.h"
#include "engine/tokenizer_nfc.h"

enum { MAX_FILE_BYTES = 256 * 1024 * 1024 }; /* the checkpoints' are 12 MB */

enum status tokenizer_open(const char *path, struct tokenizer **ret, struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof(*t));
    struct buf text = { 0 };
    enum status st;

    if (!t)
        return error_set(err, ST_NOMEM, "out of memory opening '%s'", path);
    st = file_read(path, MAX_FILE_BYTES, &text, err);
    if (!st)
        st = sha256_hex(buf_str(&text), text.len, t->sha256, err);
    if (!st)
        st = tokenizer_parse(t, path, buf_str(&text), text.len, err);
    buf_release(&text);
    if (!st) {
        *ret = t;
        t = NULL;
    }
    tokenizer_close(t);
    return st;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    added_set_release(&t->raw);
    added_set_release(&t->normalized);
    bpe_release(&t->bpe);
    free(t);
}

/* ---- encode ----------------------------------------------------------------------------- */

/* One call of tokenizer_encode(). */
struct encoder {
    const struct tokenizer *t;
    struct id_list ids;
    struct bpe_scratch scratch;
    struct buf nfc;
};

static bool encode_plain(struct encoder *e, const char *s, size_t len)
{
    while (len) {
        size_t n = pretokenize_next(s, len);

        if (!bpe_encode(&e->t->bpe, s, n, &e->scratch, &e->ids))
            return false;
        s += n;
        len -= n;
    }
    return true;
}

/* A text without raw added tokens. */
static enum status encode_fragment(struct encoder *e, const char *s, size_t len, struct error *err)
{
    struct added_scan scan;
    struct added_span span;

    if (e->t->is_nfc && !nfc_is_trivial(s, len)) {
        enum status st = nfc_normalize(s, len, &e->nfc, err);

        if (st)
            return st;
        s = buf_str(&e->nfc);
        len = e->nfc.len;
    }
    added_scan_init(&scan, &e->t->normalized, s, len);
    while (added_scan_next(&scan, &span))
        if (!encode_plain(e, s + span.start, span.end - span.start) ||
            (span.id >= 0 && !id_list_add(&e->ids, span.id)))
            return error_set(err, ST_NOMEM, "out of memory tokenizing %zu bytes", len);
    return ST_OK;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                             struct arena *arena, int32_t **ret, size_t *ret_n, struct error *err)
{
    struct encoder e = { .t = t };
    struct added_scan scan;
    struct added_span span;
    enum status st = ST_OK;
    size_t valid = utf8_check(text, len);
    int32_t *ids;

    if (valid != len)
        return error_set(err, ST_INVALID, "text is not UTF-8 at byte %zu (0x%02x)", valid,
                         (unsigned char)text[valid]);
    if (len > INT32_MAX / 4) /* positions within a piece, even grown by NFC, are int32_t */
        return error_set(err, ST_INVALID, "text of %zu bytes is too long to tokenize", len);
    added_scan_init(&scan, &t->raw, text, len);
    while (!st && added_scan_next(&scan, &span)) {
        st = encode_fragment(&e, text + span.start, span.end - span.start, err);
        if (!st && span.id >= 0 && !id_list_add(&e.ids, span.id))
            st = error_set(err, ST_NOMEM, "out of memory tokenizing %zu bytes", len);
    }
    if (!st) {
        ids = arena_array(arena, e.ids.n, sizeof(*ids));
        if (ids) {
            if (e.ids.n)
                memcpy(ids, e.ids.data, e.ids.n * sizeof(*ids));
            *ret = ids;
            *ret_n = e.ids.n;
        } else {
            st = error_set(err, ST_NOMEM, "out of memory for %zu token ids", e.ids.n);
        }
    }
    free(e.ids.data);
    bpe_scratch_release(&e.scratch);
    buf_release(&e.nfc);
    return st;
}

/* ---- decode ----------------------------------------------------------------------------- */

/* Bytes of the longest part of s that could begin a character but does not make one: what one
 * U+FFFD stands for (Unicode standard, 3.9, "maximal subpart"; Python and Rust do the same). */
static size_t bad_part(const char *str, size_t len)
{
    const unsigned char *s = (const unsigned char *)str;
    unsigned char low = 0x80, high = 0xbf;
    size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2, n = 1;

    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 1;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    while (n < want && n < len && s[n] >= low && s[n] <= high) {
        low = 0x80;
        high = 0xbf;
        n++;
    }
    return n;
}

static void put_lossy(struct buf *ret, const char *s, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t good = utf8_check(s + at, len - at);

        buf_append(ret, s + at, good);
        at += good;
        if (at < len) {
            buf_put_utf8(ret, 0xfffd);
            at += bad_part(s + at, len - at);
        }
    }
}

enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                             bool skip_special, struct buf *ret, struct error *err)
{
    struct buf bytes = { 0 };
    bool is_ok;

    for (size_t i = 0; i < n; i++) {
        const struct token *k;

        if (ids[i] < 0 || (size_t)ids[i] >= t->bpe.n_tokens)
            continue;
        k = &t->bpe.tokens[ids[i]];
        if (k->text && !(skip_special && k->is_special))
            buf_append(&bytes, k->bytes, k->n_bytes);
    }
    is_ok = buf_ok(&bytes);
    if (is_ok)
        put_lossy(ret, buf_str(&bytes), bytes.len);
    buf_release(&bytes);
    return is_ok && buf_ok(ret)
               ? ST_OK
               : error_set(err, ST_NOMEM, "out of memory for text of %zu tokens", n);
}

/* ---- facts ------------------------------------------------------------------------------ */

int32_t tokenizer_special_id(const struct tokenizer *t, const char *content)
{
    size_t low = 0, high = t->n_names;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int cmp = strcmp(content, t->names[mid].content);

        if (!cmp)
            return t->names[mid].id;
        if (cmp < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return -1;
}

int32_t tokenizer_max_id(const struct tokenizer *t)
{
    return t->max_id;
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}
