/*
 * Feed a fuzz target the inputs of a corpus, or those named: replay PACK.pack | FILE ...
 *
 * A pack holds many inputs in one file: of each, its length as 4 bytes, little-endian, and its
 * bytes; run.py makes and opens them. Each input gets a block of exactly its length, so that
 * AddressSanitizer sees what is read behind it. Exits 0 when the target has returned from all.
 */
#include <string.h>

#include "base/file.h"
#include "tests/fuzz/fuzz.h"

static void feed(const char *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    REQUIRE(copy);
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static size_t feed_pack(const char *path, const char *data, size_t len)
{
    size_t n = 0;

    for (size_t at = 0; at < len; n++) {
        const unsigned char *p = (const unsigned char *)data + at;
        size_t size = len - at < 4 ? len : p[0] | p[1] << 8 | p[2] << 16 | (size_t)p[3] << 24;

        if (size > len - at - 4) {
            fprintf(stderr, "'%s' ends within its input %zu\n", path, n);
            exit(1);
        }
        feed(data + at + 4, size);
        at += 4 + size;
    }
    return n;
}

int main(int argc, char **argv)
{
    size_t n = 0;

    for (int i = 1; i < argc; i++) {
        const char *end = strrchr(argv[i], '.');
        struct error err = { 0 };
        struct buf b = { 0 };

        if (file_read(argv[i], 1 << 26, &b, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        if (end && strcmp(end, ".pack") == 0) {
            n += feed_pack(argv[i], buf_str(&b), b.len);
        } else {
            feed(buf_str(&b), b.len);
            n++;
        }
        buf_release(&b);
    }
    if (n == 0) {
        fprintf(stderr, "no inputs\n");
        return 1;
    }
    printf("%zu inputs\n", n);
    return 0;
}
