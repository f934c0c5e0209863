/* Lines on stderr. Each test reads its own stderr back through a pipe. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static int saved = -1, pipe_fds[2];
static char text[1 << 16];

static void catch_stderr(void)
{
    fflush(stderr);
    saved = dup(2);
    cr_assert(saved >= 0 && pipe(pipe_fds) == 0 && dup2(pipe_fds[1], 2) == 2);
    close(pipe_fds[1]);
}

/* Everything written since catch_stderr(). At most what a pipe holds (64 KB). */
static const char *caught(void)
{
    size_t n = 0;
    ssize_t got;

    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    while ((got = read(pipe_fds[0], text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    close(pipe_fds[0]);
    text[n] = '\0';
    return text;
}

Test(log, lines_up_to_the_level_are_written_with_their_prefix)
{
    catch_stderr();
    log_debug("hidden");
    log_info("%d files", 3);
    log_warn("slow");
    log_error("bad");
    log_set_level(LOG_ERROR);
    log_info("hidden");
    log_warn("hidden");
    log_error("still");
    log_set_level(LOG_DEBUG);
    log_debug("shown");
    cr_expect_str_eq(caught(), "desbench: 3 files\n"
                               "desbench: warning: slow\n"
                               "desbench: error: bad\n"
                               "desbench: error: still\n"
                               "desbench: debug: shown\n");
}

Test(log, a_line_is_one_line_and_long_ones_end_in_dots)
{
    char big[5000];
    const char *got;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    catch_stderr();
    log_info("a\nb\x1b[0m\xff");
    log_info("%s", big);
    got = caught();
    cr_expect_eq(strncmp(got, "desbench: a?b?[0m?\ndesbench: xxx", 32), 0, "%.60s", got);
    cr_expect_str_eq(got + strlen(got) - 6, "xx...\n");
    cr_expect_lt(strlen(got), 2200);
}

static void put_mark(void *arg)
{
    fputs(arg, stderr);
}

static void put_after(void *arg)
{
    fputc(((char *)arg)[1], stderr);
}

Test(log, hooks_stand_around_each_line_that_is_written)
{
    char marks[] = "<>";

    catch_stderr();
    log_set_hooks(put_mark, put_after, marks);
    log_info("x");
    log_debug("hidden");
    log_set_hooks(NULL, NULL, NULL);
    log_info("y");
    cr_expect_str_eq(caught(), "<>desbench: x\n>desbench: y\n");
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 100; i++)
        log_info("%s", (const char *)arg);
    return NULL;
}

Test(log, lines_of_several_threads_do_not_mix)
{
    static char names[4][41];
    pthread_t threads[4];
    int n = 0;

    catch_stderr();
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, 40);
        cr_assert_eq(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (char *save = NULL, *line = strtok_r((char *)caught(), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        n++;
        cr_assert_eq(strlen(line), 50, "%s", line);
        for (int i = 11; i < 50; i++)
            cr_assert_eq(line[i], line[10], "%s", line);
    }
    cr_expect_eq(n, 400);
}
