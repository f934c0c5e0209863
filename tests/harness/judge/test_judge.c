/* The judge's own promises; what programs may try is in test_hostile.c. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/harness/judge/references.h"
#include "tests/harness/judge/support.h"

static const char add[] = "def add(a, b):\n    return a + b\n";
static const char add_tests[] = "assert add(2, 3) == 5\nassert add(-1, 1) == 0\n";

Test(judge, a_right_program_passes_and_a_wrong_one_fails)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, add, add_tests);

    expect_verdict(r, VERDICT_PASS);
    cr_expect(r.attempts == 1 && r.signal == 0 && !r.is_near_limit);
    cr_expect(r.cpu_ns > 0 && r.cpu_ns < o.cpu_limit_ns);
    cr_expect(r.wall_ns > 0 && r.max_rss_bytes > 1 << 20);
    r = run(j, "def add(a, b):\n    return a - b\n", add_tests);
    expect_verdict(r, VERDICT_FAIL);
    cr_expect_str_eq(r.details, "AssertionError (tests, line 1)");
    cr_expect(strstr(r.stderr_tail, "Traceback"), "%s", r.stderr_tail);
    judge_close(j);
}

Test(judge, details_name_the_exception_and_its_line)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, "def add(a, b):\n    return a + c\n", add_tests);

    expect_verdict(r, VERDICT_FAIL);
    cr_expect_str_eq(r.details, "NameError: name 'c' is not defined (code, line 2)");
    r = run(j, "raise Exception('a\\x1b[31m\\nb\\u202e')", "");
    cr_expect_str_eq(r.details, "Exception: a\\x1b[31m\nb\\u202e (code, line 1)");
    r = run(j, "import os\nos._exit(7)", "");
    expect_verdict(r, VERDICT_FAIL);
    cr_expect_str_eq(r.details, "exited with status 7");
    judge_close(j);
}

Test(judge, output_tails_keep_the_end_and_show_control_bytes)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j,
                                "import sys, os\nprint('\\x1b[2J', 'caf\\u00e9')\n"
                                "sys.stderr.write('x' * 5000 + 'end')\n"
                                "os.write(1, b'\\xff\\n')\n",
                                "");

    expect_verdict(r, VERDICT_PASS);
    cr_expect_str_eq(r.stdout_tail, "\\xff\n\\x1b[2J caf\xc3\xa9\n");
    size_t len = strlen(r.stderr_tail);
    cr_expect(len == JUDGE_TAIL - 1 && strcmp(r.stderr_tail + len - 4, "xend") == 0);
    judge_close(j);
}

Test(judge, names_are_those_of_a_plain_dict)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r =
        run(j,
            "if __name__ == '__main__':\n    raise SystemExit(3)\n"
            "assert __name__ == 'builtins'\nassert set(globals()) == {'__builtins__'}\n",
            "");

    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
}

Test(judge, tests_that_do_not_compile_are_our_fault)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j, add, "assert (\n");

    expect_verdict(r, VERDICT_INTERNAL);
    r = run(j, "import os\nos.write(4, b'I' + b'0' * 16)\nos._exit(1)\n", add_tests);
    expect_verdict(r, VERDICT_FAIL); /* which a program cannot claim */
    judge_close(j);
}

Test(judge, results_come_back_with_their_ids)
{
    enum { N = 40 };
    struct judge_options o = small_options(3);
    struct judge *j = open_or_skip(&o);
    bool is_seen[N] = { false };
    char code[64];

    for (int i = 0; i < N; i++) {
        snprintf(code, sizeof(code), "add = lambda: %d", i % 2);
        submit(j, (uint64_t)i << 40, code, "assert add()");
    }
    cr_expect(judge_n_pending(j) == N);
    for (int i = 0; i < N; i++) {
        struct judge_result r = collect(j);
        int id = (int)(r.id >> 40);
        cr_assert(id >= 0 && id < N && !is_seen[id]);
        is_seen[id] = true;
        expect_verdict(r, id % 2 ? VERDICT_PASS : VERDICT_FAIL);
    }
    cr_expect(judge_n_pending(j) == 0);
    judge_close(j);
}

Test(judge, waiting_with_nothing_pending_returns_at_once)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r;
    struct error err;
    bool has = true;

    cr_expect(judge_wait(j, -1, &r, &has, &err) == ST_OK && !has);
    judge_close(j);
}

