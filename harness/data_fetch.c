/*
 * Getting the files of the data folder.
 *
 *     look ---- right ----------------------------------------------> nothing to do
 *      |
 *      missing, wrong: an address -> NAME.part -> right? -> fsync -> rename to NAME
 *                          ^                        |
 *                          +------ the next one <---+ no
 *
 * fewshot.json has no address of its own: each of its parts is read out of a configuration file of
 * upstream's, these are small and only held in memory.
 */
#include "harness/data_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/http.h"
#include "base/log.h"
#include "harness/progress.h"
#include "harness/stops.h"
#include "harness/verb.h"

enum { FILE_BYTES_MAX = 64 << 20, CONFIG_BYTES_MAX = 1 << 20, BACKOFF_MS = 1000 };

struct fetch {
    const struct data_fetch_options *o;
    struct http *http;
    struct progress progress;
    const volatile sig_atomic_t *stops;
    struct arena arena; /* paths and addresses of one file */

    const struct data_file *file; /* being got */
    size_t n_done;
    double bytes_done; /* of files before */

    size_t n_failed;
    enum status worst;
    struct buf failed; /* names of files, joined by ", " */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory fetching data");
}

/* ---- looking ---------------------------------------------------------------------------- */

static enum status look_at(const char *path, const struct data_file *f, struct data_look *ret,
                           struct error *err)
{
    struct data_look look = { 0 };
    struct buf b = { 0 };
    struct stat sb;
    enum status st = file_read(path, FILE_BYTES_MAX, &b, err);

    if (st == ST_NOT_FOUND) {
        st = ST_OK;
    } else if (st == ST_INVALID && stat(path, &sb) == 0 && S_ISREG(sb.st_mode)) { /* too large */
        look.is_there = true;
        look.bytes = sb.st_size;
        look.state = DATA_WRONG;
        st = sha256_file(path, look.sha256, err);
    } else if (!st) {
        look.is_there = true;
        look.bytes = (int64_t)b.len;
        st = data_check(f, buf_str(&b), b.len, &look.state, look.sha256, err);
    }
    buf_release(&b);
    if (!st)
        *ret = look;
    return st;
}

enum status data_look(const char *dir, const struct data_file *f, struct data_look *ret,
                      struct error *err)
{
    struct arena a = { 0 };
    const char *path = arena_printf(&a, "%s/%s", dir, f->name);
    enum status st = path ? look_at(path, f, ret, err) : no_memory(err);

    arena_release(&a);
    return st;
}

/* ---- one transfer ----------------------------------------------------------------------- */

static bool on_progress(void *arg, int64_t done, int64_t total)
{
    struct fetch *x = arg;

    (void)total;
    progress_update(&x->progress, x->n_done, x->bytes_done + (double)done, "%s", x->file->name);
    return *x->stops == 0;
}

static void on_retry(void *arg, const char *why, double wait_s)
{
    (void)arg;
    log_info("%s; trying again in %.1f s", why, wait_s);
}

/* The address as it is asked: at the mirror, if there is one. */
static const char *make_url(struct fetch *x, const char *address)
{
    const char *mirror = x->o->mirror, *path;
    size_t len;

    if (!mirror)
        return address;
    path = strchr(address + strlen("https://"), '/');
    len = strlen(mirror);
    while (len && mirror[len - 1] == '/')
        len--;
    return arena_printf(&x->arena, "%.*s%s", (int)len, mirror, path);
}

/* ---- one file --------------------------------------------------------------------------- */

/* Keep a file that is about to be replaced. */
static enum status keep_old(const char *path, const char *old, struct error *err)
{
    if (!file_exists(path))
        return ST_OK;
    unlink(old);
    if (link(path, old) != 0 && rename(path, old) != 0)
        return error_set(err, ST_IO, "cannot keep '%s' as '%s': %s", path, old, strerror(errno));
    log_info("the other file that was there is kept as '%s'", old);
    return ST_OK;
}

/* Put a finished file in its place. */
static enum status install(struct fetch *x, const char *finished, const char *path,
                           struct error *err)
{
    const char *old = arena_printf(&x->arena, "%s.old", path);
    struct data_look before;
    enum status st = old ? ST_OK : no_memory(err);

    /* what was right, or is no file to keep, is just replaced */
    if (!st && look_at(path, x->file, &before, NULL) == ST_OK && before.is_there &&
        before.state == DATA_WRONG)
        st = keep_old(path, old, err);
    if (!st)
        st = file_install(finished, path, err);
    return st;
}

/* Fetch from one address and check. A part that was gone on with may be of something else where
 * the server did not say: then once more, whole. */
static enum status fetch_from(struct fetch *x, const char *url, const char *part,
                              struct data_look *ret, struct error *err)
{
    const struct data_file *f = x->file;
    int64_t max_bytes = 2 * f->bytes + 65536; /* room for other layouts */
    bool had_part = file_exists(part);

