/* Queries and their rows, for the files that read. */
#include <string.h>

#include "results/store_db.h"

enum status store_query(struct store *s, const char *sql, const char *const *params,
                        sqlite3_stmt **ret, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_prepare(s, sql, &b.stmt, err);

    for (; !st && *params; params++)
        bind_text(&b, *params);
    if (!st && b.rc)
        st = store_fail(s, b.rc, err, "read");
    if (st) {
        sqlite3_finalize(b.stmt);
        return st;
    }
    *ret = b.stmt;
    return ST_OK;
}

enum status store_next_row(struct store *s, sqlite3_stmt *stmt, bool *ret_has, struct error *err)
{
    int rc = sqlite3_step(stmt);

    *ret_has = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ST_OK : store_fail(s, rc, err, "read");
}

void *store_grow(struct arena *arena, void **array, size_t n, size_t *cap, size_t size)
{
    if (n == *cap) {
        size_t cap_new = *cap ? *cap * 2 : 16;
        void *p = arena_array(arena, cap_new, size);

        if (!p)
            return NULL;
        if (n)
            memcpy(p, *array, n * size);
        *array = p;
        *cap = cap_new;
    }
    return (char *)*array + n * size;
}

enum status store_read_list(struct store *s, const char *sql, const char *const *params,
                            struct arena *arena, size_t size,
                            void (*fn)(struct columns *c, void *element), struct store_list *ret,
                            struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    bool has;
    enum status st = store_query(s, sql, params, &stmt, err);

    if (st)
        return st;
    while (!(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };
        void *element = store_grow(arena, &ret->items, ret->n, &ret->cap, size);

        if (!element) {
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
            break;
        }
        fn(&c, element);
        st = c.st;
        if (st)
            break;
        ret->n++;
    }
    sqlite3_finalize(stmt);
    return st;
}
