/*
 * A sandbox seen from inside: what init builds and gives up, and what the candidate gives up
 * before it becomes the interpreter.
 *
 * The order matters. The user comes first: a process that root cloned into a user namespace
 * keeps kernel uid 0 until it takes on a mapped id, whatever getuid() prints. /proc is mounted
 * while the host's is still in sight, as the kernel allows it only then. The death signal comes
 * after the last change of credentials, which would clear it.
 */
#include "harness/judge/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The new mount interface, by number: C libraries before 2.36 have neither names nor types, and
 * those after it clash with the kernel's header. Values: include/uapi/linux/mount.h. */
struct mount_attributes {
    uint64_t set, clear, propagation, userns_fd;
};
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4, ATTR_NOEXEC = 8 };
enum { CONFIG_SET_STRING = 1, CONFIG_CREATE = 6 };

static int mount_set(const char *path, unsigned flags, uint64_t attributes)
{
    struct mount_attributes a = { .set = attributes };
    return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &a, sizeof(a));
}

/* Report a step that failed and leave. */
static _Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *fmt, ...)
{
    struct ctl_message m = { .kind = CTL_FAILED, .value = errno };
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m.what, sizeof(m.what), fmt, ap);
    va_end(ap);
    ctl_send(FD_CTL, &m, -1);
    _exit(1);
}

/* Bring the channels to their fixed numbers and close everything else of the spawner's. */
static void arrange_fds(int ctl, int in, int out, int err_fd, int report)
{
    const int from[N_CHILD_FDS] = {
        open("/dev/null", O_RDONLY | O_CLOEXEC), out, err_fd, in, report, ctl
    };
    int high[N_CHILD_FDS];

    for (int i = 0; i < N_CHILD_FDS; i++) { /* out of each other's way first */
        high[i] = fcntl(from[i], F_DUPFD, 64);
        if (high[i] < 0)
            _exit(1); /* the spawner sees ctl close */
    }
    for (int i = 0; i < N_CHILD_FDS; i++)
        if (dup2(high[i], i) < 0)
            _exit(1);
    if (syscall(SYS_close_range, N_CHILD_FDS, ~0U, 0) != 0)
        die("close descriptors");
}

/* --- file system ------------------------------------------------------------------------------ */

static void make_dir(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0)
        die("make '/%s'", path);
}

/* A read-only view of a host path at the same place below the new root. */
static void bind(const char *host, uint64_t attributes)
{
    const char *path = host + 1; /* the new root is the working directory */

    if (mount(host, path, NULL, MS_BIND | MS_REC, NULL) != 0)
        die("bind '%s'", host);
    if (mount_set(path, AT_RECURSIVE, attributes) != 0)
        die("make '%s' read-only", host);
}

/* /lib and its like are links into /usr where the system is merged, else folders of their own. */
static void add_top_folders(void)
{
    static const char *const names[] = { "/bin", "/sbin", "/lib", "/lib32", "/lib64" };
    char target[256];
    struct stat sb;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (lstat(names[i], &sb) != 0)
            continue;
        if (S_ISLNK(sb.st_mode)) {
            ssize_t n = readlink(names[i], target, sizeof(target) - 1);
            if (n < 0)
                die("read link '%s'", names[i]);
            target[n] = '\0';
            if (symlink(target, names[i] + 1) != 0)
                die("link '%s'", names[i]);
        } else {
            make_dir(names[i] + 1, 0755);
            bind(names[i], ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
        }
    }
}

static void add_files(void)
{
    /* The loader's cache, for interpreters whose libraries lie in /usr/local/lib. */
    static const char *const files[] = { "/etc/ld.so.cache", "/dev/null", "/dev/zero",
                                         "/dev/urandom", "/dev/random" };

    make_dir("etc", 0755);
    make_dir("dev", 0755);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        if (access(files[i], F_OK) != 0)
            continue;
        int fd = open(files[i] + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
        if (fd < 0)
            die("make '%s'", files[i]);
        close(fd);
        bind(files[i], ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC);
    }
    /* multiprocessing keeps its semaphores there. */
    if (symlink(SANDBOX_DIR, "dev/shm") != 0)
        die("link '/dev/shm'");
}

