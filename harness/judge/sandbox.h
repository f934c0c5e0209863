/*
 * One program's sandbox: made, entered and killed.
 *
 * sandbox_spawn() clones the first process of new namespaces (`init`). The spawner maps its
 * user, puts it into its control groups and says go; init then builds the file system, drops
 * everything it may, forks the candidate (pid 2) and only reaps from then on:
 *
 *     spawner --clone--> init, pid 1 of the namespace --fork--> candidate, pid 2 --exec--> python
 *        |  <---ctl--->   |                                        |
 *        |  -------------------------------- in: nonce, program -> | fd 3
 *        |  <----------------------------------------- out, err -- | fd 1, 2
 *        |  <------------------------------------------- report -- | fd 4
 *
 * Messages on ctl (SEQPACKET), spawner to init: CTL_GO. Init to spawner: CTL_READY with a
 * descriptor of the namespace's own /proc, or CTL_FAILED with what and errno (from init or from
 * the candidate before exec); at last CTL_EXITED with the candidate's wait status. Init then
 * exits, and the kernel kills every process that is left in the namespace.
 *
 * Init runs as the candidate's user: it is non-dumpable and without capabilities, a signal from
 * inside cannot kill pid 1, and the filter refuses the other calls that reach other processes.
 */
#ifndef HARNESS_JUDGE_SANDBOX_H
#define HARNESS_JUDGE_SANDBOX_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "harness/judge/cgroup.h"
#include "harness/judge/judge.h"

/* The inside: one user, one name, one descriptor layout. */
enum { SANDBOX_UID = 1000, FD_IN = 3, FD_REPORT = 4, FD_CTL = 5, N_CHILD_FDS = 6 };
#define SANDBOX_HOST "sandbox"
#define SANDBOX_DIR "/tmp"

struct sandbox;

/* Run inside instead of the interpreter, for probes: once before the filter is loaded and once
 * after. Writes what it finds to FD_REPORT. */
typedef void (*sandbox_probe_fn)(const struct sandbox *sb, bool is_filtered);

/* How programs are held; shared by all slots and constant while they run. */
struct sandbox {
    enum sandbox_level level; /* SANDBOX_USER: memory of one process is limited by RLIMIT_AS */
    const char *python;       /* resolved path, below /usr */
    const char *source;       /* of the runner */
    struct sock_fprog filter;
    int64_t cpu_limit_ns, memory_bytes, disk_bytes;
    int max_pids;
    sandbox_probe_fn probe; /* NULL: run python */
    const void *probe_arg;
};

enum ctl_kind { CTL_GO = 1, CTL_READY, CTL_FAILED, CTL_EXITED, CTL_FILE /* of a probe */ };

struct ctl_message {
    int32_t kind;
    int32_t value;  /* CTL_FAILED: errno; CTL_EXITED: wait status */
    char what[120]; /* CTL_FAILED: the step */
};

/* Send with a descriptor (-1: none). False on failure. */
bool ctl_send(int fd, const struct ctl_message *m, int passed_fd);

/* Receive; *ret_fd is a descriptor that came along, -1 if none. 1: a message, 0: none yet,
 * -1: the other end is gone. */
int ctl_recv(int fd, struct ctl_message *ret, int *ret_fd);

/* The spawner's side of a running sandbox. Descriptors are -1 once closed. */
struct sandbox_proc {
    pid_t pid;
    int pidfd, ctl, in, out, err, report;
};

/*
 * Start one. host_uid is what its user and group are outside; the effective user's own where
 * that is all that can be mapped. cg may be NULL. ST_UNSUPPORTED with the step that failed;
 * nothing is left behind then. Single-threaded callers only: it forks and goes on in C.
 */
MUST_CHECK enum status sandbox_spawn(const struct sandbox *sb, uid_t host_uid,
                                     const struct cgroup_slot *cg, struct sandbox_proc *ret,
                                     struct error *err);

/* Kill the namespace, wait for its init, close what is open. Accepts a released one. */
void sandbox_proc_end(struct sandbox_proc *p);

/* A uid outside for slot n that nobody else uses; false if only our own can be mapped. */
bool sandbox_slot_uid(int n, uid_t *ret);

/* The inside, from the clone on. */
_Noreturn void inside_main(const struct sandbox *sb, int ctl, int in, int out, int err_fd,
                           int report);

#endif
