/*
 * Ranges: lists of values as llama-bench writes them.
 *
 *     8,16,32     these
 *     8-12        8, 9, 10, 11, 12
 *     8-64+8      8, 16, 24, ..., 64
 *     8-64*2      8, 16, 32, 64
 *
 * A range ends with the last value that is not above its end. Its numbers are decimal without sign
 * or exponent, and so are its values, exactly: "0.8-0.95+0.05" holds 0.9. A factor is a whole
 * number. Whatever does not look like a range is a value as it stands.
 */
#ifndef HARNESS_RANGES_H
#define HARNESS_RANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

enum { RANGES_MAX_VALUES = 1000 };

/*
 * The values of a list: *ret (n), texts in the arena. ST_INVALID: an empty entry, a value twice, a
 * range that ends before it begins or takes no steps, more than RANGES_MAX_VALUES.
 */
MUST_CHECK enum status ranges_expand(const char *text, struct arena *a, const char *const **ret,
                                     size_t *ret_n, struct error *err);

/*
 * The same for the fields of a selector: "topk:k=1-3" is topk:k=1, topk:k=2, topk:k=3. A comma
 * before a word with "=" begins another field, else another value:
 * "des-vote:beta=0.2,0.4,vote=count" is two. Of several lists, all combinations, the last list
 * running fastest.
 */
MUST_CHECK enum status ranges_expand_selector(const char *text, struct arena *a,
                                              const char *const **ret, size_t *ret_n,
                                              struct error *err);

#endif