Test(judge, the_descriptor_polls_readable_when_a_result_is_there)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct pollfd p = { .fd = judge_poll_fd(j), .events = POLLIN };
    struct judge_result r;
    struct error err;
    bool has = true;

    cr_expect(poll(&p, 1, 0) == 0);
    submit(j, 5, "import time\ntime.sleep(0.2)", "");
    cr_expect(judge_wait(j, 0, &r, &has, &err) == ST_OK && !has);
    cr_expect(poll(&p, 1, 20000) == 1);
    cr_expect(judge_wait(j, 0, &r, &has, &err) == ST_OK && has && r.id == 5);
    cr_expect(poll(&p, 1, 0) == 0);
    judge_close(j);
}

Test(judge, large_programs_go_through)
{
    struct judge_options o = small_options(2);
    struct judge *j = open_or_skip(&o);
    struct buf code = { 0 };

    for (int i = 0; i < 60000; i++)
        buf_puts(&code, "# a comment of some length, over and over again, to fill the pipes\n");
    buf_puts(&code, add);
    for (int i = 0; i < 4; i++)
        submit(j, 1, buf_str(&code), add_tests);
    for (int i = 0; i < 4; i++) {
        struct judge_result r = collect(j);
        expect_verdict(r, VERDICT_PASS);
    }
    buf_release(&code);
    judge_close(j);
}

Test(judge, a_timeout_is_tried_again_alone)
{
    struct judge_options o = small_options(2);
    struct judge *j;
    struct judge_result r;

    o.cpu_limit_ns = 300000000;
    j = open_or_skip(&o);
    r = run(j, "while True: pass", "");
    expect_verdict(r, VERDICT_TIMEOUT_CPU);
    cr_expect(r.attempts == 2 && r.first_verdict == VERDICT_TIMEOUT_CPU);
    cr_expect(r.cpu_ns >= o.cpu_limit_ns && r.cpu_ns < o.cpu_limit_ns + 500000000);
    judge_close(j);
}

Test(judge, a_job_may_have_less_time_and_one_attempt)
{
    struct judge_options o = small_options(1);
    const char *code = "while True: pass";
    struct judge_job job = { .code = code,
                             .code_len = strlen(code),
                             .tests = "",
                             .cpu_limit_ns = 200000000,
                             .is_tried_once = true };
    struct judge_result r;
    struct error err;
    struct judge *j = open_or_skip(&o);

    cr_assert(judge_submit(j, &job, &err) == ST_OK, "%s", err.text);
    r = collect(j);
    expect_verdict(r, VERDICT_TIMEOUT_CPU);
    cr_expect_eq(r.attempts, 1);
    cr_expect(r.cpu_ns >= job.cpu_limit_ns && r.cpu_ns < job.cpu_limit_ns + 500000000);
    cr_expect(strstr(r.details, "limit 0.20 s"), "%s", r.details);

    job.cpu_limit_ns = 3600LL * 1000000000; /* the judge's own stays the limit */
    o.cpu_limit_ns = 300000000;
    judge_close(j);
    j = open_or_skip(&o);
    cr_assert(judge_submit(j, &job, &err) == ST_OK, "%s", err.text);
    r = collect(j);
    expect_verdict(r, VERDICT_TIMEOUT_CPU);
    cr_expect(strstr(r.details, "limit 0.30 s"), "%s", r.details);
    judge_close(j);
}

Test(judge, a_pass_close_to_a_limit_is_marked)
{
    struct judge_options o = small_options(1);
    struct judge *j;
    struct judge_result r;

    o.cpu_limit_ns = 1000000000;
    j = open_or_skip(&o);
    r = run(j, "import time\nwhile time.process_time() < 0.87: pass", "");
    expect_verdict(r, VERDICT_PASS);
    cr_expect(r.is_near_limit, "%lld ns", (long long)r.cpu_ns);
    judge_close(j);
}

