/*
 * Probe the sandbox by behaviour: start one, try from inside what it is there to prevent, and
 * look from outside at what came of it.
 *
 * Two sandboxes are started, by a zygote as programs' are. The first is that of level user, all
 * namespaces, limits and the filter. The second adds control groups and is killed by the memory
 * limit at last. All of it happens in a child of the program, as the supervisor's work does.
 */
#include "harness/judge/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/judge/cgroup.h"
#include "harness/judge/interpreter.h"
#include "harness/judge/sandbox.h"
#include "harness/judge/supervisor.h"
#include "harness/judge/text.h"
#include "harness/judge/usage.h"

_Static_assert(N_LAYERS <= (int)SANDBOX_MAX_LAYERS, "the report has no room");

static const struct {
    const char *name;
    bool is_needed_user, is_needed_full;
} layer_rows[N_LAYERS] = {
    [L_INTERPRETER] = { "interpreter", true, true },
    [L_SETUP] = { "set-up", true, true },
    [L_HOST_UID] = { "host uid of its own", false, true },
    [L_PID_NS] = { "pid namespace", true, true },
    [L_FILES] = { "mount namespace", true, true },
    [L_WORK_SIZE] = { "disk limit", true, true },
    [L_PROC] = { "/proc", true, true },
    [L_DEVICES] = { "devices", true, true },
    [L_NET_NS] = { "net namespace", true, true },
    [L_IPC_NS] = { "ipc namespace", true, true },
    [L_UTS_NS] = { "uts namespace", true, true },
    [L_CGROUP_NS] = { "cgroup namespace", true, true },
    [L_CAPABILITIES] = { "capabilities", true, true },
    [L_NO_NEW_PRIVS] = { "no_new_privs", true, true },
    [L_RLIMITS] = { "rlimits", true, true },
    [L_SESSION] = { "session", true, true },
    [L_PROCESS_LIMIT] = { "process limit", true, false },
    [L_FILTER] = { "seccomp", true, true },
    [L_KILL] = { "namespace kill", true, true },
    [L_USAGE] = { "tree usage", true, false },
    [L_CG_PIDS] = { "cgroup pids", false, true },
    [L_CG_MEMORY] = { "cgroup memory", false, true },
    [L_CG_CPU] = { "cgroup cpu time", false, true },
    [L_CG_KILL] = { "cgroup.kill", false, false }, /* the namespace's end kills as well */
};

static const int64_t probe_limit_ns = 20LL * 1000000000;

/* --- outside ---------------------------------------------------------------------------------- */

struct watch { /* what one sandbox showed */
    bool has_failed, has_exited, is_gone, has_report_end, has_file;
    struct ctl_message failure;
    int wait_status, procfd;
    uid_t file_uid;
    struct usage usage;
};

static void take_finding(struct sandbox_report *r, const struct finding *f)
{
    if (f->layer < 0 || f->layer >= N_LAYERS)
        return;
    struct sandbox_layer *l = &r->layers[f->layer];
    l->is_present = f->is_present != 0;
    snprintf(l->details, sizeof(l->details), "%s", f->details);
}

static void take_message(struct sandbox_proc *p, struct watch *w)
{
    struct ctl_message m;
    struct stat sb;
    int fd, rc;

    while ((rc = ctl_recv(p->ctl, &m, &fd)) == 1) {
        if (m.kind == CTL_FAILED) {
            w->has_failed = true;
            w->failure = m;
        } else if (m.kind == CTL_EXITED) {
            w->has_exited = true;
            w->wait_status = m.value;
        } else if (m.kind == CTL_READY && w->procfd < 0) {
            w->procfd = fd;
            fd = -1;
        } else if (m.kind == CTL_FILE) {
            if (fd >= 0 && fstat(fd, &sb) == 0) {
                w->has_file = true;
                w->file_uid = sb.st_uid;
            }
            if (usage_read(w->procfd, &w->usage) != 0 || write(p->in, "x", 1) != 1)
                w->usage = (struct usage){ 0 };
        }
        if (fd >= 0)
            close(fd);
    }
    if (rc < 0) {
        close(p->ctl);
        p->ctl = -1;
    }
}

static void take_report(struct sandbox_proc *p, struct sandbox_report *r, struct watch *w)
{
    struct finding f;
    ssize_t n;

    while ((n = read(p->report, &f, sizeof(f))) == (ssize_t)sizeof(f))
        take_finding(r, &f);
    if (n == 0) {
        w->has_report_end = true;
        close(p->report);
        p->report = -1;
    }
}

