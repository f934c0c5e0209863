/*
 * Popularity: how many tokens each expert of each layer got in earlier runs, for the selector
 * `static`. A JSON file, as `desbench show RUN --popularity` prints it:
 *
 *   {"format": "desbench popularity 1",
 *    "weights_sha256": "...",                     optional: of the model it was counted with
 *    "tokens": [[number of each expert], ...]}    a list for each MoE layer
 *
 * Numbers are at least 0; other members are passed over.
 */
#ifndef ENGINE_POPULARITY_H
#define ENGINE_POPULARITY_H

#include <stddef.h>

#include "base/status.h"
#include "engine/engine.h"

/* Tables that were read, the last one first: a file is read once in an engine's life. */
struct popularity;

/*
 * The table (n_moe_layer, n_exp) of a file, of path_len bytes of path; it lives as long as *list.
 * ST_INVALID names file, member and number, or says that it is of another model; ST_NOT_FOUND,
 * ST_IO, ST_NOMEM.
 */
MUST_CHECK enum status popularity_get(struct popularity **list, const char *path, size_t path_len,
                                      const struct model_info *m, const double **ret,
                                      struct error *err);
void popularity_free(struct popularity *list); /* accepts NULL */

#endif
