/*
 * The results file: opening, checking, creating; statements, transactions and errors.
 *
 * One writer and any number of readers at a time, in any processes: the file is in WAL mode, so
 * readers see the last committed state and never wait. Each commit is synced to disk, as a
 * sample costs seconds to make and milliseconds to sync. A struct store belongs to one thread
 * at a time.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "results/internal.h"
#include "results/store_db.h"

enum { APPLICATION_ID = 0x64657362, SCHEMA_VERSION = 1, PATIENCE_MS = 10000 };

extern const char schema_sql[]; /* schema.sql, by tools/embed.py */

/* ---- errors ----------------------------------------------------------------------------- */

static enum status map_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM: return ST_NOMEM;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_ERROR: /* our own statements are right: the file lacks a table or column */
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: return ST_INVALID;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_INTERNAL: return ST_INTERNAL;
    default: return ST_IO;
    }
}

/* The reason in words: SQLite's own, where it says what a user needs to know. */
static void reason(sqlite3 *db, int rc, char *out, size_t size)
{
    int sys = db ? sqlite3_system_errno(db) : 0;
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: text = "locked by another program for too long"; break;
    case SQLITE_FULL: text = "disk full"; break;
    case SQLITE_NOTADB: text = "not an SQLite file"; break;
    case SQLITE_CORRUPT: text = "the file is damaged"; break;
    case SQLITE_NOMEM: text = "out of memory"; break;
    case SQLITE_READONLY: text = "the file or its folder is read-only"; break;
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
            text = "it is there already";
        break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (sys)
            snprintf(out, size, "%s (%s)", text, strerror(sys));
        else /* SQLite's extended codes tell reading from writing, syncing, ... */
            snprintf(out, size, "%s (SQLite code %d)", text, rc);
        return;
    default: break;
    }
    snprintf(out, size, "%s", text);
}

enum status store_fail(struct store *s, int rc, struct error *err, const char *fmt, ...)
{
    char what[512], why[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    reason(s->db, rc, why, sizeof(why));
    return error_set(err, map_code(rc), "cannot %s '%s': %s", what, s->path, why);
}

/* ---- statements ------------------------------------------------------------------------- */

static enum status prepare(struct store *s, const char *sql, unsigned flags, sqlite3_stmt **ret,
                           struct error *err)
{
    int rc = sqlite3_prepare_v3(s->db, sql, -1, flags, ret, NULL);

    return rc == SQLITE_OK ? ST_OK : store_fail(s, rc, err, "use");
}

enum status store_prepare(struct store *s, const char *sql, sqlite3_stmt **ret, struct error *err)
{
    return prepare(s, sql, 0, ret, err);
}

enum status store_stmt(struct store *s, enum store_sql id, const char *sql, sqlite3_stmt **ret,
                       struct error *err)
{
    enum status st = ST_OK;

    if (!s->stmts[id])
        st = prepare(s, sql, SQLITE_PREPARE_PERSISTENT, &s->stmts[id], err);
    *ret = s->stmts[id];
    return st;
}

void bind_text(struct binder *b, const char *s)
{
    int rc = sqlite3_bind_text64(b->stmt, ++b->n, s, s ? strlen(s) : 0, SQLITE_STATIC, SQLITE_UTF8);

    b->rc = b->rc ? b->rc : rc;
}

void bind_blob(struct binder *b, const void *data, size_t len)
{
    int rc = len ? sqlite3_bind_blob64(b->stmt, ++b->n, data, len, SQLITE_STATIC)
                 : sqlite3_bind_zeroblob(b->stmt, ++b->n, 0); /* a NULL pointer would mean NULL */

    b->rc = b->rc ? b->rc : rc;
}

void bind_outside(struct binder *b, const char *s, size_t len)
{
    int rc;

    if (s && len && (utf8_check(s, len) != len || memchr(s, 0, len))) {
        bind_blob(b, s, len);
        return;
    }
    rc = sqlite3_bind_text64(b->stmt, ++b->n, s, len, SQLITE_STATIC, SQLITE_UTF8);
    b->rc = b->rc ? b->rc : rc;
}

void bind_int(struct binder *b, int64_t v)
{
    int rc = sqlite3_bind_int64(b->stmt, ++b->n, v);

    b->rc = b->rc ? b->rc : rc;
}

void bind_real(struct binder *b, double v)
{
    int rc = sqlite3_bind_double(b->stmt, ++b->n, v); /* SQLite stores NaN as NULL */

    b->rc = b->rc ? b->rc : rc;
}

void bind_null(struct binder *b)
{
    int rc = sqlite3_bind_null(b->stmt, ++b->n);

    b->rc = b->rc ? b->rc : rc;
}

int store_run_stmt(struct binder *b)
{
    int rc = b->rc;

    if (rc == SQLITE_OK)
        do
            rc = sqlite3_step(b->stmt);
        while (rc == SQLITE_ROW);
    sqlite3_reset(b->stmt);
    sqlite3_clear_bindings(b->stmt);
    return rc;
}

static enum status run_simple(struct store *s, enum store_sql id, const char *sql, const char *what,
                              struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, id, sql, &b.stmt, err);
    int rc;

