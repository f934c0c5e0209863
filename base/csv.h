/*
 * CSV in and out through libcsv (RFC 4180: quotes doubled, CRLF or LF).
 */
#ifndef BASE_CSV_H
#define BASE_CSV_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

/*
 * Parse a whole CSV text, calling row() for each record with its fields (NUL-terminated,
 * lengths beside them, borrowed until return) and its 1-based record number. row() returns
 * ST_OK to go on; anything else stops and is returned. Records of only one empty field (blank
 * lines) are skipped. An unfinished quoted field is ST_INVALID naming `name` and the record.
 */
typedef enum status (*csv_row_fn)(void *arg, size_t record, char *const *fields, const size_t *lens,
                                  size_t n_fields, struct error *err);
MUST_CHECK enum status csv_read(const char *data, size_t len, const char *name, csv_row_fn row,
                                void *arg, struct error *err);

/* Append one field, quoted where it must be (comma, quote, CR, LF, outer blanks). */
void csv_put_field(struct buf *b, const char *s, size_t len);

/* Append one record of n strings, fields separated by commas, ended by "\n". */
void csv_put_row(struct buf *b, const char *const *fields, size_t n_fields);

#endif
