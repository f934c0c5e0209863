/* Run lock: one process at a time, whatever became of the last one. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "harness/run_lock.h"

static char dir[] = "/tmp/desbench-lock-XXXXXX", path[128], file[256];
static struct error err;

static void begin(void)
{
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/results.sqlite", dir);
    snprintf(file, sizeof(file), "%s-run-1.lock", path);
}

static void end(void)
{
    unlink(file);
    rmdir(dir);
}

TestSuite(run_lock, .init = begin, .fini = end);

/* A process that has the lock until it is killed. */
static pid_t holder(const char *run_id)
{
    int fd[2];
    char c;
    pid_t pid;

    cr_assert_eq(pipe(fd), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct run_lock *l;
        struct error e;

        c = run_lock_take(path, run_id, &l, &e) == ST_OK ? 'y' : 'n';
        if (write(fd[1], &c, 1) == 1)
            pause();
        _exit(0);
    }
    cr_assert_eq(read(fd[0], &c, 1), 1);
    cr_assert_eq(c, 'y');
    return pid;
}

Test(run_lock, a_link_to_the_results_is_the_results)
{
    struct run_lock *l = NULL;
    char alias[160];
    pid_t pid;
    FILE *f = fopen(path, "w");

    cr_assert(f);
    fclose(f);
    snprintf(alias, sizeof(alias), "%s/alias.sqlite", dir);
    cr_assert_eq(symlink(path, alias), 0);
    pid = holder("run-1");
    cr_expect_eq(run_lock_take(alias, "run-1", &l, &err), ST_IO);
    cr_expect_eq(kill(pid, SIGKILL), 0);
    cr_expect_eq(waitpid(pid, NULL, 0), pid);
    unlink(alias);
    unlink(path);
}

Test(run_lock, a_lock_is_a_file_that_goes_with_it)
{
    struct run_lock *l = NULL;

    cr_assert_eq(run_lock_take(path, "run-1", &l, &err), ST_OK, "%s", err.text);
    cr_expect(file_exists(file));
    run_lock_release(l);
    cr_expect_not(file_exists(file));
    run_lock_release(NULL);
}

Test(run_lock, another_process_is_named_and_its_death_frees_the_run)
{
    struct run_lock *l = NULL;
    pid_t pid = holder("run-1");
    char words[32];

    snprintf(words, sizeof(words), "process %ld", (long)pid);
    cr_assert_eq(run_lock_take(path, "run-1", &l, &err), ST_IO);
    cr_expect(strstr(err.text, words) && strstr(err.text, "'run-1'"), "%s", err.text);
    cr_expect(file_exists(file), "whose lock it is, its file stays");
    cr_expect_null(l);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect(file_exists(file));
    cr_assert_eq(run_lock_take(path, "run-1", &l, &err), ST_OK, "%s", err.text);
    run_lock_release(l);
    cr_expect_not(file_exists(file));
}

Test(run_lock, other_runs_of_the_same_file_are_free)
{
    struct run_lock *l = NULL;
    pid_t pid = holder("run-1");

    cr_assert_eq(run_lock_take(path, "run-2", &l, &err), ST_OK, "%s", err.text);
    run_lock_release(l);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

Test(run_lock, a_child_does_not_have_its_parents_lock)
{
    struct run_lock *l = NULL;
    pid_t child;

    cr_assert_eq(run_lock_take(path, "run-1", &l, &err), ST_OK, "%s", err.text);
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    run_lock_release(l); /* the judge may outlive it for a moment */
    l = NULL;
    cr_expect_eq(run_lock_take(path, "run-1", &l, &err), ST_OK, "%s", err.text);
    run_lock_release(l);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

Test(run_lock, a_place_that_takes_no_file_is_named)
{
    struct run_lock *l = NULL;

    cr_assert_eq(run_lock_take("/proc/none/results.sqlite", "run-1", &l, &err), ST_IO);
    cr_expect(strstr(err.text, "/proc/none/results.sqlite-run-1.lock"), "%s", err.text);
}
