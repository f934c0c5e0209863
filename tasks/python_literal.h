/*
 * Values written down in Python source, as JSON: what a module assigns to a name, or what one of
 * its functions returns. Nothing is executed.
 *
 * Read are strings (every prefix but b and f, every escape but \N{...}, adjacent ones joined),
 * decimal numbers, True, False, None, lists, tuples, dict displays and dict(key=value) calls. Other
 * names and calls, `type=GenInferencer` or `get_path('x')`, stand for objects that only a running
 * program has, and become null. Operators, comprehensions, subscripts and ** are refused.
 *
 * Source: docs.python.org/3.11/reference: lexical_analysis, expressions.
 */
#ifndef TASKS_PYTHON_LITERAL_H
#define TASKS_PYTHON_LITERAL_H

#include <jansson.h>

#include "tasks/text.h"

enum python_place {
    PYTHON_ASSIGNED, /* NAME = VALUE at column 0; the last counts */
    PYTHON_RETURNED  /* the first `return VALUE` in `def NAME(` at column 0 */
};

/*
 * `file` is for messages. The caller json_decref()s *ret. ST_INVALID names file and line and what
 * is not understood, or says that there is no such assignment or function. ST_NOMEM.
 */
MUST_CHECK enum status python_literal_read(struct span source, const char *file,
                                           enum python_place place, const char *name, json_t **ret,
                                           struct error *err);

#endif
