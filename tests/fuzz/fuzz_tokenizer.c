/*
 * tokenizer.json: with one that is opened, any text is encoded to ids of its own and decoded.
 *
 * The input: the text to encode up to the first NUL, then the file; without a NUL all is the file.
 */
#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *nul = len ? memchr(data, 0, len) : NULL, *file = nul ? nul + 1 : data;
    const char *text = nul ? (const char *)data : "Hi \xc3\xa9 <|mask|>";
    size_t text_len = nul ? (size_t)(nul - data) : strlen(text), n = 0;
    struct tokenizer *t = NULL;
    struct arena arena = { 0 };
    struct buf back = { 0 };
    struct error err = { 0 };
    int32_t *ids = NULL;
    enum status st = tokenizer_open(memfile(file, len - (size_t)(file - data)), &t, &err);

    if (st) {
        REQUIRE_REFUSED(st, err);
        return 0;
    }
    st = tokenizer_encode(t, text, text_len, &arena, &ids, &n, &err);
    REQUIRE(st == ST_OK || st == ST_INVALID);
    REQUIRE((st == ST_OK) == (utf8_check(text, text_len) == text_len));
    for (size_t i = 0; !st && i < n; i++)
        REQUIRE(ids[i] >= 0 && ids[i] <= tokenizer_max_id(t));
    if (!st)
        REQUIRE(tokenizer_decode(t, ids, n, false, &back, &err) == ST_OK);
    REQUIRE(utf8_check(buf_str(&back), back.len) == back.len);
    REQUIRE(strlen(tokenizer_sha256(t)) == 64);
    buf_release(&back);
    arena_release(&arena);
    tokenizer_close(t);
    return 0;
}
