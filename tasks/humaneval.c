/*
 * HumanEval: a function to complete from its signature and docstring. Chen et al.,
 * arXiv:2107.03374; openai/human-eval@6d43fb98. Rules: docs/grading.md, "HumanEval".
 *
 * The prompt stays in front of every program, also where the model repeats the whole function:
 * four prompts (10, 32, 38, 50) define helpers that tests or solutions call, and many carry
 * imports. A function that has only a docstring is valid Python, and the later definition
 * replaces it.
 */
#include <string.h>

#include "tasks/code.h"
#include "tasks/python.h"

static enum status read(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err)
{
    struct span entry = item_str(it, "entry_point");

    (void)t;
    (void)number;
    if (!python_is_name(entry))
        return error_set(err, ST_INVALID,
                         "%s: field 'entry_point' must be a Python name, found '%.80s'", where,
                         entry.s);
    it->id = item_str(it, "task_id").s;
    it->entry_point = entry.s;
    return ST_OK;
}

static enum status extract(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err)
{
    const char *method;
    struct span code;
    enum status st = code_extract_function(output, it->entry_point, arena, &code, &method, err);

    if (st)
        return st;
    if (compat & COMPAT_HUMANEVAL_LSTRIP && strncmp(method, "fence", 5) == 0)
        code = span_trim(code);
    return extraction_set(ret, code, method, arena, err);
}

/* Append a body that continues the prompt's function. Its first line sets what is wrong with the
 * indentation: none at all, then all lines lack four spaces; one to three, then that line was
 * shortened, as decoding strips the white space that a generation begins with. */
static void put_body(struct span code, struct buf *b)
{
    struct span line;
    size_t pad = 0;

    for (bool is_first = true; span_next_line(&code, &line); is_first = false) {
        size_t indent = span_indent(line);
        size_t extra;

        if (is_first && indent == 0)
            pad = 4;
        extra = is_first && indent > 0 && indent < 4 && line.s[0] == ' ' ? 4 - indent : pad;
        if (!span_is_blank(line))
            buf_append(b, "    ", extra);
        buf_append(b, line.s, line.len);
        buf_putc(b, '\n');
    }
}

/* Tests of items 32, 38 and 50 call a helper that the prompt defines: the prompt's own, whatever
 * the candidate makes of it. */
static enum status put_helpers(const struct item *it, enum status st, struct task_program *ret)
{
    struct span prompt = item_str(it, "prompt");

    if (!st) {
        ret->helpers = prompt.s;
        ret->helpers_len = prompt.len;
    }
    return st;
}

static enum status make_program(const struct item *it, unsigned compat, struct span code,
                                struct arena *arena, struct task_program *ret, struct error *err)
{
    struct span prompt = item_str(it, "prompt"), test = item_str(it, "test");
    struct buf program = { 0 }, tests = { 0 };

    buf_append(&program, prompt.s, prompt.len);
    if (python_defines(code, it->entry_point) || compat & COMPAT_HUMANEVAL_LSTRIP) {
        buf_putc(&program, '\n');
        buf_append(&program, code.s, code.len);
        buf_putc(&program, '\n');
    } else {
        put_body(code, &program);
    }
    buf_append(&tests, test.s, test.len);
    buf_printf(&tests, "\ncheck(%s)\n", it->entry_point);
    return put_helpers(it, program_set(ret, it->entry_point, &program, &tests, arena, err), ret);
}

static enum status make_solution(const struct item *it, struct span code, struct arena *arena,
                                 struct task_program *ret, struct error *err)
{
    struct span test = item_str(it, "test");
    struct buf program = { 0 }, tests = { 0 };

    buf_append(&program, code.s, code.len);
    buf_putc(&program, '\n');
    buf_append(&tests, test.s, test.len);
    buf_printf(&tests, "\ncheck(%s)\n", it->entry_point);
    return put_helpers(it, program_set(ret, it->entry_point, &program, &tests, arena, err), ret);
}

static size_t put_solution(const struct item *it, struct buf *b)
{
    struct span prompt = item_str(it, "prompt"), body = item_str(it, "canonical_solution");

    buf_append(b, prompt.s, prompt.len);
    buf_append(b, body.s, body.len);
    return prompt.len;
}

static const struct field fields[] = {
    { "task_id", FIELD_STR },     { "prompt", FIELD_STR },
    { "entry_point", FIELD_STR }, { "canonical_solution", FIELD_STR },
    { "test", FIELD_STR },        { NULL, FIELD_STR },
};

const struct format format_humaneval = {
    .is_lines = true,
    .code_prompt = "prompt",
    .fields = fields,
    .read = read,
    .extract = extract,
    .make_program = make_program,
    .make_solution = make_solution,
    .put_solution = put_solution,
};
