/*
 * The judge, as the program sees it.
 *
 * Theory of operation
 * -------------------
 *
 *     desbench --fork--> supervisor --clone--> zygote (one a slot, an idle interpreter)
 *        |  jobs (stream) -> |  |                 |--clone--> init --fork--> candidate
 *        | <- results (seq.) |  |                 |                              ^ channel
 *                               |                 +--clone--> checker            v
 *                               +---- program in, report out -->  ^
 *
 * The supervisor is a child of its own, so that a hostile program never has the process with the
 * model and the results as its parent, and so that starting a program copies the page tables of
 * a small process. It is forked by judge_open(); open the judge before a model is loaded, as
 * the fork keeps alive what was in memory then.
 *
 * jobs carries `struct wire_job` and the four texts of a program: code, tests, helpers, entry
 * point. The supervisor takes everything in at once and queues it, so sending waits only for its
 * loop. results carries one `struct wire_hello` and then one `struct judge_result` a message; its
 * descriptor is judge_poll_fd(). When the program closes jobs or dies, the supervisor kills what
 * runs, removes its control groups and exits. When the supervisor dies, zygotes, inits and
 * checkers die with it (a parent death signal), and with an init all of its pid namespace.
 *
 * A slot (slot.c) judges one program at a time by two processes that its zygote forks (sandbox.h
 * has their namespaces and descriptors). The checker gets the program on descriptor 5, sends the
 * code to the candidate, runs the tests, and writes one report to descriptor 4. The candidate
 * executes the code in a plain dict and answers calls; it never holds the tests, the values that
 * they expect or the report's descriptor. What it can do is return values, and those are judged.
 *
 * On descriptor 5, native byte order: nonce (16 bytes), lengths of code, tests, helpers and entry
 * point (8 each), the texts. The report: kind (1 byte), that nonce (16), text; kinds are listed in
 * checker.py. It counts only with the nonce.
 *
 * On the channel (descriptor 3 of both, a stream), request and answer alternate; integers are
 * little-endian:
 *
 *     nonce (16)  fresh in each request, the same in its answer
 *     length (4)  of the rest, at most 16 MiB and a little
 *     kind (1), payload
 *
 *     request                                answer
 *     R  code as it is: execute it           V  a value
 *     C  (name, args, kwargs): call          X  class (1), then (type name, text): an exception;
 *     M  name: which module is it?              class M, D, N: out of memory, disk, processes;
 *     E  nothing: flush, answer, leave          S: does not compile; F: any other
 *                                            A  there is no such name
 *                                            U  type name: the result is no data
 *                                            O  the result is too large
 *
 * An answer with another nonce, or that is no frame, is a forgery. A value is a tag and:
 *
 *     N T F .       nothing: None, True, False, Ellipsis
 *     i             length (4), two's complement: int
 *     f c           8 or 16 bytes, IEEE 754: float, complex
 *     s b a         length (4), bytes: str (UTF-8, surrogates allowed), bytes, bytearray
 *     l t u z r     count (4), values: list, tuple, set, frozenset, range
 *     q             the same and one more value, maxlen: collections.deque
 *     d C D O       count (4), keys and values: dict, Counter, defaultdict, OrderedDict
 *     M             nothing: an re.Match, of which only its truth crosses
 *
 * Types must be exactly these: an object of a class of the program's, which could be equal to
 * everything, is no data. Containers lie at most 200 deep. No code crosses, and nothing is
 * unpickled. An exception of Python's own reaches the tests as such.
 *
 * In mode one-process there is no checker: the candidate gets the program on descriptor 5 and
 * reports on 4, which is believed with the nonce and exit status 0. That proves that the last line
 * was reached, not that the candidate left its runner alone: one that goes looking for the nonce in
 * the frames above it finds it. Only items whose tests need the candidate's own types run so, and
 * their verdicts say it.
 *
 * CPU time of the whole tree and its checker decides, wall time guards. A program that ran out of
 * either is tried once more while nothing else runs, and both verdicts are kept; unless its job
 * says that it is not worth it.
 */
#include "harness/judge/judge.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/judge/interpreter.h"
#include "harness/judge/supervisor.h"

enum { MAX_WORKERS = 256 }; /* uids set aside for a judge, see sandbox.c */

static const char *const level_names[] = { "none", "user", "full" };

static const char *const verdict_names[N_VERDICTS] = {
    [VERDICT_PASS] = "pass",
    [VERDICT_FAIL] = "fail",
    [VERDICT_FORGED] = "forged",
    [VERDICT_TIMEOUT_CPU] = "timeout_cpu",
    [VERDICT_TIMEOUT_WALL] = "timeout_wall",
    [VERDICT_OOM] = "oom",
    [VERDICT_PIDS] = "pids",
    [VERDICT_OUTPUT] = "output",
    [VERDICT_DISK] = "disk",
    [VERDICT_SIGNAL] = "signal",
    [VERDICT_DENIED] = "denied",
    [VERDICT_SYNTAX] = "syntax",
    [VERDICT_NO_CODE] = "no_code",
    [VERDICT_INTERNAL] = "internal",
};