    if (st)
        return st;
    rc = store_run_stmt(&b);
    return rc == SQLITE_DONE ? ST_OK : store_fail(s, rc, err, "%s", what);
}

enum status store_begin(struct store *s, struct error *err)
{
    /* IMMEDIATE takes the write lock now, where waiting for it is safe */
    return run_simple(s, SQL_BEGIN, "BEGIN IMMEDIATE", "write to", err);
}

enum status store_commit(struct store *s, struct error *err)
{
    return run_simple(s, SQL_COMMIT, "COMMIT", "write to", err);
}

void store_rollback(struct store *s)
{
    /* a full disk may have rolled back by itself */
    if (!sqlite3_get_autocommit(s->db) &&
        run_simple(s, SQL_ROLLBACK, "ROLLBACK", "undo in", NULL) != ST_OK)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- columns ---------------------------------------------------------------------------- */

const char *column_bytes(struct columns *c, size_t *ret_len)
{
    int i = c->n++;
    const void *p;
    char *copy;
    size_t len;

    *ret_len = 0;
    if (c->st || sqlite3_column_type(c->stmt, i) == SQLITE_NULL)
        return NULL;
    p = sqlite3_column_blob(c->stmt, i); /* NULL when empty, or out of memory */
    len = (size_t)sqlite3_column_bytes(c->stmt, i);
    copy = !p && len ? NULL : arena_strdup(c->arena, p, len);
    if (!copy) {
        c->st = error_set(c->err, ST_NOMEM, "out of memory reading '%s'", c->s->path);
        return NULL;
    }
    *ret_len = len;
    return copy;
}

const char *column_text(struct columns *c)
{
    size_t len;

    return column_bytes(c, &len);
}

int64_t column_int(struct columns *c)
{
    return sqlite3_column_int64(c->stmt, c->n++);
}

int column_i32(struct columns *c)
{
    int64_t v = column_int(c);

    if (v < INT32_MIN || v > INT32_MAX) {
        if (!c->st)
            c->st = error_set(c->err, ST_INVALID, "'%s': %s %lld is out of range", c->s->path,
                              sqlite3_column_name(c->stmt, c->n - 1), (long long)v);
        return 0;
    }
    return (int)v;
}

double column_real(struct columns *c)
{
    return sqlite3_column_double(c->stmt, c->n++);
}

/* ---- open and close --------------------------------------------------------------------- */

static enum status exec(struct store *s, const char *sql, const char *what, struct error *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? ST_OK
                           : store_fail(s, sqlite3_extended_errcode(s->db), err, "%s", what);
}

/* Tables, application_id and user_version of the file, by one query: of one moment, whoever is
 * creating the schema meanwhile. */
static enum status query_identity(struct store *s, int64_t ret[3], struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db,
                                "SELECT (SELECT count(*) FROM sqlite_schema), application_id,"
                                " user_version FROM pragma_application_id, pragma_user_version",
                                -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    for (int i = 0; rc == SQLITE_ROW && i < 3; i++)
        ret[i] = sqlite3_column_int64(stmt, i);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? ST_OK : store_fail(s, rc, err, "open");
}

/* Turn to write-ahead logging. SQLite does not wait here when another process does the same at
 * this moment, so this does. */
static enum status use_wal(struct store *s, int busy_ms, struct error *err)
{
    int rc;

    for (int waited_ms = 0;; waited_ms += sqlite3_sleep(5)) {
        rc = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if ((rc & 0xff) != SQLITE_BUSY || waited_ms >= busy_ms)
            break;
    }
    return rc == SQLITE_OK ? ST_OK : store_fail(s, rc, err, "write to");
}

/* Ours, and of a schema we know? *ret_is_new: an empty file, which only a writer may fill. */
static enum status check_schema(struct store *s, bool *ret_is_new, struct error *err)
{
    int64_t identity[3] = { 0 }, n_tables, app, version;
    enum status st = query_identity(s, identity, err);

    if (st)
        return st;
    n_tables = identity[0];
    app = identity[1];
    version = identity[2];
    *ret_is_new = app == 0 && version == 0 && n_tables == 0;
    if (*ret_is_new)
        return ST_OK;
    if (app != APPLICATION_ID)
        return error_set(err, ST_INVALID, "'%s' is an SQLite file of another program", s->path);
    if (version > SCHEMA_VERSION)
        return error_set(err, ST_UNSUPPORTED,
                         "'%s' has schema %lld, this program knows only up to %d", s->path,
                         (long long)version, SCHEMA_VERSION);
    if (version < 1)
        return error_set(err, ST_INVALID, "'%s' has schema %lld, which never was", s->path,
                         (long long)version);
    return ST_OK;
}

static enum status create_schema(struct store *s, struct error *err)
{
    bool is_new;
    enum status st = store_begin(s, err);

    if (st)
        return st;
    st = check_schema(s, &is_new, err); /* another process may have been faster */
    if (!st && is_new)
        st = exec(s, schema_sql, "create", err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}

/* Say what is wrong with a path before SQLite does, as it would only say "unable to open". */
static enum status check_path(const char *path, enum store_mode mode, struct error *err)
{
    struct stat sb;
    const char *slash = strrchr(path, '/');
    char *folder;
    int rc;

    if (stat(path, &sb) == 0) {
        if (S_ISDIR(sb.st_mode))
            return error_set(err, ST_INVALID, "'%s' is a folder, a results file is needed", path);
        if (!S_ISREG(sb.st_mode))
            return error_set(err, ST_INVALID, "'%s' is not a regular file", path);
        return ST_OK;
    }
    if (mode == STORE_READ && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ST_NOT_FOUND, "no results file '%s'", path);
    if (errno != ENOENT)
        return error_set(err, ST_IO, "cannot open '%s': %s", path, strerror(errno));
    if (!*path)
        return error_set(err, ST_INVALID, "the name of the results file is empty");
    folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder)
        return error_set(err, ST_NOMEM, "out of memory opening '%s'", path);
    rc = access(folder, W_OK | X_OK);
    free(folder);
    if (rc != 0)
        return error_set(err, ST_IO, "cannot create '%s': its folder: %s", path, strerror(errno));
    return ST_OK;
}

/*
 * The URI of a file that nobody can be writing, as it lies in a read-only place. SQLite needs a
 * writable folder to read a WAL file otherwise.
 */
static void put_immutable_uri(struct buf *b, const char *path)
{
    buf_puts(b, "file:");
    for (; *path; path++) {
        if (strchr("?#%", *path))
            buf_printf(b, "%%%02x", (unsigned char)*path);
        else
            buf_putc(b, *path);
    }
    buf_puts(b, "?immutable=1");
}

static enum status open_db(struct store *s, const char *name, int flags, int busy_ms,
                           struct error *err)
{
    /* NOMUTEX: a store belongs to one thread at a time */
    int rc =
        sqlite3_open_v2(name, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

    if (rc != SQLITE_OK)
        return store_fail(s, rc, err, "open");
    /* A file may come from anywhere, so its schema must not be able to do harm. (TRUSTED_SCHEMA
     * stays on: SQLite 3.40 counts its JSON functions as unsafe, and ours have no effects.) */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_busy_timeout(s->db, busy_ms);
    if ((rc = store_register_telemetry(s->db)) != SQLITE_OK)
        return store_fail(s, rc, err, "open");
    return ST_OK;
}

static enum status open_read(struct store *s, const char *name, int busy_ms, struct error *err)
{
    struct buf uri = { 0 };
    struct stat sb;
    enum status st;
    bool is_new;

    /* Opened for writing where that is possible, though nothing is written: else the -wal and
     * -shm files would stay behind whenever a reader is the last to close. */
    st = open_db(s, name, SQLITE_OPEN_READWRITE, busy_ms, err);
    if (!st)
        st = exec(s, "PRAGMA query_only = ON", "open", err);
    if (!st)
        st = check_schema(s, &is_new, err);
    if (st == ST_IO && s->db) {
        int code = sqlite3_errcode(s->db) & 0xff;

        buf_printf(&uri, "%s-wal", name);
        if ((code == SQLITE_CANTOPEN || code == SQLITE_READONLY) && buf_ok(&uri) &&
            (stat(buf_str(&uri), &sb) != 0 || sb.st_size == 0)) {
            sqlite3_close(s->db);
            s->db = NULL;
            buf_clear(&uri);
            put_immutable_uri(&uri, name);
            st = buf_ok(&uri) ? open_db(s, buf_str(&uri), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                                        busy_ms, err)
                              : error_set(err, ST_NOMEM, "out of memory opening '%s'", s->path);
            if (!st)
                st = check_schema(s, &is_new, err);
        }
    }
    if (!st && is_new)
        st = error_set(err, ST_INVALID, "'%s' is empty, not a results file", s->path);
    buf_release(&uri);
    return st;
}

static enum status open_write(struct store *s, const char *name, int busy_ms, struct error *err)
{
    enum status st;
    bool is_new;

    st = open_db(s, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, busy_ms, err);
    if (st)
        return st;
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return error_set(err, ST_IO, "cannot write to '%s': it is read-only", s->path);
    st = check_schema(s, &is_new, err); /* before anything is changed in a file not ours */
    if (st)
        return st;
    /* On file systems that cannot do WAL this keeps the rollback journal: as safe, and readers
     * wait for writers. */
    if ((st = use_wal(s, busy_ms, err)) ||
        (st = exec(s, "PRAGMA synchronous = FULL", "write to", err)) ||
        (st = exec(s, "PRAGMA foreign_keys = ON", "write to", err)))
        return st;
    return is_new ? create_schema(s, err) : ST_OK;
}

enum status store_open_patience(const char *path, enum store_mode mode, int busy_ms,
                                struct store **ret, struct error *err)
{
    struct store *s = NULL;
    struct buf name = { 0 };
    enum status st = check_path(path, mode, err);

    if (st)
        return st;
    s = calloc(1, sizeof(*s));
    if (!s || !(s->path = strdup(path))) {
        st = error_set(err, ST_NOMEM, "out of memory opening '%s'", path);
        goto out;
    }
    /* "./" so that no name is special: SQLite has ":memory:" and, in some builds, "file:..." */
    buf_printf(&name, "%s%s", path[0] == '/' ? "" : "./", path);
    if (!buf_ok(&name))
        st = error_set(err, ST_NOMEM, "out of memory opening '%s'", path);
    else if (mode == STORE_READ)
        st = open_read(s, buf_str(&name), busy_ms, err);
    else
        st = open_write(s, buf_str(&name), busy_ms, err);
    if (st)
        goto out;
    *ret = s;
    s = NULL;
out:
    buf_release(&name);
    store_close(s);
    return st;
}

enum status store_open(const char *path, enum store_mode mode, struct store **ret,
                       struct error *err)
{
    return store_open_patience(path, mode, PATIENCE_MS, ret, err);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < N_STORE_SQL; i++)
        sqlite3_finalize(s->stmts[i]);
    sqlite3_close(s->db);
    buf_release(&s->telemetry);
    buf_release(&s->tokens);
    free(s->path);
    free(s);
}
