/* Zygotes and sandboxes seen from outside: clone, map, ask, say go. */
#include "harness/judge/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "harness/judge/text.h"

/* Of a zygote; its forks have more of their own. */
enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS };

/* Starting an interpreter takes 20 ms, a fork of it 1 ms; a busy machine may take its time. */
enum { ANSWER_LIMIT_S = 60 };

/*
 * Where slot uids come from. systemd's table of uid ranges (UIDS-GIDS.md) leaves 1879048192 ..
 * 2147483647 unused: 2^28 numbers, 256 slots for each of 2^20 process ids.
 */
enum { SLOT_UID_BASE = 1879048192, SLOTS_PER_JUDGE = 256, SLOT_JUDGES = 1 << 20 };

/* --- users --------------------------------------------------------------------------------------
 */

/* Is id one of the numbers this namespace has (/proc/self/[ug]id_map)? Else a spare one near
 * the end of the largest range, if that is large enough. */
static bool usable_id(const char *path, uint64_t id, int n, uint64_t *ret)
{
    enum { RESERVE = 4096 }; /* keeps off 65534, nobody */
    uint64_t best_from = 0, best_count = 0;
    FILE *f = fopen(path, "re");
    bool is_in = false;
    char line[128];

    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) { /* "from to count" */
        char *p = line;
        uint64_t from = strtoull(p, &p, 10);
        strtoull(p, &p, 10);
        uint64_t count = strtoull(p, &p, 10);
        is_in = is_in || (id >= from && id - from < count);
        if (count > best_count) {
            best_from = from;
            best_count = count;
        }
    }
    fclose(f);
    if (!is_in && best_count < 2ULL * RESERVE)
        return false;
    *ret = is_in ? id : best_from + best_count - (uint64_t)RESERVE + (uint64_t)n;
    return true;
}

bool sandbox_slot_uid(int n, uid_t *ret)
{
    uint64_t id = (uint64_t)SLOT_UID_BASE + (uint64_t)(getpid() % SLOT_JUDGES) * SLOTS_PER_JUDGE +
                  (uint64_t)n;
    uint64_t uid, gid;

    if (geteuid() != 0 || !usable_id("/proc/self/uid_map", id, n, &uid) ||
        !usable_id("/proc/self/gid_map", id, n, &gid) || uid != gid)
        return false;
    *ret = (uid_t)uid;
    return true;
}

static int write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];
    int fd, rc = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        rc = errno;
    close(fd);
    return rc;
}

/* One user and one group inside: an ordinary user may map no more than himself. */
static int map_user(pid_t pid, uid_t host_uid, gid_t host_gid)
{
    char text[64];
    int rc = write_proc(pid, "setgroups", "deny");

    if (rc)
        return rc;
    snprintf(text, sizeof(text), "%d %u 1\n", SANDBOX_UID, (unsigned)host_uid);
    rc = write_proc(pid, "uid_map", text);
    if (rc)
        return rc;
    snprintf(text, sizeof(text), "%d %u 1\n", SANDBOX_UID, (unsigned)host_gid);
    return write_proc(pid, "gid_map", text);
}

/* --- the zygote's side, up to exec --------------------------------------------------------------
 */

/* The embedded parts of its program, in order. */
extern const char values_py[], candidate_py[], checker_py[], zygote_py[];

static void become_user(void)
{
    if (setresgid(SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) != 0 ||
        setresuid(SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) != 0)
        ctl_die(ZYGOTE_CMD, "become user %d", SANDBOX_UID);
}

/* What stays over exec: to make namespaces and mounts, and to give up the bounding set. */
static void keep_capabilities(void)
{
    static const int kept[] = { CAP_SYS_ADMIN, CAP_SETPCAP };
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        set[0].effective |= 1U << kept[i];
        set[0].permitted |= 1U << kept[i];
        set[0].inheritable |= 1U << kept[i];
    }
    if (syscall(SYS_capset, &header, set) != 0)
        ctl_die(ZYGOTE_CMD, "reduce its capabilities");
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) != 0)
            ctl_die(ZYGOTE_CMD, "keep capability %d", kept[i]);
}

