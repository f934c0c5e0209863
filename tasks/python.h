/*
 * What the code tasks need to know of Python source: definitions, calls, where code begins and
 * ends within prose. No parser: line starts, names and the state of strings and brackets.
 */
#ifndef TASKS_PYTHON_H
#define TASKS_PYTHON_H

#include "tasks/text.h"

bool python_is_name(struct span t); /* an ASCII identifier that is no keyword */

/* Does a line at column 0 start `def NAME(` or `async def NAME(`? */
bool python_defines(struct span code, const char *name);

/* Name of the last function defined at column 0; false if there is none. */
bool python_last_def(struct span code, struct span *ret);

/*
 * The function that a test calls: the first name before a `(` that is no attribute, no keyword and
 * none of the builtins that tests wrap around results (set sorted len list tuple str abs round
 * type dict int float all any; not sum, which MBPP 126 defines itself). False if there is none.
 */
bool python_first_call(struct span test, struct span *ret);

/* Offset of the first line at column 0 that starts an import, a definition or a decorator; false
 * if there is none. */
bool python_first_code_line(struct span text, size_t *ret);

/* Length of code without the prose behind it: docs/grading.md, "Code without fences". */
size_t python_code_len(struct span text);

#endif
