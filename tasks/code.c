/* Which part of a generation is the code. */
#include "tasks/code.h"

#include <string.h>

#include "tasks/python.h"

const struct block *code_find_block(const struct blocks *b, bool is_python, const char *name)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->list[i].is_python == is_python && (!name || python_defines(b->list[i].text, name)))
            return &b->list[i];
    return NULL;
}

bool code_starts_as_body(struct span text)
{
    struct span line;

    text = span_trim_lines(text);
    if (!span_next_line(&text, &line))
        return false;
    return span_starts(line, "    ") || span_starts(line, "\t");
}

bool code_find_open_end(struct span text, const struct blocks *b, const char *name,
                        struct span *ret)
{
    struct span before = span_sub(text, 0, b->first_fence);

    if (b->first_fence == text.len || !b->is_first_bare || !python_defines(before, name))
        return false;
    *ret = before;
    return true;
}

bool code_find_plain(struct span text, struct span *ret)
{
    size_t at;

    if (!python_first_code_line(text, &at))
        return false;
    text = span_sub(text, at, text.len);
    *ret = span_sub(text, 0, python_code_len(text));
    return true;
}

struct span code_cut_body(struct span text)
{
    static const char *const stops[] = { "class", "def", "#", "if", "print", "@", "assert" };
    struct span body = span_trim_lines(text), rest = body, line;

    for (bool is_first = true; span_next_line(&rest, &line); is_first = false) {
        bool is_stop = span_starts(line, "```");

        for (size_t i = 0; !is_first && i < sizeof(stops) / sizeof(stops[0]); i++)
            is_stop = is_stop || span_starts(line, stops[i]);
        if (is_stop)
            return span_sub(body, 0, (size_t)(line.s - body.s));
    }
    return body;
}

enum status code_extract_function(struct span text, const char *name, struct arena *arena,
                                  struct span *ret, const char **ret_method, struct error *err)
{
    const struct block *block;
    struct blocks blocks;
    struct span before;
    bool is_body = code_starts_as_body(text) && !python_defines(text, name);
    enum status st = fence_find(text, arena, &blocks, err);

    if (st)
        return st;
    block = code_find_block(&blocks, true, name);
    if (block) {
        *ret_method = "fence";
        *ret = block->text;
    } else if (code_find_open_end(text, &blocks, name, &before) && code_find_plain(before, ret)) {
        *ret_method = "open-fence";
    } else if (!is_body && (block = code_find_block(&blocks, true, NULL)) != NULL) {
        *ret_method = "fence-body";
        *ret = block->text;
    } else if (!is_body && (block = code_find_block(&blocks, false, name)) != NULL) {
        *ret_method = "fence-other";
        *ret = block->text;
    } else if (python_defines(text, name) && code_find_plain(text, ret)) {
        *ret_method = "plain";
    } else if (!is_body && blocks.n > 0) {
        *ret_method = "fence-other";
        *ret = blocks.list[0].text;
    } else {
        *ret_method = "body";
        *ret = code_cut_body(text);
    }
    *ret = span_trim_lines(*ret);
    return ST_OK;
}