    for (;;) {
        enum status st = http_download(x->http, url, part, max_bytes, err);

        if (!st)
            st = look_at(part, f, ret, err);
        if (st == ST_INVALID) /* too large, which is another content */
            return err->status = ST_MISMATCH;
        if (st || ret->state != DATA_WRONG)
            return st;
        http_discard(part);
        if (!had_part)
            return error_set(err, ST_MISMATCH,
                             "'%s' is not the %s that scores are compared on: %" PRId64
                             " bytes with SHA-256 %s, expected %" PRId64 " with %s",
                             url, f->title, ret->bytes, ret->sha256, f->bytes, f->sha256);
        had_part = false;
        log_info("what was put together from parts of '%s' is not right; fetching it whole", url);
    }
}

/* The graver of two failures: other content than expected is told before no content. */
static enum status graver(enum status a, enum status b)
{
    return a == ST_OK || b == ST_MISMATCH ? b : a;
}

static enum status fetch_file(struct fetch *x, const char *path, struct error *err)
{
    const char *part = arena_printf(&x->arena, "%s.part", path);
    enum status worst = ST_OK;
    struct error why = { 0 };

    if (!part)
        return no_memory(err);
    for (const char *const *p = x->file->addresses; *p; p++) {
        const char *url = make_url(x, *p);
        struct data_look look;
        enum status st = url ? fetch_from(x, url, part, &look, &why) : no_memory(&why);

        if (!st) {
            st = install(x, part, path, err);
            if (!st)
                log_info("got '%s' (%" PRId64 " bytes%s) from %s", x->file->name, look.bytes,
                         look.state == DATA_RIGHT_RECORDS ? ", another layout of the same records"
                                                          : "",
                         url);
            return st;
        }
        if (st == ST_INTERRUPTED || st == ST_NOMEM)
            return error_set(err, st, "%s", why.text);
        log_warn("%s", why.text);
        worst = graver(worst, st);
    }
    return error_set(err, worst, "no address gave '%s'", x->file->name);
}

/* ---- few-shot examples ------------------------------------------------------------------ */

static enum status fetch_part(struct fetch *x, struct fewshot *f, size_t index, struct error *err)
{
    const struct fewshot_part *part = fewshot_part(index);
    struct error why = { 0 };
    struct buf text = { 0 };
    enum status worst = ST_OK, st = ST_OK;

    for (const char *const *p = part->addresses; *p; p++) {
        const char *url = make_url(x, *p);

        st = url ? http_get(x->http, url, CONFIG_BYTES_MAX, &text, &why) : no_memory(&why);
        if (!st) {
            st = fewshot_add(f, index, buf_str(&text), text.len, url, &why);
            st = st == ST_INVALID ? ST_MISMATCH : st; /* it is not what was meant */
        }
        if (!st || st == ST_INTERRUPTED || st == ST_NOMEM)
            break;
        log_warn("%s", why.text);
        worst = graver(worst, st);
    }
    buf_release(&text);
    if (st == ST_INTERRUPTED || st == ST_NOMEM)
        return error_set(err, st, "%s", why.text);
    return st ? error_set(err, worst, "no address gave '%s' of '%s'", part->key, x->file->name)
              : ST_OK;
}

static enum status fetch_fewshot(struct fetch *x, const char *path, struct error *err)
{
    const char *part = arena_printf(&x->arena, "%s.part", path);
    struct fewshot *f = fewshot_new();
    struct buf text = { 0 };
    enum status st = f && part ? ST_OK : no_memory(err);
    double before = x->bytes_done;

    for (size_t i = 0; !st && i < fewshot_n_parts(); i++) {
        st = fetch_part(x, f, i, err);
        x->bytes_done += (double)x->file->bytes / (double)fewshot_n_parts();
    }
    if (!st)
        st = fewshot_print(f, &text, err);
    if (!st)
        st = file_write_atomic(part, buf_str(&text), text.len, err);
    if (!st)
        st = install(x, part, path, err);
    if (!st)
        log_info("made '%s' of %zu configuration files", x->file->name, fewshot_n_parts());
    x->bytes_done = before;
    fewshot_free(f);
    buf_release(&text);
    return st;
}

/* ---- all files -------------------------------------------------------------------------- */

/* Where the file is to be had, for who puts it there by hand. */
static void log_by_hand(const struct data_file *f, const char *path)
{
    log_warn("'%s' can be put there by hand: it is", path);
    for (const char *const *p = f->addresses; *p; p++)
        log_warn("  %s%s", p == f->addresses ? "" : "or ", *p);
    if (f->addresses[0])
        return;
    log_warn("  made by this program of files that --mirror may name another server of:");
    for (size_t i = 0; i < fewshot_n_parts(); i++)
        log_warn("  %s", fewshot_part(i)->addresses[0]);
}

