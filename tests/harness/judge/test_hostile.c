/*
 * Programs that try to cheat, to break out or to break down: tests/hostile, one a file, and mutants
 * of them (hostile.h); then the rows that take more than one program or one file.
 *
 * Between them run plain right programs, which must all pass; afterwards nothing may be left.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/harness/judge/hostile.h"

enum { ORDINARY_USER = 65534 };

/* A socket of the host that row 50 looks for. */
static int open_abstract(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "\0desbench-hostile" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 17);

    /* Taken: another run of this test listens, which serves as well. */
    if (bind(fd, (struct sockaddr *)&at, len) == 0)
        listen(fd, 1);
    return fd;
}

static void become_ordinary(void);

/* All 64 rows have a program; 64 is of the supervisor, in test_judge.c. */
static void expect_all_rows(const struct hostile *files, size_t n)
{
    bool has[64] = { false };

    for (size_t i = 0; i < n; i++) {
        int row = atoi(files[i].name);
        cr_assert(row >= 1 && row <= 64, "%s", files[i].name);
        has[row - 1] = true;
    }
    for (int row = 1; row < 64; row++)
        cr_expect(has[row - 1], "row %d has no program", row);
}

/* Every program of tests/hostile, by this user, or by an ordinary one at level user. The files are
 * read before: the source tree may lie where others cannot look. */
static void run_files(bool is_ordinary)
{
    enum { GOOD = 1000 };
    static struct hostile files[MAX_FILES];
    size_t n = read_all(files), n_run = 0;
    int listener;

    if (is_ordinary)
        become_ordinary();
    listener = open_abstract();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    expect_all_rows(files, n);
    for (int kind = 0; kind < N_LIMITS; kind++) {
        struct judge_options o = limits_of(kind);
        if (is_ordinary) {
            o.is_level_auto = false;
            o.level = SANDBOX_USER;
        }
        struct judge *j = open_or_skip(&o);
        int is_full = judge_level(j) == SANDBOX_FULL;
        for (size_t i = 0; i < n; i++) {
            if (files[i].limits != kind)
                continue;
            struct judge_job job =
                make_job(i, files[i].text.data, files[i].tests ? files[i].tests : add_tests);
            job.code_len = files[i].code_len;
            submit_job(j, &job);
            if (kind == 0 && i % 4 == 0)
                submit(j, GOOD, add, add_tests);
        }
        while (judge_n_pending(j) > 0) {
            struct judge_result r = collect(j);
            if (r.id == GOOD) {
                expect_verdict(r, VERDICT_PASS);
                continue;
            }
            n_run++;
            const struct hostile *h = &files[r.id];
            cr_log_info("%-24s %s %.2f s, %.2f s of CPU, %d attempts: %.60s", h->name,
                        verdict_name(r.verdict), (double)r.wall_ns * 1e-9, (double)r.cpu_ns * 1e-9,
                        r.attempts, r.details);
            cr_expect(is_expected(h->expected[is_full], &r),
                      "%s at level %s: %s:%d, not %s: %s | %s", h->name,
                      sandbox_level_name(judge_level(j)), verdict_name(r.verdict), r.signal,
                      h->expected[is_full], r.details, r.stderr_tail);
            bool is_timeout = strncmp(h->expected[is_full], "timeout", 7) == 0;
            cr_expect(r.attempts == (r.first_verdict != VERDICT_PASS ? 2 : 1), "%s", h->name);
            cr_expect(!is_timeout || r.cpu_ns < o.cpu_limit_ns + 500000000, "%s", h->name);
        }
        judge_close(j);
        expect_no_children();
    }
    cr_expect(n_run == n);
    close(listener);
    for (size_t i = 0; i < n; i++)
        buf_release(&files[i].text);
}

Test(hostile, programs_are_held_at_the_level_of_this_machine)
{
    run_files(false);
}

static void become_ordinary(void)
{
    if (geteuid() != 0)
        cr_skip_test("this is what an ordinary user runs anyway");
    if (setgroups(0, NULL) != 0 || setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) != 0 ||
        setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) != 0)
        cr_skip_test("cannot become an ordinary user");
    /* As after exec: /proc/self belongs to the new user again. */
    prctl(PR_SET_DUMPABLE, 1);
}

Test(hostile, programs_are_held_for_an_ordinary_user)
{
    run_files(true);
}

/* --- mutants ------------------------------------------------------------------------------------
 */

