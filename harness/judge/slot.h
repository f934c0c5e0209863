/*
 * A slot of the supervisor: one program at a time, from start to verdict.
 *
 *     idle --slot_start()--> running --report, exit or kill--> ending --slot_finish()--> idle
 *
 * The supervisor polls the slot's descriptors and calls slot_service() with what is ready, and
 * slot_check() when next_check_ns has come; once all processes are gone, slot_finish().
 *
 * The checker's report ends a program: its candidate is killed. A candidate that ends first closes
 * the channel, which the checker sees and reports; then the way it ended decides.
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

/* What the checker, or a candidate alone, reads first; then the four texts. */
struct program_header {
    unsigned char nonce[NONCE_BYTES];
    uint64_t code_len, tests_len, helpers_len, entry_len;
};

/* A program on its way through the supervisor. */
struct program {
    struct program *next;
    uint64_t id;
    int64_t cpu_limit_ns; /* at most the judge's */
    bool is_tried_once;
    enum judge_mode mode;
    int n_attempts;
    enum verdict first_verdict; /* of attempt 1, once there is a second */
    size_t input_len;
    struct program_header header; /* the input starts here and goes on with the texts */
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
    CAUSE_SILENT, /* it left the channel and lives on */
};

struct slot {
    const struct judge_options *opts;
    const char *python;
    struct sandbox_limits limits;
    struct zygote zygote; /* started with the first program */
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
    bool is_init_gone, is_checker_gone; /* their pidfds are readable, or there is none */
    bool is_checker_killed;             /* by us, before it reported */
    bool has_exited;                    /* the candidate; wait_status is its */
    int wait_status;
    struct ctl_message failure; /* kind 0: none */
    int64_t start_ns, ready_ns, exit_ns, next_check_ns;
    int64_t cpu_base_ns, n_oom_base, n_refused_base;
    int64_t end_ns;                     /* first sign of the end: a report, or init's; 0: none */
    int64_t tree_cpu_ns, rss_max_bytes; /* of init and all below it, as seen so far */
    int n_tasks_max;
};

MUST_CHECK enum status slot_open(struct slot *s, int n, const char *python,
                                 enum sandbox_level level, const struct judge_options *opts,
                                 const struct cgroup_home *home, struct error *err);
void slot_close(struct slot *s); /* kills what runs */

/* Start a program; the slot borrows it until slot_finish(). ST_UNSUPPORTED, ST_IO: our fault. */
MUST_CHECK enum status slot_start(struct slot *s, struct program *p, struct error *err);

/* Descriptors to poll, at most SLOT_FDS; returns their number. */
enum { SLOT_FDS = 7 };
size_t slot_poll_fds(const struct slot *s, struct pollfd *fds);

/* Handle what poll found. True once all its processes are gone: slot_finish() is due. */
bool slot_service(struct slot *s, const struct pollfd *fds, size_t n_fds);

/* Compare what is used with the limits, and kill. */
void slot_check(struct slot *s, int64_t now_ns);

/* Collect and judge; the slot is idle again. False: processes stayed behind, which should be
 * impossible; the slot must not be used again. */
bool slot_finish(struct slot *s, struct judge_result *ret);

/* --- verdict.c: what came of it ---------------------------------------------------------------
 */

/* The verdict of a program whose processes are all gone; fills in details and signal too. Reads
 * cpu_ns and wall_ns. checker_status: wait status of the checker, where there is one. */
enum verdict slot_decide(const struct slot *s, int checker_status, struct judge_result *r);

/* Set details, made visible; returns the verdict. */
enum verdict slot_say(struct judge_result *r, enum verdict v, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Has the program's group lost a process to its memory limit, been refused one? */
bool slot_is_out_of_memory(const struct slot *s);
bool slot_is_fork_refused(const struct slot *s);

#endif
