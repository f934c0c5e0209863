/*
 * The inside of a probe: in a candidate's place, try what the sandbox is there to prevent. Part of
 * the helper. Nothing here allocates, as RLIMIT_AS may leave no room.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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

#include "harness/judge/probe.h"
#include "harness/judge/zygote.h"

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

static void try_net(const struct sandbox_probe_arg *arg)
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

static void try_ipc_and_uts(const struct sandbox_probe_arg *arg)
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

static void try_rlimits(const struct sandbox_limits *limits)
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
    void *p =
        mmap(NULL, (size_t)limits->memory_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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

void sandbox_probe_run(const struct zygote_request *r, bool is_filtered)
{
    const struct sandbox_probe_arg *arg = &r->probe;

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
        try_rlimits(&r->limits);
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
