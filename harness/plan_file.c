/*
 * Plan file: a walk over the items of its YAML.
 *
 *   DOCUMENT MAPPING (key value)* END END EOF
 *
 * where value is a SCALAR or LIST SCALAR* END, and of the key `runs` LIST (MAPPING (key value)*
 * END)* END. Any other item is a mistake of the file, told by the place where it begins; so nothing
 * is ever read deeper than four levels.
 */
#include "harness/plan_file.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "engine/engine.h"
#include "harness/ranges.h"

struct reader {
    struct yaml_reader *yaml;
    struct yaml_item item; /* the current one */
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

/* What was set in err, with its place in front. */
static enum status locate(struct reader *r, int line, int column, enum status st)
{
    return error_prefix(r->err, st, "%s:%d:%d", r->name, line, column);
}

/* A mistake where an item begins. */
__attribute__((format(printf, 3, 4))) static enum status
fail(struct reader *r, const struct yaml_item *at, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return locate(r, at->line, at->column, error_set(r->err, ST_INVALID, "%s", text));
}

/* The same for a byte offset. */
static enum status fail_at(struct reader *r, size_t offset, const char *what)
{
    int line, column;

    utf8_place(r->text, r->len, offset, &line, &column);
    return locate(r, line, column, error_set(r->err, ST_INVALID, "%s", what));
}

/* What a YAML reader cannot know, or says less well. */
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

/* To the next item, which must be without anchor and tag, and no alias. */
static enum status next(struct reader *r)
{
    const struct yaml_item *e = &r->item;
    enum status st = yaml_reader_next(r->yaml, &r->item, r->err);

    if (st == ST_INVALID)
        return locate(r, e->line, e->column, st);
    if (st)
        return no_memory(r);
    if (e->has_tag_directives)
        return fail(r, e, "tag directives do not belong in a plan");
    if (e->kind == YAML_ITEM_ALIAS)
        return fail(r, e, "alias '*%s': write the value out", e->text);
    if (e->anchor)
        return fail(r, e, "anchor '&%s': a plan has none", e->anchor);
    if (e->tag)
        return fail(r, e, "tag '%s': values are taken as they are written", e->tag);
    return ST_OK;
}

/* ---- values ----------------------------------------------------------------------------- */

/* What YAML calls null: nothing, ~ or the word, without quotes. */
static bool is_null(const struct yaml_item *e)
{
    static const char *const words[] = { "", "~", "null", "Null", "NULL" };

    if (!e->is_plain)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(e->text, words[i]) == 0)
            return true;
    return false;
}

/* Every selector that a text stands for must be one, as far as can be told without a model. */
static enum status check_selectors(struct reader *r, const char *text)
{
    struct arena a = { 0 };
    struct buf b = { 0 };
    const char *const *selectors;
    size_t n = 0;
    enum status st = ranges_expand_selector(text, &a, &selectors, &n, r->err);

    for (size_t i = 0; !st && i < n; i++) {
        buf_clear(&b);
        st = engine_selector_text(selectors[i], &b, r->err);
    }
    buf_release(&b);
    arena_release(&a);
    return st;
}

/* May the option have a list? */
static bool takes_list(const struct reader *r, const struct option_def *d)
{
    return d->kind == OPTION_LIST || d->kind == OPTION_WORDS || d->is_axis ||
           (d == &option_table[OPT_MODEL] && r->verb == VERB_SWEEP);
}

/* The current item, a scalar, as a checked value. */
static enum status read_value(struct reader *r, enum option_id id, bool is_entry,
                              struct plan_value *ret)
{
    const struct yaml_item *e = &r->item;
    const char *name = option_table[id].name, *text = e->text;
    size_t len = e->len;
    enum status st;

