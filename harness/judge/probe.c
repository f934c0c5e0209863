/*
 * Probe the sandbox by behaviour: start one, try from inside what it is there to prevent, and
 * look from outside at what came of it.
 *
 * Two sandboxes are started. The first is that of level user, all namespaces, limits and the
 * filter. The second adds control groups and is killed by the memory limit at last. All of it
 * happens in a child of the program, as the supervisor's work does.
 */
#include "harness/judge/judge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/judge/cgroup.h"
#include "harness/judge/filter.h"
#include "harness/judge/interpreter.h"
#include "harness/judge/sandbox.h"
#include "harness/judge/supervisor.h"
#include "harness/judge/text.h"
#include "harness/judge/usage.h"

enum layer {
    L_INTERPRETER,
    L_SETUP,
    L_HOST_UID,
    L_PID_NS,
    L_FILES,
    L_WORK_SIZE,
    L_PROC,
    L_DEVICES,
    L_NET_NS,
    L_IPC_NS,
    L_UTS_NS,
    L_CGROUP_NS,
    L_CAPABILITIES,
    L_NO_NEW_PRIVS,
    L_RLIMITS,
    L_SESSION,
    L_PROCESS_LIMIT,
    L_FILTER,
    L_KILL,
    L_USAGE,
    L_CG_PIDS,
    L_CG_MEMORY,
    L_CG_CPU,
    L_CG_KILL,
    N_LAYERS
};
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

enum {
    PROBE_PIDS = 8,
    PROBE_DISK = 1 << 20,
    PROBE_MEMORY = 32 << 20,
    PROBE_BURN_NS = 25000000,
    PROBE_TIME_NS = 1000000000,
};
static const int64_t probe_limit_ns = 20LL * 1000000000;

struct probe_arg {
    int port;       /* 127.0.0.1, somebody listens; 0: none */
    int shm_id;     /* a segment outside; -1: none */
    bool is_cgroup; /* second sandbox */
};

/* One line of findings on FD_REPORT. */
struct finding {
    int32_t layer, is_present;
    char details[sizeof(((struct sandbox_layer *)0)->details)];
};

/* --- inside ----------------------------------------------------------------------------------- */
/* Nothing here allocates: RLIMIT_AS may leave no room, least of all to a sanitizer's allocator. */

static void tell(enum layer layer, bool is_present, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void tell(enum layer layer, bool is_present, const char *fmt, ...)
{
    struct finding f = { .layer = (int32_t)layer, .is_present = is_present };
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f.details, sizeof(f.details), fmt, ap);
    va_end(ap);
    if (write(FD_REPORT, &f, sizeof(f)) != (ssize_t)sizeof(f))
        _exit(1);
}

/* errno of a failed open for writing; 0 if it worked. */
static int try_create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static void burn(int64_t ns)
{
    struct timespec t;

    do {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    } while (t.tv_sec * 1000000000LL + t.tv_nsec < ns);
}

static void try_files(void)
{
    int etc = access("/etc/passwd", F_OK) == 0 ? 0 : errno;
    int usr = try_create("/usr/desbench-probe"), root = try_create("/desbench-probe");
    int mode = mount("none", "/tmp", "tmpfs", 0, NULL) == 0 ? 0 : errno;

    tell(L_FILES, etc == ENOENT && usr == EROFS && root == EROFS && mode == EPERM,
         "/etc/passwd: %s; write to /usr: %s, to /: %s; mount: %s", strerror(etc), strerror(usr),
         strerror(root), strerror(mode));
}

static void try_work_size(void)
{
    static char block[65536];
    size_t total = 0;
    int error = 0;

    for (int i = 0; i < 4 && error == 0; i++) {
        char path[32];
        snprintf(path, sizeof(path), SANDBOX_DIR "/fill%d", i);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ssize_t n = fd < 0 ? -1 : 0;
        for (int k = 0; n >= 0 && k < PROBE_DISK / 2 / (int)sizeof(block); k++) {
            n = write(fd, block, sizeof(block));
            total += n > 0 ? (size_t)n : 0;
        }
        error = n < 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
    }
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof(path), SANDBOX_DIR "/fill%d", i);
        unlink(path);
    }
    tell(L_WORK_SIZE, error == ENOSPC && total <= PROBE_DISK, "%zu of %d bytes written, then: %s",
         total, PROBE_DISK, strerror(error));
}

static void try_proc(void)
{
    bool has_init = access("/proc/1", F_OK) == 0, has_sys = access("/proc/sys", F_OK) == 0;
    bool has_self = access("/proc/self/stat", F_OK) == 0;

    tell(L_PROC, has_self && !has_init && !has_sys, "self %s, init %s, /proc/sys %s",
         has_self ? "visible" : "missing", has_init ? "visible" : "hidden",
         has_sys ? "visible" : "absent");
}

