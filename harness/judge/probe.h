/*
 * What the two sides of a probe share: layers, the numbers it tries them with, findings.
 */
#ifndef HARNESS_JUDGE_PROBE_H
#define HARNESS_JUDGE_PROBE_H

#include <stdint.h>

#include "harness/judge/judge.h"

enum layer {
    L_INTERPRETER,
    L_SETUP,
    L_HOST_UID,
    L_PID_NS,
    L_FILES,
    L_WORK_SIZE,
    L_PROC,
    L_DEVICES,
    L_NET_NS,
    L_IPC_NS,
    L_UTS_NS,
    L_CGROUP_NS,
    L_CAPABILITIES,
    L_NO_NEW_PRIVS,
    L_RLIMITS,
    L_SESSION,
    L_PROCESS_LIMIT,
    L_FILTER,
    L_KILL,
    L_USAGE,
    L_CG_PIDS,
    L_CG_MEMORY,
    L_CG_CPU,
    L_CG_KILL,
    N_LAYERS
};

enum {
    PROBE_PIDS = 8,
    PROBE_DISK = 1 << 20,
    PROBE_MEMORY = 32 << 20,
    PROBE_BURN_NS = 25000000,
    PROBE_TIME_NS = 1000000000,
};

/* One line of findings on FD_REPORT. */
struct finding {
    int32_t layer, is_present;
    char details[sizeof(((struct sandbox_layer *)0)->details)];
};

#endif
