/*
 * Histograms of durations with buckets of a constant ratio: bucket b holds values from 2^(b/8) up
 * to 2^((b+1)/8), so that a quantile is known to within 5 %, from nanoseconds to hours.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

enum { HISTOGRAM_BUCKETS = 8 * 44 }; /* the last one has no end */

/* Zeroed: empty. */
struct histogram {
    int64_t n, sum, min, max; /* min, max: of n > 0 */
    int64_t counts[HISTOGRAM_BUCKETS];
};

/* Values below 1 count as 1. */
void histogram_add(struct histogram *h, int64_t value);
void histogram_merge(struct histogram *h, const struct histogram *from);

/* The value that a share q (0 .. 1) of them do not exceed: the middle of its bucket, within min ..
 * max; 0 if there are none. */
int64_t histogram_quantile(const struct histogram *h, double q);

/* Append the buckets that are not empty: [[b,n],...]. */
void histogram_put_json(const struct histogram *h, struct buf *ret);

/* The counts of such a text; n is their sum, sum, min and max are the caller's to set. ST_INVALID
 * names the entry. */
MUST_CHECK enum status histogram_read_json(const char *text, size_t len, struct histogram *ret,
                                           struct error *err);

#endif