Test(judge, cpu_time_of_children_counts)
{
    struct judge_options o = small_options(1);
    struct judge *j;
    struct judge_result r;

    o.cpu_limit_ns = 400000000;
    j = open_or_skip(&o);
    r = run(j,
            "import os, time\n"
            "while True:\n"
            "    if os.fork() == 0:\n"
            "        while time.process_time() < 0.1: pass\n"
            "        os._exit(0)\n"
            "    os.wait()\n",
            "");
    expect_verdict(r, VERDICT_TIMEOUT_CPU);
    judge_close(j);
}

Test(judge, options_out_of_range_and_strange_interpreters_are_refused)
{
    struct judge_options o = small_options(1);
    struct judge *j = NULL;
    struct error err;

    o.max_pids = 0;
    cr_expect(judge_open(&o, &j, &err) == ST_INVALID && strstr(err.text, "max_pids 0"));
    o = small_options(1);
    o.python = "/usr/bin/no-such-python";
    cr_expect(judge_open(&o, &j, &err) == ST_NOT_FOUND);
    o.python = "/etc/passwd";
    cr_expect(judge_open(&o, &j, &err) != ST_OK);
    o.python = "/usr/bin/true";
    cr_expect(judge_open(&o, &j, &err) == ST_UNSUPPORTED && strstr(err.text, "no Python"));
    o = small_options(1);
    o.is_level_auto = false;
    o.level = SANDBOX_NONE;
    cr_expect(judge_open(&o, &j, &err) == ST_UNSUPPORTED);
    cr_expect(j == NULL);
}

Test(judge, a_level_this_machine_lacks_is_refused_by_name)
{
    struct judge_options o = small_options(1);
    struct judge *j = NULL;
    struct error err;

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        cr_skip_test("cannot become an ordinary user");
    o.is_level_auto = false;
    o.level = SANDBOX_FULL;
    enum status st = judge_open(&o, &j, &err);
    if (st == ST_OK) { /* a delegated control group and a uid range */
        judge_close(j);
        cr_skip_test("this user has level full");
    }
    cr_expect(st == ST_UNSUPPORTED || st == ST_NOT_FOUND);
    cr_expect(strstr(err.text, "'full'"), "%s", err.text);
}

Test(judge, layers_are_reported_with_what_was_seen)
{
    struct judge_options o = small_options(1);
    struct sandbox_report r;
    struct error err;

    cr_assert(sandbox_probe(&o, &r, &err) == ST_OK, "%s", err.text);
    cr_assert(r.n_layers > 10 && r.n_layers <= SANDBOX_MAX_LAYERS);
    for (size_t i = 0; i < r.n_layers; i++) {
        const struct sandbox_layer *l = &r.layers[i];
        cr_expect(l->name && *l->name && *l->details);
        cr_expect(l->is_present || r.level == SANDBOX_NONE || !l->is_needed_user);
        cr_log_info("%-20s %s %s", l->name, l->is_present ? "yes" : "no", l->details);
    }
}

Test(judge, levels_have_names)
{
    enum sandbox_level level;

    for (int i = SANDBOX_NONE; i <= SANDBOX_FULL; i++)
        cr_expect(sandbox_level_parse(sandbox_level_name((enum sandbox_level)i), &level) &&
                  (int)level == i);
    cr_expect(!sandbox_level_parse("strong", &level));
    for (int i = 0; i < N_VERDICTS; i++)
        cr_expect(verdict_name((enum verdict)i) && *verdict_name((enum verdict)i));
}

/* Every process below us that lost its parent becomes ours, so that none can hide. */
static void expect_no_children(void)
{
    const int64_t end = clock_mono_ns() + 5000000000;
    pid_t pid;

    do {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            usleep(10000);
    } while (pid >= 0 && clock_mono_ns() < end);
    cr_expect(pid < 0, "a process is left");
}

Test(judge, closing_kills_what_runs)
{
    struct judge_options o = small_options(2);
    struct judge *j;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    j = open_or_skip(&o);
    for (int i = 0; i < 4; i++)
        submit(j, 1, "import time\ntime.sleep(1000)", "");
    usleep(200000);
    int64_t start = clock_mono_ns();
    judge_close(j);
    cr_expect(clock_mono_ns() - start < 3000000000);
    expect_no_children();
}