static void run_mutants(bool is_ordinary, uint64_t seed, size_t n_mutants)
{
    enum { GOOD = 1 << 20 };
    static struct hostile files[MAX_FILES];
    static size_t from[1 << 12][2];
    struct judge_options o = small_options(2);
    size_t n = read_all(files), n_passed = 0;
    struct rng r;
    struct judge *j;

    if (is_ordinary) {
        become_ordinary();
        o.is_level_auto = false;
        o.level = SANDBOX_USER;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    rng_seed(&r, seed);
    o.cpu_limit_ns = 300000000;
    o.wall_limit_ns = 2LL * 1000000000;
    cr_assert(n_mutants <= sizeof(from) / sizeof(*from));
    j = open_or_skip(&o);
    for (size_t i = 0; i < n_mutants; i++) {
        struct buf code = { 0 };
        struct judge_job job;

        for (int k = 0; k < 2; k++)
            from[i][k] = rng_below(&r, n);
        put_mutant(&r, &files[from[i][0]], &files[from[i][1]], &code);
        job = make_job(i, buf_str(&code), add_tests);
        job.is_tried_once = true;
        submit_job(j, &job);
        buf_release(&code);
        if (i % 4 == 0) {
            job = make_job(GOOD, add, add_tests);
            submit_job(j, &job);
        }
    }
    while (judge_n_pending(j) > 0) {
        struct judge_result v = collect(j);
        if (v.id == GOOD) {
            n_passed += v.verdict == VERDICT_PASS;
            cr_expect(v.verdict == VERDICT_PASS || v.verdict == VERDICT_TIMEOUT_WALL, "%s: %s",
                      verdict_name(v.verdict), v.details); /* the machine may be busy */
            continue;
        }
        cr_expect(v.verdict != VERDICT_PASS && v.verdict != VERDICT_INTERNAL,
                  "seed %llu, mutant %d of %s and %s: %s: %s", (unsigned long long)seed, (int)v.id,
                  files[from[v.id][0]].name, files[from[v.id][1]].name, verdict_name(v.verdict),
                  v.details);
    }
    cr_expect(n_passed > 0);
    judge_close(j);
    expect_no_children();
    for (size_t i = 0; i < n; i++)
        buf_release(&files[i].text);
}

Test(hostile, no_mutant_forges_a_pass)
{
    run_mutants(false, 20260211, 120);
}

Test(hostile, no_mutant_forges_a_pass_at_level_user)
{
    run_mutants(true, 4711, 120);
}

/* --- system calls -------------------------------------------------------------------------------
 */

/* Rows 46 to 52, 61, 62: every call of the table, made raw. */
static const struct call {
    int row;
    long nr;
    long args[3];
    int error; /* 0: killed; else the errno it comes back with */
} calls[] = {
    { 46, SYS_mount, { 0 }, 0 },
    { 46, SYS_umount2, { 0 }, 0 },
    { 46, SYS_pivot_root, { 0 }, 0 },
    { 46, SYS_chroot, { 0 }, 0 },
    { 46, SYS_fsopen, { 0 }, 0 },
    { 46, SYS_open_tree, { 0 }, 0 },
    { 46, SYS_move_mount, { 0 }, 0 },
    { 46, SYS_mount_setattr, { 0 }, 0 },
    { 47, SYS_unshare, { 0 }, 0 },
    { 47, SYS_setns, { 0 }, 0 },
    { 47, SYS_clone, { 0x10000011 /* NEWUSER */ }, 0 },
    { 47, SYS_clone, { 0x40000011 /* NEWNET */ }, 0 },
    { 47, SYS_clone3, { 0 }, ENOSYS },
    { 48, SYS_ptrace, { 0 }, 0 },
    { 48, SYS_process_vm_readv, { 1 }, 0 },
    { 48, SYS_process_vm_writev, { 1 }, 0 },
    { 48, SYS_pidfd_getfd, { 0 }, 0 },
    { 50, SYS_socket, { 40 /* VSOCK */, SOCK_STREAM }, 0 },
    { 50, SYS_socket, { AF_NETLINK, SOCK_RAW }, 0 },
    { 50, SYS_socket, { AF_PACKET, SOCK_RAW }, 0 },
    { 50, SYS_socket, { 38 /* ALG */, SOCK_SEQPACKET }, 0 },
    { 50, SYS_socket, { 0x100000010L /* NETLINK with a bit the kernel drops */, SOCK_RAW }, 0 },
    { 51, SYS_io_uring_setup, { 0 }, 0 },
    { 51, SYS_bpf, { 0 }, 0 },
    { 51, SYS_userfaultfd, { 0 }, 0 },
    { 51, SYS_perf_event_open, { 0 }, 0 },
    { 51, SYS_keyctl, { 0 }, 0 },
    { 51, SYS_add_key, { 0 }, 0 },
    { 51, SYS_request_key, { 0 }, 0 },
    { 51, SYS_kexec_load, { 0 }, 0 },
    { 51, SYS_init_module, { 0 }, 0 },
    { 51, SYS_finit_module, { 0 }, 0 },
    { 51, SYS_quotactl, { 0 }, 0 },
    { 51, SYS_swapon, { 0 }, 0 },
#ifdef __x86_64__
    { 51, SYS_modify_ldt, { 0 }, 0 },
    { 52, 0x40000000 | SYS_getpid /* x32 */, { 0 }, 0 },
#endif
    { 55, SYS_setpriority, { 0, 0, 5 }, EPERM },
    { 55, SYS_prlimit64, { 1, 0, 0 }, EPERM },
    { 56, SYS_flock, { 0, 2 }, EPERM },
    { 56, SYS_fcntl, { 0, F_SETLK, 0 }, EPERM },
    { 56, SYS_shmget, { 0, 4096, 0600 }, EPERM },
    { 56, SYS_memfd_create, { 0 }, EPERM },
    { 61, SYS_ioctl, { 0, TIOCSTI, 0 }, 0 },
    { 61, SYS_ioctl, { 0, 0x100000000L | TIOCSTI, 0 }, 0 },
    { 62, SYS_clock_settime, { 0 }, 0 },
    { 62, SYS_settimeofday, { 0 }, 0 },
    { 62, SYS_clock_adjtime, { 0 }, 0 },
};

Test(hostile, system_calls_are_killed_or_refused_as_listed)
{
    struct judge_options o = small_options(2);
    struct judge *j = open_or_skip(&o);
    const size_t n = sizeof(calls) / sizeof(*calls);
    char code[512];

    for (size_t i = 0; i < n; i++) {
        const struct call *c = &calls[i];
        snprintf(code, sizeof(code),
                 "import ctypes\n"
                 "libc = ctypes.CDLL(None, use_errno=True)\n"
                 "L = ctypes.c_long\n"
                 "rc = libc.syscall(L(%ld), L(%ld), L(%ld), L(%ld), L(0), L(0))\n"
                 "def add():\n    return ctypes.get_errno() if rc < 0 else 0\n",
                 c->nr, c->args[0], c->args[1], c->args[2]);
        char tests[64];
        snprintf(tests, sizeof(tests), "assert add() == %d, add()", c->error);
        submit(j, i, code, tests);
    }
    for (size_t i = 0; i < n; i++) {
        struct judge_result r = collect(j);
        const struct call *c = &calls[r.id];
        enum verdict v = c->error ? VERDICT_PASS : VERDICT_DENIED;
        cr_expect(r.verdict == v, "row %d, call %ld(%#lx, %#lx): %s, not %s: %s", c->row, c->nr,
                  c->args[0], c->args[1], verdict_name(r.verdict), verdict_name(v), r.details);
    }
    judge_close(j);
}

#ifdef __x86_64__
Test(hostile, calls_of_the_32_bit_kernel_interface_are_killed)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r = run(j,
                                "import ctypes, mmap\n"
                                "m = mmap.mmap(-1, 4096, prot=7)\n"
                                "m.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n" /* getpid; ret */
                                "at = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
                                "pid = ctypes.CFUNCTYPE(ctypes.c_int)(at)()\n",
                                "assert False, pid");

    /* A kernel without that interface raises SIGSEGV at the instruction. */
    cr_expect(r.verdict == VERDICT_DENIED || (r.verdict == VERDICT_SIGNAL && r.signal == SIGSEGV),
              "%s: %s", verdict_name(r.verdict), r.details);
    judge_close(j);
}
#endif

