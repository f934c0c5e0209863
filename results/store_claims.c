/* The queries of claims. */
#include "results/claims.h"
#include "results/store_db.h"

static bool has_null(sqlite3_stmt *stmt)
{
    for (int i = 0; i < sqlite3_column_count(stmt); i++)
        if (sqlite3_column_type(stmt, i) == SQLITE_NULL)
            return true;
    return false;
}

static void read_row(struct columns *c, struct claim_row *ret, int n_texts, int n_numbers)
{
    *ret = (struct claim_row){ .subject = column_text(c),
                               .task = column_text(c),
                               .item = column_text(c) };
    if (n_texts) {
        ret->policy = column_text(c);
        ret->role = column_text(c);
    }
    for (int i = 0; i < n_numbers; i++)
        ret->x[i] = column_real(c);
}

enum status store_claim_rows(struct store *s, const char *sql, int n_texts, int n_numbers,
                             struct arena *arena, struct claim_row **ret, size_t *ret_n,
                             struct error *err)
{
    struct store_list list = { 0 };
    sqlite3_stmt *stmt = NULL;
    bool has = false;
    enum status st = store_query(s, sql, (const char *const[]){ NULL }, &stmt, err);

    if (!st && !stmt)
        st = error_set(err, ST_INVALID, "the query is empty");
    if (!st && !sqlite3_stmt_readonly(stmt))
        st = error_set(err, ST_INVALID, "the query would write");
    if (!st && sqlite3_column_count(stmt) != 3 + n_texts + n_numbers)
        st = error_set(err, ST_INVALID, "the query has %d columns, its statistic takes %d",
                       sqlite3_column_count(stmt), 3 + n_texts + n_numbers);
    while (!st && !(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };
        struct claim_row *row = store_grow(arena, &list.items, list.n, &list.cap, sizeof(*row));

        if (!row) {
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
            break;
        }
        if (has_null(stmt)) {
            st = error_set(err, ST_INVALID, "row %zu of the query has a field that is NULL",
                           list.n + 1);
            break;
        }
        read_row(&c, row, n_texts, n_numbers);
        st = c.st;
        list.n++;
    }
    sqlite3_finalize(stmt);
    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}