static void reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL); /* refused for two of the C library's own */
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        ctl_die(ZYGOTE_CMD, "reset the signal mask");
}

/* Bring the channels to their numbers and close everything else of the spawner's. The standard
 * streams are what programs will have there, for the interpreter looks at their kind as it starts:
 * an empty one and pipes. */
static void arrange_fds(int cmd, int err_fd)
{
    const int from[] = { open("/dev/null", O_RDONLY | O_CLOEXEC), err_fd, err_fd, cmd };
    int high[4];

    for (int i = 0; i < 4; i++) { /* out of each other's way first */
        high[i] = fcntl(from[i], F_DUPFD, 64);
        if (high[i] < 0)
            _exit(1); /* the spawner sees cmd close */
    }
    for (int i = 0; i < 4; i++)
        if (dup2(high[i], i) < 0)
            _exit(1);
    if (syscall(SYS_close_range, ZYGOTE_CMD + 1, ~0U, 0) != 0)
        ctl_die(ZYGOTE_CMD, "close descriptors");
}

/*
 * The interpreter's environment is all of it here, so -I (which would make it ignore
 * PYTHONHASHSEED) is spelled out: -s, PYTHONSAFEPATH and no other PYTHON* variable. -S leaves
 * site-packages out: what can be imported is the standard library, on any machine.
 */
static _Noreturn void exec_python(const char *python, char *source)
{
    /* Python's functions under names of our own: what programs make of theirs is their affair. */
    static char boot[] = "import builtins, sys\n"
                         "exec(compile(sys.argv.pop(), '<sandbox>', 'exec'),\n"
                         "     {'__name__': 'sandbox', '__builtins__': dict(vars(builtins))})\n";
    char *const argv[] = { (char *)python, "-s", "-S", "-c", boot, source, NULL };
    char *const envp[] = { "PATH=/usr/bin:/bin",
                           "HOME=/tmp",
                           "TMPDIR=/tmp",
                           "USER=sandbox",
                           "LANG=C.UTF-8",
                           "LC_ALL=C.UTF-8",
                           "TZ=UTC",
                           "PYTHONHASHSEED=0",
                           "PYTHONSAFEPATH=1",
                           "PYTHONDONTWRITEBYTECODE=1",
                           "OMP_NUM_THREADS=1",
                           "OPENBLAS_NUM_THREADS=1",
                           "MKL_NUM_THREADS=1",
                           "NUMEXPR_NUM_THREADS=1",
                           NULL };

    execve(python, argv, envp);
    ctl_die(ZYGOTE_CMD, "execute '%s'", python);
}

static _Noreturn void zygote_main(const char *python, char *source, int cmd, int err_fd)
{
    struct ctl_message m;
    int unused;

    arrange_fds(cmd, err_fd);
    if (ctl_recv(ZYGOTE_CMD, &m, &unused) != 1 || m.kind != CTL_GO)
        _exit(1);
    /* The user comes first: a process that root cloned into a user namespace keeps kernel uid 0
     * until it takes on a mapped id, whatever getuid() prints. */
    become_user();
    umask(022);
    root_build();
    if (sethostname(SANDBOX_HOST, strlen(SANDBOX_HOST)) != 0 || setdomainname("", 0) != 0)
        ctl_die(ZYGOTE_CMD, "set the host name");
    keep_capabilities();
    reset_signals();
    exec_python(python, source);
}

/* --- a zygote from outside ----------------------------------------------------------------------
 */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void kill_and_wait(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *pid = -1;
}

static int set_receive_limit(int fd)
{
    const struct timeval limit = { .tv_sec = ANSWER_LIMIT_S };

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 ? 0 : errno;
}

/* It said no, or died: with what words? Last line of its standard error. */
static enum status tell_start(const struct ctl_message *m, int rc, int err_fd, struct error *err)
{
    char raw[4096], text[160];
    ssize_t n;

