/* A slot of the supervisor: one program at a time, from start to verdict. */
#include "harness/judge/slot.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { MS = 1000000 };
static const int64_t check_every_ns = 20LL * MS;
static const size_t max_report_bytes = 64 << 10;    /* what is read of a report; 512 are kept */
static const int64_t setup_limit_ns = 10000LL * MS; /* making a sandbox takes 5 ms */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void set_idle(struct slot *s)
{
    s->program = NULL;
    s->proc = (struct sandbox_proc){ -1, -1, -1, -1, -1, -1, -1 };
    s->procfd = -1;
}

enum status slot_open(struct slot *s, int n, const struct sandbox *sb,
                      const struct judge_options *opts, const struct cgroup_home *home,
                      struct error *err)
{
    memset(s, 0, sizeof(*s));
    s->sandbox = sb;
    s->opts = opts;
    s->n = n;
    s->has_cgroup = home != NULL;
    set_idle(s);
    if (!sandbox_slot_uid(n, &s->host_uid))
        s->host_uid = geteuid();
    if (home) /* one more for init */
        return cgroup_slot_open(home, n, opts->memory_bytes, opts->max_pids + 1, &s->cgroup, err);
    return ST_OK;
}

void slot_close(struct slot *s)
{
    sandbox_proc_end(&s->proc);
    close_fd(&s->procfd);
    if (s->has_cgroup)
        cgroup_slot_close(&s->cgroup);
    s->has_cgroup = false;
}

enum status slot_start(struct slot *s, struct program *p, struct error *err)
{
    enum status st;

    if (getrandom(p->header.nonce, NONCE_BYTES, 0) != NONCE_BYTES)
        return error_set(err, ST_IO, "no random bytes for a nonce: %s", strerror(errno));
    s->n_written = 0;
    s->out.n_total = s->err.n_total = 0;
    s->n_reported = 0;
    s->cause = CAUSE_NONE;
    s->has_exited = false;
    s->failure.kind = 0;
    s->ready_ns = s->exit_ns = 0;
    s->cpu_ns = s->rss_max_bytes = 0;
    s->n_tasks_max = 0;
    if (s->has_cgroup) {
        s->cpu_base_ns = cgroup_cpu_ns(&s->cgroup);
        if (s->cpu_base_ns < 0)
            return error_set(err, ST_IO, "cannot read the CPU time of control group slot-%d", s->n);
        s->n_oom_base = cgroup_n_oom_kills(&s->cgroup);
        s->n_refused_base = cgroup_n_forks_refused(&s->cgroup);
    }
    s->start_ns = clock_mono_ns();
    st = sandbox_spawn(s->sandbox, s->host_uid, s->has_cgroup ? &s->cgroup : NULL, &s->proc, err);
    if (st) {
        set_idle(s);
        return st;
    }
    s->next_check_ns = s->start_ns + setup_limit_ns;
    s->program = p;
    return ST_OK;
}

/* --- while it runs ---------------------------------------------------------------------------- */

/* CPU time of the whole tree by its control group; false, and nothing changed, without one or
 * when it cannot be read. */
static bool read_group_cpu(struct slot *s)
{
    int64_t ns = s->has_cgroup ? cgroup_cpu_ns(&s->cgroup) : -1;

    if (ns < 0)
        return false;
    s->cpu_ns = ns - s->cpu_base_ns;
    return true;
}

size_t slot_poll_fds(const struct slot *s, struct pollfd *fds)
{
    size_t n = 0;

    if (!s->program)
        return 0;
    fds[n++] = (struct pollfd){ .fd = s->proc.pidfd, .events = POLLIN };
    if (s->proc.ctl >= 0)
        fds[n++] = (struct pollfd){ .fd = s->proc.ctl, .events = POLLIN };
    if (s->proc.out >= 0)
        fds[n++] = (struct pollfd){ .fd = s->proc.out, .events = POLLIN };
    if (s->proc.err >= 0)
        fds[n++] = (struct pollfd){ .fd = s->proc.err, .events = POLLIN };
    if (s->proc.report >= 0)
        fds[n++] = (struct pollfd){ .fd = s->proc.report, .events = POLLIN };
    /* Nothing to write before the runner is there to read: the pipe would only fill. */
    if (s->proc.in >= 0)
        fds[n++] = (struct pollfd){ .fd = s->proc.in, .events = POLLOUT };
    return n;
}

