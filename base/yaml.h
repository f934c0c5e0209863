/*
 * YAML through libyaml, as the JSON it stands for.
 *
 * Plain scalars are typed as YAML 1.2's core schema has it: null or ~ or nothing, true, false,
 * decimal integers, decimal numbers; everything else, and whatever is quoted, folded or literal, is
 * a string. Tags are passed over. Keys must be scalars and become strings.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/json.h"

/*
 * Parse a text of one document; `name` is for messages. The caller json_decref()s *ret. ST_INVALID
 * names line and fault: not YAML, no document or several, a key twice in one mapping, a number out
 * of range, more than 100 levels, or more than 100,000 values once aliases are followed. ST_NOMEM.
 */
MUST_CHECK enum status yaml_parse(const char *data, size_t len, const char *name, json_t **ret,
                                  struct error *err);

#endif
