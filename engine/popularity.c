/* Popularity tables: reading and keeping them. */
#include "engine/popularity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"

enum { FILE_BYTES_MAX = 1 << 26 };

struct popularity {
    struct popularity *next;
    struct arena arena; /* of what follows */
    const char *path;
    double *tokens; /* (n_moe_layer, n_exp) */
};

static enum status read_layer(const char *where, const json_t *list, int l,
                              const struct model_info *m, double *ret, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) != (size_t)m->n_exp)
        return error_set(
            err, ST_INVALID,
            "%s: layer %d of 'tokens' is not a list of %d numbers, one for each expert", where, l,
            m->n_exp);
    for (int e = 0; e < m->n_exp; e++) {
        const json_t *v = json_array_get(list, (size_t)e);

        ret[e] = json_is_number(v) ? json_number_value(v) : NAN;
        if (!(ret[e] >= 0 && isfinite(ret[e])))
            return error_set(err, ST_INVALID,
                             "%s: 'tokens' of layer %d, expert %d is not a number of at least 0",
                             where, l, e);
    }
    return ST_OK;
}

static enum status read_table(const char *where, const json_t *obj, const struct model_info *m,
                              double *ret, struct error *err)
{
    const char *format, *sha256;
    json_t *layers;
    enum status st;

    if (!json_is_object(obj))
        return error_set(err, ST_INVALID, "%s: not an object", where);
    st = json_get_str(obj, where, "format", &format, NULL, err);
    if (st)
        return st;
    if (strcmp(format, "desbench popularity 1") != 0)
        return error_set(err, ST_INVALID,
                         "%s: field 'format' is '%.40s', not 'desbench popularity 1'", where,
                         format);
    if (json_object_get(obj, "weights_sha256") && *m->weights_sha256) {
        st = json_get_str(obj, where, "weights_sha256", &sha256, NULL, err);
        if (st)
            return st;
        if (strcmp(sha256, m->weights_sha256) != 0)
            return error_set(err, ST_INVALID,
                             "%s: counted with other weights ('weights_sha256' %.12s) than those "
                             "of model '%s' (%.12s)",
                             where, sha256, m->name, m->weights_sha256);
    }
    st = json_get_array(obj, where, "tokens", &layers, err);
    if (!st && json_array_size(layers) != (size_t)m->n_moe_layer)
        st = error_set(err, ST_INVALID, "%s: 'tokens' has %zu layers, model '%s' has %d", where,
                       json_array_size(layers), m->name, m->n_moe_layer);
    for (int l = 0; l < m->n_moe_layer && !st; l++)
        st = read_layer(where, json_array_get(layers, (size_t)l), l, m,
                        ret + (size_t)l * (size_t)m->n_exp, err);
    return st;
}

enum status popularity_get(struct popularity **list, const char *path, size_t path_len,
                           const struct model_info *m, const double **ret, struct error *err)
{
    struct popularity *p;
    struct buf where = { 0 };
    json_t *obj = NULL;
    enum status st;

    for (p = *list; p; p = p->next)
        if (strlen(p->path) == path_len && memcmp(p->path, path, path_len) == 0) {
            *ret = p->tokens;
            return ST_OK;
        }
    p = calloc(1, sizeof(*p));
    if (p) {
        p->path = arena_strdup(&p->arena, path, path_len);
        p->tokens =
            arena_array(&p->arena, (size_t)m->n_moe_layer * (size_t)m->n_exp, sizeof(*p->tokens));
        if (p->path)
            buf_printf(&where, "'%s'", p->path);
    }
    if (!p || !p->path || !p->tokens || !buf_ok(&where)) {
        st = error_set(err, ST_NOMEM, "out of memory for a table of popularity");
        goto out;
    }
    st = json_read(p->path, FILE_BYTES_MAX, &obj, err);
    if (!st)
        st = read_table(buf_str(&where), obj, m, p->tokens, err);
    if (st)
        goto out;
    p->next = *list;
    *list = p;
    *ret = p->tokens;
    p = NULL;
out:
    json_decref(obj);
    buf_release(&where);
    popularity_free(p);
    return st;
}

void popularity_free(struct popularity *list)
{
    while (list) {
        struct popularity *next = list->next;

        arena_release(&list->arena);
        free(list);
        list = next;
    }
}
