/*
 * Benchmarks of the judge: its speed beside plain interpreters, and its health over many programs.
 *
 *     references_beside_plain_interpreters   needs DESBENCH_DATA
 *     ten_thousand_programs                  DESBENCH_BENCH_PROGRAMS of them
 *     hostile_programs_twenty_times          DESBENCH_BENCH_REPEATS times
 *
 * Each writes one line of JSON to standard error.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/harness/judge/hostile.h"
#include "tests/harness/judge/references.h"

enum { N_ROUNDS = 5, N_REFERENCES = 164 };

static size_t number_from(const char *name, size_t deflt)
{
    const char *text = getenv(name);

    return text ? (size_t)strtoull(text, NULL, 10) : deflt;
}

/* --- speed --------------------------------------------------------------------------------------
 */

struct kept {
    struct buf code, tests, prompt;
    char entry_point[64];
};
static struct kept kept[N_REFERENCES];

static void keep(void *arg, const struct reference *ref)
{
    struct kept *k = &kept[ref->number];

    (void)arg;
    buf_puts(&k->code, ref->code);
    buf_puts(&k->tests, ref->tests);
    buf_puts(&k->prompt, ref->prompt);
    snprintf(k->entry_point, sizeof(k->entry_point), "%s", ref->entry_point);
}

/* `python3 -I`, a process a program, two at once, from files. */
static int64_t time_plain(const char *dir)
{
    posix_spawn_file_actions_t actions;
    char *const envp[] = { NULL };
    int64_t start = clock_mono_ns();
    int n_running = 0, n_bad = 0, status;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    for (int i = 0; i < N_REFERENCES || n_running > 0;) {
        if (i < N_REFERENCES && n_running < 2) {
            char path[4200];
            char *const argv[] = { "python3", "-I", path, NULL };
            pid_t pid;
            snprintf(path, sizeof(path), "%s/%d.py", dir, i++);
            cr_assert(posix_spawn(&pid, "/usr/bin/python3", &actions, NULL, argv, envp) == 0);
            n_running++;
            continue;
        }
        cr_assert(wait(&status) > 0);
        n_running--;
        n_bad += status != 0;
    }
    posix_spawn_file_actions_destroy(&actions);
    cr_expect(n_bad == 0, "%d references fail", n_bad);
    return clock_mono_ns() - start;
}

static int64_t time_judge(int64_t *ret_cpu_ns)
{
    struct judge_options o;
    struct judge *j;
    int64_t start, wall_ns;

    judge_default_options(&o);
    o.n_workers = 2;
    j = open_or_skip(&o);
    start = clock_mono_ns(); /* the interpreters start with the first programs */
    for (size_t i = 0; i < N_REFERENCES; i++) {
        struct judge_job job = make_job(i, buf_str(&kept[i].code), buf_str(&kept[i].tests));
        job.entry_point = kept[i].entry_point;
        job.helpers = buf_str(&kept[i].prompt);
        job.helpers_len = kept[i].prompt.len;
        submit_job(j, &job);
    }
    *ret_cpu_ns = 0;
    while (judge_n_pending(j) > 0) {
        struct judge_result r = collect(j);
        cr_expect(r.verdict == VERDICT_PASS, "%d: %s", (int)r.id, r.details);
        *ret_cpu_ns += r.cpu_ns;
    }
    wall_ns = clock_mono_ns() - start;
    judge_close(j);
    return wall_ns;
}

