/* Tables as CSV, field by field. */
#ifndef RESULTS_CSV_OUT_H
#define RESULTS_CSV_OUT_H

#include <stdint.h>

#include "base/buf.h"

/* Fields, one after another; NaN is an empty one, NULL too. csv_end() ends the record. */
void csv_text(struct buf *b, const char *s);
void csv_int(struct buf *b, int64_t v);
void csv_real(struct buf *b, double v);
void csv_end(struct buf *b);

#endif
