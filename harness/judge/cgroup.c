/* Control groups of a judge. */
#include "harness/judge/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/* The leaf our own processes move to, where version 2 asks for it. */
#define MAIN_GROUP "desbench-main"

static const char *const role_controller[N_CG_ROLES] = { "pids", "memory", "cpuacct", "" };

/* --- files of a group ------------------------------------------------------------------- */

/* Whole small file as a string; 0 or an errno value. */
static int cg_read(int dirfd, const char *name, char *out, size_t size)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 0;

    if (fd < 0)
        return errno;
    while (len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    int rc = n < 0 ? errno : 0;
    close(fd);
    out[len] = '\0';
    return rc;
}

static int cg_write(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        rc = errno;
    close(fd);
    return rc;
}

/* Value after "key " at the start of a line; -1 if there is none. */
static int64_t cg_read_key(int dirfd, const char *name, const char *key)
{
    char text[4096];
    size_t key_len = strlen(key);

    if (cg_read(dirfd, name, text, sizeof(text)))
        return -1;
    for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (strncmp(p, key, key_len) == 0 && p[key_len] == ' ')
            return strtoll(p + key_len, NULL, 10);
    return -1;
}

/* Does a list of words, split by any of seps, hold word? */
static bool has_word(const char *list, const char *word, const char *seps)
{
    size_t len = strlen(word);

    for (const char *p = list; *p; p += strspn(p, seps)) {
        size_t n = strcspn(p, seps);
        if (n == len && memcmp(p, word, n) == 0)
            return true;
        p += n;
    }
    return false;
}

/* --- where our own group is --------------------------------------------------------------- */

