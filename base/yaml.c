/* YAML through libyaml: the only file that knows it. */
#include "base/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/utf8.h"

enum { MAX_DEPTH = 100, MAX_VALUES = 100000 };

struct reader {
    yaml_document_t *doc;
    const char *name;
    size_t n_values;
};

static size_t line_of(const yaml_node_t *n)
{
    return n->start_mark.line + 1;
}

static enum status no_memory(const struct reader *r, struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory parsing '%s'", r->name);
}

/* Is it [-+]?digits? */
static bool is_integer(const char *s)
{
    s += *s == '-' || *s == '+';
    return *s && !s[strspn(s, "0123456789")];
}

/* Is it [-+]? ( .digits | digits ( . digits* )? ) ( [eE] [-+]? digits )? */
static bool is_number(const char *s)
{
    size_t whole, part = 0;

    s += *s == '-' || *s == '+';
    whole = strspn(s, "0123456789");
    s += whole;
    if (*s == '.') {
        part = strspn(++s, "0123456789");
        s += part;
    }
    if (whole + part == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        return *s && !s[strspn(s, "0123456789")];
    }
    return !*s;
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

static enum status read_scalar(const struct reader *r, const yaml_node_t *n, json_t **ret,
                               struct error *err)
{
    const char *s = (const char *)n->data.scalar.value;
    size_t len = n->data.scalar.length;
    json_t *v = NULL;

    if (n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || strlen(s) != len) {
        v = json_stringn(s, len); /* refuses what is not UTF-8, which libyaml has checked */
    } else if (!*s || strcmp(s, "~") == 0 || is_one_of(s, "null", "Null", "NULL")) {
        v = json_null();
    } else if (is_one_of(s, "true", "True", "TRUE")) {
        v = json_true();
    } else if (is_one_of(s, "false", "False", "FALSE")) {
        v = json_false();
    } else if (is_integer(s)) {
        long long x;

        errno = 0;
        x = strtoll(s, NULL, 10);
        if (errno)
            return error_set(err, ST_INVALID, "'%s' line %zu: %.40s is out of range", r->name,
                             line_of(n), s);
        v = json_integer(x);
    } else if (is_number(s)) {
        double x = strtod(s, NULL);

        if (!isfinite(x))
            return error_set(err, ST_INVALID, "'%s' line %zu: %.40s is out of range", r->name,
                             line_of(n), s);
        v = json_real(x);
    } else {
        v = json_stringn(s, len);
    }
    if (!v)
        return no_memory(r, err);
    *ret = v;
    return ST_OK;
}

static enum status read_node(struct reader *r, int index, size_t depth, json_t **ret,
                             struct error *err);

static enum status read_sequence(struct reader *r, const yaml_node_t *n, size_t depth, json_t **ret,
                                 struct error *err)
{
    json_t *list = json_array(), *v;
    enum status st = list ? ST_OK : no_memory(r, err);

    for (const yaml_node_item_t *p = n->data.sequence.items.start;
         !st && p < n->data.sequence.items.top; p++) {
        st = read_node(r, *p, depth + 1, &v, err);
        if (!st && json_array_append_new(list, v) != 0)
            st = no_memory(r, err);
    }
    if (st)
        json_decref(list);
    else
        *ret = list;
    return st;
}

static enum status read_mapping(struct reader *r, const yaml_node_t *n, size_t depth, json_t **ret,
                                struct error *err)
{
    json_t *map = json_object(), *v;
    enum status st = map ? ST_OK : no_memory(r, err);

    for (const yaml_node_pair_t *p = n->data.mapping.pairs.start;
         !st && p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(r->doc, p->key);
        const char *key = (const char *)k->data.scalar.value;

        if (k->type != YAML_SCALAR_NODE || strlen(key) != k->data.scalar.length)
            st = error_set(err, ST_INVALID, "'%s' line %zu: a key must be a text", r->name,
                           line_of(k));
        else if (json_object_get(map, key))
            st = error_set(err, ST_INVALID, "'%s' line %zu: key '%s' is there twice", r->name,
                           line_of(k), key);
        else
            st = read_node(r, p->value, depth + 1, &v, err);
        if (!st && json_object_set_new(map, key, v) != 0)
            st = no_memory(r, err);
    }
    if (st)
        json_decref(map);
    else
        *ret = map;
    return st;
}

static enum status read_node(struct reader *r, int index, size_t depth, json_t **ret,
                             struct error *err)
{
    const yaml_node_t *n = yaml_document_get_node(r->doc, index);

    /* an alias is the node that it names, maybe one that it lies in */
    if (depth > MAX_DEPTH)
        return error_set(err, ST_INVALID, "'%s' line %zu: nested more than %d levels deep", r->name,
                         line_of(n), MAX_DEPTH);
    if (++r->n_values > MAX_VALUES)
        return error_set(err, ST_INVALID, "'%s' line %zu: more than %d values", r->name, line_of(n),
                         MAX_VALUES);
    switch (n->type) {
    case YAML_SCALAR_NODE: return read_scalar(r, n, ret, err);
    case YAML_SEQUENCE_NODE: return read_sequence(r, n, depth, ret, err);
    case YAML_MAPPING_NODE: return read_mapping(r, n, depth, ret, err);
    case YAML_NO_NODE: break;
    }
    return error_set(err, ST_INTERNAL, "libyaml returned a node of no type for '%s'", r->name);
}

/* Without an error of its own, a failure of libyaml 0.2.5 is of a list that could not grow. */
static bool is_memory_error(const yaml_parser_t *p)
{
    return p->error == YAML_MEMORY_ERROR || p->error == YAML_NO_ERROR;
}

static enum status parser_error(const yaml_parser_t *p, const char *name, struct error *err)
{
    if (is_memory_error(p))
        return error_set(err, ST_NOMEM, "out of memory parsing '%s'", name);
    if (p->error == YAML_READER_ERROR)
        return error_set(err, ST_INVALID, "'%s' byte %zu: not valid YAML: %s", name,
                         p->problem_offset, p->problem);
    return error_set(err, ST_INVALID, "'%s' line %zu: not valid YAML: %s%s%s", name,
                     p->problem_mark.line + 1, p->context ? p->context : "", p->context ? ": " : "",
                     p->problem ? p->problem : "unknown fault");
}

enum status yaml_parse(const char *data, size_t len, const char *name, json_t **ret,
                       struct error *err)
{
    yaml_parser_t parser;
    yaml_document_t doc, next;
    yaml_node_t *root;
    json_t *v = NULL;
    enum status st;

    if (!yaml_parser_initialize(&parser))
        return error_set(err, ST_NOMEM, "out of memory parsing '%s'", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)data, len);
    if (!yaml_parser_load(&parser, &doc)) {
        st = parser_error(&parser, name, err);
        goto out;
    }
    root = yaml_document_get_root_node(&doc);
    if (!root)
        st = error_set(err, ST_INVALID, "'%s' holds no YAML document", name);
    else
        st = read_node(&(struct reader){ .doc = &doc, .name = name },
                       (int)(root - doc.nodes.start) + 1, 1, &v, err);
    yaml_document_delete(&doc);
    if (st)
        goto out;
    if (!yaml_parser_load(&parser, &next)) {
        st = parser_error(&parser, name, err);
        goto out;
    }
    if (yaml_document_get_root_node(&next))
        st = error_set(err, ST_INVALID, "'%s' holds more than one YAML document", name);
    yaml_document_delete(&next);
out:
    yaml_parser_delete(&parser);
    if (st)
        json_decref(v);
    else
        *ret = v;
    return st;
}

