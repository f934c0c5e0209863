/*
 * HumanEval Pro: a second function that calls the first. Yu et al., arXiv:2412.21199;
 * CodeEval-Pro/CodeEval-Pro@36f292ea. Rules: docs/grading.md, "HumanEval Pro".
 *
 * Only the second function is tested. Nothing is put before a model's code: it has to repeat the
 * first function, unless it goes on inside the first function's body, as the completion form
 * makes it do.
 */
#include <string.h>

#include "tasks/code.h"
#include "tasks/python.h"

static enum status read(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err)
{
    struct span test = item_str(it, "test_code"), raw = item_str(it, "raw_problem"), entry, first;

    (void)number;
    if (!python_first_call(test, &entry))
        return error_set(err, ST_INVALID, "%s: field 'test_code' calls no function: '%.80s'", where,
                         test.s);
    if (!python_last_def(raw, &first))
        return error_set(err, ST_INVALID, "%s: field 'raw_problem' defines no function: '%.80s'",
                         where, raw.s);
    it->id = arena_printf(&t->arena, "%lld", (long long)item_int(it, "id"));
    it->entry_point = arena_strdup(&t->arena, entry.s, entry.len);
    it->first_function = arena_strdup(&t->arena, first.s, first.len);
    if (!it->id || !it->entry_point || !it->first_function)
        return error_set(err, ST_NOMEM, "out of memory reading %s", where);
    return ST_OK;
}

/* All Python blocks in order with an empty line between. */
static enum status join_blocks(const struct blocks *b, struct arena *arena, struct span *ret,
                               struct error *err)
{
    struct buf joined = { 0 };
    struct span text;

    for (size_t i = 0; i < b->n; i++) {
        if (!b->list[i].is_python)
            continue;
        if (joined.len)
            buf_puts(&joined, "\n\n");
        text = span_trim_lines(b->list[i].text);
        buf_append(&joined, text.s, text.len);
    }
    ret->s = buf_to_arena(&joined, arena, &ret->len);
    return ret->s ? ST_OK : error_set(err, ST_NOMEM, "out of memory joining code blocks");
}

/* Is the first function defined in a Python block before this one? */
static bool has_earlier(const struct blocks *b, const struct block *block, const char *name)
{
    for (const struct block *p = b->list; p < block; p++)
        if (p->is_python && python_defines(p->text, name))
            return true;
    return false;
}

static enum status extract(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err)
{
    const char *method = "fence";
    const struct block *block;
    struct blocks blocks;
    struct span code, before;
    bool is_first = compat & COMPAT_PRO_FIRST_BLOCK;
    enum status st = fence_find(output, arena, &blocks, err);

    if (st)
        return st;
    before = span_sub(output, 0, blocks.first_fence);
    block = code_find_block(&blocks, true, is_first ? NULL : it->entry_point);
    if (!block && is_first && blocks.n > 0)
        block = &blocks.list[0];
    if (code_starts_as_body(output) && (!block || python_defines(before, it->entry_point))) {
        return extraction_set(ret, span_trim_lines(before), "body", arena, err);
    } else if (block) {
        code = block->text;
        if (!is_first && !python_defines(code, it->first_function) &&
            has_earlier(&blocks, block, it->first_function)) {
            method = "joined-fences";
            st = join_blocks(&blocks, arena, &code, err);
        }
    } else {
        st = code_extract_function(output, it->entry_point, arena, &code, &method, err);
    }
    return st ? st : extraction_set(ret, span_trim_lines(code), method, arena, err);
}

static enum status put_program(const struct item *it, struct span before, struct span code,
                               struct arena *arena, struct task_program *ret, struct error *err)
{
    struct span test = item_str(it, "test_code");
    struct buf program = { 0 }, tests = { 0 };

    buf_append(&program, before.s, before.len);
    buf_append(&program, code.s, code.len);
    buf_putc(&program, '\n');
    buf_append(&tests, test.s, test.len);
    buf_putc(&tests, '\n');
    return program_set(ret, it->entry_point, &program, &tests, arena, err);
}

/* A program without what CodeEval-Pro's second score drops: a main part, else tests, else
 * examples. No problem text of the set holds these marks. */
static struct span cut_tail(struct span code)
{
    static const char *const marks[] = { "if __name__", "# Test", "# Example " };
    size_t at;

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (span_find(code, marks[i], &at))
            return span_sub(code, 0, at);
    return code;
}

static enum status make_program(const struct item *it, unsigned compat, struct span code,
                                struct arena *arena, struct task_program *ret, struct error *err)
{
    /* code that starts indented is the body of the first function */
    struct span raw = span_indent(code) > 0 ? item_str(it, "raw_problem") : (struct span){ 0 };

    if (compat & COMPAT_PRO_SANITIZED)
        code = cut_tail(code);
    return put_program(it, raw, code, arena, ret, err);
}

static enum status make_solution(const struct item *it, struct span code, struct arena *arena,
                                 struct task_program *ret, struct error *err)
{
    return put_program(it, (struct span){ 0 }, code, arena, ret, err);
}

static size_t put_solution(const struct item *it, struct buf *b)
{
    static const char *const parts[] = { "raw_problem", "raw_solution", "new_problem",
                                         "new_solution" };
    size_t from = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct span part = item_str(it, parts[i]);

        from = b->len;
        buf_append(b, part.s, part.len);
    }
    return from; /* of the second function's, which alone is tested */
}

static const struct field fields[] = {
    { "id", FIELD_INT },          { "raw_problem", FIELD_STR },  { "raw_solution", FIELD_STR },
    { "new_problem", FIELD_STR }, { "new_solution", FIELD_STR }, { "test_code", FIELD_STR },
    { NULL, FIELD_STR },
};

const struct format format_humaneval_pro = {
    .fields = fields,
    .read = read,
    .extract = extract,
    .make_program = make_program,
    .make_solution = make_solution,
    .put_solution = put_solution,
};
