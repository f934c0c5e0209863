/*
 * Plan file: a walk over libyaml's events.
 *
 *   STREAM-START DOCUMENT-START MAPPING-START (key value)* MAPPING-END DOCUMENT-END STREAM-END
 *
 * where value is a SCALAR or SEQUENCE-START SCALAR* SEQUENCE-END. Any other event is a mistake of
 * the file, told by the place where it begins; so nothing is ever read deeper than two levels.
 */
#include "harness/plan_file.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/utf8.h"

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; zeroed: none */
    const char *text, *name;
    size_t len;
    unsigned verb;
    struct plan_file file; /* being filled */
    struct error *err;
};

static enum status no_memory(struct reader *r)
{
    return error_set(r->err, ST_NOMEM, "out of memory reading plan '%s'", r->name);
}

/* ---- places and errors ------------------------------------------------------------------ */

static int line_of(yaml_mark_t m)
{
    return (int)m.line + 1; /* at most PLAN_FILE_MAX_BYTES of them */
}

static int column_of(yaml_mark_t m)
{
    return (int)m.column + 1;
}

/* What was set in err, with its place in front. */
static enum status locate(struct reader *r, int line, int column, enum status st)
{
    return error_prefix(r->err, st, "%s:%d:%d", r->name, line, column);
}

__attribute__((format(printf, 3, 4))) static enum status fail(struct reader *r, yaml_mark_t mark,
                                                              const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return locate(r, line_of(mark), column_of(mark), error_set(r->err, ST_INVALID, "%s", text));
}

/* The same for a byte offset. */
static enum status fail_at(struct reader *r, size_t offset, const char *what)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < offset && i < r->len; i++) {
        if (r->text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)r->text[i] & 0xc0) != 0x80) { /* a character's first byte */
            column++;
        }
    }
    return locate(r, line, column, error_set(r->err, ST_INVALID, "%s", what));
}

/* What libyaml cannot know, or says less well. */
static enum status check_bytes(struct reader *r)
{
    const char *nul = memchr(r->text, 0, r->len);
    size_t bad = utf8_check(r->text, r->len);
    bool is_indent = true;

    if (nul)
        return fail_at(r, (size_t)(nul - r->text), "a NUL byte");
    if (bad < r->len)
        return fail_at(r, bad, "a byte that is not UTF-8");
    for (size_t i = 0; i < r->len; i++) {
        if (is_indent && r->text[i] == '\t')
            return fail_at(r, i, "a tab in the indentation, where YAML takes only spaces");
        is_indent = r->text[i] == '\n' || (is_indent && r->text[i] == ' ');
    }
    return ST_OK;
}

static enum status parser_failed(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "not YAML";

    switch (p->error) {
    case YAML_MEMORY_ERROR: return no_memory(r);
    case YAML_READER_ERROR: return fail_at(r, p->problem_offset, problem);
    case YAML_SCANNER_ERROR:
    case YAML_PARSER_ERROR:
        if (p->context)
            return fail(r, p->problem_mark, "not YAML: %s %s", problem, p->context);
        return fail(r, p->problem_mark, "not YAML: %s", problem);
    default: return fail(r, p->mark, "not YAML: %s", problem);
    }
}

/* To the next event, which must be without anchor and tag, and no alias. */
static enum status next(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return parser_failed(r);
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        break;
    case YAML_DOCUMENT_START_EVENT:
        if (e->data.document_start.tag_directives.start !=
            e->data.document_start.tag_directives.end)
            return fail(r, e->start_mark, "tag directives do not belong in a plan");
        break;
    case YAML_ALIAS_EVENT:
        return fail(r, e->start_mark, "alias '*%s': write the value out",
                    (const char *)e->data.alias.anchor);
    default: break;
    }
    if (anchor)
        return fail(r, e->start_mark, "anchor '&%s': a plan has none", (const char *)anchor);
    if (tag)
        return fail(r, e->start_mark, "tag '%s': values are taken as they are written",
                    (const char *)tag);
    return ST_OK;
}

/* ---- values ----------------------------------------------------------------------------- */

/* What YAML calls null: nothing, ~ or the word, without quotes. */
static bool is_null(const yaml_event_t *e)
{
    static const char *const words[] = { "", "~", "null", "Null", "NULL" };

    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp((const char *)e->data.scalar.value, words[i]) == 0)
            return true;
    return false;
}

