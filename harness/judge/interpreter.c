/* The Python interpreter under test. */
#include "harness/judge/interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PYTHON "/usr/bin/python3"
#define ROOT "/usr/"

enum status interpreter_find(const char *path, char ret[INTERPRETER_PATH_SIZE], struct error *err)
{
    char resolved[PATH_MAX];

    if (!path)
        path = DEFAULT_PYTHON;
    if (!realpath(path, resolved) || access(resolved, X_OK) != 0)
        return error_set(err, ST_NOT_FOUND, "no Python interpreter at '%s': %s", path,
                         strerror(errno));
    /* Both: a virtual environment outside links to an interpreter inside, but has its modules
     * where no program could read them. */
    if (strncmp(path, ROOT, strlen(ROOT)) != 0 || strncmp(resolved, ROOT, strlen(ROOT)) != 0)
        return error_set(err, ST_UNSUPPORTED,
                         "interpreter '%s' ('%s') lies outside '/usr', which is all that the "
                         "sandbox shows",
                         path, resolved);
    snprintf(ret, INTERPRETER_PATH_SIZE, "%s", resolved);
    return ST_OK;
}

enum status interpreter_version(const char *path, char *ret, size_t size, struct error *err)
{
    char *const argv[] = {
        (char *)path, "-I", "-S", "-c", "import sys\nprint('%d.%d.%d' % sys.version_info[:3])", NULL
    };
    char *const envp[] = { NULL };
    posix_spawn_file_actions_t actions;
    char text[64] = "";
    size_t len = 0;
    ssize_t n = 1;
    int fds[2], rc, wait_status = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return error_set(err, ST_IO, "cannot make a pipe: %s", strerror(errno));
    rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        if (rc == 0)
            rc = posix_spawn(&pid, path, &actions, NULL, argv, envp);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(fds[1]);
    while (rc == 0 && len + 1 < sizeof(text) && n != 0) {
        n = read(fds[0], text + len, sizeof(text) - 1 - len);
        if (n > 0)
            len += (size_t)n;
        else if (n < 0 && errno != EINTR)
            break;
    }
    close(fds[0]);
    if (rc)
        return error_set(err, rc == ENOMEM ? ST_NOMEM : ST_UNSUPPORTED, "cannot run '%s': %s", path,
                         strerror(rc));
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "3.", 2) != 0 || strtol(text + 2, NULL, 10) < 8 || strlen(text) >= size)
        return error_set(err, ST_UNSUPPORTED, "'%s' is no Python 3.8 or later: version '%s'", path,
                         text);
    memcpy(ret, text, strlen(text) + 1);
    return ST_OK;
}