static enum status fetch_one(struct fetch *x, const struct data_file *f, struct error *err)
{
    const char *path = arena_printf(&x->arena, "%s/%s", x->o->dir, f->name);
    struct error why = { 0 };
    enum status st;

    if (!path)
        return no_memory(err);
    x->file = f;
    if (x->o->is_offline)
        st = error_set(&why, ST_NOT_FOUND, "--offline: '%s' is missing or wrong", path);
    else
        st = f->addresses[0] ? fetch_file(x, path, &why) : fetch_fewshot(x, path, &why);
    if (st == ST_INTERRUPTED || st == ST_NOMEM)
        return error_set(err, st, "%s", why.text);
    if (st) {
        log_warn("%s", why.text);
        log_by_hand(f, path);
        x->worst = graver(x->worst, st);
        buf_printf(&x->failed, "%s'%s'", x->n_failed++ ? ", " : "", f->name);
    }
    x->n_done += st == ST_OK;
    x->bytes_done += (double)f->bytes;
    progress_update(&x->progress, x->n_done, x->bytes_done, "%s", f->name);
    arena_clear(&x->arena);
    return ST_OK;
}

/* Make the folder if need be and lock it until *ret is closed. */
static enum status lock_dir(const char *dir, int *ret, struct error *err)
{
    enum status st = file_make_dirs(dir, err);
    int fd;

    if (st)
        return st;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ST_IO, "cannot open folder '%s': %s", dir, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        st = errno == EWOULDBLOCK
                 ? error_set(err, ST_IO, "another process is fetching into '%s'", dir)
                 : error_set(err, ST_IO, "cannot lock folder '%s': %s", dir, strerror(errno));
        close(fd);
        return st;
    }
    *ret = fd;
    return ST_OK;
}

static enum status open_http(struct fetch *x, struct error *err)
{
    const char *mirror = x->o->mirror;
    const char *agent = arena_printf(&x->arena, "desbench/%s", build_version);
    bool is_plain = mirror && strncmp(mirror, "http://", 7) == 0;

    if (!agent)
        return no_memory(err);
    if (mirror && !is_plain && strncmp(mirror, "https://", 8) != 0)
        return error_set(err, ST_INVALID,
                         "option '--mirror' needs an address that begins with http:// or https://, "
                         "found '%s'",
                         mirror);
    return http_open(&(struct http_options){ .user_agent = agent,
                                             .is_plain_allowed = is_plain,
                                             .timeout_s = x->o->timeout_s,
                                             .n_retries = x->o->n_retries,
                                             .backoff_ms = BACKOFF_MS,
                                             .progress = on_progress,
                                             .retry = on_retry,
                                             .arg = x },
                     &x->http, err);
}

/* Those of the files that are to be got, in *ret (n). */
static enum status choose(const struct data_fetch_options *o, const struct data_file *const *files,
                          size_t n, const struct data_file **ret, size_t *ret_n, struct error *err)
{
    enum status st = ST_OK;

    *ret_n = 0;
    for (size_t i = 0; i < n && !st; i++) {
        struct data_look look;

        st = data_look(o->dir, files[i], &look, err);
        if (!st && (!look.is_there || look.state == DATA_WRONG || o->is_forced))
            ret[(*ret_n)++] = files[i];
    }
    return st;
}

static enum status fetch_all(struct fetch *x, const struct data_file *const *files, size_t n,
                             struct error *err)
{
    enum status st = ST_OK;
    double n_bytes = 0;

    for (size_t i = 0; i < n; i++)
        n_bytes += (double)files[i]->bytes;
    x->stops = stops_catch();
    progress_start(&x->progress, x->o->progress, x->o->is_quiet, n, n_bytes);
    for (size_t i = 0; i < n && !st; i++)
        st = fetch_one(x, files[i], err);
    progress_stop(&x->progress);
    if (!st && x->n_failed)
        st = error_set(err, x->worst, "%zu of %zu files could not be got: %s", x->n_failed, n,
                       buf_str(&x->failed));
    return st;
}

enum status data_fetch(const struct data_fetch_options *o, const struct data_file *const *files,
                       size_t n, struct error *err)
{
    struct fetch x = { .o = o };
    const struct data_file **needed = calloc(n + 1, sizeof(*needed));
    size_t n_needed = 0;
    int lock = -1;
    enum status st = needed ? choose(o, files, n, needed, &n_needed, err) : no_memory(err);

    if (!st && n_needed && !o->is_offline) {
        st = open_http(&x, err);
        if (!st)
            st = lock_dir(o->dir, &lock, err);
        if (!st) /* who held it before may have got some */
            st = choose(o, files, n, needed, &n_needed, err);
    }
    if (!st && n_needed)
        st = fetch_all(&x, needed, n_needed, err);
    if (lock >= 0)
        close(lock);
    http_close(x.http);
    buf_release(&x.failed);
    arena_release(&x.arena);
    free(needed);
    return st;
}