    if (rc == 1 && m->kind == CTL_FAILED)
        return error_set(err, ST_UNSUPPORTED, "sandbox: cannot %s: %s", m->what,
                         strerror(m->value));
    n = rc == 0 ? 0 : read(err_fd, raw, sizeof(raw));
    while (n > 0 && raw[n - 1] == '\n')
        n--;
    const char *line = n > 0 ? memrchr(raw, '\n', (size_t)n) : NULL;
    line = line ? line + 1 : raw;
    text_visible(line, n > 0 ? (size_t)(raw + n - line) : 0, 0, text, sizeof(text));
    return error_set(err, ST_UNSUPPORTED, "sandbox: the interpreter %s%s%s",
                     rc == 0 ? "did not start in time" : "did not start", *text ? ": " : "", text);
}

enum status zygote_open(const char *python, uid_t host_uid, struct zygote *ret, struct error *err)
{
    const gid_t host_gid = host_uid == geteuid() ? getegid() : host_uid;
    int cmd[2] = { -1, -1 }, errs[2] = { -1, -1 }, rc = 0, passed;
    const char *step = "make its channels";
    struct zygote z = { -1, -1 };
    struct ctl_message m = { .kind = CTL_GO };
    struct buf source = { 0 };
    enum status st = ST_OK;

    buf_puts(&source, values_py);
    buf_puts(&source, candidate_py);
    buf_puts(&source, checker_py);
    buf_puts(&source, zygote_py);
    if (!buf_ok(&source)) {
        buf_release(&source);
        return error_set(err, ST_NOMEM, "out of memory starting an interpreter");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, cmd) != 0 ||
        pipe2(errs, O_CLOEXEC) != 0)
        rc = errno;
    if (rc == 0) {
        step = "make the slot's namespaces";
        /* Like fork(): the child goes on here, on a copy of this memory. */
        z.pid = (pid_t)syscall(SYS_clone, (unsigned long)(NAMESPACES | SIGCHLD), NULL, NULL, NULL,
                               NULL);
        if (z.pid == 0)
            zygote_main(python, source.data, cmd[1], errs[1]);
        rc = z.pid < 0 ? errno : 0;
    }
    close_fd(&cmd[1]);
    close_fd(&errs[1]);
    z.cmd = cmd[0];
    if (rc == 0) {
        step = "map the slot's user";
        rc = map_user(z.pid, host_uid, host_gid);
    }
    if (rc == 0) {
        step = "start the slot's interpreter";
        rc = set_receive_limit(z.cmd);
    }
    if (rc == 0)
        rc = ctl_send(z.cmd, &m, -1) ? 0 : errno;
    if (rc) {
        st = error_set(err, ST_UNSUPPORTED, "sandbox: cannot %s: %s", step, strerror(rc));
    } else {
        rc = ctl_recv(z.cmd, &m, &passed);
        close_fd(&passed);
        if (rc != 1 || m.kind != CTL_READY)
            st = tell_start(&m, rc, errs[0], err);
    }
    close_fd(&errs[0]);
    buf_release(&source);
    if (st)
        zygote_close(&z);
    else
        *ret = z;
    return st;
}

void zygote_close(struct zygote *z)
{
    close_fd(&z->cmd);
    kill_and_wait(&z->pid);
}

/* --- programs -----------------------------------------------------------------------------------
 */

struct ends { /* ours and the other's of each channel */
    int ctl[2], in[2], out[2], err[2], report[2], channel[2];
};