static void slot_kill(struct slot *s, enum slot_cause cause)
{
    if (s->cause != CAUSE_NONE)
        return;
    s->cause = cause;
    if (s->proc.pid > 0) { /* not yet waited for, so the number is still its */
        kill(s->proc.pid, SIGKILL);
        if (s->has_cgroup)
            cgroup_kill(&s->cgroup);
    }
}

static void read_ctl(struct slot *s)
{
    struct ctl_message m;
    int fd, rc;

    while ((rc = ctl_recv(s->proc.ctl, &m, &fd)) == 1) {
        if (m.kind == CTL_READY && fd >= 0 && s->procfd < 0) {
            s->procfd = fd;
            fd = -1;
            s->ready_ns = clock_mono_ns();
            s->next_check_ns = s->ready_ns + check_every_ns;
        } else if (m.kind == CTL_FAILED) {
            s->failure = m;
        } else if (m.kind == CTL_EXITED) {
            s->has_exited = true;
            s->wait_status = m.value;
            s->exit_ns = clock_mono_ns();
        }
        close_fd(&fd);
    }
    if (rc < 0)
        close_fd(&s->proc.ctl);
}

/* Read what a stream has, a bounded amount of it so that others have their turn. False once
 * there is no more at the moment. */
static bool read_stream(struct slot *s, int *fd, struct tail *t)
{
    char data[32768];

    for (int i = 0; i < 8 && *fd >= 0; i++) {
        ssize_t n = read(*fd, data, sizeof(data));
        if (n > 0)
            tail_add(t, data, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_fd(fd);
        else
            return false;
        if ((int64_t)(s->out.n_total + s->err.n_total) > s->opts->output_bytes)
            slot_kill(s, CAUSE_OUTPUT);
    }
    return *fd >= 0;
}

static bool read_report(struct slot *s)
{
    char data[sizeof(s->report)];
    ssize_t n = read(s->proc.report, data, sizeof(data));

    if (n > 0) {
        if (s->n_reported < sizeof(s->report)) {
            size_t room = sizeof(s->report) - s->n_reported;
            memcpy(s->report + s->n_reported, data, (size_t)n < room ? (size_t)n : room);
        }
        s->n_reported += (size_t)n;
        if (s->n_reported <= max_report_bytes)
            return true;
        close_fd(&s->proc.report); /* a flood: the verdict stands in its first bytes */
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_fd(&s->proc.report);
    }
    return false;
}

static void write_input(struct slot *s)
{
    const char *input = (const char *)&s->program->header;
    ssize_t n = write(s->proc.in, input + s->n_written, s->program->input_len - s->n_written);

    if (n > 0)
        s->n_written += (size_t)n;
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || s->n_written == s->program->input_len)
        close_fd(&s->proc.in); /* all there, or nobody reads it any more */
}

bool slot_service(struct slot *s, const struct pollfd *fds, size_t n_fds)
{
    bool is_gone = false;

    for (size_t i = 0; i < n_fds; i++) {
        if (!fds[i].revents)
            continue;
        if (fds[i].fd == s->proc.pidfd)
            is_gone = true;
        else if (fds[i].fd == s->proc.ctl)
            read_ctl(s);
        else if (fds[i].fd == s->proc.out)
            read_stream(s, &s->proc.out, &s->out);
        else if (fds[i].fd == s->proc.err)
            read_stream(s, &s->proc.err, &s->err);
        else if (fds[i].fd == s->proc.report)
            read_report(s);
        else if (fds[i].fd == s->proc.in)
            write_input(s);
    }
    return is_gone;
}

