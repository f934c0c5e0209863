/*
 * Energy of the answers of a cell: windows of a second or more, in which steps of that cell alone
 * ran (table power of results/schema.sql). Of the GPU that backend cuda takes, by its own counter.
 */
#ifndef HARNESS_ENERGY_H
#define HARNESS_ENERGY_H

#include <stdint.h>

#include "base/nvml.h"
#include "base/status.h"
#include "results/results.h"

enum { ENERGY_WINDOW_MS = 1000 };

struct energy {
    struct nvml *nvml; /* NULL: nothing is measured */
    char device[48];
    const char *cell_key; /* of the window under way; NULL: there is none */
    int64_t start_ns, start_mj, n_committed;
};

/* Find the device of a backend, or do without, saying why where one was expected. */
void energy_open(struct energy *e, const char *backend);
void energy_close(struct energy *e); /* zeroed: fine */

/* A step begins, of sequences of one cell; cell_key NULL: of several. Borrowed until the next. */
void energy_begin(struct energy *e, const char *cell_key);

/* It ended and committed so many positions: a window that is long enough is stored. */
MUST_CHECK enum status energy_end(struct energy *e, int64_t n_committed, struct store *s,
                                  const char *run_id, struct error *err);

#endif
