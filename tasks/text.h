/*
 * Text that the rules of tasks/ look at: a pointer and a length, any bytes at all, borrowed.
 * Every function here is linear in the text.
 */
#ifndef TASKS_TEXT_H
#define TASKS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

struct span {
    const char *s;
    size_t len;
};

struct span span_of(const char *s);                          /* of a NUL-terminated string */
struct span span_sub(struct span t, size_t from, size_t to); /* from <= to <= t.len */

bool span_equal(struct span t, const char *literal);
bool span_equal_nocase(struct span t, const char *literal); /* ASCII letters only */
bool span_starts(struct span t, const char *literal);

/* Offset of the first or last occurrence of a non-empty literal; false if there is none. */
bool span_find(struct span t, const char *literal, size_t *ret);
bool span_find_last(struct span t, const char *literal, size_t *ret);

/* Take the next line off *rest, without its newline. False at the end of the text; a newline at
 * the very end starts no further line. */
bool span_next_line(struct span *rest, struct span *ret_line);

bool span_is_blank(struct span t);    /* nothing but white space (ASCII), or empty */
size_t span_indent(struct span line); /* leading spaces and tabs, in bytes */

struct span span_trim(struct span t);       /* white space off both ends */
struct span span_trim_end(struct span t);   /* off the end */
struct span span_trim_lines(struct span t); /* off the end, and blank lines off the start */

/*
 * Clean a generation: cut at the first end-of-turn token that was decoded as text,
 * delete mask tokens, keep what follows the last `</think>`, CRLF and CR become LF. The result
 * lies in the arena, followed by a NUL. ST_NOMEM is the only failure.
 */
MUST_CHECK enum status text_clean(struct span output, struct arena *arena, struct span *ret,
                                  struct error *err);

/* Cut at the first token that ends a turn; nothing else is changed and nothing copied. */
struct span text_cut_at_end_token(struct span output);

#endif
