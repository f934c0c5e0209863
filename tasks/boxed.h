/* The content of LaTeX's \boxed{}. */
#ifndef TASKS_BOXED_H
#define TASKS_BOXED_H

#include "tasks/text.h"

/*
 * Content of the last \boxed{...} whose braces balance (`\{` and `\}` do not count); an
 * unbalanced one, as in a generation that was cut off, is passed over. *ret_found says whether
 * there is any. ST_NOMEM is the only failure; scratch memory comes from the arena.
 */
MUST_CHECK enum status boxed_find_last(struct span text, struct arena *arena, bool *ret_found,
                                       struct span *ret, struct error *err);

#endif
