/*
 * The last balanced \boxed{}, in linear time: from the end backwards, closing braces go on a
 * stack and opening ones take their partner off it, so that a thousand unclosed boxes cost no
 * more than one.
 */
#include "tasks/boxed.h"

#include <string.h>

/* Is the character at i escaped, that is, behind an odd number of backslashes? Runs are counted
 * once for the brace that follows them, so all calls together are linear. */
static bool is_escaped(struct span t, size_t i)
{
    size_t n = 0;

    while (n < i && t.s[i - n - 1] == '\\')
        n++;
    return n % 2 == 1;
}

/* Does `\boxed`, perhaps with white space, end at offset i? */
static bool is_box(struct span t, size_t i)
{
    struct span before = span_trim_end(span_sub(t, 0, i));
    size_t n = strlen("\\boxed");

    return before.len >= n && memcmp(t.s + before.len - n, "\\boxed", n) == 0;
}

enum status boxed_find_last(struct span text, struct arena *arena, bool *ret_found,
                            struct span *ret, struct error *err)
{
    size_t n_close = 0, n = 0;
    size_t *close;

    *ret_found = false;
    for (size_t i = 0; i < text.len; i++)
        n_close += text.s[i] == '}';
    close = arena_array(arena, n_close, sizeof(*close));
    if (!close)
        return error_set(err, ST_NOMEM, "out of memory for %zu braces", n_close);
    for (size_t i = text.len; i-- > 0;) {
        char c = text.s[i];

        if ((c != '{' && c != '}') || is_escaped(text, i))
            continue;
        if (c == '}') {
            close[n++] = i;
        } else if (n > 0) {
            n--;
            if (is_box(text, i)) {
                *ret = span_sub(text, i + 1, close[n]);
                *ret_found = true;
                return ST_OK;
            }
        }
    }
    return ST_OK;
}