    if (is_null(e))
        return fail(r, e, is_entry ? "an entry of '%s' has no value" : "key '%s' has no value",
                    name);
    if (memchr(text, 0, len)) /* "\0" in quotes */
        return fail(r, e, "the value of '%s' holds a NUL", name);
    if (is_entry && (option_table[id].kind == OPTION_WORDS || option_table[id].is_axis) &&
        strchr(text, ','))
        return fail(r, e, "an entry of '%s' holds a comma: '%s'", name, text);
    *ret = (struct plan_value){ .text = arena_strdup(&r->file.arena, text, len),
                                .line = e->line,
                                .column = e->column };
    if (!ret->text)
        return no_memory(r);
    st = options_check(id, ret->text, r->err);
    if (!st && id == OPT_SELECTOR)
        st = check_selectors(r, ret->text);
    return st ? locate(r, ret->line, ret->column, st) : ST_OK;
}

/* The entries of a list, up to its end. */
static enum status read_list(struct reader *r, struct plan_setting *s)
{
    const char *name = option_table[s->id].name;
    struct yaml_item start = r->item;
    size_t cap = 0;
    enum status st;

    while (!(st = next(r)) && r->item.kind != YAML_ITEM_END) {
        if (r->item.kind != YAML_ITEM_SCALAR)
            return fail(r, &r->item, "an entry of '%s' is a list or mapping, not a value", name);
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
        return fail(r, &start, "the list of '%s' is empty", name);
    return st;
}

/* ---- keys ------------------------------------------------------------------------------- */

static enum status unknown_key(struct reader *r, const char *key)
{
    const struct yaml_item *at = &r->item;
    const char *best = options_nearest(r->verb, key);

    for (int i = 0; i < N_OPTIONS; i++)
        if (strcmp(option_table[i].name, key) == 0)
            return fail(r, at, "key '%s' is an option of other verbs", key);
    if (best)
        return fail(r, at, "unknown key '%s'; did you mean '%s'?", key, best);
    return fail(r, at, "unknown key '%s'; keys are the long names of options, see --help", key);
}

/* The current item is a key: find what it names. */
static enum status read_key(struct reader *r, const struct plan_settings *s,
                            struct plan_setting *ret)
{
    static const enum option_id of_one_call[] = { OPT_HELP,        OPT_CONFIG,      OPT_DRY_RUN,
                                                  OPT_SHOW_CONFIG, OPT_SKIP_STORED, OPT_CELLS };
    const struct yaml_item *e = &r->item;
    const char *key = e->text;
    int id;

    if (e->kind != YAML_ITEM_SCALAR)
        return fail(r, e, "a key must be the name of an option");
    id = options_find(r->verb, key, e->len);
    if (id == N_OPTIONS)
        return unknown_key(r, key);
    for (size_t i = 0; i < sizeof(of_one_call) / sizeof(of_one_call[0]); i++)
        if ((int)of_one_call[i] == id)
            return fail(r, e, "key '%s' belongs on the command line", key);
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].id == (enum option_id)id)
            return fail(r, e, "key '%s' is given twice, first in line %d", key, s->items[i].line);
    *ret = (struct plan_setting){ .id = (enum option_id)id, .line = e->line, .column = e->column };
    return ST_OK;
}

/* The current item is a key: read it and what follows. */
static enum status read_setting(struct reader *r, struct plan_settings *to)
{
    /* a key is read once, so there are never more settings than options */
    struct plan_setting *s = &to->items[to->n];
    enum status st = read_key(r, to, s);
    const struct option_def *d;

    if (!st)
        st = next(r);
    if (st)
        return st;
    d = &option_table[s->id];
    if (r->item.kind == YAML_ITEM_SCALAR) {
        s->values = arena_alloc(&r->file.arena, sizeof(*s->values));
        st = s->values ? read_value(r, s->id, false, s->values) : no_memory(r);
        s->n = 1;
    } else if (r->item.kind == YAML_ITEM_LIST && takes_list(r, d)) {
        st = read_list(r, s);
    } else {
        st = fail(r, &r->item, "key '%s' takes %s, not a %s", d->name,
                  takes_list(r, d) ? "a value or a list of them" : "one value",
                  r->item.kind == YAML_ITEM_LIST ? "list" : "mapping");
    }
    if (!st)
        to->n++;
    return st;
}

static enum status settings_init(struct reader *r, struct plan_settings *ret)
{
    *ret = (struct plan_settings){ .items = arena_array(&r->file.arena, N_OPTIONS,
                                                        sizeof(*ret->items)) };
    return ret->items ? ST_OK : no_memory(r);
}

