/*
 * Messages between the supervisor, its zygotes and what they fork: fixed-size structs on
 * SEQPACKET sockets, with descriptors beside them.
 */
#ifndef HARNESS_JUDGE_CTL_H
#define HARNESS_JUDGE_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CTL_MAX_FDS = 8 };

enum ctl_kind {
    CTL_GO = 1,  /* spawner to init: its control groups are joined */
    CTL_STARTED, /* zygote to spawner: value is the process id */
    CTL_READY,   /* init to spawner, with a descriptor of the namespace's own /proc */
    CTL_FAILED,  /* from anybody: what, and errno in value */
    CTL_EXITED,  /* init to spawner: value is the candidate's wait status */
    CTL_FILE,    /* of a probe: a file made inside comes along */
};

struct ctl_message {
    int32_t kind;
    int32_t value;
    char what[120]; /* CTL_FAILED: the step */
};

/* Send len bytes with n_fds descriptors (at most CTL_MAX_FDS). False on failure, errno set. */
bool packet_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds);

/* Receive a packet of exactly len bytes. *ret_n_fds: room in ret_fds, then what came along (close
 * on exec). 1: a packet, 0: none yet (EAGAIN), -1: the other end is gone, or sent another size. */
int packet_recv(int fd, void *data, size_t len, int *ret_fds, size_t *ret_n_fds);

/* Tell fd CTL_FAILED with a step ("mount the root") and errno, and leave the process. */
_Noreturn void ctl_die(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* packet_send() and packet_recv() of a ctl_message and at most one descriptor; -1 for none. */
bool ctl_send(int fd, const struct ctl_message *m, int passed_fd);
int ctl_recv(int fd, struct ctl_message *ret, int *ret_fd);

#endif
