/*
 * Traces: what is opened can be read to its end or is refused, and scores are finite. The input is
 * a trace without its end, which is made here: number of forwards (its first byte) and hash. First
 * byte 255: a file as it is.
 */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "harness/trace_file.h"
#include "tests/fuzz/fuzz.h"

static void check_layers(struct trace_reader *r, int n_tok)
{
    const struct trace_header *h = trace_get_header(r);
    struct error err = { 0 };

    for (int i = 0; i < h->n_layer; i++) {
        struct trace_layer l;
        enum status st = trace_read_layer(r, i, &l, &err);

        if (st) {
            REQUIRE_REFUSED(st, err);
            return;
        }
        for (size_t k = 0; k < (size_t)n_tok * (size_t)h->n_exp; k++)
            REQUIRE(isfinite(l.scores[k]) && l.scores[k] >= 0);
        REQUIRE(h->has_importance == (l.importance != NULL));
        REQUIRE(h->has_executed == (l.executed != NULL));
        for (int t = 0; l.importance && t < n_tok; t++)
            REQUIRE(l.importance[t] >= 0);
    }
}

static void check(const uint8_t *data, size_t len)
{
    struct trace_reader *r = NULL;
    struct error err = { 0 };
    enum trace_record kind = TRACE_SEQUENCE;
    enum status st = trace_open_memory(data, len, "x", &r, &err);
    uint64_t n = 0;

    if (st) {
        REQUIRE_REFUSED(st, err);
        return;
    }
    while (kind != TRACE_END) {
        struct trace_sequence s;
        struct trace_forward f;

        st = trace_next(r, &kind, &s, &f, &err);
        if (st) {
            REQUIRE_REFUSED(st, err);
            break;
        }
        if (kind == TRACE_SEQUENCE)
            REQUIRE(s.n_prompt >= 0 && s.n_gen >= 0 && s.block_length >= 0);
        if (kind != TRACE_FORWARD)
            continue;
        n++;
        for (int t = 0; t < f.n_tok; t++)
            REQUIRE(f.ids[t] >= 0 && f.positions[t] >= 0);
        check_layers(r, f.n_tok);
    }
    REQUIRE(st || n == trace_n_forwards(r));
    trace_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t file[1 << 16];
    char hex[SHA256_HEX_SIZE];
    struct error err = { 0 };

    if (len == 0 || len + 76 > sizeof(file))
        return 0;
    if (data[0] == 255) {
        check(data + 1, len - 1);
        return 0;
    }
    memcpy(file, data + 1, len - 1);
    memcpy(file + len - 1, "END ", 4);
    memset(file + len + 3, 0, 8);
    file[len + 3] = data[0];
    REQUIRE(sha256_hex(file, len + 11, hex, &err) == ST_OK);
    memcpy(file + len + 11, hex, 64);
    check(file, len + 75);
    return 0;
}