static int compare_times(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

Test(bench_judge, references_beside_plain_interpreters, .timeout = 600)
{
    char dir[] = "/tmp/desbench-bench-XXXXXX", path[64];
    int64_t plain[N_ROUNDS], judged[N_ROUNDS], cpu_ns = 0;

    for_each_reference(keep, NULL);
    cr_assert(mkdtemp(dir));
    for (int i = 0; i < N_REFERENCES; i++) {
        snprintf(path, sizeof(path), "%s/%d.py", dir, i);
        FILE *f = fopen(path, "w");
        cr_assert(f && fprintf(f, "%s\n%s", buf_str(&kept[i].code), buf_str(&kept[i].tests)) > 0);
        fclose(f);
    }
    time_plain(dir); /* warm-up: caches of files */
    for (int i = 0; i < N_ROUNDS; i++) {
        plain[i] = time_plain(dir);
        judged[i] = time_judge(&cpu_ns);
    }
    for (int i = 0; i < N_REFERENCES; i++) {
        snprintf(path, sizeof(path), "%s/%d.py", dir, i);
        unlink(path);
        buf_release(&kept[i].code);
        buf_release(&kept[i].tests);
        buf_release(&kept[i].prompt);
    }
    rmdir(dir);
    qsort(plain, N_ROUNDS, sizeof(*plain), compare_times);
    qsort(judged, N_ROUNDS, sizeof(*judged), compare_times);
    fprintf(
        stderr,
        "{\"bench\": \"references\", \"n\": %d, \"workers\": 2, \"plain_s\": [%.3f, %.3f, %.3f],"
        " \"judge_s\": [%.3f, %.3f, %.3f], \"judge_ms_each\": %.2f, \"judge_cpu_ms_each\": %.2f}\n",
        N_REFERENCES, (double)plain[0] * 1e-9, (double)plain[N_ROUNDS / 2] * 1e-9,
        (double)plain[N_ROUNDS - 1] * 1e-9, (double)judged[0] * 1e-9,
        (double)judged[N_ROUNDS / 2] * 1e-9, (double)judged[N_ROUNDS - 1] * 1e-9,
        (double)judged[N_ROUNDS / 2] * 1e-6 * 2 / N_REFERENCES,
        (double)cpu_ns * 1e-6 / N_REFERENCES);
    cr_expect(judged[N_ROUNDS / 2] <= plain[N_ROUNDS / 2]);
}

/* --- health -------------------------------------------------------------------------------------
 */

/* What a process holds. */
struct holdings {
    long rss_kib, n_fds, n_children, n_mounts;
};

static pid_t only_child(void)
{
    char path[64], text[64] = "";

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    cr_assert(f && fgets(text, sizeof(text), f));
    fclose(f);
    return (pid_t)atoi(text);
}

static struct holdings look_at(pid_t pid)
{
    struct holdings h = { 0 };
    char path[64], line[4096];
    FILE *f;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "r");
    cr_assert(f);
    while (fgets(line, sizeof(line), f))
        sscanf(line, "VmRSS: %ld", &h.rss_kib);
    fclose(f);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    d = opendir(path);
    cr_assert(d);
    while (readdir(d))
        h.n_fds++;
    closedir(d);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    f = fopen(path, "r");
    cr_assert(f);
    for (int c; fscanf(f, "%d", &c) == 1;)
        h.n_children++;
    fclose(f);
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
    f = fopen(path, "r");
    cr_assert(f);
    while (fgets(line, sizeof(line), f))
        h.n_mounts++;
    fclose(f);
    return h;
}

static struct hostile files[MAX_FILES];