/* Path of our group in the hierarchy of a version 1 controller, or of version 2 (""). */
static bool own_group(const char *groups, const char *controller, char *out, size_t size)
{
    for (const char *p = groups; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        char names[256];
        int at = 0;

        if (strncmp(p, "0::", 3) == 0) {
            names[0] = '\0';
            at = 3;
        } else if (sscanf(p, "%*d:%255[^:\n]:%n", names, &at) != 1 || at == 0) {
            continue;
        }
        if (*controller ? !has_word(names, controller, ",") : names[0] != '\0')
            continue;
        size_t len = strcspn(p + at, "\n");
        if (len >= size)
            return false;
        memcpy(out, p + at, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

/* mountinfo writes blanks in paths as \040 and the like. */
static void unescape_octal(char *s)
{
    char *w = s;

    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *w++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *w++ = *s;
        }
    }
    *w = '\0';
}

/* Directory of our own group in the hierarchy of a controller ("" and is_v2: version 2). */
static bool own_group_dir(const char *groups, const char *mounts, const char *controller,
                          bool is_v2, char *out, size_t size)
{
    char path[PATH_MAX], root[PATH_MAX], point[PATH_MAX], type[64], opts[512];

    if (!own_group(groups, is_v2 ? "" : controller, path, sizeof(path)))
        return false;
    for (const char *p = mounts; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        const char *sep = strstr(p, " - ");
        const char *rest;
        size_t n;

        if (!sep || sscanf(p, "%*d %*d %*s %4095s %4095s", root, point) != 2 ||
            sscanf(sep, " - %63s %*s %511s", type, opts) != 2)
            continue;
        if (strcmp(type, is_v2 ? "cgroup2" : "cgroup") != 0 ||
            (!is_v2 && !has_word(opts, controller, ",")))
            continue;
        unescape_octal(root);
        unescape_octal(point);
        n = strcmp(root, "/") == 0 ? 0 : strlen(root);
        if (strncmp(path, root, n) != 0 || strstr(path, "/.."))
            continue; /* our group lies outside what is mounted here */
        rest = path + n;
        char *leaf = strrchr(path, '/');
        if (is_v2 && leaf >= rest && strcmp(leaf, "/" MAIN_GROUP) == 0)
            *leaf = '\0'; /* an earlier judge moved us there */
        if (snprintf(out, size, "%s%s", point, strcmp(rest, "/") == 0 ? "" : rest) < (int)size &&
            access(out, F_OK) == 0)
            return true;
    }
    return false;
}

/* --- version 2: hand controllers down ----------------------------------------------------- */

/* Move this process and its parent into a leaf, if the group holds nobody else. */
static int clear_group(int dirfd)
{
    char text[256], *p = text, pid[16];
    int rc = cg_read(dirfd, "cgroup.procs", text, sizeof(text));

    if (rc)
        return rc;
    while (*p) {
        long v = strtol(p, &p, 10);
        if (v != getpid() && v != getppid())
            return EBUSY;
        p += strspn(p, "\n");
    }
    if (mkdirat(dirfd, MAIN_GROUP, 0755) != 0 && errno != EEXIST)
        return errno;
    rc = cg_write(dirfd, MAIN_GROUP "/cgroup.procs", "0");
    if (rc == 0) { /* it may sit elsewhere, and then stays */
        snprintf(pid, sizeof(pid), "%d", (int)getppid());
        cg_write(dirfd, MAIN_GROUP "/cgroup.procs", pid);
    }
    return rc;
}

static int enable_controllers(int dirfd)
{
    char text[512];
    int rc;

    if (cg_read(dirfd, "cgroup.subtree_control", text, sizeof(text)) == 0 &&
        has_word(text, "pids", " \n") && has_word(text, "memory", " \n"))
        return 0;
    rc = cg_write(dirfd, "cgroup.subtree_control", "+pids +memory");
    if (rc != EBUSY)
        return rc;
    rc = clear_group(dirfd);
    return rc ? rc : cg_write(dirfd, "cgroup.subtree_control", "+pids +memory");
}

/* --- homes ---------------------------------------------------------------------------------- */

static void remove_home(int parentfd, const char *name)
{
    int fd = openat(parentfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (d) {
        while ((e = readdir(d)))
            if (strncmp(e->d_name, "slot-", 5) == 0)
                unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        closedir(d);
    } else if (fd >= 0) {
        close(fd);
    }
    unlinkat(parentfd, name, AT_REMOVEDIR);
}

/* desbench-PID-N */
static bool is_home_name(const char *s)
{
    static const char prefix[] = "desbench-", digits[] = "0123456789";

    if (strncmp(s, prefix, sizeof(prefix) - 1) != 0)
        return false;
    s += sizeof(prefix) - 1;
    size_t n = strspn(s, digits);
    if (n == 0 || s[n] != '-')
        return false;
    s += n + 1;
    n = strspn(s, digits);
    return n > 0 && !s[n];
}

/* Remove homes that nobody holds. Groups with processes in them cannot be removed anyway. */
static void sweep(const char *parent)
{
    DIR *d = opendir(parent);
    struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d))) {
        if (!is_home_name(e->d_name))
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_home(dirfd(d), e->d_name);
        close(fd);
    }
    closedir(d);
}