/* Name of an entry of /dev that should not be there; "" if there is none. */
static void find_unexpected(char *out, size_t size)
{
    static const char *const expected[] = { ".", "..", "null", "zero", "random", "urandom", "shm" };
    char entries[2048] __attribute__((aligned(8)));
    int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long n;

    snprintf(out, size, "%s", fd < 0 ? "no folder" : "");
    while (fd >= 0 && (n = syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
        for (long at = 0; at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(entries + at);
            bool is_known = false;
            for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
                is_known = is_known || strcmp(e->d_name, expected[i]) == 0;
            if (!is_known)
                snprintf(out, size, "%.60s", e->d_name);
            at += e->d_reclen;
        }
    if (fd >= 0)
        close(fd);
}

static void try_devices(void)
{
    char other[64], byte;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bool is_random = fd >= 0 && read(fd, &byte, 1) == 1;

    if (fd >= 0)
        close(fd);
    find_unexpected(other, sizeof(other));
    tell(L_DEVICES, is_random && !*other, "urandom %s%s%s", is_random ? "works" : "fails",
         *other ? ", unexpected: " : "", other);
}

static void try_net(const struct probe_arg *arg)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)arg->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        error = errno;
    if (fd >= 0)
        close(fd);
    tell(L_NET_NS, error == ENETUNREACH, "127.0.0.1: %s", strerror(error));
}

static void try_ipc_and_uts(const struct probe_arg *arg)
{
    struct shmid_ds ds;
    char name[65] = "", groups[1024] = "";
    int rc = shmctl(arg->shm_id, IPC_STAT, &ds), error = rc == 0 ? 0 : errno;
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, groups, sizeof(groups) - 1) : -1;
    bool is_root = n > 0;

    tell(L_IPC_NS, error == EINVAL || error == EIDRM, "shared memory outside: %s", strerror(error));
    gethostname(name, sizeof(name) - 1);
    tell(L_UTS_NS, strcmp(name, SANDBOX_HOST) == 0, "host name '%s'", name);
    if (fd >= 0)
        close(fd);
    for (char *line = strtok(groups, "\n"); line; line = strtok(NULL, "\n")) {
        const char *path = strrchr(line, ':');
        is_root = is_root && path && strcmp(path, ":/") == 0;
    }
    tell(L_CGROUP_NS, is_root, "own groups %s", is_root ? "read '/'" : "show their place outside");
}

static void try_rights(void)
{
    char text[2048] = "", *p;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    int n_sets = 0, n_empty = 0;

    if (fd >= 0)
        close(fd);
    for (p = n > 0 ? text : NULL; p && (p = strstr(p, "\nCap")); p++) {
        n_sets++; /* CapInh, CapPrm, CapEff, CapBnd, CapAmb */
        n_empty += strtoull(p + 8, NULL, 16) == 0;
    }
    tell(L_CAPABILITIES, n_sets == 5 && n_empty == 5, "%d of %d sets empty", n_empty, n_sets);
    tell(L_NO_NEW_PRIVS, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "%s",
         prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? "set" : "not set");
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    tell(L_SESSION, getsid(0) == getpid() && tty < 0, "own session, %s terminal",
         tty < 0 ? "no" : "a");
    if (tty >= 0)
        close(tty);
}

