/*
 * Runs the tests of a Criterion program without Criterion's own runner: a plain child process a
 * test, one after another, TAP on stdout. For ThreadSanitizer, under which that runner, which loads
 * the program a second time for each test, starts none.
 *
 * Linked into a test program, these functions take the place of libcriterion's of the same names;
 * the rest of the library (the texts of assertions) is used as it is. A race fails its test, as
 * ThreadSanitizer then changes the child's exit code. Not here: theories, hooks, options.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the linker puts what Test() and TestSuite() declare; absent in a program without suites. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)),
    *__stop_cr_sts[] __attribute__((weak));

enum { EXIT_SKIPPED = 77, EXIT_FAILED = 98 };

static bool has_failed;
static void *parameter; /* of a parameterized test; NULL: of no such test */

/* ---- what tests call -------------------------------------------------------------------- */

void criterion_send_assert(struct criterion_assert_stats *s)
{
    has_failed |= !s->passed;
    if (!s->passed)
        fprintf(stderr, "%s:%u: %s\n", s->file, s->line, s->message ? s->message : "failed");
}

void criterion_abort_test(void)
{
    exit(EXIT_FAILED);
}

void criterion_continue_test(void)
{
}

__attribute__((format(printf, 1, 2))) void criterion_skip_test(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_SKIPPED);
}

void cri_asserts_passed_incr(void)
{
}

__attribute__((format(printf, 2, 3))) void cr_log(enum criterion_severity severity,
                                                  const char *format, ...)
{
    va_list args;

    (void)severity;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void criterion_internal_test_setup(void)
{
}

void criterion_internal_test_main(void (*f)(void))
{
    if (parameter)
        ((void (*)(void *))f)(parameter);
    else
        f();
}

void criterion_internal_test_teardown(void)
{
}

/* ---- running ---------------------------------------------------------------------------- */

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *t)
{
    static const struct criterion_test_extra_data none;

    for (struct criterion_suite **s = __start_cr_sts; s && s < __stop_cr_sts; s++)
        if (*s && (*s)->data && strcmp((*s)->name, t->category) == 0)
            return (*s)->data;
    return &none;
}

static void run_child(const struct criterion_test *t)
{
    const struct criterion_test_extra_data *suite = suite_of(t);
    void (*init)(void) = t->data->init ? t->data->init : suite->init;
    void (*fini)(void) = t->data->fini ? t->data->fini : suite->fini;

    if (init)
        init();
    t->test();
    if (fini)
        fini();
    exit(has_failed ? EXIT_FAILED : 0);
}

/* Did the child end as the test says? */
static bool is_as_meant(const struct criterion_test *t, int status)
{
    if (t->data->signal)
        return WIFSIGNALED(status) && WTERMSIG(status) == t->data->signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == t->data->exit_code;
}

/* One process; prints its line. */
static bool run(const struct criterion_test *t, int number)
{
    int status = 0;
    bool is_skipped, is_ok;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0)
        run_child(t);
    if (pid < 0) {
        fprintf(stderr, "cannot fork: %s\n", strerror(errno));
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    is_skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
    is_ok = is_skipped || is_as_meant(t, status);
    printf("%s %d - %s::%s%s\n", is_ok ? "ok" : "not ok", number, t->category, t->name,
           is_skipped ? " # SKIP" : "");
    if (!is_ok)
        printf("# %s %d\n", WIFSIGNALED(status) ? "signal" : "exit code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return is_ok;
}

int main(void)
{
    int n = 0;
    bool is_ok = true;

    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        struct criterion_test_params p = { 0 };

        if (!*t || (*t)->data->disabled || suite_of(*t)->disabled)
            continue;
        if ((*t)->data->kind_ != CR_TEST_PARAMETERIZED) {
            is_ok &= run(*t, ++n);
            continue;
        }
        p = (*t)->data->param_();
        for (size_t i = 0; i < p.length; i++) {
            parameter = (char *)p.params + i * p.size;
            is_ok &= run(*t, ++n);
        }
        parameter = NULL;
        if (p.cleanup)
            p.cleanup(&p);
    }
    printf("1..%d\n", n);
    return !is_ok;
}
