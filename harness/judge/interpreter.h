/*
 * The Python interpreter under test.
 */
#ifndef HARNESS_JUDGE_INTERPRETER_H
#define HARNESS_JUDGE_INTERPRETER_H

#include <limits.h>
#include <stddef.h>

#include "base/status.h"

enum { INTERPRETER_PATH_SIZE = PATH_MAX };

/*
 * Resolve a path (NULL: /usr/bin/python3). ST_NOT_FOUND if there is no executable there;
 * ST_UNSUPPORTED if it or what it links to lies outside /usr, all that a sandbox shows.
 */
MUST_CHECK enum status interpreter_find(const char *path, char ret[INTERPRETER_PATH_SIZE],
                                        struct error *err);

/* Ask it for its version, "3.11.2". ST_UNSUPPORTED if it does not answer like a Python 3.8+. */
MUST_CHECK enum status interpreter_version(const char *path, char *ret, size_t size,
                                           struct error *err);

#endif