/* The current event, a scalar, as a checked value. */
static enum status read_value(struct reader *r, enum option_id id, bool is_entry,
                              struct plan_value *ret)
{
    const yaml_event_t *e = &r->event;
    const char *name = option_table[id].name, *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    enum status st;

    if (is_null(e))
        return fail(r, e->start_mark,
                    is_entry ? "an entry of '%s' has no value" : "key '%s' has no value", name);
    if (memchr(text, 0, len)) /* "\0" in quotes */
        return fail(r, e->start_mark, "the value of '%s' holds a NUL", name);
    if (is_entry && option_table[id].kind == OPTION_WORDS && strchr(text, ','))
        return fail(r, e->start_mark, "an entry of '%s' holds a comma: '%s'", name, text);
    *ret = (struct plan_value){ .text = arena_strdup(&r->file.arena, text, len),
                                .line = line_of(e->start_mark),
                                .column = column_of(e->start_mark) };
    if (!ret->text)
        return no_memory(r);
    st = options_check(id, ret->text, r->err);
    return st ? locate(r, ret->line, ret->column, st) : ST_OK;
}

/* The entries of a list, up to its end. */
static enum status read_list(struct reader *r, struct plan_setting *s)
{
    const char *name = option_table[s->id].name;
    yaml_mark_t start = r->event.start_mark;
    size_t cap = 0;
    enum status st;

    while (!(st = next(r)) && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail(r, r->event.start_mark,
                        "an entry of '%s' is a list or mapping, not a value", name);
        if (s->n == cap) {
            struct plan_value *grown;

            cap = cap ? 2 * cap : 8;
            grown = arena_array(&r->file.arena, cap, sizeof(*grown));
            if (!grown)
                return no_memory(r);
            if (s->n)
                memcpy(grown, s->values, s->n * sizeof(*grown));
            s->values = grown;
        }
        st = read_value(r, s->id, true, &s->values[s->n]);
        if (st)
            return st;
        s->n++;
    }
    if (!st && !s->n)
        return fail(r, start, "the list of '%s' is empty", name);
    return st;
}

/* ---- keys ------------------------------------------------------------------------------- */

static enum status unknown_key(struct reader *r, const char *key)
{
    yaml_mark_t at = r->event.start_mark;
    const char *best = options_nearest(r->verb, key);

    for (int i = 0; i < N_OPTIONS; i++)
        if (strcmp(option_table[i].name, key) == 0)
            return fail(r, at, "key '%s' is an option of other verbs", key);
    if (best)
        return fail(r, at, "unknown key '%s'; did you mean '%s'?", key, best);
    return fail(r, at, "unknown key '%s'; keys are the long names of options, see --help", key);
}

/* The current event is a key: find what it names. */
static enum status read_key(struct reader *r, struct plan_setting *ret)
{
    const yaml_event_t *e = &r->event;
    const char *key = (const char *)e->data.scalar.value;
    int id;

    if (e->type != YAML_SCALAR_EVENT)
        return fail(r, e->start_mark, "a key must be the name of an option");
    id = options_find(r->verb, key, e->data.scalar.length);
    if (id == N_OPTIONS)
        return unknown_key(r, key);
    if (id == OPT_HELP || id == OPT_CONFIG || id == OPT_DRY_RUN || id == OPT_SHOW_CONFIG)
        return fail(r, e->start_mark, "key '%s' belongs on the command line", key);
    for (size_t i = 0; i < r->file.n_settings; i++)
        if (r->file.settings[i].id == (enum option_id)id)
            return fail(r, e->start_mark, "key '%s' is given twice, first in line %d", key,
                        r->file.settings[i].line);
    *ret = (struct plan_setting){ .id = (enum option_id)id,
                                  .line = line_of(e->start_mark),
                                  .column = column_of(e->start_mark) };
    return ST_OK;
}

/* The current event is a key: read it and what follows. */
static enum status read_setting(struct reader *r)
{
    /* a key is read once, so there are never more settings than options */
    struct plan_setting *s = &r->file.settings[r->file.n_settings];
    enum status st = read_key(r, s);
    const struct option_def *d;

