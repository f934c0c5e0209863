/*
 * Run lock: a lock file that is removed under its own lock.
 *
 * Between opening the file and locking it, its owner may have removed it; then the lock is one on
 * a file that nobody will find. So after locking, the name must still lead to the file locked.
 */
#include "harness/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

struct run_lock {
    char *path;
    int fd; /* the only one of this process: closing any other would drop the lock */
};

static bool leads_to(const char *path, int fd)
{
    struct stat here, there;

    return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

static enum status held(const char *results_path, const char *run_id, int fd, struct error *err)
{
    struct flock f = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (fcntl(fd, F_GETLK, &f) == 0 && f.l_type != F_UNLCK && f.l_pid > 0)
        return error_set(err, ST_IO, "run '%s' in '%s' is being written by process %ld", run_id,
                         results_path, (long)f.l_pid);
    return error_set(err, ST_IO, "run '%s' in '%s' is being written by another process", run_id,
                     results_path);
}

/* Path of the lock file; free() it. */
static enum status name_of(const char *results_path, const char *run_id, char **ret,
                           struct error *err)
{
    char *real = realpath(results_path, NULL); /* a link to a file is the file, as SQLite has it */
    struct buf path = { 0 };

    if (!real && errno != ENOENT)
        return error_set(err, errno == ENOMEM ? ST_NOMEM : ST_IO, "cannot resolve '%s': %s",
                         results_path, strerror(errno));
    buf_printf(&path, "%s-%s.lock", real ? real : results_path, run_id);
    free(real);
    *ret = buf_ok(&path) ? strdup(buf_str(&path)) : NULL;
    buf_release(&path);
    return *ret ? ST_OK : error_set(err, ST_NOMEM, "out of memory locking run '%s'", run_id);
}

enum status run_lock_take(const char *results_path, const char *run_id, struct run_lock **ret,
                          struct error *err)
{
    struct run_lock *l = calloc(1, sizeof(*l));
    enum status st;

    if (!l)
        return error_set(err, ST_NOMEM, "out of memory locking run '%s'", run_id);
    l->fd = -1;
    st = name_of(results_path, run_id, &l->path, err);
    if (st)
        goto out;
    do {
        struct flock f = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        if (l->fd >= 0)
            close(l->fd);
        l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (l->fd < 0) {
            st = error_set(err, ST_IO, "cannot make '%s': %s", l->path, strerror(errno));
            goto out;
        }
        if (fcntl(l->fd, F_SETLK, &f) != 0) {
            if (errno == EACCES || errno == EAGAIN)
                st = held(results_path, run_id, l->fd, err);
            else
                st = error_set(err, ST_IO, "cannot lock '%s': %s", l->path, strerror(errno));
            close(l->fd); /* not ours: its name stays */
            l->fd = -1;
            goto out;
        }
    } while (!leads_to(l->path, l->fd));
    *ret = l;
    l = NULL;
out:
    run_lock_release(l);
    return st;
}

void run_lock_release(struct run_lock *l)
{
    if (!l)
        return;
    if (l->fd >= 0) {
        unlink(l->path);
        close(l->fd);
    }
    free(l->path);
    free(l);
}

void run_lock_clear(const char *results_path, const char *run_id)
{
    struct error ignored = { 0 };
    struct run_lock *l = NULL;
    char *path = NULL;

    if (!name_of(results_path, run_id, &path, &ignored) && access(path, F_OK) == 0 &&
        !run_lock_take(results_path, run_id, &l, &ignored))
        run_lock_release(l);
    free(path);
}
