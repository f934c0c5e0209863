/*
 * A sandbox seen from inside: what the zygote's forks build and give up. Part of the helper.
 *
 * The order matters. A /proc of one's own is mounted while the host's is still in sight, as the
 * kernel allows it only then. The death signal comes after the last change of credentials, which
 * would clear it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness/judge/filter.h"
#include "harness/judge/mounts.h"
#include "harness/judge/zygote.h"

/* Processes of the slot that the user's limit counts beside the candidate's: the zygote, init and
 * the checker. */
enum { N_OWN_PROCESSES = 3 };

/* What this process was forked for: a zygote's child serves one request and has one. */
static struct zygote_request request;

/* --- descriptors, signals ----------------------------------------------------------------------
 */

/* Bring the descriptors that came along to their numbers and close everything else. */
static void arrange_fds(int *fds, size_t n_fds)
{
    int at[N_CHILD_FDS] = { -1, -1, -1, -1, -1, -1, -1 };

    for (size_t i = 0; i < n_fds; i++) { /* out of each other's way first */
        int to = i < N_CHILD_FDS ? request.fds[i] : 0;
        if (to <= 0 || to >= N_CHILD_FDS || (at[to] = fcntl(fds[i], F_DUPFD, 64)) < 0)
            _exit(1); /* the spawner sees ctl close */
    }
    for (int i = 1; i < N_CHILD_FDS; i++) {
        if (at[i] >= 0 && dup2(at[i], i) < 0)
            _exit(1);
        if (at[i] < 0 && i > STDERR_FILENO) /* the zygote's standard streams lead nowhere */
            close(i);
    }
    if (syscall(SYS_close_range, N_CHILD_FDS, ~0U, 0) != 0)
        ctl_die(FD_CTL, "close descriptors");
}

static void die_with_parent(int fd)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        ctl_die(fd, "set the death signal");
}

/* --- file system -------------------------------------------------------------------------------
 */

/* A /proc of this namespace that only its holder sees: mounted nowhere. */
static int open_own_proc(void)
{
    int fs = (int)syscall(SYS_fsopen, "proc", 1 /* FSOPEN_CLOEXEC */);
    int mnt, dir;

    if (fs < 0 || syscall(SYS_fsconfig, fs, CONFIG_SET_STRING, "subset", "pid", 0) != 0 ||
        syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) != 0)
        ctl_die(FD_CTL, "make a /proc");
    mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */,
                       ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
    dir = mnt < 0 ? -1 : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        ctl_die(FD_CTL, "open a /proc");
    close(mnt);
    close(fs);
    return dir;
}

/* Returns a descriptor of the namespace's own /proc. */
static int mount_own(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const int64_t disk_bytes = request.limits.disk_bytes;
    int procfd = open_own_proc();
    char opts[96];

    /* Beside the host's, which then goes, and into its place. */
    if (mount("proc", SANDBOX_DIR, "proc", flags | MS_RDONLY, "hidepid=2,subset=pid") != 0)
        ctl_die(FD_CTL, "mount /proc");
    if (umount2("/proc", MNT_DETACH) != 0)
        ctl_die(FD_CTL, "detach the host's /proc");
    if (mount(SANDBOX_DIR, "/proc", NULL, MS_MOVE, NULL) != 0)
        ctl_die(FD_CTL, "move /proc");
    /* An inode takes about 1 KiB of kernel memory that size= does not count. */
    snprintf(opts, sizeof(opts), "size=%lld,nr_inodes=%lld,mode=0700", (long long)disk_bytes,
             16 + (long long)disk_bytes / 8192);
    if (mount("work", SANDBOX_DIR, "tmpfs", flags, opts) != 0)
        ctl_die(FD_CTL, "mount the work folder");
    return procfd;
}

/* --- rights -------------------------------------------------------------------------------------
 */

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            if (errno == EINVAL)
                break; /* past the last one this kernel knows */
            ctl_die(FD_CTL, "drop capability %d", cap);
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        syscall(SYS_capset, &header, none) != 0)
        ctl_die(FD_CTL, "drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        ctl_die(FD_CTL, "set no_new_privs");
}

