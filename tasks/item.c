/* Fields of items, and small things that every format needs. */
#include <assert.h>
#include <string.h>

#include "tasks/internal.h"

struct span item_str(const struct item *it, const char *key)
{
    const json_t *v = json_object_get(it->record, key);

    assert(json_is_string(v)); /* dataset.c checked it */
    return (struct span){ json_string_value(v), json_string_length(v) };
}

const json_t *item_list(const struct item *it, const char *key)
{
    const json_t *v = json_object_get(it->record, key);

    assert(json_is_array(v));
    return v;
}

int64_t item_int(const struct item *it, const char *key)
{
    const json_t *v = json_object_get(it->record, key);

    assert(json_is_integer(v));
    return json_integer_value(v);
}

void item_put_list(const struct item *it, const char *key, struct buf *b)
{
    const json_t *list = item_list(it, key);

    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            buf_putc(b, '\n');
        buf_puts(b, json_string_value(json_array_get(list, i)));
    }
}

void item_put_reference(const struct format *f, const struct item *it, struct buf *b)
{
    if (!f->put_solution) {
        f->put_answer(it, b);
        return;
    }
    buf_puts(b, "```python\n");
    f->put_solution(it, b);
    buf_puts(b, "\n```\n");
}

const char *buf_to_arena(struct buf *b, struct arena *arena, size_t *ret_len)
{
    char *s = buf_ok(b) ? arena_strdup(arena, buf_str(b), b->len) : NULL;

    *ret_len = b->len;
    buf_release(b);
    return s;
}

enum status extraction_set(struct extraction *ret, struct span text, const char *method,
                           struct arena *arena, struct error *err)
{
    char *s;

    if (span_is_blank(text)) {
        *ret = (struct extraction){ .method = "none" };
        return ST_OK;
    }
    s = arena_strdup(arena, text.s, text.len);
    if (!s)
        return error_set(err, ST_NOMEM, "out of memory for %zu bytes of answer", text.len);
    *ret = (struct extraction){ .text = s, .len = text.len, .method = method };
    return ST_OK;
}

enum status program_set(struct task_program *ret, const char *entry_point, struct buf *code,
                        struct buf *tests, struct arena *arena, struct error *err)
{
    struct task_program p = { .entry_point = entry_point, .helpers = "" };

    p.code = buf_to_arena(code, arena, &p.code_len);
    p.tests = buf_to_arena(tests, arena, &p.tests_len);
    if (!p.code || !p.tests)
        return error_set(err, ST_NOMEM, "out of memory for a program");
    *ret = p;
    return ST_OK;
}