static int make_home(const char *parent, const char *name, bool has_controllers, int *ret_fd)
{
    int parentfd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = -1, rc = 0;

    if (parentfd < 0)
        return errno;
    if (has_controllers)
        rc = enable_controllers(parentfd);
    if (rc == 0 && mkdirat(parentfd, name, 0755) != 0)
        rc = errno;
    if (rc == 0) {
        fd = openat(parentfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
        if (rc == 0 && has_controllers)
            rc = cg_write(fd, "cgroup.subtree_control", "+pids +memory");
        if (rc) {
            if (fd >= 0)
                close(fd);
            unlinkat(parentfd, name, AT_REMOVEDIR);
        }
    }
    close(parentfd);
    if (rc == 0)
        *ret_fd = fd;
    return rc;
}

static void open_role(struct cgroup_home *h, enum cgroup_role role, const char *groups,
                      const char *mounts)
{
    char dir[PATH_MAX];
    const char *controller = role_controller[role];
    bool is_v2 =
        !*controller || !own_group_dir(groups, mounts, controller, false, dir, sizeof(dir));
    int rc;

    if (is_v2 && !own_group_dir(groups, mounts, "", true, dir, sizeof(dir))) {
        snprintf(h->why[role], sizeof(h->why[role]), "no control group hierarchy mounted for it");
        return;
    }
    h->is_v2[role] = is_v2;
    for (int i = 0; i < (int)role; i++)
        if (h->has[i] && strcmp(h->parents[i], dir) == 0) {
            h->has[role] = true;
            h->same_as[role] = h->same_as[i];
            h->dirfds[role] = h->dirfds[h->same_as[i]];
            h->parents[role] = strdup(dir);
            h->has[role] = h->parents[role] != NULL;
            return;
        }
    sweep(dir);
    /* Version 2 counts CPU time and kills without any controller handed down. */
    rc = make_home(dir, h->name, is_v2 && role <= CG_MEMORY, &h->dirfds[role]);
    if (rc) {
        snprintf(h->why[role], sizeof(h->why[role]), "own group not usable: %s", strerror(rc));
        return;
    }
    h->parents[role] = strdup(dir);
    h->has[role] = h->parents[role] != NULL;
}

static bool slurp(const char *path, struct buf *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    if (fd < 0)
        return false;
    do {
        char *at = buf_reserve(ret, 4096);
        n = at ? read(fd, at, 4096) : -1;
        if (n > 0)
            ret->len += (size_t)n;
    } while (n > 0);
    close(fd);
    buf_putc(ret, '\0');
    return n == 0 && buf_ok(ret);
}

enum status cgroup_home_open(struct cgroup_home *ret, struct error *err)
{
    static unsigned n_opened;
    struct buf groups = { 0 }, mounts = { 0 };
    enum status st = ST_OK;

    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < N_CG_ROLES; i++) {
        ret->same_as[i] = i;
        ret->dirfds[i] = -1;
    }
    snprintf(ret->name, sizeof(ret->name), "desbench-%d-%u", (int)getpid(),
             __atomic_fetch_add(&n_opened, 1, __ATOMIC_RELAXED));
    if (!slurp("/proc/self/cgroup", &groups) || !slurp("/proc/self/mountinfo", &mounts)) {
        st = error_set(err, ST_IO, "cannot read '/proc/self/cgroup' and '/proc/self/mountinfo'");
        goto out;
    }
    for (int role = 0; role < N_CG_ROLES; role++)
        open_role(ret, (enum cgroup_role)role, groups.data, mounts.data);
out:
    buf_release(&groups);
    buf_release(&mounts);
    return st;
}

void cgroup_home_drop(struct cgroup_home *h)
{
    for (int i = 0; i < N_CG_ROLES; i++) {
        if (h->dirfds[i] >= 0 && h->same_as[i] == i)
            close(h->dirfds[i]);
        h->dirfds[i] = -1;
        free(h->parents[i]);
        h->parents[i] = NULL;
        h->has[i] = false;
    }
}