static void try_rlimits(const struct sandbox *sb)
{
    int fds[300], n = 0, size_error = 0;
    int fd = open(SANDBOX_DIR "/big", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    signal(SIGXFSZ, SIG_IGN);
    if (fd >= 0 && pwrite(fd, "x", 1, PROBE_DISK) != 1)
        size_error = errno;
    while (n < 300 && (fds[n] = dup(fd)) >= 0)
        n++;
    for (int i = 0; i < n; i++)
        close(fds[i]);
    void *p = mmap(NULL, (size_t)sb->memory_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tell(L_RLIMITS, size_error == EFBIG && n < 256 && p == MAP_FAILED,
         "large file: %s; %d descriptors; address space %s", strerror(size_error), n,
         p == MAP_FAILED ? "limited" : "unlimited");
    if (fd >= 0)
        close(fd);
}

/* Fork sleepers until the kernel refuses; then end them. */
static int count_forks(int max)
{
    pid_t pids[64];
    int n = 0;

    while (n < max && n < 64) {
        pids[n] = fork();
        if (pids[n] < 0)
            break;
        if (pids[n] == 0) {
            close(FD_REPORT);
            for (;;)
                pause();
        }
        n++;
    }
    for (int i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    return n;
}

/* A process that outlives its parents, in a session of its own, holding the report open. */
static void leave_daemon(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        if (fork() == 0)
            for (;;)
                pause();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static int death_by(long nr, long a0)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        syscall(nr, a0, 0, 0, 0, 0, 0);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Hand a file over for the uid to be looked at, and stay until that is done. */
static void show_file(void)
{
    int fd = open(SANDBOX_DIR "/mine", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char byte;

    burn(PROBE_BURN_NS);
    ctl_send(FD_CTL, &(struct ctl_message){ .kind = CTL_FILE }, fd);
    if (fd >= 0)
        close(fd);
    if (read(FD_IN, &byte, 1) < 0)
        _exit(1);
}

static void probe_inside(const struct sandbox *sb, bool is_filtered)
{
    const struct probe_arg *arg = sb->probe_arg;

    if (arg->is_cgroup) {
        const size_t size = (size_t)4 * PROBE_MEMORY;
        int n = count_forks(32);
        tell(L_CG_PIDS, n < PROBE_PIDS, "%d processes of %d allowed", n + 2, PROBE_PIDS);
        burn(PROBE_BURN_NS);
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t i = 0; p != MAP_FAILED && i < size; i += 4096)
            ((volatile char *)p)[i] = 1;
        _exit(0);
    }
    if (!is_filtered) {
        tell(L_PID_NS, getpid() == 2 && getppid() == 1, "pid %d of parent %d", (int)getpid(),
             (int)getppid());
        try_files();
        try_work_size();
        try_proc();
        try_devices();
        try_net(arg);
        try_ipc_and_uts(arg);
        try_rights();
        show_file();
        try_rlimits(sb);
        int n = count_forks(32);
        tell(L_PROCESS_LIMIT, n < PROBE_PIDS + 1, "%d processes of %d allowed", n + 1, PROBE_PIDS);
        return;
    }
    int killed = death_by(SYS_keyctl, 0), vsock = death_by(SYS_socket, AF_VSOCK);
    bool is_refused = shmget(IPC_PRIVATE, 4096, 0600) < 0 && errno == EPERM;
    tell(L_FILTER, killed == SIGSYS && vsock == SIGSYS && is_refused,
         "keyctl: signal %d; vsock: signal %d; shmget: %s", killed, vsock,
         is_refused ? "refused" : "allowed");
    leave_daemon();
}

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

static void probe_sandbox(struct sandbox sb, struct sandbox_report *r)
{
    struct probe_arg arg = { .shm_id = shmget(IPC_PRIVATE, 4096, 0600) };
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
    sb.level = SANDBOX_USER;
    sb.probe_arg = &arg;
    if (sandbox_spawn(&sb, uid, NULL, &p, &err)) {
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

static void probe_in_groups(const struct sandbox *sb, const struct cgroup_slot *cg,
                            struct sandbox_report *r)
{
    const int64_t oom = cgroup_n_oom_kills(cg), refused = cgroup_n_forks_refused(cg);
    const int64_t cpu = cgroup_cpu_ns(cg);
    struct watch w = { .procfd = -1 };
    struct sandbox_proc p;
    struct error err;
    uid_t uid;

    if (!sandbox_slot_uid(0, &uid))
        uid = geteuid();
    if (sandbox_spawn(sb, uid, cg, &p, &err)) {
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

static void probe_cgroups(struct sandbox sb, struct sandbox_report *r)
{
    static const enum layer layers[N_CG_ROLES] = { L_CG_PIDS, L_CG_MEMORY, L_CG_CPU, L_CG_KILL };
    struct probe_arg arg = { .is_cgroup = true };
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
        sb.level = SANDBOX_FULL;
        sb.max_pids = 64; /* so that the group's limit is met first */
        sb.probe_arg = &arg;
        if (cgroup_slot_open(&home, 0, PROBE_MEMORY, PROBE_PIDS, &cg, &err)) {
            set_layer(r, L_CG_PIDS, false, "%s", err.text);
        } else {
            probe_in_groups(&sb, &cg, r);
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
    struct sandbox sb = { .python = python,
                          .source = "",
                          .filter = filter_program(),
                          .cpu_limit_ns = PROBE_TIME_NS,
                          .memory_bytes = 4LL * PROBE_MEMORY,
                          .disk_bytes = PROBE_DISK,
                          .max_pids = PROBE_PIDS,
                          .probe = probe_inside };

    probe_sandbox(sb, r);
    if (r->layers[L_SETUP].is_present)
        probe_cgroups(sb, r);
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
