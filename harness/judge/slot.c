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
static const int64_t leave_limit_ns = 100LL * MS;   /* from the verdict to the candidate's end */
static const int64_t end_limit_ns = 1000LL * MS;    /* between the ends of two processes */
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
    s->proc = SANDBOX_PROC_NONE;
    s->procfd = -1;
}

enum status slot_open(struct slot *s, int n, const char *python, enum sandbox_level level,
                      const struct judge_options *opts, const struct cgroup_home *home,
                      struct error *err)
{
    memset(s, 0, sizeof(*s));
    s->opts = opts;
    s->python = python;
    s->limits = (struct sandbox_limits){ .level = (int32_t)level,
                                         .max_pids = opts->max_pids,
                                         .cpu_limit_ns = opts->cpu_limit_ns,
                                         .memory_bytes = opts->memory_bytes,
                                         .disk_bytes = opts->disk_bytes };
    s->zygote = (struct zygote){ -1, -1 };
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
    zygote_close(&s->zygote);
    close_fd(&s->procfd);
    if (s->has_cgroup)
        cgroup_slot_close(&s->cgroup);
    s->has_cgroup = false;
}

/* Have the zygote, started anew if it was lost, fork for a program. */
static enum status spawn(struct slot *s, enum sandbox_role role, struct error *err)
{
    enum status st = ST_OK;

    for (int i = 0; i < 2; i++) {
        if (s->zygote.pid < 0)
            st = zygote_open(s->python, s->host_uid, &s->zygote, err);
        if (!st)
            st = sandbox_spawn(&s->zygote, role, &s->limits, NULL,
                               s->has_cgroup ? &s->cgroup : NULL, &s->proc, err);
        if (st != ST_IO)
            break;
        zygote_close(&s->zygote);
    }
    return st;
}

enum status slot_start(struct slot *s, struct program *p, struct error *err)
{
    const bool is_alone = p->mode == JUDGE_ONE_PROCESS;
    enum status st;

    if (getrandom(p->header.nonce, NONCE_BYTES, 0) != NONCE_BYTES)
        return error_set(err, ST_IO, "no random bytes for a nonce: %s", strerror(errno));
    s->n_written = 0;
    s->out.n_total = s->err.n_total = 0;
    s->n_reported = 0;
    s->cause = CAUSE_NONE;
    s->is_init_gone = s->is_checker_killed = s->has_exited = false;
    s->is_checker_gone = is_alone;
    s->failure.kind = 0;
    s->ready_ns = s->exit_ns = s->end_ns = 0;
    s->tree_cpu_ns = s->rss_max_bytes = 0;
    s->n_tasks_max = 0;
    if (s->has_cgroup) {
        s->cpu_base_ns = cgroup_cpu_ns(&s->cgroup);
        if (s->cpu_base_ns < 0)
            return error_set(err, ST_IO, "cannot read the CPU time of control group slot-%d", s->n);
        s->n_oom_base = cgroup_n_oom_kills(&s->cgroup);
        s->n_refused_base = cgroup_n_forks_refused(&s->cgroup);
    }
    s->start_ns = clock_mono_ns();
    st = spawn(s, is_alone ? ROLE_ALONE : ROLE_CANDIDATE, err);
    if (st) {
        set_idle(s);
        return st;
    }
    s->next_check_ns = s->start_ns + setup_limit_ns;
    s->program = p;
    return ST_OK;
}

/* --- while it runs ---------------------------------------------------------------------------- */

static bool has_checker(const struct slot *s)
{
    return s->program->mode == JUDGE_TWO_PROCESS;
}