/* ---- item by item ----------------------------------------------------------------------- */

struct yaml_reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; zeroed: none */
    const char *data;
    size_t len;
};

enum status yaml_reader_new(const char *data, size_t len, struct yaml_reader **ret,
                            struct error *err)
{
    struct yaml_reader *r = calloc(1, sizeof(*r));

    if (!r || !yaml_parser_initialize(&r->parser)) {
        free(r);
        return error_set(err, ST_NOMEM, "out of memory reading YAML");
    }
    r->data = data;
    r->len = len;
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)data, len);
    *ret = r;
    return ST_OK;
}

void yaml_reader_free(struct yaml_reader *r)
{
    if (!r)
        return;
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
    free(r);
}

static void put_place(struct yaml_item *ret, yaml_mark_t mark)
{
    ret->line = (int)mark.line + 1;
    ret->column = (int)mark.column + 1;
}

static enum status reader_failed(const struct yaml_reader *r, struct yaml_item *ret,
                                 struct error *err)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unknown fault";

    if (is_memory_error(p))
        return error_set(err, ST_NOMEM, "out of memory reading YAML");
    if (p->error == YAML_READER_ERROR) /* told by byte */
        utf8_place(r->data, r->len, p->problem_offset, &ret->line, &ret->column);
    else
        put_place(ret, p->problem_mark);
    return error_set(err, ST_INVALID, "not YAML: %s%s%s", problem, p->context ? " " : "",
                     p->context ? p->context : "");
}

enum status yaml_reader_next(struct yaml_reader *r, struct yaml_item *ret, struct error *err)
{
    const yaml_event_t *e = &r->event;
    struct yaml_item item = { 0 };

    do { /* a stream's start says nothing */
        yaml_event_delete(&r->event);
        if (!yaml_parser_parse(&r->parser, &r->event))
            return reader_failed(r, ret, err);
    } while (e->type == YAML_STREAM_START_EVENT);
    put_place(&item, e->start_mark);
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        item.kind = YAML_ITEM_DOCUMENT;
        item.has_tag_directives = e->data.document_start.tag_directives.start !=
                                  e->data.document_start.tag_directives.end;
        break;
    case YAML_MAPPING_START_EVENT:
        item.kind = YAML_ITEM_MAPPING;
        item.anchor = (const char *)e->data.mapping_start.anchor;
        item.tag = (const char *)e->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        item.kind = YAML_ITEM_LIST;
        item.anchor = (const char *)e->data.sequence_start.anchor;
        item.tag = (const char *)e->data.sequence_start.tag;
        break;
    case YAML_SCALAR_EVENT:
        item.kind = YAML_ITEM_SCALAR;
        item.text = (const char *)e->data.scalar.value;
        item.len = e->data.scalar.length;
        item.is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        item.anchor = (const char *)e->data.scalar.anchor;
        item.tag = (const char *)e->data.scalar.tag;
        break;
    case YAML_ALIAS_EVENT:
        item.kind = YAML_ITEM_ALIAS;
        item.text = (const char *)e->data.alias.anchor;
        item.len = strlen(item.text);
        break;
    case YAML_DOCUMENT_END_EVENT:
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: item.kind = YAML_ITEM_END; break;
    default: item.kind = YAML_ITEM_EOF; break;
    }
    *ret = item;
    return ST_OK;
}