/* A /proc of this namespace that only its holder sees: mounted nowhere. */
static int open_own_proc(void)
{
    int fs = (int)syscall(SYS_fsopen, "proc", 1 /* FSOPEN_CLOEXEC */);
    int mnt, dir;

    if (fs < 0 || syscall(SYS_fsconfig, fs, CONFIG_SET_STRING, "subset", "pid", 0) != 0 ||
        syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) != 0)
        die("make a /proc");
    mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */,
                       ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
    dir = mnt < 0 ? -1 : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        die("open a /proc");
    close(mnt);
    close(fs);
    return dir;
}

/* Returns a descriptor of the namespace's own /proc. */
static int build_root(const struct sandbox *sb)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV;
    char opts[96];
    int procfd;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        die("make mounts private");
    if (mount("root", "/tmp", "tmpfs", flags, "size=64k,nr_inodes=64,mode=0755") != 0)
        die("mount the root");
    if (chdir("/tmp") != 0)
        die("enter the root");
    make_dir("usr", 0755);
    bind("/usr", ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    add_top_folders();
    add_files();
    procfd = open_own_proc();
    make_dir("proc", 0755);
    if (mount("proc", "proc", "proc", flags | MS_NOEXEC | MS_RDONLY, "hidepid=2,subset=pid") != 0)
        die("mount /proc");
    make_dir("tmp", 0755);
    /* An inode takes about 1 KiB of kernel memory that size= does not count. */
    snprintf(opts, sizeof(opts), "size=%lld,nr_inodes=%lld,mode=0700", (long long)sb->disk_bytes,
             16 + (long long)sb->disk_bytes / 8192);
    if (mount("work", "tmp", "tmpfs", flags | MS_NOEXEC, opts) != 0)
        die("mount the work folder");
    /* Old root and new one on top of each other; then the old one goes. */
    if (syscall(SYS_pivot_root, ".", ".") != 0)
        die("pivot the root");
    if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        die("detach the old root");
    if (mount_set("/", 0, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV) != 0)
        die("make the root read-only");
    return procfd;
}

/* --- rights ----------------------------------------------------------------------------------- */

static void become_user(void)
{
    if (setresgid(SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) != 0 ||
        setresuid(SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) != 0)
        die("become user %d", SANDBOX_UID);
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            if (errno == EINVAL)
                break; /* past the last one this kernel knows */
            die("drop capability %d", cap);
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        syscall(SYS_capset, &header, none) != 0)
        die("drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        die("set no_new_privs");
}

static void die_with_parent(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        die("set the death signal");
}

/* Set a limit (hard limits of our own may be lower: then that) and read it back. */
static void limit(int what, rlim_t soft, rlim_t hard, const char *name)
{
    struct rlimit now, want = { soft, hard };

    if (getrlimit((__rlimit_resource_t)what, &now) != 0)
        die("read limit %s", name);
    if (want.rlim_max > now.rlim_max)
        want.rlim_max = now.rlim_max;
    if (want.rlim_cur > want.rlim_max)
        want.rlim_cur = want.rlim_max;
    if (setrlimit((__rlimit_resource_t)what, &want) != 0 ||
        getrlimit((__rlimit_resource_t)what, &now) != 0)
        die("set limit %s", name);
    if (now.rlim_cur != want.rlim_cur || now.rlim_max != want.rlim_max) {
        errno = ERANGE;
        die("read limit %s back", name);
    }
}