Test(bench_judge, ten_thousand_programs, .timeout = 7200)
{
    enum { IN_FLIGHT = 64, RIGHT = MAX_FILES, WRONG, MUTANT };
    const size_t n = number_from("DESBENCH_BENCH_PROGRAMS", 10000);
    const size_t n_files = read_all(files), n_warm = n / 10;
    static const char wrong[] = "def add(a, b):\n    return a - b\n";
    struct holdings early = { 0 }, late;
    struct judge_options o = limits_of(1);
    size_t n_submitted = 0, n_done = 0, n_wrong_verdicts = 0, n_hostile = 0;
    struct rng r;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    rng_seed(&r, 2602);
    o.wall_limit_ns = 5LL * 1000000000;
    struct judge *j = open_or_skip(&o);
    const bool is_full = judge_level(j) == SANDBOX_FULL;
    const int64_t start = clock_mono_ns();
    while (n_done < n) {
        while (n_submitted < n && judge_n_pending(j) < IN_FLIGHT) {
            size_t i = n_submitted++;
            struct buf code = { 0 };
            struct judge_job job = make_job(i % 2 ? RIGHT : WRONG, i % 2 ? add : wrong, add_tests);
            if (i % 10 == 0) { /* files in turn, between them mutants */
                size_t k = i / 20 % n_files;
                n_hostile++;
                if (i % 20 == 0 || files[k].limits == 2) {
                    put_mutant(&r, &files[rng_below(&r, n_files)], &files[k], &code);
                    job = make_job(MUTANT, buf_str(&code), add_tests);
                } else {
                    job = make_job(k, files[k].text.data,
                                   files[k].tests ? files[k].tests : add_tests);
                    job.code_len = files[k].code_len;
                }
                job.is_tried_once = true;
            }
            submit_job(j, &job);
            buf_release(&code);
        }
        struct judge_result v = collect(j);
        bool is_right = v.id == RIGHT    ? v.verdict == VERDICT_PASS
                        : v.id == WRONG  ? v.verdict == VERDICT_FAIL
                        : v.id == MUTANT ? v.verdict != VERDICT_PASS
                                         : is_expected(files[v.id].expected[is_full], &v) ||
                                               v.verdict == VERDICT_TIMEOUT_CPU;
        is_right = is_right && v.verdict != VERDICT_INTERNAL;
        n_wrong_verdicts += !is_right;
        cr_expect(is_right, "%s: %s: %s", v.id < n_files ? files[v.id].name : "other",
                  verdict_name(v.verdict), v.details);
        if (++n_done == n_warm)
            early = look_at(only_child());
    }
    late = look_at(only_child());
    fprintf(stderr,
            "{\"bench\": \"many\", \"n\": %zu, \"n_hostile\": %zu, \"wrong_verdicts\": %zu,"
            " \"wall_s\": %.1f, \"level\": \"%s\", \"workers\": %d, \"rss_kib\": [%ld, %ld],"
            " \"descriptors\": [%ld, %ld], \"children\": [%ld, %ld], \"mounts\": [%ld, %ld]}\n",
            n, n_hostile, n_wrong_verdicts, (double)(clock_mono_ns() - start) * 1e-9,
            sandbox_level_name(judge_level(j)), judge_n_workers(j), early.rss_kib, late.rss_kib,
            early.n_fds, late.n_fds, early.n_children, late.n_children, early.n_mounts,
            late.n_mounts);
    cr_expect(late.rss_kib <= early.rss_kib + 2048);
    cr_expect(late.n_fds <= 3 + 2 + 2 + 64, "descriptors of the sockets, the groups, two slots");
    cr_expect(late.n_children == judge_n_workers(j), "the zygotes are left");
    cr_expect(late.n_mounts == early.n_mounts);
    judge_close(j);
    expect_no_children();
    for (size_t i = 0; i < n_files; i++)
        buf_release(&files[i].text);
}

Test(bench_judge, hostile_programs_twenty_times, .timeout = 7200)
{
    const size_t n_repeats = number_from("DESBENCH_BENCH_REPEATS", 20), n = read_all(files);
    const char *level = "";
    size_t n_unexpected = 0;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int run = 0; run < 2 * N_LIMITS; run++) { /* the machine's own level, then `user` */
        int kind = run % N_LIMITS;
        struct judge_options o = limits_of(kind);
        if (run >= N_LIMITS) {
            o.level = SANDBOX_USER;
            o.is_level_auto = false;
        }
        struct judge *j = open_or_skip(&o);
        const bool is_full = judge_level(j) == SANDBOX_FULL;
        if (run < N_LIMITS)
            level = sandbox_level_name(judge_level(j));
        for (size_t k = 0; k < n_repeats; k++)
            for (size_t i = 0; i < n; i++) {
                struct judge_job job =
                    make_job(i, files[i].text.data, files[i].tests ? files[i].tests : add_tests);
                job.code_len = files[i].code_len;
                if (files[i].limits == kind)
                    submit_job(j, &job);
            }
        while (judge_n_pending(j) > 0) {
            struct judge_result r = collect(j);
            bool is_ok = is_expected(files[r.id].expected[is_full], &r);
            n_unexpected += !is_ok;
            cr_expect(is_ok, "%s: %s:%d, not %s: %s", files[r.id].name, verdict_name(r.verdict),
                      r.signal, files[r.id].expected[is_full], r.details);
        }
        judge_close(j);
        expect_no_children();
    }
    fprintf(stderr,
            "{\"bench\": \"hostile\", \"programs\": %zu, \"repeats\": %zu,"
            " \"levels\": [\"%s\", \"user\"], \"unexpected\": %zu}\n",
            n, n_repeats, level, n_unexpected);
    for (size_t i = 0; i < n; i++)
        buf_release(&files[i].text);
}
