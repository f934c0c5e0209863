/*
 * MBPP, the full and the hand-checked ("sanitized") set: a function from a sentence and three
 * tests. Austin et al., arXiv:2108.07732; google-research/google-research@30adf0ec, mbpp/. Rules:
 * docs/grading.md, "MBPP".
 *
 * test_setup_code runs after the solution: the only two items that have any (367 and 927) build
 * trees from the solution's own Node class, and cannot be passed where it runs first or not at
 * all. test_imports come first in the solution and again in the tests, which may run apart.
 */
#include <string.h>

#include "tasks/code.h"
#include "tasks/python.h"

static enum status read(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err)
{
    struct span entry,
        test = span_of(json_string_value(json_array_get(item_list(it, "test_list"), 0)));

    (void)number;
    if (!python_first_call(test, &entry))
        return error_set(err, ST_INVALID,
                         "%s: field 'test_list', element 0 calls no function: '%.80s'", where,
                         test.s);
    it->id = arena_printf(&t->arena, "%lld", (long long)item_int(it, "task_id"));
    it->entry_point = arena_strdup(&t->arena, entry.s, entry.len);
    if (!it->id || !it->entry_point)
        return error_set(err, ST_NOMEM, "out of memory reading %s", where);
    return ST_OK;
}

/* `\_` becomes `_`, also in strings: escapes of Markdown that models carry over. */
static enum status unescape(struct span *text, struct arena *arena, struct error *err)
{
    char *d = arena_alloc(arena, text->len + 1);
    size_t n = 0;

    if (!d)
        return error_set(err, ST_NOMEM, "out of memory for %zu bytes of output", text->len);
    for (size_t i = 0; i < text->len; i++)
        if (text->s[i] != '\\' || i + 1 == text->len || text->s[i + 1] != '_')
            d[n++] = text->s[i];
    *text = (struct span){ d, n };
    return ST_OK;
}

/* Does the last line hold an odd number of these quotes, the last one being its end? */
static bool has_stray_quote(struct span code, char quote)
{
    size_t n = 0;

    for (size_t i = code.len; i > 0 && code.s[i - 1] != '\n'; i--)
        n += code.s[i - 1] == quote;
    return n % 2 == 1;
}

/* Code as the few-shot examples quote it, `[BEGIN]\n 'def ...' \n[DONE]`, without the quotes. A
 * quote at the end alone goes if it closes nothing on its line. */
static struct span strip_quotes(struct span code)
{
    char first = 0, last = 0;

    code = span_trim(code);
    if (code.len)
        first = code.s[0];
    if (first == '\'' || first == '"') {
        code = span_sub(code, 1, code.len);
        if (span_starts(code, "\\\n"))
            code = span_sub(code, 2, code.len);
    } else {
        first = 0;
    }
    if (code.len)
        last = code.s[code.len - 1];
    if ((last == '\'' || last == '"') && (first == last || has_stray_quote(code, last)))
        code.len--;
    return code;
}

/* [BEGIN] ... [DONE]: the first block in it, or else all of it. */
static enum status extract_marked(struct span text, struct arena *arena, struct span *ret,
                                  struct error *err)
{
    struct blocks blocks;
    const struct block *block;
    enum status st = fence_find(text, arena, &blocks, err);

    if (st)
        return st;
    block = code_find_block(&blocks, true, NULL);
    if (!block && blocks.n > 0)
        block = &blocks.list[0];
    *ret = strip_quotes(block ? span_trim_lines(block->text) : text);
    return ST_OK;
}

static enum status extract(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err)
{
    const char *method;
    const struct block *block;
    struct blocks blocks;
    struct span code, text = output;
    size_t at, done;
    enum status st = unescape(&text, arena, err);