static bool is_out_of_memory(const struct slot *s)
{
    return s->has_cgroup && cgroup_n_oom_kills(&s->cgroup) > s->n_oom_base;
}

static bool is_fork_refused(const struct slot *s)
{
    if (s->has_cgroup)
        return cgroup_n_forks_refused(&s->cgroup) > s->n_refused_base;
    return s->n_tasks_max > s->opts->max_pids; /* and init */
}

void slot_check(struct slot *s, int64_t now_ns)
{
    struct usage u;

    if (!s->program || now_ns < s->next_check_ns)
        return;
    s->next_check_ns = now_ns + check_every_ns;
    if (s->has_exited || s->cause != CAUSE_NONE)
        return; /* the kernel is still taking the namespace down */
    if (s->ready_ns == 0) {
        slot_kill(s, CAUSE_SETUP);
        return;
    }
    if (usage_read(s->procfd, &u) == 0) {
        s->cpu_ns = u.cpu_ns;
        if (u.n_tasks > s->n_tasks_max)
            s->n_tasks_max = u.n_tasks;
        if (u.rss_bytes > s->rss_max_bytes)
            s->rss_max_bytes = u.rss_bytes;
        /* Pages shared by forked processes count once, but looking is slow. */
        if (!s->has_cgroup && u.rss_bytes > s->opts->memory_bytes &&
            usage_read_pss(s->procfd) > s->opts->memory_bytes) {
            slot_kill(s, CAUSE_MEMORY);
            return;
        }
    }
    read_group_cpu(s); /* unreadable: what the namespace's own /proc tells still decides */
    if (s->cpu_ns > s->program->cpu_limit_ns)
        slot_kill(s, CAUSE_CPU);
    else if (now_ns - s->ready_ns > s->opts->wall_limit_ns)
        slot_kill(s, CAUSE_WALL);
    else if (is_out_of_memory(s))
        slot_kill(s, CAUSE_MEMORY);
    else if (is_fork_refused(s))
        slot_kill(s, CAUSE_PIDS);
}

/* --- the verdict --------------------------------------------------------------------------------
 */