struct judge {
    int jobs, results;
    pid_t supervisor;
    int n_workers;
    enum sandbox_level level;
    size_t n_pending;
    char python_version[32];
};

const char *sandbox_level_name(enum sandbox_level level)
{
    return level_names[level];
}

bool sandbox_level_parse(const char *s, enum sandbox_level *ret)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(*level_names); i++)
        if (strcmp(s, level_names[i]) == 0) {
            *ret = (enum sandbox_level)i;
            return true;
        }
    return false;
}

const char *verdict_name(enum verdict v)
{
    return verdict_names[v];
}

void judge_default_options(struct judge_options *ret)
{
    *ret = (struct judge_options){ .level = SANDBOX_USER,
                                   .is_level_auto = true,
                                   .cpu_limit_ns = 10LL * 1000000000,
                                   .wall_limit_ns = 20LL * 1000000000,
                                   .memory_bytes = 2LL << 30,
                                   .max_pids = 64,
                                   .output_bytes = 1 << 20,
                                   .disk_bytes = 64 << 20 };
}

/* --- open
 * ----------------------------------------------------------------------------------------- */

static enum status check_options(const struct judge_options *o, struct error *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } ranges[] = {
        { "n_workers", o->n_workers, 0, MAX_WORKERS },
        { "cpu_limit_ns", o->cpu_limit_ns, 1000000, 86400LL * 1000000000 },
        { "wall_limit_ns", o->wall_limit_ns, 1000000, 86400LL * 1000000000 },
        { "memory_bytes", o->memory_bytes, 16 << 20, 1LL << 50 },
        { "max_pids", o->max_pids, 1, 30000 },
        { "output_bytes", o->output_bytes, 0, 1LL << 50 },
        { "disk_bytes", o->disk_bytes, 64 << 10, 1LL << 50 },
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return error_set(err, ST_INVALID, "judge: need %lld <= %s %lld <= %lld",
                             (long long)ranges[i].min, ranges[i].name, (long long)ranges[i].value,
                             (long long)ranges[i].max);
    return ST_OK;
}

static int n_usable_processors(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than the set holds */
    return n > 0 ? (int)n : 1;
}

static enum status refuse(const struct sandbox_report *report, enum sandbox_level wanted,
                          struct error *err)
{
    char missing[768] = "";
    size_t len = 0;

    for (size_t i = 0; i < report->n_layers; i++) {
        const struct sandbox_layer *l = &report->layers[i];
        bool is_needed = wanted >= SANDBOX_FULL ? l->is_needed_full : l->is_needed_user;
        /* One layer that fails early leaves the others unprobed; it alone is worth naming. */
        bool is_named =
            is_needed && !l->is_present && (len == 0 || strncmp(l->details, "not probed", 10) != 0);
        if (is_named && len < sizeof(missing))
            len += (size_t)snprintf(missing + len, sizeof(missing) - len, "%s%s (%s)",
                                    len ? ", " : "", l->name, l->details);
    }
    return error_set(err, ST_UNSUPPORTED, "no sandbox of level '%s' on this machine: missing %s",
                     sandbox_level_name(wanted), missing);
}

/* Which level to run at, or why not. */
static enum status choose_level(const struct judge_options *opts, enum sandbox_level *ret,
                                struct error *err)
{
    enum sandbox_level wanted = opts->is_level_auto ? SANDBOX_USER : opts->level;
    struct sandbox_report report;
    enum status st;

    if (wanted == SANDBOX_NONE)
        return error_set(err, ST_UNSUPPORTED,
                         "sandbox level 'none' is not offered: programs are not run unheld");
    st = sandbox_probe(opts, &report, err);
    if (st)
        return st;
    if (report.level < wanted)
        return refuse(&report, wanted, err);
    *ret = opts->is_level_auto ? report.level : wanted;
    return ST_OK;
}

/* Child: keep the two sockets, become the supervisor. */
static _Noreturn void start_supervisor(struct supervisor_config *config)
{
    int kept[2] = { config->jobs, config->results };

    if (kept[0] > kept[1]) {
        kept[0] = config->results;
        kept[1] = config->jobs;
    }
    supervisor_detach(kept, 2);
    supervisor_main(config);
}

static enum status wait_hello(int fd, struct error *err)
{
    struct wire_hello hello;
    ssize_t n;

    do {
        n = recv(fd, &hello, sizeof(hello), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(hello))
        return error_set(err, ST_INTERNAL, "judge: the supervisor died while starting");
    if (hello.status != ST_OK)
        return error_set(err, (enum status)hello.status, "judge: %.*s", (int)sizeof(hello.text) - 1,
                         hello.text);
    return ST_OK;
}

enum status judge_open(const struct judge_options *opts, struct judge **ret, struct error *err)
{
    struct supervisor_config config = { .jobs = -1, .results = -1 };
    char python[INTERPRETER_PATH_SIZE];
    int jobs[2] = { -1, -1 }, results[2] = { -1, -1 };
    struct judge *j = NULL;
    enum status st = check_options(opts, err);