/* CPU time that a process of ours has used so far. */
static int64_t process_cpu_ns(pid_t pid)
{
    struct timespec t;
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* CPU time of the whole tree by its control group; false, and nothing changed, without one or
 * when it cannot be read. */
static bool read_group_cpu(struct slot *s)
{
    int64_t ns = s->has_cgroup ? cgroup_cpu_ns(&s->cgroup) : -1;

    if (ns < 0)
        return false;
    s->tree_cpu_ns = ns - s->cpu_base_ns;
    return true;
}

size_t slot_poll_fds(const struct slot *s, struct pollfd *fds)
{
    size_t n = 0;

    if (!s->program)
        return 0;
    if (!s->is_init_gone)
        fds[n++] = (struct pollfd){ .fd = s->proc.pidfd, .events = POLLIN };
    if (!s->is_checker_gone)
        fds[n++] = (struct pollfd){ .fd = s->proc.checker_pidfd, .events = POLLIN };
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

/* What all processes use now: time, memory, numbers. */
static bool read_usage(struct slot *s, int64_t *ret_rss_bytes)
{
    struct usage u;

    if (s->procfd < 0 || usage_read(s->procfd, &u) != 0)
        return false;
    if (u.cpu_ns > s->tree_cpu_ns)
        s->tree_cpu_ns = u.cpu_ns;
    if (u.n_tasks > s->n_tasks_max)
        s->n_tasks_max = u.n_tasks;
    if (u.rss_bytes > s->rss_max_bytes)
        s->rss_max_bytes = u.rss_bytes;
    *ret_rss_bytes = u.rss_bytes;
    return true;
}

/* Neither is waited for before slot_finish(), so that their numbers are still theirs. */
static void kill_candidate(struct slot *s)
{
    int64_t unused;

    if (s->is_init_gone)
        return;
    if (!s->has_cgroup) /* what dies with the namespace is waited for by nobody */
        read_usage(s, &unused);
    kill(s->proc.pid, SIGKILL);
    if (s->has_cgroup)
        cgroup_kill(&s->cgroup);
}

static void kill_checker(struct slot *s)
{
    if (s->is_checker_gone)
        return;
    s->is_checker_killed = s->n_reported == 0;
    kill(s->proc.checker, SIGKILL);
}

static void slot_kill(struct slot *s, enum slot_cause cause)
{
    if (s->cause != CAUSE_NONE)
        return;
    s->cause = cause;
    kill_candidate(s);
    kill_checker(s);
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

/*
 * The checker has the last word. It has told the candidate to leave, which is given a moment, as
 * its init then counts what it used; unless the candidate left before, and how is what decides.
 */
static void take_report(struct slot *s)
{
    if (s->end_ns)
        return;
    s->end_ns = clock_mono_ns();
    if (!s->exit_ns)
        s->exit_ns = s->end_ns;
    s->next_check_ns = s->end_ns + (s->report[0] == 'E' ? end_limit_ns : leave_limit_ns);
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
        if (has_checker(s))
            take_report(s);
        if (s->n_reported <= max_report_bytes)
            return true;
        close_fd(&s->proc.report); /* a flood: the verdict stands in its first bytes */
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_fd(&s->proc.report);
        if (has_checker(s))
            take_report(s); /* there was none: it died */
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
    for (size_t i = 0; i < n_fds; i++) {
        if (!fds[i].revents)
            continue;
        if (fds[i].fd == s->proc.pidfd)
            s->is_init_gone = true;
        else if (fds[i].fd == s->proc.checker_pidfd)
            s->is_checker_gone = true;
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
    if (s->is_init_gone && !s->is_checker_gone && !s->end_ns) {
        /* It reads what the candidate left behind, and then the end of the channel; unless that
         * is kept open by having been sent over itself. */
        s->end_ns = clock_mono_ns();
        s->next_check_ns = s->end_ns + end_limit_ns;
    }
    return s->is_init_gone && s->is_checker_gone;
}

void slot_check(struct slot *s, int64_t now_ns)
{
    int64_t cpu_ns, rss_bytes;

    if (!s->program || now_ns < s->next_check_ns)
        return;
    s->next_check_ns = now_ns + check_every_ns;
    if (s->end_ns) {
        if (s->is_init_gone)
            kill_checker(s);
        else if (s->n_reported > 0 && s->report[0] == 'E' && !s->has_exited)
            slot_kill(s, CAUSE_SILENT);
        else
            kill_candidate(s);
        return;
    }
    if (s->has_exited || s->cause != CAUSE_NONE)
        return; /* the kernel is still taking the namespace down */
    if (s->ready_ns == 0) {
        slot_kill(s, CAUSE_SETUP);
        return;
    }
    /* Pages shared by forked processes count once, but looking is slow. */
    if (read_usage(s, &rss_bytes) && !s->has_cgroup && rss_bytes > s->opts->memory_bytes &&
        usage_read_pss(s->procfd) > s->opts->memory_bytes) {
        slot_kill(s, CAUSE_MEMORY);
        return;
    }
    read_group_cpu(s); /* unreadable: what the namespace's own /proc tells still decides */
    cpu_ns = s->tree_cpu_ns + process_cpu_ns(s->proc.checker);
    if (cpu_ns > s->program->cpu_limit_ns)
        slot_kill(s, CAUSE_CPU);
    else if (now_ns - s->ready_ns > s->opts->wall_limit_ns)
        slot_kill(s, CAUSE_WALL);
    else if (slot_is_out_of_memory(s))
        slot_kill(s, CAUSE_MEMORY);
    else if (slot_is_fork_refused(s))
        slot_kill(s, CAUSE_PIDS);
}

/* --- the end -----------------------------------------------------------------------------------
 */

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

static int64_t rusage_cpu_ns(const struct rusage *ru)
{
    int64_t us = (int64_t)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) * 1000000 +
                 ru->ru_utime.tv_usec + ru->ru_stime.tv_usec;
    return us * 1000;
}

bool slot_finish(struct slot *s, struct judge_result *ret)
{
    struct rusage ru = { 0 }, checker_ru = { 0 };
    struct judge_result *r = ret;
    bool is_clean, is_counted;
    int checker_status = 0;

    while (wait4(s->proc.pid, NULL, 0, &ru) < 0 && errno == EINTR)
        ;
    s->proc.pid = -1;
    if (s->proc.checker > 0) {
        while (wait4(s->proc.checker, &checker_status, 0, &checker_ru) < 0 && errno == EINTR)
            ;
        s->proc.checker = -1;
    }
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
    if (r->wall_ns < 0) /* tests at fault end it before the candidate is ready */
        r->wall_ns = 0;
    /* The largest process; of those killed with the namespace there is only what was seen. */
    r->max_rss_bytes = (int64_t)ru.ru_maxrss * 1024;
    if (r->max_rss_bytes < s->rss_max_bytes && !s->has_exited)
        r->max_rss_bytes = s->rss_max_bytes;
    is_counted = !s->has_cgroup || read_group_cpu(s);
    if (s->has_cgroup && is_counted) {
        r->cpu_ns = s->tree_cpu_ns;
    } else {
        r->cpu_ns = rusage_cpu_ns(&ru);
        if (r->cpu_ns < s->tree_cpu_ns) /* those killed with the namespace are not waited for */
            r->cpu_ns = s->tree_cpu_ns;
    }
    r->cpu_ns += rusage_cpu_ns(&checker_ru);
    r->mode = s->program->mode;
    r->verdict = slot_decide(s, checker_status, r);
    if (!is_counted)
        r->verdict = slot_say(r, VERDICT_INTERNAL,
                              "the CPU time of control group slot-%d was not to be read", s->n);
    if (!is_clean)
        r->verdict =
            slot_say(r, VERDICT_INTERNAL, "processes were left in control group slot-%d", s->n);
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
