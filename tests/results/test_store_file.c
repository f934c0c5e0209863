/*
 * The results file as a file: created, refused, shared between processes, cut off by a kill, and
 * out of room.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/results/fixture.h"

static struct scratch x;

static void open_scratch(void)
{
    scratch_open(&x);
}

static void close_scratch(void)
{
    scratch_close(&x);
}

TestSuite(store_file, .init = open_scratch, .fini = close_scratch);

static void expect_refused(const char *path, enum store_mode mode, enum status want,
                           const char *words)
{
    struct error err = { 0 };
    struct store *s = NULL;

    cr_expect_eq(store_open_patience(path, mode, 100, &s, &err), want, "%s: %s",
                 status_name(err.status), err.text);
    cr_expect_null(s);
    cr_expect(strstr(err.text, path), "'%s' does not name '%s'", err.text, path);
    cr_expect(strstr(err.text, words), "'%s' does not say '%s'", err.text, words);
}

static void write_file(const char *path, const void *data, size_t len)
{
    struct error err = { 0 };

    cr_assert_eq(file_write_atomic(path, data, len, &err), ST_OK, "%s", err.text);
}

static void exec_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    char *text = NULL;

    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &text), SQLITE_OK, "%s", text);
    sqlite3_close(db);
}

/* The one integer of a query on a file, by another program's eyes. */
static int64_t query_int(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    int64_t v = -1;

    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW, "%s", sqlite3_errmsg(db));
    v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return v;
}

