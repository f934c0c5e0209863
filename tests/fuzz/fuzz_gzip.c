/*
 * gzip: file_gunzip() of any bytes; gunzip(gzip(x)) is x, also in two members; one changed byte is
 * either noticed or of no consequence.
 *
 * First byte: what to do. Bytes 1 and 2: where and how to change. The rest: the data.
 */
#include <string.h>
#include <zlib.h>

#include "base/file.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_BYTES = 1 << 16 };

static size_t zip(const uint8_t *data, size_t len, uint8_t *out, size_t size)
{
    z_stream z = {
        .next_in = (uint8_t *)data, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)size
    };

    /* the smallest window, which is the quickest to set up */
    REQUIRE(deflateInit2(&z, 1, Z_DEFLATED, 16 + 9, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static void gunzip_any(const uint8_t *data, size_t len)
{
    struct error err = { 0 };
    struct buf b = { 0 };
    enum status st = file_gunzip(data, len, "x", MAX_BYTES, &b, &err);

    if (st)
        REQUIRE_REFUSED(st, err);
    else
        REQUIRE(b.len <= MAX_BYTES);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t zipped[2 * MAX_BYTES];
    struct error err = { 0 };
    struct buf b = { 0 };
    const uint8_t *text = data + 3;
    size_t n, text_len = len - 3;
    enum status st;

    if (len < 3 || data[0] % 4 == 0) {
        gunzip_any(data + (len > 0), len - (len > 0));
        return 0;
    }
    if (text_len > 8192)
        return 0;
    n = zip(text, text_len, zipped, sizeof(zipped));
    switch (data[0] % 4) {
    case 1: /* two members */
        memcpy(zipped + n, zipped, n);
        REQUIRE(file_gunzip(zipped, 2 * n, "x", MAX_BYTES, &b, &err) == ST_OK);
        REQUIRE(b.len == 2 * text_len);
        REQUIRE(text_len == 0 || (memcmp(b.data, text, text_len) == 0 &&
                                  memcmp(b.data + text_len, text, text_len) == 0));
        break;
    case 2: /* cut short, or not allowed as much */
        st = file_gunzip(zipped, data[1] % n, "x", MAX_BYTES, &b, &err);
        REQUIRE(st == ST_INVALID);
        if (text_len > 0)
            REQUIRE(file_gunzip(zipped, n, "x", text_len - 1, &b, &err) == ST_INVALID);
        REQUIRE(file_gunzip(zipped, n, "x", text_len, &b, &err) == ST_OK && b.len == text_len);
        break;
    default: /* changed */
        zipped[data[1] % n] ^= data[2];
        st = file_gunzip(zipped, n, "x", MAX_BYTES, &b, &err);
        if (st)
            REQUIRE_REFUSED(st, err);
        else
            REQUIRE(b.len == text_len && (!text_len || memcmp(b.data, text, text_len) == 0));
    }
    buf_release(&b);
    return 0;
}
