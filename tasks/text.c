/* Spans of text. */
#include "tasks/text.h"

#include <string.h>
#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct span span_of(const char *s)
{
    return (struct span){ s, strlen(s) };
}

struct span span_sub(struct span t, size_t from, size_t to)
{
    return (struct span){ t.s + from, to - from };
}

bool span_equal(struct span t, const char *literal)
{
    return t.len == strlen(literal) && memcmp(t.s, literal, t.len) == 0;
}

bool span_equal_nocase(struct span t, const char *literal)
{
    return t.len == strlen(literal) && strncasecmp(t.s, literal, t.len) == 0;
}

bool span_starts(struct span t, const char *literal)
{
    size_t n = strlen(literal);

    return t.len >= n && (!n || t.s[0] == literal[0]) && memcmp(t.s, literal, n) == 0;
}

bool span_find(struct span t, const char *literal, size_t *ret)
{
    const char *p = t.len ? memmem(t.s, t.len, literal, strlen(literal)) : NULL;

    if (!p)
        return false;
    *ret = (size_t)(p - t.s);
    return true;
}

bool span_find_last(struct span t, const char *literal, size_t *ret)
{
    size_t n = strlen(literal);

    for (size_t end = t.len; end >= n;) {
        const char *p = memrchr(t.s, literal[0], end - n + 1);

        if (!p)
            return false;
        if (memcmp(p, literal, n) == 0) {
            *ret = (size_t)(p - t.s);
            return true;
        }
        end = (size_t)(p - t.s) + n - 1;
    }
    return false;
}

bool span_next_line(struct span *rest, struct span *ret_line)
{
    const char *nl;
    size_t n;

    if (rest->len == 0)
        return false;
    nl = memchr(rest->s, '\n', rest->len);
    n = nl ? (size_t)(nl - rest->s) : rest->len;
    *ret_line = span_sub(*rest, 0, n);
    *rest = span_sub(*rest, nl ? n + 1 : n, rest->len);
    return true;
}

bool span_is_blank(struct span t)
{
    return span_trim_end(t).len == 0;
}

size_t span_indent(struct span line)
{
    size_t n = 0;

    while (n < line.len && (line.s[n] == ' ' || line.s[n] == '\t'))
        n++;
    return n;
}

struct span span_trim_end(struct span t)
{
    while (t.len > 0 && is_space(t.s[t.len - 1]))
        t.len--;
    return t;
}

struct span span_trim(struct span t)
{
    size_t i = 0;

    t = span_trim_end(t);
    while (i < t.len && is_space(t.s[i]))
        i++;
    return span_sub(t, i, t.len);
}

struct span span_trim_lines(struct span t)
{
    struct span rest, line;

    t = span_trim_end(t);
    rest = t;
    while (span_next_line(&rest, &line) && span_is_blank(line))
        t = rest;
    return t;
}
