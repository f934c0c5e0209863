/*
 * Sandboxes: a zygote for each slot, and what it forks for one program.
 *
 * A zygote is an interpreter that has started, in a user namespace of its own that maps one user,
 * in mount, net, ipc and uts namespaces that show nothing of the host. It imports only what every
 * program needs, runs nobody's code, and holds two capabilities inside its user namespace
 * (SYS_ADMIN and SETPCAP), with which each of its forks makes a prison for itself. The spawner
 * asks it for two processes a program:
 *
 *     spawner --clone--> zygote --clone--> init, pid 1 of a namespace --fork--> candidate, pid 2
 *        |  <---cmd--->    |        ^ parent: the spawner (CLONE_PARENT)           ^ fd 3
 *        |                 |                                                      channel
 *        |                 +--clone--> checker, pid 1 of another namespace         v fd 3
 *        |                                  ^ parent: the spawner
 *
 * init and its candidate have pid, mount, net, ipc, uts and control group namespaces of their
 * own: init makes them, mounts a /proc and a work folder, drops everything it may, and forks the
 * candidate, which limits itself, loads the filter and only then reads its first byte. The checker
 * has a pid namespace of its own, no /proc, no capability, no right to fork, and shares the
 * zygote's empty network and read-only root.
 *
 * Messages are in ctl.h. On cmd: `struct zygote_request` with descriptors to the zygote,
 * CTL_STARTED or CTL_FAILED back; after its start the zygote says CTL_READY. On ctl: the spawner
 * tells init CTL_GO; init says CTL_READY with a descriptor of the namespace's own /proc, or
 * CTL_FAILED (init's step or the candidate's), at last CTL_EXITED; then it exits, and the kernel
 * kills every process that is left in the namespace.
 *
 * init runs as the candidate's user: it is non-dumpable and without capabilities, a signal from
 * inside cannot kill pid 1, and the filter refuses the other calls that reach other processes.
 */
#ifndef HARNESS_JUDGE_SANDBOX_H
#define HARNESS_JUDGE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "harness/judge/cgroup.h"
#include "harness/judge/ctl.h"
#include "harness/judge/judge.h"

/* The inside: one user, one name, one work folder. */
enum { SANDBOX_UID = 1000 };
#define SANDBOX_HOST "sandbox"
#define SANDBOX_DIR "/tmp"

/* Where the zygote finds its helper until it has loaded it; zygote.py names it too. */
#define SANDBOX_HELPER "/helper.so"

/*
 * Descriptors inside, besides 0 (empty), 1 and 2. A candidate has CHANNEL, to its checker; one
 * that runs its own tests has IN and REPORT instead. A checker has all three.
 */
enum { FD_CHANNEL = 3, FD_REPORT = 4, FD_IN = 5, FD_CTL = 6, N_CHILD_FDS = 7 };

enum sandbox_role {
    ROLE_CANDIDATE = 1, /* answers a checker's calls */
    ROLE_ALONE,         /* runs its tests itself: mode one-process */
    ROLE_CHECKER,
    ROLE_PROBE, /* instead of a candidate: sandbox_probe_run() before and after the filter */
};

/* How one program is held. */
struct sandbox_limits {
    int32_t level; /* enum sandbox_level; SANDBOX_USER: one process's memory by RLIMIT_AS */
    int32_t max_pids;
    int64_t cpu_limit_ns, memory_bytes, disk_bytes;
};

/* What a probe needs to know. */
struct sandbox_probe_arg {
    int32_t port;      /* 127.0.0.1 outside, somebody listens; 0: none */
    int32_t shm_id;    /* a segment outside; -1: none */
    int32_t is_cgroup; /* the second probe, of control groups */
};

/* One packet on cmd. */
struct zygote_request {
    int32_t role;
    int32_t
        fds[N_CHILD_FDS]; /* nth descriptor that comes along becomes number fds[n]; 0: no more */
    struct sandbox_limits limits;
    struct sandbox_probe_arg probe;
};

/* Zygotes are told apart by whom they map. */
struct zygote {
    pid_t pid; /* -1: none */
    int cmd;
};

/*
 * Start a zygote with this interpreter (a resolved path below /usr). host_uid is what its user and
 * group are outside; the effective user's own where that is all that can be mapped.
 * ST_UNSUPPORTED with the step that failed; nothing is left behind then. Single-threaded callers
 * only: it forks and goes on in C.
 */
MUST_CHECK enum status zygote_open(const char *python, uid_t host_uid, struct zygote *ret,
                                   struct error *err);
void zygote_close(struct zygote *z); /* accepts a closed one */

/* The spawner's side of a running sandbox. Descriptors are -1 once closed, pids once waited for. */
struct sandbox_proc {
    pid_t pid, checker; /* init; the checker, -1 without one */
    int pidfd, checker_pidfd, ctl, in, out, err, report;
};
#define SANDBOX_PROC_NONE                                                                          \
    (struct sandbox_proc)                                                                          \
    {                                                                                              \
        -1, -1, -1, -1, -1, -1, -1, -1, -1                                                         \
    }

/*
 * Start a program's processes: init with a candidate, and for ROLE_CANDIDATE its checker. cg may be
 * NULL; only init and what it forks are put into it. probe is for ROLE_PROBE. ST_UNSUPPORTED with
 * the step that failed, ST_IO when the zygote is gone; no process is left behind then.
 */
MUST_CHECK enum status sandbox_spawn(struct zygote *z, enum sandbox_role role,
                                     const struct sandbox_limits *limits,
                                     const struct sandbox_probe_arg *probe,
                                     const struct cgroup_slot *cg, struct sandbox_proc *ret,
                                     struct error *err);

/* Kill the namespaces, wait for their first processes, close what is open. Accepts a released
 * one. */
void sandbox_proc_end(struct sandbox_proc *p);

/* A uid outside for slot n that nobody else uses; false if only our own can be mapped. */
bool sandbox_slot_uid(int n, uid_t *ret);

#endif
