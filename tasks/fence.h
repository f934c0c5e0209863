/*
 * Fenced code blocks of a text in Markdown, as models write it.
 *
 * A fence is a line of three or more backquotes, with up to three spaces before. An opening
 * fence may carry a tag; a closing one stands alone, or is glued to the last line of the block
 * (`return x` and a fence on one line). A block that is never closed runs to the end of the text,
 * as a generation may have been cut off. Blocks without anything in them are left out.
 */
#ifndef TASKS_FENCE_H
#define TASKS_FENCE_H

#include "tasks/text.h"

struct block {
    struct span tag;  /* first word after the opening fence; may be empty */
    struct span text; /* without the fences and without the newline before the closing one */
    bool is_closed;
    bool is_python; /* tag is empty, py, python or python3, in any case */
};

struct blocks {
    struct block *list;
    size_t n;
    size_t first_fence; /* offset of the first fence line, even of an empty block; text.len: none */
    bool is_first_bare; /* that fence has no tag */
};

/* Find all blocks. The list and dedented blocks lie in the arena. ST_NOMEM or ST_OK. */
MUST_CHECK enum status fence_find(struct span text, struct arena *arena, struct blocks *ret,
                                  struct error *err);

#endif