/* Set a limit (hard limits of our own may be lower: then that) and read it back. */
static void limit(int what, rlim_t soft, rlim_t hard, const char *name)
{
    struct rlimit now, want = { soft, hard };

    if (getrlimit((__rlimit_resource_t)what, &now) != 0)
        ctl_die(FD_CTL, "read limit %s", name);
    if (want.rlim_max > now.rlim_max)
        want.rlim_max = now.rlim_max;
    if (want.rlim_cur > want.rlim_max)
        want.rlim_cur = want.rlim_max;
    if (setrlimit((__rlimit_resource_t)what, &want) != 0 ||
        getrlimit((__rlimit_resource_t)what, &now) != 0)
        ctl_die(FD_CTL, "set limit %s", name);
    if (now.rlim_cur != want.rlim_cur || now.rlim_max != want.rlim_max) {
        errno = ERANGE;
        ctl_die(FD_CTL, "read limit %s back", name);
    }
}

/* What candidates and checkers have in common. */
static void set_common_limits(const struct sandbox_limits *l)
{
    /* A second and a half beyond the supervisor's own clock: only should that fail. */
    const rlim_t cpu_s = (rlim_t)(l->cpu_limit_ns / 1000000000) + 2;

    limit(RLIMIT_CPU, cpu_s, cpu_s + 1, "CPU");
    limit(RLIMIT_STACK, 8 << 20, 64 << 20, "STACK");
    limit(RLIMIT_MEMLOCK, 0, 0, "MEMLOCK");
    limit(RLIMIT_MSGQUEUE, 0, 0, "MSGQUEUE");
    limit(RLIMIT_SIGPENDING, 256, 256, "SIGPENDING");
    /* Real-time priorities that the caller may take are not for programs. */
    limit(RLIMIT_RTPRIO, 0, 0, "RTPRIO");
    limit(RLIMIT_NICE, 0, 0, "NICE");
    /* Not 0: with 0 the kernel still feeds the host's handler, where core_pattern names a pipe;
     * 1 alone stops that, and is too little for a file (core(5), fs/coredump.c). */
    limit(RLIMIT_CORE, 1, 1, "CORE");
}

static void set_candidate_limits(const struct sandbox_limits *l)
{
    set_common_limits(l);
    if (l->level < SANDBOX_FULL) /* address space stands in for memory */
        limit(RLIMIT_AS, (rlim_t)l->memory_bytes, (rlim_t)l->memory_bytes, "AS");
    /* Where there is a control group, its limit is to be met first: it counts. */
    const rlim_t n_procs =
        (rlim_t)l->max_pids + (l->level < SANDBOX_FULL ? N_OWN_PROCESSES : N_OWN_PROCESSES + 16);
    limit(RLIMIT_NPROC, n_procs, n_procs, "NPROC");
    limit(RLIMIT_FSIZE, (rlim_t)l->disk_bytes, (rlim_t)l->disk_bytes, "FSIZE");
    limit(RLIMIT_NOFILE, 256, 256, "NOFILE");
}

static void load_filter(void)
{
    const struct sock_fprog filter = filter_program();

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
        ctl_die(FD_CTL, "load the system call filter");
}

/* --- processes ----------------------------------------------------------------------------------
 */

/* The checker: nothing to see, nothing to write to, nobody to fork. Values of a hostile program
 * reach it, but only as bytes that it decodes. */
static void become_checker(void)
{
    int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (sink < 0 || dup2(sink, STDOUT_FILENO) < 0) /* what tests print */
        ctl_die(FD_CTL, "open '/dev/null'");
    close(sink);
    if (unshare(CLONE_NEWNS) != 0 || umount2("/proc", MNT_DETACH) != 0)
        ctl_die(FD_CTL, "detach the host's /proc from the checker");
    drop_capabilities();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        ctl_die(FD_CTL, "become undumpable");
    die_with_parent(FD_CTL);
    set_common_limits(&request.limits);
    limit(RLIMIT_AS, (rlim_t)request.limits.memory_bytes + (64 << 20), RLIM_INFINITY, "AS");
    limit(RLIMIT_NPROC, 0, 0, "NPROC");
    limit(RLIMIT_FSIZE, 0, 0, "FSIZE");
    load_filter();
    close(FD_CTL);
}

