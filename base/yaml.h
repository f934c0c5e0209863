/*
 * YAML through libyaml: as the JSON it stands for, or item by item with the place of each.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <stdbool.h>

#include "base/json.h"

/*
 * Parse a text of one document; `name` is for messages. The caller json_decref()s *ret. ST_INVALID
 * names line and fault: not YAML, no document or several, a key twice in one mapping, a number out
 * of range, more than 100 levels, or more than 100,000 values once aliases are followed. ST_NOMEM.
 *
 * Plain scalars are typed as YAML 1.2's core schema has it: null or ~ or nothing, true, false,
 * decimal integers, decimal numbers; everything else, and whatever is quoted, folded or literal, is
 * a string. Tags are passed over. Keys must be scalars and become strings.
 */
MUST_CHECK enum status yaml_parse(const char *data, size_t len, const char *name, json_t **ret,
                                  struct error *err);

/* ---- item by item ----------------------------------------------------------------------- */

enum yaml_item_kind {
    YAML_ITEM_DOCUMENT, /* begins, as do a mapping and a list */
    YAML_ITEM_MAPPING,
    YAML_ITEM_LIST,
    YAML_ITEM_END, /* of the innermost of these that is open */
    YAML_ITEM_SCALAR,
    YAML_ITEM_ALIAS,
    YAML_ITEM_EOF, /* of the text: the last one */
};

/* Texts are the reader's, valid until its next item. */
struct yaml_item {
    enum yaml_item_kind kind;
    int line, column; /* where it begins, from 1; columns in characters */
    const char *text; /* of a scalar, NUL-terminated behind len bytes; of an alias its name */
    size_t len;
    bool is_plain;            /* a scalar neither quoted nor in a block */
    const char *anchor, *tag; /* of a scalar, mapping or list; NULL: none */
    bool has_tag_directives;  /* of a document */
};

struct yaml_reader;

/* Read a text in UTF-8, which must outlive *ret; yaml_reader_free() frees that. ST_NOMEM. */
MUST_CHECK enum status yaml_reader_new(const char *data, size_t len, struct yaml_reader **ret,
                                       struct error *err);
void yaml_reader_free(struct yaml_reader *r); /* accepts NULL */

/* The next item. ST_INVALID: not YAML, and why; of *ret line and column are the fault's then.
 * ST_NOMEM. After either, and after YAML_ITEM_EOF, there is no next one. */
MUST_CHECK enum status yaml_reader_next(struct yaml_reader *r, struct yaml_item *ret,
                                        struct error *err);

#endif
