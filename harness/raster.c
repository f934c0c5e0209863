/* rsvg-convert as a tool. It is not linked: glib, beneath it, ends a process that runs out of
 * memory, and only figures need it. */
#include "harness/raster.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

extern char **environ;

enum status raster_find(struct arena *a, const char **ret, struct error *err)
{
    const char *path = getenv("PATH");

    *ret = NULL;
    for (size_t len; path && *path; path += len + (path[len] == ':')) {
        const char *name;

        len = strcspn(path, ":");
        name = arena_printf(a, "%.*s/rsvg-convert", (int)len, len ? path : ".");
        if (!name)
            return error_set(err, ST_NOMEM, "out of memory looking for rsvg-convert");
        if (len && access(name, X_OK) == 0) { /* not from the current folder */
            *ret = name;
            return ST_OK;
        }
    }
    return ST_OK;
}

enum status raster_convert(const char *tool, const char *svg, const char *png, struct error *err)
{
    struct arena a = { 0 };
    char *unfinished = arena_printf(&a, "%s.tmp", png);
    char *argv[] = { (char *)tool, (char *)"--format", (char *)"png", (char *)"--output",
                     unfinished,   (char *)svg,        NULL };
    enum status st = ST_OK;
    pid_t pid;
    int rc, how = 0;

    if (!unfinished)
        return error_set(err, ST_NOMEM, "out of memory making '%s'", png);
    rc = posix_spawn(&pid, tool, NULL, NULL, argv, environ);
    if (rc)
        st = error_set(err, ST_IO, "cannot run '%s': %s", tool, strerror(rc));
    while (!st && waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            st = error_set(err, ST_IO, "cannot wait for '%s': %s", tool, strerror(errno));
    if (!st && (!WIFEXITED(how) || WEXITSTATUS(how) != 0))
        st = error_set(err, ST_IO, "'%s' failed on '%s' (wait status %d)", tool, svg, how);
    if (!st)
        st = file_install(unfinished, png, err);
    if (st)
        unlink(unfinished);
    arena_release(&a);
    return st;
}