static void become_init(void)
{
    struct pollfd hangup = { .fd = FD_CTL };
    struct ctl_message m;
    int procfd, unused;

    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
        ctl_die(FD_CTL, "make its namespaces");
    procfd = mount_own();
    if (ctl_recv(FD_CTL, &m, &unused) != 1 || m.kind != CTL_GO)
        _exit(1);
    /* Within the slot's group now. */
    if (unshare(CLONE_NEWCGROUP) != 0)
        ctl_die(FD_CTL, "make its control group namespace");
    drop_capabilities();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        ctl_die(FD_CTL, "become undumpable");
    die_with_parent(FD_CTL);
    if (poll(&hangup, 1, 0) != 0)
        _exit(1); /* the spawner died before we could have noticed */
    if (!ctl_send(FD_CTL, &(struct ctl_message){ .kind = CTL_READY }, procfd))
        _exit(1);
    close(procfd);
}

void zygote_confine(void)
{
    if (setsid() < 0)
        ctl_die(FD_CTL, "start a session");
    umask(022);
    if (chdir(SANDBOX_DIR) != 0)
        ctl_die(FD_CTL, "enter the work folder");
    set_candidate_limits(&request.limits);
    die_with_parent(FD_CTL);
    /* As after exec: its own /proc entries are its own. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        ctl_die(FD_CTL, "become dumpable");
    if (request.role == ROLE_PROBE)
        sandbox_probe_run(&request, false);
    load_filter();
    if (request.role == ROLE_PROBE) {
        sandbox_probe_run(&request, true);
        _exit(0);
    }
    close(FD_CTL);
}

void zygote_reap(int candidate)
{
    struct ctl_message m = { .kind = CTL_EXITED };
    int status = 0;
    pid_t pid;

    /* The interpreter's handlers are not init's: without one, no signal from inside reaches it. */
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL); /* refused for two of the C library's own */
    if (candidate < 0)
        ctl_die(FD_CTL, "fork");
    syscall(SYS_close_range, 0, FD_CTL - 1, 0);
    do {
        pid = waitpid(-1, &status, 0);
    } while (pid != candidate && (pid > 0 || errno == EINTR));
    m.value = status;
    ctl_send(FD_CTL, &m, -1);
    _exit(0);
}

/* Fork a process for the request: in it, returns 0. */
static long fork_for_request(void)
{
    /* Like fork(): the child goes on here, on a copy of this memory; it is the spawner's child, so
     * that the spawner learns of its end and its use of time. */
    return syscall(SYS_clone, (unsigned long)(CLONE_NEWPID | CLONE_PARENT), NULL, NULL, NULL, NULL);
}

int zygote_serve(void)
{
    int fds[CTL_MAX_FDS];
    size_t n_fds;
    long pid;

    die_with_parent(ZYGOTE_CMD);
    if (unlink(SANDBOX_HELPER) != 0 ||
        mount_set("/", 0, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV) != 0)
        ctl_die(ZYGOTE_CMD, "make the root read-only");
    if (!ctl_send(ZYGOTE_CMD, &(struct ctl_message){ .kind = CTL_READY }, -1))
        _exit(1);
    for (;;) {
        struct ctl_message answer = { .kind = CTL_STARTED };

        n_fds = CTL_MAX_FDS;
        if (packet_recv(ZYGOTE_CMD, &request, sizeof(request), fds, &n_fds) != 1)
            _exit(0);
        pid = fork_for_request();
        if (pid == 0)
            break;
        if (pid < 0)
            answer = (struct ctl_message){ .kind = CTL_FAILED, .value = errno, .what = "fork" };
        else
            answer.value = (int32_t)pid;
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
        if (!ctl_send(ZYGOTE_CMD, &answer, -1))
            _exit(0);
    }
    arrange_fds(fds, n_fds);
    if (request.role == ROLE_CHECKER)
        become_checker();
    else
        become_init();
    return request.role;
}
