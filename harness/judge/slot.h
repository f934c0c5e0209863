/*
 * A slot of the supervisor: one program at a time, from start to verdict.
 *
 *     idle --slot_start()--> running --exit, or slot_kill()--> init gone --slot_finish()--> idle
 *
 * The supervisor polls the slot's descriptors and calls slot_service() with what is ready, and
 * slot_check() when slot_next_check_ns() has come; when the pidfd is readable, slot_finish().
 */
#ifndef HARNESS_JUDGE_SLOT_H
#define HARNESS_JUDGE_SLOT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/judge/cgroup.h"
#include "harness/judge/judge.h"
#include "harness/judge/sandbox.h"
#include "harness/judge/text.h"
#include "harness/judge/usage.h"

enum { NONCE_BYTES = 16 };

/* What the runner reads first. */
struct runner_header {
    unsigned char nonce[NONCE_BYTES];
    uint64_t code_len, tests_len;
};

/* A program on its way through the supervisor. */
struct program {
    struct program *next;
    uint64_t id;
    int64_t cpu_limit_ns; /* at most the judge's */
    bool is_tried_once;
    int n_attempts;
    enum verdict first_verdict; /* of attempt 1, once there is a second */
    size_t input_len;
    struct runner_header header; /* the input starts here and goes on with code and tests */
    char text[];
};

/* Why the supervisor killed it. */
enum slot_cause {
    CAUSE_NONE,
    CAUSE_SETUP, /* the sandbox did not come up */
    CAUSE_CPU,
    CAUSE_WALL,
    CAUSE_MEMORY,
    CAUSE_PIDS,
    CAUSE_OUTPUT,
};

struct slot {
    const struct sandbox *sandbox;
    const struct judge_options *opts;
    int n;
    uid_t host_uid;
    bool has_cgroup;
    struct cgroup_slot cgroup;

    struct program *program; /* NULL: idle */
    struct sandbox_proc proc;
    int procfd;
    size_t n_written; /* of the program's input */
    struct tail out, err;
    char report[512];
    size_t n_reported; /* bytes ever written there; the first are kept */

    enum slot_cause cause;
    bool has_exited; /* the candidate; wait_status is its */
    int wait_status;
    struct ctl_message failure; /* kind 0: none */
    int64_t start_ns, ready_ns, exit_ns, next_check_ns;
    int64_t cpu_base_ns, n_oom_base, n_refused_base;
    int64_t cpu_ns, rss_max_bytes; /* as seen so far */
    int n_tasks_max;
};

MUST_CHECK enum status slot_open(struct slot *s, int n, const struct sandbox *sb,
                                 const struct judge_options *opts, const struct cgroup_home *home,
                                 struct error *err);
void slot_close(struct slot *s); /* kills what runs */

/* Start a program; the slot borrows it until slot_finish(). ST_UNSUPPORTED, ST_IO: our fault. */
MUST_CHECK enum status slot_start(struct slot *s, struct program *p, struct error *err);

/* Descriptors to poll, at most SLOT_FDS; returns their number. */
enum { SLOT_FDS = 6 };
size_t slot_poll_fds(const struct slot *s, struct pollfd *fds);

/* Handle what poll found. True once the namespace is gone: slot_finish() is due. */
bool slot_service(struct slot *s, const struct pollfd *fds, size_t n_fds);

/* Compare what is used with the limits, and kill. */
void slot_check(struct slot *s, int64_t now_ns);

/* Collect and judge; the slot is idle again. False: processes stayed behind, which should be
 * impossible; the slot must not be used again. */
bool slot_finish(struct slot *s, struct judge_result *ret);

#endif