static void set_limits(const struct sandbox *sb)
{
    /* A second and a half beyond the supervisor's own clock: only should that fail. */
    const rlim_t cpu_s = (rlim_t)(sb->cpu_limit_ns / 1000000000) + 2;

    limit(RLIMIT_CPU, cpu_s, cpu_s + 1, "CPU");
    if (sb->level < SANDBOX_FULL) /* address space stands in for memory */
        limit(RLIMIT_AS, (rlim_t)sb->memory_bytes, (rlim_t)sb->memory_bytes, "AS");
    /* And init. Where there is a control group, its limit is to be met first: it counts. */
    const rlim_t n_procs = (rlim_t)sb->max_pids + (sb->level < SANDBOX_FULL ? 1 : 16);
    limit(RLIMIT_NPROC, n_procs, n_procs, "NPROC");
    limit(RLIMIT_FSIZE, (rlim_t)sb->disk_bytes, (rlim_t)sb->disk_bytes, "FSIZE");
    limit(RLIMIT_NOFILE, 256, 256, "NOFILE");
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

static void reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL); /* refused for two of the C library's own */
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        die("reset the signal mask");
}

/* --- processes ------------------------------------------------------------------------------ */

/*
 * The interpreter's environment is all of it here, so -I (which would make it ignore
 * PYTHONHASHSEED) is spelled out: -s, PYTHONSAFEPATH and no other PYTHON* variable. -S leaves
 * site-packages out: what can be imported is the standard library, on any machine.
 */
static _Noreturn void exec_python(const struct sandbox *sb)
{
    char *const argv[] = { (char *)sb->python, "-s", "-S", "-c", (char *)sb->source, NULL };
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

    execve(sb->python, argv, envp);
    die("execute '%s'", sb->python);
}

static _Noreturn void candidate_main(const struct sandbox *sb)
{
    if (setsid() < 0)
        die("start a session");
    umask(022);
    if (chdir(SANDBOX_DIR) != 0)
        die("enter the work folder");
    if (fcntl(FD_CTL, F_SETFD, FD_CLOEXEC) != 0)
        die("hide the control channel");
    reset_signals();
    set_limits(sb);
    die_with_parent();
    if (sb->probe)
        sb->probe(sb, false);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &sb->filter) != 0)
        die("load the system call filter");
    if (sb->probe) {
        sb->probe(sb, true);
        _exit(0);
    }
    exec_python(sb);
}

_Noreturn void inside_main(const struct sandbox *sb, int ctl, int in, int out, int err_fd,
                           int report)
{
    struct ctl_message m;
    struct pollfd hangup = { .fd = FD_CTL };
    int procfd, status = 0, unused;
    pid_t pid, candidate;

    arrange_fds(ctl, in, out, err_fd, report);
    if (ctl_recv(FD_CTL, &m, &unused) != 1 || m.kind != CTL_GO)
        _exit(1);
    become_user();
    procfd = build_root(sb);
    if (unshare(CLONE_NEWCGROUP) != 0)
        die("make its control group namespace");
    if (sethostname(SANDBOX_HOST, strlen(SANDBOX_HOST)) != 0 || setdomainname("", 0) != 0)
        die("set the host name");
    drop_capabilities();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        die("become undumpable");
    die_with_parent();
    if (poll(&hangup, 1, 0) != 0)
        _exit(1); /* the spawner died before we could have noticed */
    if (!ctl_send(FD_CTL, &(struct ctl_message){ .kind = CTL_READY }, procfd))
        _exit(1);
    close(procfd);
    candidate = fork();
    if (candidate < 0)
        die("fork");
    if (candidate == 0)
        candidate_main(sb);
    syscall(SYS_close_range, 0, FD_CTL - 1, 0);
    do {
        pid = waitpid(-1, &status, 0);
    } while (pid != candidate && (pid > 0 || errno == EINTR));
    m = (struct ctl_message){ .kind = CTL_EXITED, .value = status };
    ctl_send(FD_CTL, &m, -1);
    _exit(0);
}