/* --- text, and one program after the other ------------------------------------------------------
 */

static struct judge_result run_bytes(struct judge *j, const char *code, size_t len)
{
    const struct judge_job job = { .code = code, .code_len = len, .tests = "", .tests_len = 0 };
    struct error err;

    cr_assert(judge_submit(j, &job, &err) == ST_OK, "%s", err.text);
    return collect(j);
}

/* Row 3. */
Test(hostile, text_that_is_no_program_is_a_syntax_error)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        { "def add(a, b:\n", 14 },
        { "x = 1\0\n", 7 },
        { "x = '\xff\xfe'\n", 9 },
        { "x = '\xed\xa0\x80'\n", 10 }, /* a lone surrogate */
        { "if 1:\n\tx = 1\n        y = 2\n", 28 },
        { "# -*- coding: latin-1 -*-\nx = '\xe9'\n", 34 },
        { "\xef\xbb\xbfx = 1", 8 },
        { "```python\nx = 1\n```\n", 20 },
    };
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct judge_result r = run_bytes(j, cases[i].text, cases[i].len);
        cr_expect(r.verdict == VERDICT_SYNTAX, "case %zu: %s: %s", i, verdict_name(r.verdict),
                  r.details);
    }
    judge_close(j);
}

/* Row 63. */
Test(hostile, huge_sources_end_within_the_limits)
{
    struct judge_options o = small_options(2);
    struct judge *j;
    struct buf lines = { 0 }, line = { 0 };

    o.cpu_limit_ns = 1000000000;
    j = open_or_skip(&o);
    for (int i = 0; i < 1000000; i++)
        buf_puts(&lines, "x = [1, 2]\n");
    buf_puts(&line, "x = 1");
    for (int i = 0; i < 2500000; i++)
        buf_puts(&line, " + y");
    submit(j, 0, buf_str(&lines), "");
    submit(j, 1, buf_str(&line), "");
    for (int i = 0; i < 2; i++) {
        struct judge_result r = collect(j);
        cr_expect(is_expected("timeout_cpu|oom|syntax|fail|signal:11", &r), "%d: %s: %s", (int)r.id,
                  verdict_name(r.verdict), r.details);
    }
    buf_release(&lines);
    buf_release(&line);
    judge_close(j);
}