    if (!st)
        st = next(r);
    if (st)
        return st;
    d = &option_table[s->id];
    if (r->event.type == YAML_SCALAR_EVENT) {
        s->values = arena_alloc(&r->file.arena, sizeof(*s->values));
        st = s->values ? read_value(r, s->id, false, s->values) : no_memory(r);
        s->n = 1;
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT &&
               (d->kind == OPTION_LIST || d->kind == OPTION_WORDS)) {
        st = read_list(r, s);
    } else {
        st = fail(r, r->event.start_mark, "key '%s' takes %s, not a %s", d->name,
                  d->kind == OPTION_LIST || d->kind == OPTION_WORDS ? "a value or a list of them"
                                                                    : "one value",
                  r->event.type == YAML_SEQUENCE_START_EVENT ? "list" : "mapping");
    }
    if (!st)
        r->file.n_settings++;
    return st;
}

static enum status read_root(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    enum status st = next(r); /* stream start, which every text has */

    if (!st)
        st = next(r);
    if (!st && e->type == YAML_STREAM_END_EVENT)
        return fail(r, e->start_mark, "the plan is empty");
    if (!st)
        st = next(r);
    if (st)
        return st;
    if (e->type == YAML_SCALAR_EVENT && is_null(e))
        return fail(r, e->start_mark, "the plan is empty");
    if (e->type != YAML_MAPPING_START_EVENT)
        return fail(r, e->start_mark, "a plan is a mapping, lines of 'option: value'");
    while (!(st = next(r)) && e->type != YAML_MAPPING_END_EVENT) {
        st = read_setting(r);
        if (st)
            return st;
    }
    if (!st && !r->file.n_settings)
        return fail(r, e->start_mark, "the plan is empty");
    for (int i = 0; i < 2 && !st; i++) /* document end, stream end */
        st = next(r);
    if (!st && e->type != YAML_STREAM_END_EVENT)
        return fail(r, e->start_mark, "a second document; a plan is one");
    return st;
}

enum status plan_file_parse(const char *text, size_t len, const char *name, unsigned verb,
                            struct plan_file *ret, struct error *err)
{
    struct reader r = { .text = text, .len = len, .name = name, .verb = verb, .err = err };
    enum status st;

    if (len > PLAN_FILE_MAX_BYTES)
        return error_set(err, ST_INVALID, "plan '%s' has %zu bytes, more than %d", name, len,
                         PLAN_FILE_MAX_BYTES);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark is no column */
        r.text += 3;
        r.len -= 3;
    }
    st = check_bytes(&r);
    if (st)
        return st;
    if (!yaml_parser_initialize(&r.parser))
        return no_memory(&r);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.len);
    r.file.name = arena_strdup(&r.file.arena, name, strlen(name));
    r.file.settings = arena_array(&r.file.arena, N_OPTIONS, sizeof(*r.file.settings));
    st = r.file.name && r.file.settings ? read_root(&r) : no_memory(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (st)
        plan_file_release(&r.file);
    else
        *ret = r.file;
    return st;
}

enum status plan_file_read(const char *path, unsigned verb, struct plan_file *ret,
                           struct error *err)
{
    struct buf text = { 0 };
    enum status st = file_read(path, PLAN_FILE_MAX_BYTES, &text, err);

    if (!st)
        st = plan_file_parse(buf_str(&text), text.len, path, verb, ret, err);
    buf_release(&text);
    return st;
}

void plan_file_release(struct plan_file *p)
{
    arena_release(&p->arena);
    *p = (struct plan_file){ 0 };
}

enum status plan_file_apply(const struct plan_file *p, struct options *c, struct error *err)
{
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < p->n_settings && !st; i++) {
        const struct plan_setting *s = &p->settings[i];
        bool is_off =
            option_table[s->id].kind == OPTION_FLAG && strcmp(s->values[0].text, "false") == 0;
        const char *origin = arena_printf(&a, "%s:%d", p->name, s->line);
        const char **texts = arena_array(&a, s->n, sizeof(*texts));

        if (!origin || !texts) {
            st = error_set(err, ST_NOMEM, "out of memory reading plan '%s'", p->name);
            break;
        }
        for (size_t k = 0; k < s->n; k++)
            texts[k] = s->values[k].text;
        st = options_set(c, s->id, texts, is_off ? 0 : s->n, SOURCE_PLAN, origin, err);
    }
    arena_release(&a);
    return st;
}
