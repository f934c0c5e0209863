/*
 * Control groups of a judge: limits on processes and memory and a clock of CPU time for a whole
 * tree. Version 1, version 2 and both side by side.
 *
 * A judge has one home in each hierarchy it uses, `desbench-PID-N`, below the group this
 * process is in (never beside it), and in it one group a worker, `slot-N`:
 *
 *     <own group>/desbench-4711-0/slot-0, slot-1, ...
 *
 * The home's directory is flock()ed by its owner: a home whose lock can be had is what a killed
 * judge left behind, and is removed by the next one.
 *
 * Version 2 lets a group limit its children only if it holds no process itself. Where our own
 * group holds nothing but this process and its parent (a container, or `systemd-run --scope -p
 * Delegate=yes`), both move into a leaf `desbench-main` below it. Else there are no limits to be
 * had. Homes are therefore opened in a child of the program, the supervisor, not in the program.
 */
#ifndef HARNESS_JUDGE_CGROUP_H
#define HARNESS_JUDGE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

enum cgroup_role { CG_PIDS, CG_MEMORY, CG_CPU, CG_KILL, N_CG_ROLES };

struct cgroup_home {
    bool has[N_CG_ROLES]; /* a hierarchy that could serve was found and is writable */
    bool is_v2[N_CG_ROLES];
    int same_as[N_CG_ROLES];   /* first role with the same directory; itself otherwise */
    int dirfds[N_CG_ROLES];    /* the home's directory, locked; -1: none */
    char *parents[N_CG_ROLES]; /* path of our own group */
    char name[48];
    char why[N_CG_ROLES][120]; /* why has[] is false */
};

/* Make the homes. Roles that are not to be had are no failure: has[] and why[] say so.
 * ST_NOMEM, or ST_IO without /proc. */
MUST_CHECK enum status cgroup_home_open(struct cgroup_home *ret, struct error *err);

/* Remove the homes and their slots; all must be empty of processes. Once per home, by whoever
 * owns it in the end; another holder of a copy (after fork) calls cgroup_home_drop(). */
void cgroup_home_close(struct cgroup_home *h);
void cgroup_home_drop(struct cgroup_home *h);

struct cgroup_slot {
    int dirfds[N_CG_ROLES]; /* -1: none */
    bool is_v2[N_CG_ROLES];
    bool is_repeated[N_CG_ROLES]; /* same directory as a role before it */
};

/* Make slot n with its limits, reading them back. Needs PIDS, MEMORY and CPU. */
MUST_CHECK enum status cgroup_slot_open(const struct cgroup_home *h, int n, int64_t memory_bytes,
                                        int max_pids, struct cgroup_slot *ret, struct error *err);
void cgroup_slot_close(struct cgroup_slot *s); /* descriptors only */

/* Move a process in. 0 or an errno value. */
int cgroup_slot_join(const struct cgroup_slot *s, pid_t pid);

/* Counters; all only grow. -1 where they cannot be read. */
int64_t cgroup_cpu_ns(const struct cgroup_slot *s);
int64_t cgroup_n_oom_kills(const struct cgroup_slot *s);
int64_t cgroup_n_forks_refused(const struct cgroup_slot *s);

/* A process still inside, 0 if there is none. */
pid_t cgroup_first_pid(const struct cgroup_slot *s);

/* cgroup.kill, where there is one. */
void cgroup_kill(const struct cgroup_slot *s);

#endif
