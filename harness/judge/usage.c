/* What all processes of one pid namespace use. */
#include "harness/judge/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of /proc/PID/stat, proc(5), numbered from 1. */
enum {
    STAT_STATE = 3,
    STAT_UTIME = 14,
    STAT_CSTIME = 17,
    STAT_N_THREADS = 20,
    STAT_RSS = 24,
};

static ssize_t read_at(int procfd, const char *pid, const char *name, char *out, size_t size)
{
    char path[300];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", pid, name);
    fd = openat(procfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, out, size - 1);
    close(fd);
    if (n >= 0)
        out[n] = '\0';
    return n;
}

/* Add one process. Its name may hold anything but ends at the last parenthesis. */
static void add_stat(const char *text, long ticks_per_s, long page_bytes, struct usage *u)
{
    const char *p = strrchr(text, ')');
    int64_t ticks = 0, rss = 0, n_threads = 0;
    bool is_zombie = false;

    if (!p)
        return;
    p++;
    for (int field = STAT_STATE; field <= STAT_RSS && *p; field++) {
        char *end = NULL;
        while (*p == ' ')
            p++;
        if (field == STAT_STATE) {
            is_zombie = *p == 'Z' || *p == 'X';
            p++;
            continue;
        }
        int64_t v = strtoll(p, &end, 10);
        if (end == p)
            return;
        p = end;
        if (field >= STAT_UTIME && field <= STAT_CSTIME)
            ticks += v;
        else if (field == STAT_N_THREADS)
            n_threads = v;
        else if (field == STAT_RSS)
            rss = v;
    }
    u->cpu_ns += ticks * (1000000000 / ticks_per_s);
    if (!is_zombie) {
        u->rss_bytes += rss * page_bytes;
        u->n_tasks += (int)n_threads;
    }
}

static DIR *open_proc(int procfd)
{
    int fd = openat(procfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (!d && fd >= 0)
        close(fd);
    return d;
}

int usage_read(int procfd, struct usage *ret)
{
    const long ticks_per_s = sysconf(_SC_CLK_TCK), page_bytes = sysconf(_SC_PAGESIZE);
    struct usage u = { 0 };
    struct dirent *e;
    char text[1024];
    DIR *d = open_proc(procfd);

    if (!d)
        return errno;
    while ((e = readdir(d)))
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
            read_at(procfd, e->d_name, "stat", text, sizeof(text)) > 0)
            add_stat(text, ticks_per_s, page_bytes, &u);
    closedir(d);
    *ret = u;
    return 0;
}

int64_t usage_read_pss(int procfd)
{
    const long ticks_per_s = sysconf(_SC_CLK_TCK), page_bytes = sysconf(_SC_PAGESIZE);
    struct dirent *e;
    char text[4096];
    int64_t total = 0;
    DIR *d = open_proc(procfd);

    if (!d)
        return 0;
    while ((e = readdir(d))) {
        struct usage u = { 0 };
        const char *p;

        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        if (read_at(procfd, e->d_name, "smaps_rollup", text, sizeof(text)) > 0 &&
            (p = strstr(text, "\nPss:"))) {
            total += strtoll(p + 5, NULL, 10) * 1024;
        } else if (read_at(procfd, e->d_name, "stat", text, sizeof(text)) > 0) {
            add_stat(text, ticks_per_s, page_bytes, &u);
            total += u.rss_bytes;
        }
    }
    closedir(d);
    return total;
}