/* Until init is gone and everybody let go of the report, or the time is over. */
static void watch(struct sandbox_proc *p, struct sandbox_report *r, struct watch *w)
{
    const int64_t end = clock_mono_ns() + probe_limit_ns;

    while (!(w->is_gone && p->report < 0) && clock_mono_ns() < end) {
        struct pollfd fds[3] = { { .fd = w->is_gone ? -1 : p->pidfd, .events = POLLIN },
                                 { .fd = p->ctl, .events = POLLIN },
                                 { .fd = p->report, .events = POLLIN } };
        if (poll(fds, 3, 100) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            take_message(p, w);
        if (fds[2].revents)
            take_report(p, r, w);
        if (fds[0].revents) {
            w->is_gone = true;
            if (p->ctl >= 0)
                take_message(p, w);
        }
    }
}

static int listen_local(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void set_layer(struct sandbox_report *r, enum layer layer, bool is_present, const char *fmt,
                      ...) __attribute__((format(printf, 4, 5)));
static void set_layer(struct sandbox_report *r, enum layer layer, bool is_present, const char *fmt,
                      ...)
{
    va_list ap;

    r->layers[layer].is_present = is_present;
    va_start(ap, fmt);
    vsnprintf(r->layers[layer].details, sizeof(r->layers[layer].details), fmt, ap);
    va_end(ap);
}

/* The candidate should have left in peace; a sanitizer, say, would have written why. */
static void tell_death(struct sandbox_report *r, const struct sandbox_proc *p, int wait_status)
{
    char raw[160], text[100] = "";
    ssize_t n = read(p->err, raw, sizeof(raw));

    if (n > 0)
        text_visible(raw, (size_t)n, 0, text, sizeof(text));
    set_layer(r, L_SETUP, false, "the probe ended with wait status %#x%s%s", wait_status,
              *text ? ": " : "", text);
}

static void probe_sandbox(const char *python, struct zygote *z, struct sandbox_limits limits,
                          struct sandbox_report *r)
{
    struct sandbox_probe_arg arg = { .shm_id = shmget(IPC_PRIVATE, 4096, 0600) };
    struct watch w = { .procfd = -1 };
    struct sandbox_proc p;
    struct sockaddr_in at = { 0 };
    socklen_t len = sizeof(at);
    struct error err;
    uid_t uid;
    bool has_uid = sandbox_slot_uid(0, &uid);
    int listener = listen_local();

    if (!has_uid)
        uid = geteuid();
    if (listener >= 0 && getsockname(listener, (struct sockaddr *)&at, &len) == 0)
        arg.port = ntohs(at.sin_port);
    limits.level = SANDBOX_USER;
    if (zygote_open(python, uid, z, &err) ||
        sandbox_spawn(z, ROLE_PROBE, &limits, &arg, NULL, &p, &err)) {
        set_layer(r, L_SETUP, false, "%s", err.text);
        goto out;
    }
    watch(&p, r, &w);
    if (w.has_failed)
        set_layer(r, L_SETUP, false, "cannot %s: %s", w.failure.what, strerror(w.failure.value));
    else if (!w.has_exited || !WIFEXITED(w.wait_status) || WEXITSTATUS(w.wait_status) != 0)
        tell_death(r, &p, w.wait_status);
    else
        set_layer(r, L_SETUP, true, "complete");
    set_layer(r, L_HOST_UID, has_uid && w.has_file && w.file_uid == uid && uid != 0,
              w.has_file ? "files made inside belong to uid %u" : "no file was made",
              (unsigned)w.file_uid);
    set_layer(r, L_KILL, r->layers[L_SETUP].is_present && w.is_gone && w.has_report_end,
              "a daemon %s the candidate", w.has_report_end ? "died with" : "outlived");
    set_layer(r, L_USAGE, w.usage.cpu_ns >= PROBE_BURN_NS / 3 && w.usage.rss_bytes > 0,
              "%d tasks, %lld ns of CPU time, %lld bytes seen", w.usage.n_tasks,
              (long long)w.usage.cpu_ns, (long long)w.usage.rss_bytes);
    sandbox_proc_end(&p);
out:
    if (w.procfd >= 0)
        close(w.procfd);
    if (listener >= 0)
        close(listener);
    if (arg.shm_id >= 0)
        shmctl(arg.shm_id, IPC_RMID, NULL);
}

static void probe_in_groups(struct zygote *z, const struct sandbox_limits *limits,
                            const struct cgroup_slot *cg, struct sandbox_report *r)
{
    const int64_t oom = cgroup_n_oom_kills(cg), refused = cgroup_n_forks_refused(cg);
    const int64_t cpu = cgroup_cpu_ns(cg);
    struct watch w = { .procfd = -1 };
    struct sandbox_proc p;
    const struct sandbox_probe_arg arg = { .is_cgroup = true };
    struct error err;

    if (sandbox_spawn(z, ROLE_PROBE, limits, &arg, cg, &p, &err)) {
        set_layer(r, L_CG_PIDS, false, "%s", err.text);
        return;
    }
    watch(&p, r, &w);
    sandbox_proc_end(&p);
    if (w.procfd >= 0)
        close(w.procfd);
    if (cgroup_n_forks_refused(cg) <= refused)
        set_layer(r, L_CG_PIDS, false, "no refused fork was counted");
    /* The kernel may kill init instead, or both: then there is no word of the candidate. */
    bool is_killed =
        !w.has_exited || (WIFSIGNALED(w.wait_status) && WTERMSIG(w.wait_status) == SIGKILL);
    set_layer(r, L_CG_MEMORY, is_killed && w.is_gone && cgroup_n_oom_kills(cg) > oom,
              "%s at %d bytes, %lld kills counted", is_killed ? "killed" : "not killed",
              PROBE_MEMORY, (long long)(cgroup_n_oom_kills(cg) - oom));
    set_layer(r, L_CG_CPU, cgroup_cpu_ns(cg) - cpu >= PROBE_BURN_NS, "%lld ns counted",
              (long long)(cgroup_cpu_ns(cg) - cpu));
}

static void probe_cgroups(struct zygote *z, struct sandbox_limits limits, struct sandbox_report *r)
{
    static const enum layer layers[N_CG_ROLES] = { L_CG_PIDS, L_CG_MEMORY, L_CG_CPU, L_CG_KILL };
    struct cgroup_home home;
    struct cgroup_slot cg;
    struct error err;

    if (cgroup_home_open(&home, &err)) {
        for (int i = 0; i < N_CG_ROLES; i++)
            set_layer(r, layers[i], false, "%s", err.text);
        return;
    }
    for (int i = 0; i < N_CG_ROLES; i++)
        set_layer(r, layers[i], false, "%s", home.has[i] ? "not probed: others fail" : home.why[i]);
    if (home.has[CG_PIDS] && home.has[CG_MEMORY] && home.has[CG_CPU]) {
        limits.level = SANDBOX_FULL;
        limits.max_pids = 64; /* so that the group's limit is met first */
        if (cgroup_slot_open(&home, 0, PROBE_MEMORY, PROBE_PIDS, &cg, &err)) {
            set_layer(r, L_CG_PIDS, false, "%s", err.text);
        } else {
            probe_in_groups(z, &limits, &cg, r);
            bool has_kill = cg.dirfds[CG_KILL] >= 0 &&
                            faccessat(cg.dirfds[CG_KILL], "cgroup.kill", W_OK, AT_EACCESS) == 0;
            set_layer(r, L_CG_KILL, has_kill, "%s", has_kill ? "there" : "not there");
            cgroup_slot_close(&cg);
        }
    }
    cgroup_home_close(&home);
}

static void probe_all(const char *python, struct sandbox_report *r)
{
    const struct sandbox_limits limits = { .cpu_limit_ns = PROBE_TIME_NS,
                                           .memory_bytes = 4LL * PROBE_MEMORY,
                                           .disk_bytes = PROBE_DISK,
                                           .max_pids = PROBE_PIDS };
    struct zygote z = { -1, -1 };

    probe_sandbox(python, &z, limits, r);
    if (r->layers[L_SETUP].is_present)
        probe_cgroups(&z, limits, r);
    zygote_close(&z);
}

static enum sandbox_level strongest(const struct sandbox_report *r)
{
    bool has_user = true, has_full = true;

    for (size_t i = 0; i < r->n_layers; i++) {
        has_user = has_user && (r->layers[i].is_present || !r->layers[i].is_needed_user);
        has_full = has_full && (r->layers[i].is_present || !r->layers[i].is_needed_full);
    }
    return has_full ? SANDBOX_FULL : has_user ? SANDBOX_USER : SANDBOX_NONE;
}

static bool write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    for (ssize_t n; len > 0; p += n, len -= (size_t)n)
        if ((n = write(fd, p, len)) <= 0)
            return false;
    return true;
}

enum status sandbox_probe(const struct judge_options *opts, struct sandbox_report *ret,
                          struct error *err)
{
    struct sandbox_report r = { .n_layers = N_LAYERS };
    char python[INTERPRETER_PATH_SIZE];
    struct error find;
    size_t len = 0;
    int fds[2];

    for (int i = 0; i < N_LAYERS; i++) {
        r.layers[i].name = layer_rows[i].name;
        r.layers[i].is_needed_user = layer_rows[i].is_needed_user;
        r.layers[i].is_needed_full = layer_rows[i].is_needed_full;
        set_layer(&r, (enum layer)i, false, "not probed: the set-up fails");
    }
    if (interpreter_find(opts->python, python, &find) == ST_OK)
        set_layer(&r, L_INTERPRETER, true, "%.150s", python);
    else
        set_layer(&r, L_INTERPRETER, false, "%.150s", find.text);

    if (pipe2(fds, O_CLOEXEC) != 0)
        return error_set(err, ST_IO, "sandbox: cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        supervisor_detach(&fds[1], 1);
        probe_all(python, &r);
        _exit(write_all(fds[1], &r, sizeof(r)) ? 0 : 1);
    }
    close(fds[1]);
    struct sandbox_report answer;
    for (ssize_t n = 1; pid > 0 && len < sizeof(answer) && n != 0;) {
        n = read(fds[0], (char *)&answer + len, sizeof(answer) - len);
        if (n > 0)
            len += (size_t)n;
        else if (n < 0 && errno != EINTR)
            break;
    }
    close(fds[0]);
    if (pid < 0)
        return error_set(err, ST_IO, "sandbox: cannot fork the probe: %s", strerror(errno));
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (len != sizeof(answer))
        return error_set(err, ST_INTERNAL, "sandbox: the probe died");
    answer.level = strongest(&answer);
    *ret = answer;
    return ST_OK;
}