    if (st)
        return st;
    st = interpreter_find(opts->python, python, err);
    if (st)
        return st;
    j = calloc(1, sizeof(*j));
    if (!j)
        return error_set(err, ST_NOMEM, "out of memory opening the judge");
    j->jobs = j->results = -1;
    st = interpreter_version(python, j->python_version, sizeof(j->python_version), err);
    if (st)
        goto out;
    st = choose_level(opts, &j->level, err);
    if (st)
        goto out;
    config.opts = *opts;
    if (config.opts.n_workers == 0)
        config.opts.n_workers = n_usable_processors();
    if (config.opts.n_workers > MAX_WORKERS)
        config.opts.n_workers = MAX_WORKERS;
    config.python = python;
    config.level = j->level;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, jobs) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, results) != 0) {
        st = error_set(err, ST_IO, "judge: cannot make sockets: %s", strerror(errno));
        goto out;
    }
    config.jobs = jobs[1];
    config.results = results[1];
    j->supervisor = fork();
    if (j->supervisor == 0)
        start_supervisor(&config);
    if (j->supervisor < 0) {
        st = error_set(err, ST_IO, "judge: cannot start the supervisor: %s", strerror(errno));
        goto out;
    }
    close(jobs[1]);
    close(results[1]);
    jobs[1] = results[1] = -1;
    j->jobs = jobs[0];
    j->results = results[0];
    jobs[0] = results[0] = -1;
    j->n_workers = config.opts.n_workers;
    st = wait_hello(j->results, err);
    if (st)
        goto out;
    *ret = j;
    j = NULL;
out:
    for (int i = 0; i < 2; i++) {
        if (jobs[i] >= 0)
            close(jobs[i]);
        if (results[i] >= 0)
            close(results[i]);
    }
    judge_close(j);
    return st;
}

void judge_close(struct judge *j)
{
    if (!j)
        return;
    if (j->jobs >= 0)
        close(j->jobs);
    if (j->results >= 0)
        close(j->results);
    if (j->supervisor > 0)
        while (waitpid(j->supervisor, NULL, 0) < 0 && errno == EINTR)
            ;
    free(j);
}

/* --- use
 * ------------------------------------------------------------------------------------------ */

enum sandbox_level judge_level(const struct judge *j)
{
    return j->level;
}

int judge_n_workers(const struct judge *j)
{
    return j->n_workers;
}

const char *judge_mode_name(enum judge_mode mode)
{
    return mode == JUDGE_ONE_PROCESS ? "one-process" : "two-process";
}

bool judge_is_not_data(const struct judge_result *r)
{
    return r->verdict == VERDICT_FAIL && strncmp(r->details, "not_data:", 9) == 0;
}

const char *judge_python_version(const struct judge *j)
{
    return j->python_version;
}

size_t judge_n_pending(const struct judge *j)
{
    return j->n_pending;
}

int judge_poll_fd(const struct judge *j)
{
    return j->results;
}

static bool send_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

enum status judge_submit(struct judge *j, const struct judge_job *job, struct error *err)
{
    const size_t entry_len = job->entry_point ? strlen(job->entry_point) : 0;
    const struct wire_job head = { .id = job->id,
                                   .code_len = job->code_len,
                                   .tests_len = job->tests_len,
                                   .helpers_len = job->helpers_len,
                                   .entry_len = entry_len,
                                   .cpu_limit_ns = job->cpu_limit_ns,
                                   .mode = job->mode,
                                   .is_tried_once = job->is_tried_once };

    if (!send_all(j->jobs, &head, sizeof(head)) || !send_all(j->jobs, job->code, job->code_len) ||
        !send_all(j->jobs, job->tests, job->tests_len) ||
        !send_all(j->jobs, job->helpers, job->helpers_len) ||
        !send_all(j->jobs, job->entry_point, entry_len))
        return error_set(err, ST_INTERNAL, "the judge's supervisor is gone: %s", strerror(errno));
    j->n_pending++;
    return ST_OK;
}

/* Wait until there is something to read; false when the time is over. */
static bool wait_readable(int fd, int64_t timeout_ns)
{
    const int64_t end = timeout_ns > 0 ? clock_mono_ns() + timeout_ns : 0;
    struct pollfd p = { .fd = fd, .events = POLLIN };

    for (;;) {
        int64_t left = timeout_ns > 0 ? end - clock_mono_ns() : 0;
        struct timespec t = { 0 };
        if (left > 0)
            t = (struct timespec){ .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
        int rc = ppoll(&p, 1, timeout_ns < 0 ? NULL : &t, NULL);
        if (rc > 0)
            return true;
        if (rc == 0 || errno != EINTR)
            return false;
    }
}

enum status judge_wait(struct judge *j, int64_t timeout_ns, struct judge_result *ret, bool *ret_has,
                       struct error *err)
{
    struct judge_result r;
    ssize_t n;

    *ret_has = false;
    if (j->n_pending == 0 || !wait_readable(j->results, timeout_ns))
        return ST_OK;
    do {
        n = recv(j->results, &r, sizeof(r), MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(r))
        return error_set(err, ST_INTERNAL, "the judge's supervisor died with %zu programs pending",
                         j->n_pending);
    j->n_pending--;
    *ret = r;
    *ret_has = true;
    return ST_OK;
}