static enum verdict say(struct judge_result *r, enum verdict v, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static enum verdict say(struct judge_result *r, enum verdict v, const char *fmt, ...)
{
    char text[sizeof(r->details)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text_visible(text, strlen(text), 0, r->details, sizeof(r->details));
    return v;
}

static bool has_nonce(const struct slot *s, char kind)
{
    return s->n_reported >= 1 + NONCE_BYTES && s->report[0] == kind &&
           memcmp(s->report + 1, s->program->header.nonce, NONCE_BYTES) == 0;
}

static double seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

/* It was killed by us, or what it used leaves no other word. */
static enum verdict judge_limits(const struct slot *s, struct judge_result *r)
{
    const struct judge_options *o = s->opts;

    switch (s->cause) {
    case CAUSE_SETUP:
        return say(r, VERDICT_INTERNAL, "the sandbox was not ready after %.0f s",
                   seconds(setup_limit_ns));
    case CAUSE_CPU:
        return say(r, VERDICT_TIMEOUT_CPU, "used %.2f s of CPU time, limit %.2f s",
                   seconds(s->cpu_ns), seconds(s->program->cpu_limit_ns));
    case CAUSE_WALL:
        return say(r, VERDICT_TIMEOUT_WALL, "ran for %.2f s, limit %.2f s; used %.2f s of CPU time",
                   seconds(r->wall_ns), seconds(o->wall_limit_ns), seconds(r->cpu_ns));
    case CAUSE_MEMORY:
        return say(r, VERDICT_OOM, "used more than %lld bytes of memory",
                   (long long)o->memory_bytes);
    case CAUSE_PIDS:
        return say(r, VERDICT_PIDS, "wanted more than %d processes and threads", o->max_pids);
    case CAUSE_OUTPUT:
    case CAUSE_NONE: break;
    }
    return say(r, VERDICT_OUTPUT, "wrote more than %lld bytes", (long long)o->output_bytes);
}

static enum verdict judge_signal(const struct slot *s, struct judge_result *r)
{
    int sig = WTERMSIG(s->wait_status);

    if (sig == SIGSYS)
        return say(r, VERDICT_DENIED, "made a system call that is not allowed");
    if (sig == SIGKILL && is_out_of_memory(s))
        return say(r, VERDICT_OOM, "used more than %lld bytes of memory",
                   (long long)s->opts->memory_bytes);
    if ((sig == SIGKILL || sig == SIGXCPU) && r->cpu_ns > s->program->cpu_limit_ns)
        return say(r, VERDICT_TIMEOUT_CPU, "used %.2f s of CPU time, limit %.2f s",
                   seconds(r->cpu_ns), seconds(s->program->cpu_limit_ns));
    r->signal = sig;
    return say(r, VERDICT_SIGNAL, "killed by signal %d (%s)", sig, strsignal(sig));
}

static enum verdict judge_exit(const struct slot *s, struct judge_result *r)
{
    int status = WEXITSTATUS(s->wait_status);
    size_t len = s->n_reported < sizeof(s->report) ? s->n_reported : sizeof(s->report);
    const char *report = s->report;

    if (status == 0) {
        if (has_nonce(s, 'P') && s->n_reported == 1 + NONCE_BYTES)
            return say(r, VERDICT_PASS, "passed");
        return say(r, VERDICT_FORGED,
                   "exited with status 0, but the tests did not run to their end");
    }
    if (has_nonce(s, 'I')) {
        text_visible(report + 1 + NONCE_BYTES, len - 1 - NONCE_BYTES, 0, r->details,
                     sizeof(r->details));
        return VERDICT_INTERNAL; /* before any of the program ran: the tests do not compile */
    }
    if (is_out_of_memory(s))
        return say(r, VERDICT_OOM, "a process used more than %lld bytes of memory",
                   (long long)s->opts->memory_bytes);
    if (is_fork_refused(s))
        return say(r, VERDICT_PIDS, "wanted more than %d processes and threads", s->opts->max_pids);
    if (len == 0)
        return say(r, VERDICT_FAIL, "exited with status %d", status);
    text_visible(report + 1, len - 1, 0, r->details, sizeof(r->details));
    switch (report[0]) {
    case 'S': return VERDICT_SYNTAX;
    case 'M': return VERDICT_OOM;
    case 'D': return VERDICT_DISK;
    case 'N': return s->has_cgroup ? VERDICT_FAIL : VERDICT_PIDS; /* the group would know */
    case 'F': return VERDICT_FAIL;
    default: return say(r, VERDICT_FAIL, "exited with status %d and a report of its own", status);
    }
}

static enum verdict decide(const struct slot *s, struct judge_result *r)
{
    if (s->failure.kind == CTL_FAILED)
        return say(r, VERDICT_INTERNAL, "sandbox: cannot %s: %s", s->failure.what,
                   strerror(s->failure.value));
    if (s->cause != CAUSE_NONE ||
        (int64_t)(s->out.n_total + s->err.n_total) > s->opts->output_bytes)
        return judge_limits(s, r);
    if (!s->has_exited) {
        if (is_out_of_memory(s)) /* the kernel may pick init, or all at once */
            return say(r, VERDICT_OOM, "used more than %lld bytes of memory",
                       (long long)s->opts->memory_bytes);
        return say(r, VERDICT_INTERNAL, "the sandbox's first process was killed from outside");
    }
    if (WIFSIGNALED(s->wait_status))
        return judge_signal(s, r);
    /* It ended by itself between two looks of ours; the numbers decide, not the moment. */
    if (r->cpu_ns > s->program->cpu_limit_ns)
        return say(r, VERDICT_TIMEOUT_CPU, "used %.2f s of CPU time, limit %.2f s",
                   seconds(r->cpu_ns), seconds(s->program->cpu_limit_ns));
    if (r->wall_ns > s->opts->wall_limit_ns)
        return say(r, VERDICT_TIMEOUT_WALL, "ran for %.2f s, limit %.2f s", seconds(r->wall_ns),
                   seconds(s->opts->wall_limit_ns));
    return judge_exit(s, r);
}

/* Nobody may be left in the control group once the namespace is gone. */
static bool is_group_empty(const struct slot *s)
{
    if (!s->has_cgroup)
        return true;
    for (int i = 0; i < 200; i++) {
        pid_t pid = cgroup_first_pid(&s->cgroup);
        if (pid == 0)
            return true;
        cgroup_kill(&s->cgroup);
        kill(pid, SIGKILL);
        nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
    }
    return false;
}

bool slot_finish(struct slot *s, struct judge_result *ret)
{
    struct rusage ru = { 0 };
    struct judge_result *r = ret;
    bool is_clean, is_counted;

    while (wait4(s->proc.pid, NULL, 0, &ru) < 0 && errno == EINTR)
        ;
    s->proc.pid = -1;
    /* All writers are dead, so what they wrote is in the pipes. The end need not follow: a pipe
     * sent over a socket that was itself sent has no holder and yet stays open. */
    if (s->proc.ctl >= 0)
        read_ctl(s);
    while (s->proc.out >= 0 && read_stream(s, &s->proc.out, &s->out))
        ;
    while (s->proc.err >= 0 && read_stream(s, &s->proc.err, &s->err))
        ;
    while (s->proc.report >= 0 && read_report(s))
        ;
    if (s->exit_ns == 0)
        s->exit_ns = clock_mono_ns();
    is_clean = is_group_empty(s);

    memset(r, 0, sizeof(*r));
    r->id = s->program->id;
    r->attempts = s->program->n_attempts;
    r->first_verdict = s->program->first_verdict;
    r->wall_ns = s->exit_ns - (s->ready_ns ? s->ready_ns : s->start_ns);
    /* The largest process; of those killed with the namespace there is only what was seen. */
    r->max_rss_bytes = (int64_t)ru.ru_maxrss * 1024;
    if (r->max_rss_bytes < s->rss_max_bytes && !s->has_exited)
        r->max_rss_bytes = s->rss_max_bytes;
    is_counted = !s->has_cgroup || read_group_cpu(s);
    if (s->has_cgroup && is_counted) {
        r->cpu_ns = s->cpu_ns;
    } else {
        int64_t us = (int64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
                     ru.ru_utime.tv_usec + ru.ru_stime.tv_usec;
        r->cpu_ns = us * 1000;
        if (r->cpu_ns < s->cpu_ns) /* those killed with the namespace are not waited for */
            r->cpu_ns = s->cpu_ns;
    }
    r->verdict = decide(s, r);
    if (!is_counted)
        r->verdict = say(r, VERDICT_INTERNAL,
                         "the CPU time of control group slot-%d was not to be read", s->n);
    if (!is_clean)
        r->verdict = say(r, VERDICT_INTERNAL, "processes were left in control group slot-%d", s->n);
    r->is_near_limit =
        r->verdict == VERDICT_PASS && (r->cpu_ns > s->program->cpu_limit_ns / 5 * 4 ||
                                       r->wall_ns > s->opts->wall_limit_ns / 5 * 4);
    tail_visible(&s->out, r->stdout_tail, sizeof(r->stdout_tail));
    tail_visible(&s->err, r->stderr_tail, sizeof(r->stderr_tail));

    sandbox_proc_end(&s->proc);
    close_fd(&s->procfd);
    set_idle(s);
    return is_clean;
}