/* Another run at the end of the list. */
static enum status add_run(struct reader *r, struct plan_settings **ret)
{
    struct plan_file *f = &r->file;

    /* room doubles at powers of two */
    if ((f->n_runs & (f->n_runs - 1)) == 0) {
        struct plan_settings *grown =
            arena_array(&f->arena, f->n_runs ? 2 * f->n_runs : 1, sizeof(*grown));

        if (!grown)
            return no_memory(r);
        if (f->n_runs)
            memcpy(grown, f->runs, f->n_runs * sizeof(*grown));
        f->runs = grown;
    }
    *ret = &f->runs[f->n_runs++];
    return settings_init(r, *ret);
}

/* The current item is the key `runs`: read it and what follows. */
static enum status read_runs(struct reader *r)
{
    struct yaml_item key = r->item; /* its place alone is read */
    enum status st;

    if (r->verb != VERB_SWEEP)
        return fail(r, &key,
                    "key 'runs': the plan is of several runs; `desbench sweep` carries them out");
    if (r->file.n_runs)
        return fail(r, &key, "key 'runs' is given twice");
    st = next(r);
    if (!st && r->item.kind != YAML_ITEM_LIST)
        return fail(r, &r->item, "key 'runs' takes a list of mappings");
    while (!st && !(st = next(r)) && r->item.kind != YAML_ITEM_END) {
        struct plan_settings *run = NULL;
        struct yaml_item start = r->item;

        if (start.kind != YAML_ITEM_MAPPING)
            return fail(r, &start, "an entry of 'runs' is a mapping, lines of 'option: value'");
        if (r->file.n_runs == PLAN_FILE_MAX_RUNS)
            return fail(r, &start, "more than %d runs", PLAN_FILE_MAX_RUNS);
        st = add_run(r, &run);
        while (!st && !(st = next(r)) && r->item.kind != YAML_ITEM_END)
            st = read_setting(r, run);
        if (!st && !run->n)
            return fail(r, &start, "an entry of 'runs' is empty");
    }
    if (!st && !r->file.n_runs)
        return fail(r, &key, "the list of 'runs' is empty");
    return st;
}

static bool is_runs_key(const struct yaml_item *e)
{
    return e->kind == YAML_ITEM_SCALAR && strcmp(e->text, "runs") == 0;
}

static enum status read_root(struct reader *r)
{
    const struct yaml_item *e = &r->item;
    enum status st = next(r);

    if (!st && e->kind == YAML_ITEM_EOF)
        return fail(r, e, "the plan is empty");
    if (!st)
        st = next(r);
    if (st)
        return st;
    if (e->kind == YAML_ITEM_SCALAR && is_null(e))
        return fail(r, e, "the plan is empty");
    if (e->kind != YAML_ITEM_MAPPING)
        return fail(r, e, "a plan is a mapping, lines of 'option: value'");
    while (!(st = next(r)) && e->kind != YAML_ITEM_END) {
        st = is_runs_key(e) ? read_runs(r) : read_setting(r, &r->file.common);
        if (st)
            return st;
    }
    if (!st && !r->file.common.n && !r->file.n_runs)
        return fail(r, e, "the plan is empty");
    for (int i = 0; i < 2 && !st; i++) /* the document's end, the text's */
        st = next(r);
    if (!st && e->kind != YAML_ITEM_EOF)
        return fail(r, e, "a second document; a plan is one");
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
    if (yaml_reader_new(r.text, r.len, &r.yaml, err))
        return no_memory(&r);
    r.file.name = arena_strdup(&r.file.arena, name, strlen(name));
    st = r.file.name ? settings_init(&r, &r.file.common) : no_memory(&r);
    if (!st)
        st = read_root(&r);
    yaml_reader_free(r.yaml);
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

const struct plan_setting *plan_settings_find(const struct plan_settings *s, enum option_id id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].id == id)
            return &s->items[i];
    return NULL;
}

enum status plan_file_apply(const struct plan_file *p, const struct plan_settings *settings,
                            struct options *c, struct error *err)
{
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < settings->n && !st; i++) {
        const struct plan_setting *s = &settings->items[i];
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
