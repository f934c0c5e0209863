/* A sandbox seen from outside: clone, map, say go. */
#include "harness/judge/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* From linux/sched.h, which does not go together with <sched.h> everywhere. */
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* The control group namespace is entered later, from within the slot's group. */
enum {
    NAMESPACES =
        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
};

/*
 * Where slot uids come from. systemd's table of uid ranges (UIDS-GIDS.md) leaves 1879048192 ..
 * 2147483647 unused: 2^28 numbers, 256 slots for each of 2^20 process ids.
 */
enum { SLOT_UID_BASE = 1879048192, SLOTS_PER_JUDGE = 256, SLOT_JUDGES = 1 << 20 };

/* --- control messages --------------------------------------------------------------------- */

bool ctl_send(int fd, const struct ctl_message *m, int passed_fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)m, .iov_len = sizeof(*m) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (passed_fd >= 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof(control.space);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &passed_fd, sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

int ctl_recv(int fd, struct ctl_message *ret, int *ret_fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    ssize_t n;

    *ret_fd = -1;
    do {
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    ret->what[sizeof(ret->what) - 1] = '\0';
    return n == (ssize_t)sizeof(*ret) ? 1 : -1;
}

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

/* --- start and end ---------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

struct ends { /* ours and the child's of each channel */
    int ctl[2], in[2], out[2], err[2], report[2];
};

static int open_ends(struct ends *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, e->ctl) != 0 ||
        pipe2(e->in, O_CLOEXEC) != 0 || pipe2(e->out, O_CLOEXEC) != 0 ||
        pipe2(e->err, O_CLOEXEC) != 0 || pipe2(e->report, O_CLOEXEC) != 0)
        return errno;
    /* Only our ends: the flag belongs to the open file, and a pipe's ends are two. */
    if (fcntl(e->ctl[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(e->in[1], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(e->out[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(e->err[0], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(e->report[0], F_SETFL, O_NONBLOCK) != 0)
        return errno;
    return 0;
}

static void close_child_ends(struct ends *e)
{
    close_fd(&e->ctl[1]);
    close_fd(&e->in[0]);
    close_fd(&e->out[1]);
    close_fd(&e->err[1]);
    close_fd(&e->report[1]);
}

enum status sandbox_spawn(const struct sandbox *sb, uid_t host_uid, const struct cgroup_slot *cg,
                          struct sandbox_proc *ret, struct error *err)
{
    struct ends e = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
    const gid_t host_gid = host_uid == geteuid() ? getegid() : host_uid;
    const struct ctl_message go = { .kind = CTL_GO };
    const char *step = "make its pipes";
    int pidfd = -1, rc = open_ends(&e);
    long pid = -1;

    if (rc == 0) {
        step = "make its namespaces";
        /* Like fork(): the child goes on here, on a copy of this memory. */
        pid = syscall(SYS_clone, (unsigned long)(NAMESPACES | CLONE_PIDFD | SIGCHLD), NULL, &pidfd,
                      NULL, NULL);
        if (pid == 0)
            inside_main(sb, e.ctl[1], e.in[0], e.out[1], e.err[1], e.report[1]);
        rc = pid < 0 ? errno : 0;
    }
    close_child_ends(&e);
    if (rc == 0) {
        step = "map its user";
        rc = map_user((pid_t)pid, host_uid, host_gid);
    }
    if (rc == 0 && cg) {
        step = "move it into its control groups";
        rc = cgroup_slot_join(cg, (pid_t)pid);
    }
    if (rc == 0) {
        step = "start it";
        rc = ctl_send(e.ctl[0], &go, -1) ? 0 : errno;
    }
    struct sandbox_proc p = { .pid = (pid_t)pid,
                              .pidfd = pidfd,
                              .ctl = e.ctl[0],
                              .in = e.in[1],
                              .out = e.out[0],
                              .err = e.err[0],
                              .report = e.report[0] };
    if (rc) {
        sandbox_proc_end(&p);
        return error_set(err, ST_UNSUPPORTED, "sandbox: cannot %s: %s", step, strerror(rc));
    }
    *ret = p;
    return ST_OK;
}

void sandbox_proc_end(struct sandbox_proc *p)
{
    if (p->pid > 0) {
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    p->pid = -1;
    close_fd(&p->pidfd);
    close_fd(&p->ctl);
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->err);
    close_fd(&p->report);
}