static int open_ends(struct ends *e, bool has_checker)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, e->ctl) != 0 ||
        pipe2(e->in, O_CLOEXEC) != 0 || pipe2(e->out, O_CLOEXEC) != 0 ||
        pipe2(e->err, O_CLOEXEC) != 0 || pipe2(e->report, O_CLOEXEC) != 0)
        return errno;
    if (has_checker && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->channel) != 0)
        return errno;
    /* Only our ends: the flag belongs to the open file, and a pipe's ends are two. */
    if (fcntl(e->ctl[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(e->in[1], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(e->out[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(e->err[0], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(e->report[0], F_SETFL, O_NONBLOCK) != 0)
        return errno;
    return 0;
}

static void close_other_ends(struct ends *e)
{
    close_fd(&e->ctl[1]);
    close_fd(&e->in[0]);
    close_fd(&e->out[1]);
    close_fd(&e->err[1]);
    close_fd(&e->report[1]);
    close_fd(&e->channel[0]);
    close_fd(&e->channel[1]);
}

/* Have the zygote fork for the request, with fds[i] as its number i (-1: none). */
static enum status ask(struct zygote *z, struct zygote_request *r, const int fds[N_CHILD_FDS],
                       pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
    int sent[N_CHILD_FDS], passed, rc;
    struct ctl_message m;
    size_t n = 0;

    memset(r->fds, 0, sizeof(r->fds));
    for (int i = 0; i < N_CHILD_FDS; i++)
        if (fds[i] >= 0) {
            r->fds[n] = i;
            sent[n++] = fds[i];
        }
    if (!packet_send(z->cmd, r, sizeof(*r), sent, n))
        return error_set(err, ST_IO, "sandbox: the slot's interpreter is gone: %s",
                         strerror(errno));
    rc = ctl_recv(z->cmd, &m, &passed);
    close_fd(&passed);
    if (rc != 1)
        return error_set(err, ST_IO, "sandbox: the slot's interpreter %s",
                         rc == 0 ? "does not answer" : "is gone");
    if (m.kind != CTL_STARTED)
        return error_set(err, ST_UNSUPPORTED, "sandbox: cannot %s: %s", m.what, strerror(m.value));
    *ret_pid = m.value; /* our child: the number stays its own until we wait for it */
    *ret_pidfd = (int)syscall(SYS_pidfd_open, m.value, 0);
    if (*ret_pidfd < 0)
        return error_set(err, ST_UNSUPPORTED, "sandbox: cannot watch a process: %s",
                         strerror(errno));
    return ST_OK;
}

enum status sandbox_spawn(struct zygote *z, enum sandbox_role role,
                          const struct sandbox_limits *limits,
                          const struct sandbox_probe_arg *probe, const struct cgroup_slot *cg,
                          struct sandbox_proc *ret, struct error *err)
{
    struct ends e = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
    const bool has_checker = role == ROLE_CANDIDATE;
    struct zygote_request r = { .role = (int32_t)role, .limits = *limits };
    const struct ctl_message go = { .kind = CTL_GO };
    struct sandbox_proc p = SANDBOX_PROC_NONE;
    enum status st;
    int rc;

    if (probe)
        r.probe = *probe;
    rc = open_ends(&e, has_checker);
    p.ctl = e.ctl[0];
    p.in = e.in[1];
    p.out = e.out[0];
    p.err = e.err[0];
    p.report = e.report[0];
    if (rc) {
        st = error_set(err, ST_UNSUPPORTED, "sandbox: cannot make its channels: %s", strerror(rc));
    } else {
        int fds[N_CHILD_FDS] = { -1,
                                 e.out[1],
                                 e.err[1],
                                 e.channel[0],
                                 has_checker ? -1 : e.report[1],
                                 has_checker ? -1 : e.in[0],
                                 e.ctl[1] };
        st = ask(z, &r, fds, &p.pid, &p.pidfd, err);
    }
    if (!st && has_checker) {
        int fds[N_CHILD_FDS] = { -1, -1, e.err[1], e.channel[1], e.report[1], e.in[0], e.ctl[1] };
        r.role = ROLE_CHECKER;
        st = ask(z, &r, fds, &p.checker, &p.checker_pidfd, err);
    }
    close_other_ends(&e);
    if (!st && cg && (rc = cgroup_slot_join(cg, p.pid)) != 0)
        st = error_set(err, ST_UNSUPPORTED, "sandbox: cannot move it into its control groups: %s",
                       strerror(rc));
    if (!st && !ctl_send(p.ctl, &go, -1))
        st = error_set(err, ST_UNSUPPORTED, "sandbox: cannot start it: %s", strerror(errno));
    if (st)
        sandbox_proc_end(&p);
    else
        *ret = p;
    return st;
}

void sandbox_proc_end(struct sandbox_proc *p)
{
    kill_and_wait(&p->pid);
    kill_and_wait(&p->checker);
    close_fd(&p->pidfd);
    close_fd(&p->checker_pidfd);
    close_fd(&p->ctl);
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->err);
    close_fd(&p->report);
}