/* Rows 45, 56, 59. */
Test(hostile, a_program_leaves_nothing_for_the_next)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct judge_result r =
        run(j,
            "import os, time, locale, signal\n"
            "for path in ('/tmp/left', '/dev/shm/left', '/var/tmp/left', '/left'):\n"
            "    try: open(path, 'w').write('left')\n"
            "    except OSError: pass\n"
            "os.mkdir('sub'); os.chdir('sub'); os.umask(0o777)\n"
            "os.environ['LEFT'] = '1'; os.putenv('LEFT', '1')\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
            "if os.fork() == 0: time.sleep(1000)\n",
            "");
    expect_verdict(r, VERDICT_PASS);
    r = run(j,
            "import os, signal\n"
            "assert os.listdir('/tmp') == [] and os.getcwd() == '/tmp'\n"
            "assert 'LEFT' not in os.environ\n"
            "assert os.umask(0) == 0o022\n"
            "assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()\n"
            "assert os.getpid() == 2 and not os.path.exists('/proc/3')\n"
            "assert os.uname().nodename == 'sandbox'\n",
            "");
    expect_verdict(r, VERDICT_PASS);
    judge_close(j);
    cr_expect(access("/tmp/left", F_OK) != 0 && access("/dev/shm/left", F_OK) != 0 &&
              access("/var/tmp/left", F_OK) != 0 && access("/left", F_OK) != 0);
}

/* Row 58. */
Test(hostile, the_same_program_runs_the_same_twice)
{
    static const char code[] = "import locale, os, sys, time\n"
                               "print(hash('abc'), list({'a', 'b', 'c', 'd'}), time.tzname,\n"
                               "      sys.getfilesystemencoding(), sorted(os.environ.items()),\n"
                               "      locale.setlocale(locale.LC_ALL, ''), os.getuid())\n";
    struct judge_options o = small_options(2);
    struct judge *j = open_or_skip(&o);
    char first[JUDGE_TAIL] = "";

    for (int i = 0; i < 4; i++)
        submit(j, (uint64_t)i, code, "");
    for (int i = 0; i < 4; i++) {
        struct judge_result r = collect(j);
        expect_verdict(r, VERDICT_PASS);
        if (i == 0)
            memcpy(first, r.stdout_tail, sizeof(first));
        cr_expect_str_eq(r.stdout_tail, first);
        cr_expect(strstr(r.stdout_tail, "('UTC', 'UTC') utf-8"), "%s", r.stdout_tail);
    }
    judge_close(j);
}
