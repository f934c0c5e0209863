/*
 * Fuzz targets: functions that take any bytes, hand them to one of the program's readers and
 * abort() when a promise of its header is broken. A target is one file; it is linked with
 * libFuzzer (meson option `fuzz`, run.py), or with replay.c, which feeds it the inputs in
 * corpus/.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* As assert(), in every build. */
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A reader refused its input: in words, and for want of nothing that is ours. */
#define REQUIRE_REFUSED(st, err)                                                                   \
    REQUIRE(((st) == ST_INVALID || (st) == ST_UNSUPPORTED) && (err).status == (st) && (err).text[0])

#endif
