/*
 * What the store*.c files share: the open file, its prepared statements, binding and reading
 * columns. The only header that shows SQLite; only store*.c may include it.
 */
#ifndef RESULTS_STORE_DB_H
#define RESULTS_STORE_DB_H

#include <sqlite3.h>

#include "results/results.h"

/* Statements kept prepared for the life of the store; their text stands where they are used. */
enum store_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PUT_RUN,
    SQL_FINISH_RUN,
    SQL_REOPEN_RUN,
    SQL_DROP_METRICS,
    SQL_PUT_DATASET,
    SQL_PUT_CELL,
    SQL_FIND_ITEM,
    SQL_PUT_ITEM,
    SQL_DROP_INTERNAL,
    SQL_PUT_SAMPLE,
    SQL_PUT_VERDICT,
    SQL_PUT_RESCORED,
    SQL_HAS_SAMPLE,
    SQL_PUT_METRIC,
    SQL_PUT_COMPARISON,
    SQL_FIND_KERNEL,
    SQL_PUT_KERNEL,
    SQL_PUT_POWER,
    N_STORE_SQL
};

struct store {
    sqlite3 *db;
    char *path; /* as the user gave it, for messages */
    sqlite3_stmt *stmts[N_STORE_SQL];
    struct buf telemetry, tokens; /* scratch of store_put_sample() */
};

/*
 * Turn the connection's last failure, which had result code rc, into a status and a message
 * "cannot WHAT 'path': reason". WHAT is printf text: "store run '%s' in".
 */
enum status store_fail(struct store *s, int rc, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The cached statement id, prepared from sql at first use; reset and without bindings. */
MUST_CHECK enum status store_stmt(struct store *s, enum store_sql id, const char *sql,
                                  sqlite3_stmt **ret, struct error *err);

/* A statement of the caller's, who ends it with sqlite3_finalize(). */
MUST_CHECK enum status store_prepare(struct store *s, const char *sql, sqlite3_stmt **ret,
                                     struct error *err);

/* A write transaction. store_rollback() after any failure in it, a failed commit included. */
MUST_CHECK enum status store_begin(struct store *s, struct error *err);
MUST_CHECK enum status store_commit(struct store *s, struct error *err);
void store_rollback(struct store *s);

/* Bind parameters 1, 2, ... in order; rc keeps the first failure. What is bound is borrowed
 * until the statement is reset. */
struct binder {
    sqlite3_stmt *stmt;
    int n, rc;
};
void bind_text(struct binder *b, const char *s);                /* NULL: NULL */
void bind_outside(struct binder *b, const char *s, size_t len); /* TEXT or BLOB, schema.sql */
void bind_blob(struct binder *b, const void *data, size_t len);
void bind_int(struct binder *b, int64_t v);
void bind_real(struct binder *b, double v); /* NaN: NULL */
void bind_null(struct binder *b);

/* Run a bound statement to its end and reset it: SQLITE_DONE, or the code of the failure. */
int store_run_stmt(struct binder *b);

/* Read columns 0, 1, ... of the current row in order; st keeps the first failure, after which
 * all reads give 0 or NULL. Copies live in arena. */
struct columns {
    struct store *s;
    sqlite3_stmt *stmt;
    struct arena *arena;
    struct error *err;
    int n;
    enum status st;
};
const char *column_bytes(struct columns *c, size_t *ret_len); /* NUL added; NULL: NULL */
const char *column_text(struct columns *c);
int64_t column_int(struct columns *c);
int column_i32(struct columns *c); /* a number that does not fit is ST_INVALID */
double column_real(struct columns *c);

/* Run a query of the caller's making with text parameters, NULL last. */
MUST_CHECK enum status store_query(struct store *s, const char *sql, const char *const *params,
                                   sqlite3_stmt **ret, struct error *err);

/* The next row of a query: *ret_has says whether there is one. */
MUST_CHECK enum status store_next_row(struct store *s, sqlite3_stmt *stmt, bool *ret_has,
                                      struct error *err);

/*
 * Room for one more element at the end of an array in an arena, which is doubled when full: the
 * old half is lost until the arena is cleared. NULL when out of memory.
 */
void *store_grow(struct arena *arena, void **array, size_t n, size_t *cap, size_t size);

/* A list that grows in an arena. */
struct store_list {
    void *items;
    size_t n, cap;
};

/* Each row of a query through fn, which fills the element that was added to the list. */
MUST_CHECK enum status store_read_list(struct store *s, const char *sql, const char *const *params,
                                       struct arena *arena, size_t size,
                                       void (*fn)(struct columns *c, void *element),
                                       struct store_list *ret, struct error *err);

/* Register telemetry_forward() and its like on a connection; an SQLite result code. */
int store_register_telemetry(sqlite3 *db);

#endif