/* Whole samples: each has its verdict, each verdict its sample, and SQLite finds no damage. */
static int count_samples(const char *path)
{
    cr_expect_eq(query_int(path, "SELECT count(*) FROM sample LEFT JOIN verdict USING (sample_id)"
                                 " WHERE verdict IS NULL"),
                 0);
    cr_expect_eq(query_int(path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    cr_expect_eq(query_int(path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
    return (int)query_int(path, "SELECT count(*) FROM sample");
}

/* ---- opening ---------------------------------------------------------------------------- */

Test(store_file, a_new_file_is_ours_in_wal_mode_and_opens_again)
{
    struct error err = { 0 };
    struct store *s = NULL;

    for (int i = 0; i < 2; i++) {
        cr_assert_eq(store_open(x.path, STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
        store_close(s);
    }
    cr_expect_eq(query_int(x.path, "PRAGMA application_id"), 0x64657362);
    cr_expect_eq(query_int(x.path, "PRAGMA user_version"), 1);
    cr_expect_eq(query_int(x.path, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    cr_assert_eq(store_open(x.path, STORE_READ, &s, &err), ST_OK, "%s", err.text);
    store_close(s);
    store_close(NULL);
}

Test(store_file, closing_leaves_one_file_whoever_closes_last)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    struct run_summary *list = NULL;
    char key[65], wal[400], shm[400];
    struct store *w = store_with_run(x.path, "run-1", key), *r = NULL;
    size_t n = 0;

    snprintf(wal, sizeof(wal), "%s-wal", x.path);
    snprintf(shm, sizeof(shm), "%s-shm", x.path);
    for (int round = 0; round < 3; round++) { /* reader first, writer first, reader alone */
        if (round < 2 && !w)
            cr_assert_eq(store_open(x.path, STORE_WRITE, &w, &err), ST_OK, "%s", err.text);
        cr_assert_eq(store_open(x.path, STORE_READ, &r, &err), ST_OK, "%s", err.text);
        cr_assert_eq(store_list_runs(r, &arena, &list, &n, &err), ST_OK, "%s", err.text);
        cr_expect_eq(n, 1);
        if (round == 1) {
            store_close(w);
            w = NULL;
        }
        store_close(r);
        store_close(w);
        w = NULL;
        cr_expect(!file_exists(wal) && !file_exists(shm), "round %d", round);
    }
    arena_release(&arena);
}

Test(store_file, no_name_is_special)
{
    struct error err = { 0 };
    struct store *s = NULL;

    cr_assert_eq(chdir(x.dir), 0);
    cr_assert_eq(store_open(":memory:", STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
    store_close(s);
    cr_expect(file_exists(":memory:"));
    cr_assert_eq(store_open("file:a?mode=memory", STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
    store_close(s);
    cr_expect(file_exists("file:a?mode=memory"));
    cr_assert_eq(chdir("/"), 0);
    cr_expect_eq(store_open("", STORE_WRITE, &s, &err), ST_INVALID);
}

Test(store_file, a_missing_file_or_folder_is_named)
{
    char path[400];

    expect_refused(x.path, STORE_READ, ST_NOT_FOUND, "no results file");
    cr_expect_not(file_exists(x.path), "reading makes no file");
    snprintf(path, sizeof(path), "%s/no/r.sqlite", x.dir);
    expect_refused(path, STORE_READ, ST_NOT_FOUND, "no results file");
    expect_refused(path, STORE_WRITE, ST_IO, "its folder: No such file");
    expect_refused(x.dir, STORE_WRITE, ST_INVALID, "is a folder");
    expect_refused(x.dir, STORE_READ, ST_INVALID, "is a folder");
    expect_refused("/dev/null", STORE_WRITE, ST_INVALID, "not a regular file");
}

Test(store_file, what_is_not_ours_is_refused_and_left_alone)
{
    static const char junk[5000] = "this is no SQLite file";
    char before[65], after[65];
    struct error err = { 0 };

    write_file(x.path, junk, sizeof(junk));
    expect_refused(x.path, STORE_READ, ST_INVALID, "not an SQLite file");
    expect_refused(x.path, STORE_WRITE, ST_INVALID, "not an SQLite file");
    unlink(x.path);

    exec_sql(x.path, "CREATE TABLE theirs (x)");
    cr_assert_eq(sha256_file(x.path, before, &err), ST_OK);
    expect_refused(x.path, STORE_READ, ST_INVALID, "of another program");
    expect_refused(x.path, STORE_WRITE, ST_INVALID, "of another program");
    cr_assert_eq(sha256_file(x.path, after, &err), ST_OK);
    cr_expect_str_eq(before, after);
    unlink(x.path);

    write_file(x.path, "", 0);
    expect_refused(x.path, STORE_READ, ST_INVALID, "is empty");
}

Test(store_file, an_empty_file_is_filled_by_a_writer)
{
    struct error err = { 0 };
    struct store *s = NULL;

    write_file(x.path, "", 0);
    cr_assert_eq(store_open(x.path, STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
    store_close(s);
    cr_expect_eq(count_samples(x.path), 0);
}

Test(store_file, a_newer_schema_is_refused)
{
    char key[65];

    store_close(store_with_run(x.path, "run-1", key));
    exec_sql(x.path, "PRAGMA user_version = 2");
    expect_refused(x.path, STORE_READ, ST_UNSUPPORTED, "schema 2");
    expect_refused(x.path, STORE_WRITE, ST_UNSUPPORTED, "schema 2");
    exec_sql(x.path, "PRAGMA user_version = -1");
    expect_refused(x.path, STORE_READ, ST_INVALID, "schema -1");
}

Test(store_file, a_damaged_file_gives_errors_and_no_crash)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct arena arena = { 0 };
    struct buf whole = { 0 }, bad = { 0 };
    struct rng rng;
    int n_refused = 0;

    for (int i = 0; i < 30; i++) {
        struct sample_row row = a_sample("run-1", key, "1", i);
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    }
    store_close(s);
    cr_assert_eq(file_read(x.path, 1 << 24, &whole, &err), ST_OK, "%s", err.text);
    rng_seed(&rng, 1);
    for (int i = 0; i < 60; i++) {
        struct task_summary *t;
        struct run_summary *r;
        struct run_row run;
        size_t n;
        bool has;
        enum status st;

        buf_clear(&bad);
        buf_append(&bad, whole.data, whole.len);
        for (int k = 0; k < 40; k++)
            bad.data[rng_below(&rng, bad.len)] = (char)rng_below(&rng, 256);
        if (i % 4 == 0)
            bad.len = rng_below(&rng, bad.len);
        write_file(x.path, bad.data, bad.len);
        arena_clear(&arena);
        st = store_open(x.path, i % 2 ? STORE_READ : STORE_WRITE, &s, &err);
        if (!st) {
            struct sample_row row = a_sample("run-1", key, "2", i);
            if ((st = store_list_runs(s, &arena, &r, &n, &err)) == ST_OK &&
                (st = store_summarise(s, "run-1", &arena, &t, &n, &err)) == ST_OK &&
                (st = store_get_run(s, "run-1", &arena, &run, NULL, &err)) == ST_OK &&
                (st = store_has_sample(s, "run-1", key, &row.item, i, &has, &err)) == ST_OK)
                st = store_put_sample(s, &row, &err);
            store_close(s);
        }
        if (st) {
            n_refused++;
            cr_expect(strstr(err.text, x.path), "%s", err.text);
        }
    }
    cr_expect_gt(n_refused, 20, "only %d of 60", n_refused);
    buf_release(&whole);
    buf_release(&bad);
    arena_release(&arena);
}

Test(store_file, a_file_without_our_tables_is_named)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    struct run_summary *list;
    struct store *s = NULL;
    size_t n;

    exec_sql(x.path, "PRAGMA application_id = 0x64657362; PRAGMA user_version = 1;"
                     "CREATE TABLE other (x)");
    cr_assert_eq(store_open(x.path, STORE_READ, &s, &err), ST_OK, "%s", err.text);
    cr_expect_eq(store_list_runs(s, &arena, &list, &n, &err), ST_INVALID);
    cr_expect(strstr(err.text, x.path) && strstr(err.text, "run_summary"), "%s", err.text);
    store_close(s);
    arena_release(&arena);
}

/* ---- read-only places ------------------------------------------------------------------- */

/* Run f in a child as an ordinary user (root may write anywhere). Its exit status. */
static int as_nobody(void (*f)(void))
{
    pid_t pid = fork();
    int status = 0;

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(99);
        f();
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In the child asserts would confuse Criterion: the exit status says which check failed. */
static void try_read_only(void)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    struct run_summary *list = NULL;
    struct store *s = NULL;
    size_t n = 0;

    if (store_open(x.path, STORE_WRITE, &s, &err) != ST_IO || !strstr(err.text, "read-only") ||
        !strstr(err.text, x.path))
        _exit(1);
    if (store_open(x.path, STORE_READ, &s, &err) != ST_OK)
        _exit(2);
    if (store_list_runs(s, &arena, &list, &n, &err) != ST_OK || n != 1)
        _exit(3);
    if (store_finish_run(s, "run-1", "done", "VALID", &err) != ST_IO)
        _exit(4);
    store_close(s);
    arena_release(&arena);
}

static void try_create(void)
{
    struct error err = { 0 };
    struct store *s = NULL;
    char path[400];

    snprintf(path, sizeof(path), "%s/new.sqlite", x.dir);
    if (store_open(path, STORE_WRITE, &s, &err) != ST_IO || !strstr(err.text, path) ||
        !strstr(err.text, "ermission")) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
}

static void try_unreadable(void)
{
    struct error err = { 0 };
    struct store *s = NULL;

    if (store_open(x.path, STORE_READ, &s, &err) != ST_IO || !strstr(err.text, x.path))
        _exit(1);
}

Test(store_file, a_read_only_file_in_a_read_only_folder_can_be_read_and_says_so_to_a_writer)
{
    char key[65];

    store_close(store_with_run(x.path, "run-1", key));
    cr_assert_eq(chmod(x.path, 0444), 0);
    cr_assert_eq(chmod(x.dir, 0555), 0);
    cr_expect_eq(as_nobody(try_read_only), 0);
    cr_expect_eq(as_nobody(try_create), 0);
    cr_assert_eq(chmod(x.path, 0), 0);
    cr_expect_eq(as_nobody(try_unreadable), 0);
    cr_assert_eq(chmod(x.dir, 0755), 0);
}

/* ---- several processes ------------------------------------------------------------------ */

Test(store_file, a_locked_file_is_waited_for_and_then_refused)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key), *other = NULL;
    struct sample_row row = a_sample("run-1", key, "1", 0);
    sqlite3 *db;

    store_close(s);
    cr_assert_eq(sqlite3_open(x.path, &db), SQLITE_OK);
    cr_assert_eq(store_open_patience(x.path, STORE_WRITE, 50, &other, &err), ST_OK, "%s", err.text);
    cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    cr_expect_eq(store_put_sample(other, &row, &err), ST_IO);
    cr_expect(strstr(err.text, "locked") && strstr(err.text, x.path), "%s", err.text);
    cr_assert_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    cr_expect_eq(store_put_sample(other, &row, &err), ST_OK, "%s", err.text);
    store_close(other);
    /* a file locked as a whole cannot even be opened */
    cr_assert_eq(
        sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
        SQLITE_OK);
    expect_refused(x.path, STORE_WRITE, ST_IO, "locked");
    expect_refused(x.path, STORE_READ, ST_IO, "locked");
    sqlite3_close(db);
}

Test(store_file, a_reader_sees_whole_samples_while_another_process_writes)
{
    enum { N = 150 };
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct arena arena = { 0 };
    struct task_summary *t = NULL;
    int64_t last = -1;
    int status = 0, n_seen = 0;
    pid_t pid;

    store_close(s);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        if (store_open(x.path, STORE_WRITE, &s, &err) != ST_OK)
            _exit(1);
        for (int i = 0; i < N; i++) {
            struct sample_row row = a_sample("run-1", key, "1", i);
            if (store_put_sample(s, &row, &err) != ST_OK)
                _exit(2);
        }
        store_close(s);
        _exit(0);
    }
    cr_assert_eq(store_open(x.path, STORE_READ, &s, &err), ST_OK, "%s", err.text);
    while (last < N) {
        size_t n = 0;

        arena_clear(&arena);
        cr_assert_eq(store_summarise(s, "run-1", &arena, &t, &n, &err), ST_OK, "%s", err.text);
        if (n) {
            cr_assert_geq(t[0].n_samples, last, "samples never vanish");
            cr_assert_eq(t[0].n_passed, t[0].n_samples, "no sample without its verdict");
            n_seen += t[0].n_samples > last;
            last = t[0].n_samples;
        }
        if (waitpid(pid, &status, WNOHANG) == pid && WIFEXITED(status) && WEXITSTATUS(status))
            cr_assert(false, "the writer failed with %d", WEXITSTATUS(status));
    }
    cr_expect_gt(n_seen, 1, "the reader watched the file grow");
    waitpid(pid, &status, 0);
    store_close(s);
    arena_release(&arena);
}

Test(store_file, two_processes_that_create_the_same_file_both_get_it)
{
    for (int round = 0; round < 8; round++) {
        pid_t pids[3];

        unlink(x.path);
        for (int i = 0; i < 3; i++) {
            pids[i] = fork();
            cr_assert_geq(pids[i], 0);
            if (pids[i] == 0) {
                struct error err = { 0 };
                struct store *s = NULL;
                char id[8];
                struct run_row run = a_run(id);

                snprintf(id, sizeof(id), "run-%d", i);
                if (store_open(x.path, STORE_WRITE, &s, &err) != ST_OK ||
                    store_begin_run(s, &run, &err) != ST_OK) {
                    fprintf(stderr, "%s\n", err.text);
                    _exit(1);
                }
                store_close(s);
                _exit(0);
            }
        }
        for (int i = 0; i < 3; i++) {
            int status = 0;
            cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        cr_expect_eq(query_int(x.path, "SELECT count(*) FROM run"), 3);
    }
}

/* ---- cut off ---------------------------------------------------------------------------- */

Test(store_file, a_killed_writer_leaves_whole_samples_and_a_file_that_opens)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    int stored = 0;

    store_close(s);
    for (int round = 0; round < 5; round++) {
        int pipe_fds[2], n_told = 0, status = 0, n;
        char c;
        pid_t pid;

        cr_assert_eq(pipe(pipe_fds), 0);
        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) { /* a byte through the pipe for each sample that is said to be stored */
            close(pipe_fds[0]);
            if (store_open(x.path, STORE_WRITE, &s, &err) != ST_OK)
                _exit(1);
            for (int i = 0;; i++) {
                struct sample_row row = a_sample("run-1", key, "1", round * 100000 + i);
                if (store_put_sample(s, &row, &err) != ST_OK || write(pipe_fds[1], "", 1) != 1)
                    _exit(2);
            }
        }
        close(pipe_fds[1]);
        while (n_told < 3 + round && read(pipe_fds[0], &c, 1) == 1)
            n_told++;
        usleep(137 * (unsigned)round); /* into the midst of a transaction */
        kill(pid, SIGKILL);
        while (read(pipe_fds[0], &c, 1) == 1)
            n_told++;
        close(pipe_fds[0]);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status), "the writer ended by itself");
        n = count_samples(x.path);
        /* one more may have been committed but not told of */
        cr_expect(n == stored + n_told || n == stored + n_told + 1, "%d after %d and %d", n, stored,
                  n_told);
        stored = n;
        cr_assert_eq(store_open(x.path, STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
        store_close(s);
    }
}

/* ---- out of room ------------------------------------------------------------------------ */

/* Write samples until one fails. Then: the right error, whole samples, a usable store. */
static int fill_until_error(const char *path, const char *words, struct store **ret)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    char key[65];
    struct store *s = store_with_run(path, "run-1", key);
    struct telemetry t = random_telemetry(&arena, 1, 50, 8, 64, 64);
    enum status st = ST_OK;
    int n = 0;

    while (n < 1000) {
        struct sample_row row = a_sample("run-1", key, "1", n);

        row.telemetry = t;
        st = store_put_sample(s, &row, &err);
        if (st)
            break;
        n++;
    }
    cr_expect_eq(st, ST_IO, "%s after %d samples", status_name(st), n);
    cr_expect(strstr(err.text, words) && strstr(err.text, path), "%s", err.text);
    arena_release(&arena);
    *ret = s;
    return n;
}

Test(store_file, a_write_that_the_system_refuses_is_an_error_and_loses_nothing)
{
    struct rlimit lim = { .rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY };
    struct error err = { 0 };
    struct sample_row row;
    struct store *s;
    char key[65];
    struct cell_row cell = a_cell("vanilla");
    int n;

    signal(SIGXFSZ, SIG_IGN); /* so that write() returns EFBIG */
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
    n = fill_until_error(x.path, "I/O error", &s);
    cr_expect_gt(n, 5);
    lim.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
    cell_key(&cell, key);
    row = a_sample("run-1", key, "1", n);
    cr_expect_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    store_close(s);
    cr_expect_eq(count_samples(x.path), n + 1);
}

Test(store_file, a_full_disk_is_named_and_loses_nothing)
{
    struct store *s;
    int n;

    /* a mount namespace of our own: whatever happens, the mount goes with this process */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("desbench-test", x.dir, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m") != 0) {
        int code = errno;
        scratch_close(&x); /* .fini is skipped too */
        cr_skip_test("cannot mount a small tmpfs: %s", strerror(code));
    }
    n = fill_until_error(x.path, "disk full", &s);
    store_close(s);
    cr_expect_gt(n, 5);
    cr_expect_eq(count_samples(x.path), n);
    cr_expect_eq(umount(x.dir), 0);
}
