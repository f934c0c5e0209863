/*
 * Telemetry blobs: what is decoded is encoded again to a blob that decodes to the same. The input
 * is a blob's body; its head, with length and check sum, is made here. First byte 0: a blob with a
 * head of its own.
 */
#include <string.h>
#include <zlib.h>

#include "results/results.h"
#include "tests/fuzz/fuzz.h"

static void put32(uint8_t *p, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

/* Decodes once, encodes and decodes again: then encoding must not change any more. */
static void check(const uint8_t *blob, size_t len)
{
    struct arena arena = { 0 };
    struct telemetry t;
    struct error err = { 0 };
    struct buf first = { 0 }, second = { 0 };
    enum status st = telemetry_decode(blob, len, &arena, &t, &err);

    if (st) {
        REQUIRE_REFUSED(st, err);
    } else {
        REQUIRE(telemetry_encode(&t, &first, &err) == ST_OK);
        REQUIRE(telemetry_decode(first.data, first.len, &arena, &t, &err) == ST_OK);
        REQUIRE(telemetry_encode(&t, &second, &err) == ST_OK);
        REQUIRE(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    }
    buf_release(&first);
    buf_release(&second);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t blob[1 << 16];

    if (len == 0 || len + 12 > sizeof(blob))
        return 0;
    if (data[0] == 0) {
        check(data + 1, len - 1);
        return 0;
    }
    memcpy(blob, "DT\3\0", 4);
    put32(blob + 4, (uint32_t)len);
    put32(blob + 8, (uint32_t)crc32(0, data, (uInt)len));
    memcpy(blob + 12, data, len);
    check(blob, len + 12);
    return 0;
}