void cgroup_home_close(struct cgroup_home *h)
{
    for (int i = 0; i < N_CG_ROLES; i++) {
        int fd = h->has[i] && h->same_as[i] == i
                     ? open(h->parents[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                     : -1;
        if (fd >= 0) {
            remove_home(fd, h->name);
            close(fd);
        }
    }
    cgroup_home_drop(h);
}

/* --- slots ------------------------------------------------------------------------------------ */

/* Write a limit and read it back: at most the number asked for, and within a page of it. */
static int set_limit(int dirfd, const char *name, int64_t value)
{
    char text[64];
    int rc;

    snprintf(text, sizeof(text), "%lld", (long long)value);
    rc = cg_write(dirfd, name, text);
    if (rc)
        return rc;
    rc = cg_read(dirfd, name, text, sizeof(text));
    if (rc)
        return rc;
    int64_t now = strtoll(text, NULL, 10);
    return now > 0 && now <= value && now + 65536 > value ? 0 : ERANGE;
}

static int set_memory(int dirfd, bool is_v2, int64_t bytes)
{
    int rc = set_limit(dirfd, is_v2 ? "memory.max" : "memory.limit_in_bytes", bytes);

    if (rc)
        return rc;
    /* Without swap accounting these files are missing, and there is nothing to close. */
    if (is_v2) {
        cg_write(dirfd, "memory.swap.max", "0");
        cg_write(dirfd, "memory.oom.group", "1");
    } else {
        set_limit(dirfd, "memory.memsw.limit_in_bytes", bytes);
    }
    return 0;
}

enum status cgroup_slot_open(const struct cgroup_home *h, int n, int64_t memory_bytes, int max_pids,
                             struct cgroup_slot *ret, struct error *err)
{
    struct cgroup_slot s;
    char name[24];
    int rc = 0;

    snprintf(name, sizeof(name), "slot-%d", n);
    for (int i = 0; i < N_CG_ROLES; i++) {
        s.dirfds[i] = -1;
        s.is_v2[i] = h->is_v2[i];
        s.is_repeated[i] = h->same_as[i] != i;
    }
    for (int i = 0; i < N_CG_ROLES && rc == 0; i++) {
        if (!h->has[i]) {
            if (i == CG_KILL)
                continue;
            rc = ENOENT;
            break;
        }
        if (mkdirat(h->dirfds[i], name, 0755) != 0 && errno != EEXIST)
            rc = errno;
        if (rc == 0) {
            s.dirfds[i] = openat(h->dirfds[i], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            rc = s.dirfds[i] < 0 ? errno : 0;
        }
    }
    if (rc == 0)
        rc = set_limit(s.dirfds[CG_PIDS], "pids.max", max_pids);
    if (rc == 0)
        rc = set_memory(s.dirfds[CG_MEMORY], s.is_v2[CG_MEMORY], memory_bytes);
    if (rc) {
        cgroup_slot_close(&s);
        return error_set(err, ST_IO, "cannot set up control group '%s/%s': %s", h->name, name,
                         strerror(rc));
    }
    *ret = s;
    return ST_OK;
}

void cgroup_slot_close(struct cgroup_slot *s)
{
    for (int i = 0; i < N_CG_ROLES; i++) {
        if (s->dirfds[i] >= 0)
            close(s->dirfds[i]);
        s->dirfds[i] = -1;
    }
}

int cgroup_slot_join(const struct cgroup_slot *s, pid_t pid)
{
    char text[16];
    int rc = 0;

    snprintf(text, sizeof(text), "%d", (int)pid);
    for (int i = 0; i < N_CG_ROLES && rc == 0; i++)
        if (s->dirfds[i] >= 0 && !s->is_repeated[i])
            rc = cg_write(s->dirfds[i], "cgroup.procs", text);
    return rc;
}

int64_t cgroup_cpu_ns(const struct cgroup_slot *s)
{
    char text[64];

    if (s->is_v2[CG_CPU]) {
        int64_t us = cg_read_key(s->dirfds[CG_CPU], "cpu.stat", "usage_usec");
        return us < 0 ? -1 : us * 1000;
    }
    if (cg_read(s->dirfds[CG_CPU], "cpuacct.usage", text, sizeof(text)))
        return -1;
    return strtoll(text, NULL, 10);
}

int64_t cgroup_n_oom_kills(const struct cgroup_slot *s)
{
    return cg_read_key(s->dirfds[CG_MEMORY],
                       s->is_v2[CG_MEMORY] ? "memory.events" : "memory.oom_control", "oom_kill");
}

int64_t cgroup_n_forks_refused(const struct cgroup_slot *s)
{
    return cg_read_key(s->dirfds[CG_PIDS], "pids.events", "max");
}

pid_t cgroup_first_pid(const struct cgroup_slot *s)
{
    char text[32];

    if (cg_read(s->dirfds[CG_PIDS], "cgroup.procs", text, sizeof(text)))
        return 0;
    return (pid_t)strtol(text, NULL, 10);
}

void cgroup_kill(const struct cgroup_slot *s)
{
    if (s->dirfds[CG_KILL] >= 0)
        cg_write(s->dirfds[CG_KILL], "cgroup.kill", "1");
}
