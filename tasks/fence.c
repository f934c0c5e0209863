/* Fenced code blocks: one pass over the lines, whatever the text. */
#include "tasks/fence.h"

#include <string.h>

static size_t count_backquotes(struct span t)
{
    size_t n = 0;

    while (n < t.len && t.s[n] == '`')
        n++;
    return n;
}

/* Is the line a fence? *ret_rest is what follows its backquotes, trimmed. */
static bool is_fence(struct span line, struct span *ret_rest)
{
    size_t indent = 0, n;

    while (indent < line.len && line.s[indent] == ' ')
        indent++;
    n = count_backquotes(span_sub(line, indent, line.len));
    if (indent > 3 || n < 3)
        return false;
    *ret_rest = span_trim(span_sub(line, indent + n, line.len));
    return true;
}

/* Does the line open a block? Backquotes after the fence make it code within a line of prose. */
static bool is_opening(struct span line, struct span *ret_tag)
{
    size_t n = 0;

    if (!is_fence(line, ret_tag) || (ret_tag->len && memchr(ret_tag->s, '`', ret_tag->len)))
        return false;
    while (n < ret_tag->len && ret_tag->s[n] != ' ' && ret_tag->s[n] != '\t')
        n++;
    ret_tag->len = n;
    return true;
}

/* Does the line close the open block? *ret_glued is the code before a fence at its end. */
static bool is_closing(struct span line, struct span *ret_glued)
{
    struct span rest;
    size_t n;

    if (is_fence(line, &rest)) {
        *ret_glued = span_sub(line, 0, 0);
        return rest.len == 0;
    }
    line = span_trim_end(line);
    for (n = 0; n < line.len && line.s[line.len - n - 1] == '`'; n++)
        ;
    *ret_glued = span_sub(line, 0, line.len - n);
    return n >= 3 && !span_is_blank(*ret_glued); /* further in it belongs to a docstring */
}

static bool is_python_tag(struct span tag)
{
    return tag.len == 0 || span_equal_nocase(tag, "py") || span_equal_nocase(tag, "python") ||
           span_equal_nocase(tag, "python3");
}

/*
 * A block within a list item is indented as a whole, fence included. Such a block (its first
 * line indented exactly as the fence, no line less) is shifted back, as CommonMark does; where
 * only the fence is indented the code stays as it is.
 */
static enum status dedent(struct span *text, size_t indent, struct arena *arena, struct error *err)
{
    struct span rest = *text, line;
    bool is_first = true;
    size_t n = 0;
    char *d;

    while (span_next_line(&rest, &line)) {
        size_t own = span_indent(line);

        if (span_is_blank(line))
            continue;
        if (own < indent || (is_first && own != indent))
            return ST_OK;
        is_first = false;
    }
    d = arena_alloc(arena, text->len + 1);
    if (!d)
        return error_set(err, ST_NOMEM, "out of memory for a code block of %zu bytes", text->len);
    for (rest = *text; span_next_line(&rest, &line);) {
        size_t cut = span_indent(line);

        if (n > 0)
            d[n++] = '\n';
        if (cut > indent)
            cut = indent;
        memcpy(d + n, line.s + cut, line.len - cut);
        n += line.len - cut;
    }
    *text = (struct span){ d, n };
    return ST_OK;
}

/* Append, doubling the list; old lists stay in the arena until it is cleared. */
static enum status append(struct blocks *b, size_t *cap, const struct block *add,
                          struct arena *arena, struct error *err)
{
    if (b->n == *cap) {
        size_t want = *cap ? *cap * 2 : 8;
        struct block *list = arena_array(arena, want, sizeof(*list));

        if (!list)
            return error_set(err, ST_NOMEM, "out of memory for %zu code blocks", want);
        if (b->n)
            memcpy(list, b->list, b->n * sizeof(*list));
        b->list = list;
        *cap = want;
    }
    b->list[b->n++] = *add;
    return ST_OK;
}

enum status fence_find(struct span text, struct arena *arena, struct blocks *ret, struct error *err)
{
    struct span rest = text, line, tag, glued;
    struct blocks b = { .first_fence = text.len };
    struct block open = { 0 };
    bool is_open = false;
    size_t cap = 0, body = 0, indent = 0;

    for (;;) {
        bool is_end = !span_next_line(&rest, &line);
        size_t at = is_end ? text.len : (size_t)(line.s - text.s);
        enum status st;

        if (!is_open && !is_end && is_opening(line, &tag)) {
            open = (struct block){ .tag = tag, .is_python = is_python_tag(tag) };
            is_open = true;
            body = (size_t)(rest.s - text.s);
            indent = span_indent(line);
            if (b.first_fence == text.len) {
                b.first_fence = at;
                b.is_first_bare = tag.len == 0;
            }
        } else if (is_open && (is_end || is_closing(line, &glued))) {
            size_t end = is_end ? text.len : at + glued.len;

            open.is_closed = !is_end;
            if (end > body && text.s[end - 1] == '\n')
                end--;
            open.text = span_sub(text, body, end);
            is_open = false;
            if (!span_is_blank(open.text)) {
                st = indent ? dedent(&open.text, indent, arena, err) : ST_OK;
                if (!st)
                    st = append(&b, &cap, &open, arena, err);
                if (st)
                    return st;
            }
        }
        if (is_end)
            break;
    }
    *ret = b;
    return ST_OK;
}