    (void)compat;
    if (st)
        return st;
    if (span_find(text, "[BEGIN]", &at)) {
        text = span_sub(text, at + strlen("[BEGIN]"), text.len);
        if (span_find(text, "[DONE]", &done))
            text = span_sub(text, 0, done);
        st = extract_marked(text, arena, &code, err);
        return st ? st : extraction_set(ret, span_trim_lines(code), "begin", arena, err);
    }
    st = fence_find(text, arena, &blocks, err);
    if (st)
        return st;
    block = code_find_block(&blocks, true, it->entry_point);
    if (block) {
        method = "fence";
        code = block->text;
    } else if (code_find_open_end(text, &blocks, it->entry_point, &code) &&
               code_find_plain(code, &code)) {
        method = "open-fence";
    } else if ((block = code_find_block(&blocks, true, NULL)) != NULL) {
        method = "fence-first";
        code = block->text;
    } else if ((block = code_find_block(&blocks, false, it->entry_point)) != NULL) {
        method = "fence-other";
        code = block->text;
    } else {
        if (span_find(text, "[DONE]", &done))
            text = span_sub(text, 0, done);
        if (code_find_plain(text, &code)) {
            method = "plain";
        } else if (blocks.n > 0) {
            method = "fence-other";
            code = blocks.list[0].text;
        } else {
            method = "text";
            code = text;
        }
    }
    return extraction_set(ret, span_trim_lines(code), method, arena, err);
}

/* Append source with LF for CRLF. */
static void put_source(struct span s, struct buf *b)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.s[i] != '\r' || i + 1 == s.len || s.s[i + 1] != '\n')
            buf_putc(b, s.s[i]);
}

static void put_imports(const struct item *it, struct buf *b)
{
    if (json_array_size(json_object_get(it->record, "test_imports")) == 0)
        return; /* the full set has no such field */
    item_put_list(it, "test_imports", b);
    buf_putc(b, '\n');
}

/*
 * Must the tests run with the candidate? Those behind a setup are built from its classes (367 and
 * 927 of the full set), those of 601 from its Pair, and 533 passes it a type: none of that is data
 * that could be handed to a process of its own.
 */
static bool is_shared(const struct item *it)
{
    static const char *const ids[] = { "533", "601" };

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (strcmp(it->id, ids[i]) == 0)
            return true;
    return json_object_get(it->record, "test_setup_code") &&
           item_str(it, "test_setup_code").len > 0;
}

static enum status make_program(const struct item *it, unsigned compat, struct span code,
                                struct arena *arena, struct task_program *ret, struct error *err)
{
    struct buf program = { 0 }, tests = { 0 };
    enum status st;

    put_imports(it, &program);
    buf_append(&program, code.s, code.len);
    buf_putc(&program, '\n');
    put_imports(it, &tests);
    if (!(compat & COMPAT_MBPP_NO_SETUP) && json_object_get(it->record, "test_setup_code")) {
        put_source(item_str(it, "test_setup_code"), &tests);
        buf_putc(&tests, '\n');
    }
    item_put_list(it, "test_list", &tests);
    buf_putc(&tests, '\n');
    st = program_set(ret, it->entry_point, &program, &tests, arena, err);
    if (!st)
        ret->is_shared = is_shared(it);
    return st;
}

static size_t put_solution(const struct item *it, struct buf *b)
{
    put_source(item_str(it, "code"), b);
    return 0;
}

static const struct field fields_full[] = {
    { "task_id", FIELD_INT },
    { "text", FIELD_STR },
    { "code", FIELD_STR },
    { "test_list", FIELD_LIST },
    { "test_setup_code", FIELD_STR_EMPTY },
    { "challenge_test_list", FIELD_LIST_EMPTY },
    { NULL, FIELD_STR },
};

static const struct field fields_sanitized[] = {
    { "task_id", FIELD_INT },    { "prompt", FIELD_STR },
    { "code", FIELD_STR },       { "test_imports", FIELD_LIST_EMPTY },
    { "test_list", FIELD_LIST }, { "source_file", FIELD_STR_EMPTY },
    { NULL, FIELD_STR },
};

const struct format format_mbpp = {
    .is_lines = true,
    .fields = fields_full,
    .read = read,
    .extract = extract,
    .make_program = make_program,
    .put_solution = put_solution,
};

const struct format format_mbpp_sanitized = {
    .fields = fields_sanitized,
    .read = read,
    .extract = extract,
    .make_program = make_program,
    .put_solution = put_solution,
};