/* 64 of the table: the supervisor is killed while programs run. */
Test(judge, everything_dies_with_the_supervisor)
{
    struct judge_options o = small_options(2);
    struct judge *j;
    struct judge_result r;
    struct error err;
    bool has = false;
    char path[64], text[32] = "";

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    j = open_or_skip(&o);
    submit(j, 1, "import time\ntime.sleep(1000)", "");
    submit(j, 2, "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(1000)", "");
    usleep(300000);
    /* Our only child. */
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    cr_assert(f && fgets(text, sizeof(text), f));
    fclose(f);
    cr_assert(kill((pid_t)atoi(text), SIGKILL) == 0);
    cr_expect(judge_wait(j, -1, &r, &has, &err) == ST_INTERNAL && !has);
    cr_expect(strstr(err.text, "2 programs pending"), "%s", err.text);
    judge_close(j);
    expect_no_children();
    j = open_or_skip(&o);
    r = run(j, add, add_tests);
    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
}

Test(judge, everything_dies_with_the_program)
{
    struct judge_options o = small_options(2);
    pid_t pid;
    int ready[2];
    char byte = 0;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    judge_close(open_or_skip(&o));
    cr_assert(pipe(ready) == 0);
    pid = fork();
    if (pid == 0) {
        struct judge *j = NULL;
        const char code[] = "import time\ntime.sleep(1000)";
        const struct judge_job job = { .code = code, .code_len = strlen(code), .tests = "" };
        if (judge_open(&o, &j, NULL) == ST_OK && judge_submit(j, &job, NULL) == ST_OK &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    cr_assert(pid > 0 && read(ready[0], &byte, 1) == 1);
    usleep(200000);
    cr_assert(kill(pid, SIGKILL) == 0);
    expect_no_children();
    close(ready[0]);
    close(ready[1]);
}

Test(judge, two_judges_live_side_by_side)
{
    struct judge_options o = small_options(1);
    struct judge *a = open_or_skip(&o), *b = open_or_skip(&o);

    submit(a, 1, "import time\ntime.sleep(0.3)", "");
    struct judge_result r = run(b, add, add_tests);
    expect_verdict(r, VERDICT_PASS);
    judge_close(b);
    r = collect(a);
    expect_verdict(r, VERDICT_PASS);
    judge_close(a);
}

Test(judge, many_workers_run_under_a_small_descriptor_limit)
{
    struct judge_options o = small_options(16);
    struct rlimit l;

    cr_assert(getrlimit(RLIMIT_NOFILE, &l) == 0);
    if (l.rlim_max < 1024)
        cr_skip_test("the hard limit is %lld descriptors", (long long)l.rlim_max);
    l.rlim_cur = 100; /* a slot at work has a dozen */
    cr_assert(setrlimit(RLIMIT_NOFILE, &l) == 0);
    struct judge *j = open_or_skip(&o);
    for (int i = 0; i < 16; i++)
        submit(j, (uint64_t)i, "import time; time.sleep(0.3)\n", "");
    for (int i = 0; i < 16; i++) {
        struct judge_result r = collect(j);
        expect_verdict(r, VERDICT_PASS);
    }
    judge_close(j);
}

static void submit_reference(void *arg, const struct reference *ref)
{
    submit_job(arg, &(struct judge_job){ .id = ref->number,
                                         .code = ref->code,
                                         .code_len = strlen(ref->code),
                                         .tests = ref->tests,
                                         .tests_len = strlen(ref->tests),
                                         .helpers = ref->prompt,
                                         .helpers_len = strlen(ref->prompt),
                                         .entry_point = ref->entry_point });
}

Test(judge, all_humaneval_references_pass)
{
    struct judge_options o = small_options(0);
    struct judge *j;
    int64_t start;
    size_t n;

    o.cpu_limit_ns = 10LL * 1000000000;
    o.wall_limit_ns = 60LL * 1000000000;
    j = open_or_skip(&o);
    start = clock_mono_ns();
    n = for_each_reference(submit_reference, j);
    while (judge_n_pending(j) > 0) {
        struct judge_result r = collect(j);
        cr_expect(r.verdict == VERDICT_PASS, "HumanEval/%d: %s: %s", (int)r.id,
                  verdict_name(r.verdict), r.details);
    }
    cr_log_info("%zu references on %d workers, level %s: %.2f s", n, judge_n_workers(j),
                sandbox_level_name(judge_level(j)), (double)(clock_mono_ns() - start) * 1e-9);
    judge_close(j);
}
