/* Messages between the supervisor, its zygotes and what they fork. */
#include "harness/judge/ctl.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    char space[CMSG_SPACE(sizeof(int) * CTL_MAX_FDS)];
    struct cmsghdr align;
};

bool packet_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
    union control control = { { 0 } };
    struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    assert(n_fds <= CTL_MAX_FDS);
    if (n_fds > 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

int packet_recv(int fd, void *data, size_t len, int *ret_fds, size_t *ret_n_fds)
{
    union control control;
    struct iovec iov = { .iov_base = data, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    const size_t room = *ret_n_fds;
    ssize_t n;

    *ret_n_fds = 0;
    do {
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; CMSG_LEN(sizeof(int) * (i + 1)) <= c->cmsg_len; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*ret_n_fds < room)
                ret_fds[(*ret_n_fds)++] = got;
            else
                close(got);
        }
    }
    return n == (ssize_t)len && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? 1 : -1;
}

bool ctl_send(int fd, const struct ctl_message *m, int passed_fd)
{
    return packet_send(fd, m, sizeof(*m), &passed_fd, passed_fd >= 0 ? 1 : 0);
}

int ctl_recv(int fd, struct ctl_message *ret, int *ret_fd)
{
    size_t n_fds = 1;
    int rc;

    *ret_fd = -1;
    rc = packet_recv(fd, ret, sizeof(*ret), ret_fd, &n_fds);
    if (rc == 1)
        ret->what[sizeof(ret->what) - 1] = '\0';
    if (rc < 0 && *ret_fd >= 0) {
        close(*ret_fd);
        *ret_fd = -1;
    }
    return rc;
}

void ctl_die(int fd, const char *fmt, ...)
{
    struct ctl_message m = { .kind = CTL_FAILED, .value = errno };
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m.what, sizeof(m.what), fmt, ap);
    va_end(ap);
    ctl_send(fd, &m, -1);
    _exit(1);
}
