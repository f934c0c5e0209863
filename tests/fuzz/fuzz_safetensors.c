/* safetensors: a file that is opened has tensors in order of name, all within the file. */
#include <string.h>

#include "engine/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct safetensors *s = NULL;
    struct error err = { 0 };
    enum status st = safetensors_open_file(memfile(data, len), &s, &err);
    size_t total = 0;

    if (st) {
        REQUIRE_REFUSED(st, err);
        return 0;
    }
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *t = safetensors_at(s, i);
        size_t bytes = dtype_size(t->dtype);
        unsigned sum = 0;

        REQUIRE(safetensors_find(s, t->name) == t);
        REQUIRE(i == 0 || strcmp(safetensors_at(s, i - 1)->name, t->name) < 0);
        REQUIRE(t->n_dims >= 0 && t->n_dims <= SAFETENSORS_MAX_DIMS);
        for (int k = 0; k < t->n_dims; k++)
            bytes *= (size_t)t->shape[k];
        REQUIRE(bytes == t->bytes);
        total += t->bytes;
        for (size_t k = 0; k < t->bytes; k++) /* it can be read to its end */
            sum += ((const unsigned char *)t->data)[k];
        REQUIRE(sum <= 255 * t->bytes);
    }
    REQUIRE(total == safetensors_bytes(s) && total <= len);
    safetensors_close(s);
    return 0;
}
