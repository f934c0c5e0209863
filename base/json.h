/*
 * JSON through jansson, with errors that name the file, the field and the value.
 *
 * Values are jansson's own (`json_t`, reference counted, json_decref() by the owner); this
 * header adds loading from bytes and typed look-ups that never default silently. Values nest up
 * to jansson's limit of 2048 levels; integers are 64 bits wide and reals are finite, what does not
 * fit is an error.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

/*
 * Parse exactly one JSON value from bytes (duplicate keys are an error). `name` and `line`
 * (0: none, else the 1-based line of a JSON-lines file) are for messages. *ret is owned by the
 * caller. ST_INVALID or ST_NOMEM.
 */
MUST_CHECK enum status json_parse(const char *data, size_t len, const char *name, size_t line,
                                  json_t **ret, struct error *err);

/* Read and parse a file. */
MUST_CHECK enum status json_read(const char *path, size_t max_bytes, json_t **ret,
                                 struct error *err);

/*
 * Typed members of an object. `where` names the object for messages ("file 'x.json' line 3").
 * A missing member or another type is ST_INVALID naming where, key, and what was found.
 * Strings are borrowed from the object, UTF-8, and may hold NUL (*ret_len says their length;
 * ret_len may be NULL, then a string with a NUL inside is refused).
 */
MUST_CHECK enum status json_get_str(const json_t *obj, const char *where, const char *key,
                                    const char **ret, size_t *ret_len, struct error *err);
MUST_CHECK enum status json_get_int(const json_t *obj, const char *where, const char *key,
                                    int64_t min, int64_t max, int64_t *ret, struct error *err);
MUST_CHECK enum status json_get_num(const json_t *obj, const char *where, const char *key,
                                    double *ret, struct error *err);
MUST_CHECK enum status json_get_bool(const json_t *obj, const char *where, const char *key,
                                     bool *ret, struct error *err);
MUST_CHECK enum status json_get_array(const json_t *obj, const char *where, const char *key,
                                      json_t **ret, struct error *err);
MUST_CHECK enum status json_get_object(const json_t *obj, const char *where, const char *key,
                                       json_t **ret, struct error *err);

/*
 * Append a value as JSON text; NULL appends nothing. `flags` are those of json_dumps(), which is
 * kept from being used: the memory of jansson's own is not free()'s (json.c).
 */
void json_put_value(struct buf *b, const json_t *v, size_t flags);
#pragma GCC poison json_dumps

/* Append s[0..len) as a quoted JSON string; bytes that are not UTF-8 become U+FFFD. */
void json_put_str(struct buf *b, const char *s, size_t len);

/* Append a number that reads back as the same double ("null" for NaN and infinities). */
void json_put_num(struct buf *b, double v);

#endif
