/* `show --by kernel|layer|energy`: where the time of a run's forwards went, and the energy. */
#ifndef HARNESS_KERNELS_PRINT_H
#define HARNESS_KERNELS_PRINT_H

#include <stdbool.h>

#include "base/status.h"
#include "harness/options.h"
#include "results/results.h"

/* Is it one of these? */
bool kernels_is_field(const char *by);

/* ST_NOT_FOUND: the run has nothing of the kind, with what would have measured it. */
MUST_CHECK enum status kernels_print(const struct options *c, struct store *s, const char *run_id,
                                     const char *by, struct error *err);

#endif
