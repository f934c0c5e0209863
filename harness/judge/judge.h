/*
 * The judge: run one generated program after another, isolated, and say how each ended.
 *
 * A pool of workers, each a supervisor for one program at a time. Programs are submitted and
 * results collected by one thread; nothing blocks while a worker is free.
 */
#ifndef HARNESS_JUDGE_JUDGE_H
#define HARNESS_JUDGE_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* How strongly programs are held. Ordered: a larger value promises more. */
enum sandbox_level {
    SANDBOX_NONE, /* no isolation: what a machine has where layers are missing; refused */
    SANDBOX_USER, /* ordinary user: namespaces, seccomp, rlimits; tree limits by polling */
    SANDBOX_FULL, /* a host uid per slot, cgroup limits for the whole tree */
};
const char *sandbox_level_name(enum sandbox_level level); /* "none", "user", "full" */
bool sandbox_level_parse(const char *s, enum sandbox_level *ret);

enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL,   /* an assertion or exception, or a wrong answer */
    VERDICT_FORGED, /* looked passed, the proof is missing */
    VERDICT_TIMEOUT_CPU,
    VERDICT_TIMEOUT_WALL,
    VERDICT_OOM,
    VERDICT_PIDS,
    VERDICT_OUTPUT, /* wrote more than the cap */
    VERDICT_DISK,
    VERDICT_SIGNAL, /* died by a signal; its number beside it */
    VERDICT_DENIED, /* killed by seccomp */
    VERDICT_SYNTAX,
    VERDICT_NO_CODE,  /* nothing to run was extracted */
    VERDICT_INTERNAL, /* our fault: never counted as a model failure */
};
enum { N_VERDICTS = VERDICT_INTERNAL + 1 };
const char *verdict_name(enum verdict v); /* "pass", "timeout_cpu", ... */

/* Where tests run. */
enum judge_mode {
    JUDGE_TWO_PROCESS, /* in a checker: the program only answers its calls, by value */
    JUDGE_ONE_PROCESS, /* with the program, which can forge a pass: for tests that need its types */
};
const char *judge_mode_name(enum judge_mode mode); /* "two-process", "one-process" */

struct judge_options {
    int n_workers;            /* 0: one per processor the process may run on */
    enum sandbox_level level; /* the level required; judge_open() refuses less */
    bool is_level_auto;       /* take the strongest the machine offers, of full and user */
    int64_t cpu_limit_ns;     /* per program, whole tree */
    int64_t wall_limit_ns;
    int64_t memory_bytes; /* whole tree */
    int max_pids;
    int64_t output_bytes; /* stdout and stderr together */
    int64_t disk_bytes;   /* tmpfs size */
    const char *python;   /* interpreter path; NULL: /usr/bin/python3 */
};

/* 10 s CPU, 20 s wall, 2 GiB, 64 pids, 1 MiB output, 64 MiB disk, auto level. */
void judge_default_options(struct judge_options *ret);

/* One isolation layer as found by behaviour, for `doctor` and refusals. */
struct sandbox_layer {
    const char *name; /* "pid namespace", "seccomp", "cgroup memory", ... */
    bool is_present;
    bool is_needed_user, is_needed_full;
    char details[160];
};
enum { SANDBOX_MAX_LAYERS = 24 };
struct sandbox_report {
    struct sandbox_layer layers[SANDBOX_MAX_LAYERS];
    size_t n_layers;
    enum sandbox_level level; /* strongest that all its layers allow */
};

/* Probe every layer by behaviour (forks children; takes tens of milliseconds). */
MUST_CHECK enum status sandbox_probe(const struct judge_options *opts, struct sandbox_report *ret,
                                     struct error *err);

struct judge;

/* Probe, then start the workers. ST_UNSUPPORTED names the missing layers when the level asked
 * for is not to be had, or an interpreter outside /usr, which is all a sandbox shows;
 * ST_NOT_FOUND without the interpreter. Forks a supervisor that keeps alive what was in memory
 * then: open the judge before a model is loaded. judge_close() accepts NULL and kills what still
 * runs. */
MUST_CHECK enum status judge_open(const struct judge_options *opts, struct judge **ret,
                                  struct error *err);
void judge_close(struct judge *j);

enum sandbox_level judge_level(const struct judge *j);
int judge_n_workers(const struct judge *j);
const char *judge_python_version(const struct judge *j); /* "3.11.2" */

/*
 * A program: code is executed, then tests; see tasks/task.h. Copied by judge_submit().
 *
 * In mode two-process tests see of the program its entry point, as a function whose arguments and
 * results are copies, and modules that it imports, as the checker's own. Names that neither they
 * nor Python define are looked for in what `helpers` defines, which the checker runs for itself.
 */
struct judge_job {
    uint64_t id; /* the caller's; comes back with the result */
    const char *code;
    size_t code_len;
    const char *tests;
    size_t tests_len;
    const char *helpers; /* may be NULL, then with length 0 */
    size_t helpers_len;
    const char *entry_point; /* may be NULL: the tests call nothing */
    enum judge_mode mode;
    int64_t cpu_limit_ns; /* less than the judge's own; 0: that one */
    bool is_tried_once;   /* a timeout stands: no second attempt */
};

enum { JUDGE_TAIL = 2048 };
struct judge_result {
    uint64_t id;
    enum verdict verdict;
    int signal;                 /* of VERDICT_SIGNAL, else 0 */
    enum judge_mode mode;       /* the job's */
    int attempts;               /* 2 when a timeout was tried again alone */
    enum verdict first_verdict; /* of attempt 1 when attempts is 2 */
    char details[512];          /* last line of the traceback, or what happened; UTF-8 */
    int64_t cpu_ns, wall_ns, max_rss_bytes; /* of the attempt that counts */
    bool is_near_limit;                     /* passed within 20 % of the CPU or wall limit */
    char stdout_tail[JUDGE_TAIL], stderr_tail[JUDGE_TAIL]; /* control bytes made visible */
};

/* Does this result say that the program returned what is no data ("not_data:TYPE" in details)?
 * Harnesses that run tests in the program's process may pass it. */
bool judge_is_not_data(const struct judge_result *r);

/* Queue a program; never blocks. */
MUST_CHECK enum status judge_submit(struct judge *j, const struct judge_job *job,
                                    struct error *err);

/* Collect one finished program. Waits up to timeout_ns (0: not at all, < 0: for ever). Sets
 * *ret_has to whether there was one. With nothing in flight it returns at once. */
MUST_CHECK enum status judge_wait(struct judge *j, int64_t timeout_ns, struct judge_result *ret,
                                  bool *ret_has, struct error *err);

size_t judge_n_pending(const struct judge *j); /* submitted, not yet collected */

/* A descriptor that polls readable when judge_wait(j, 0, ...) would find a result. */
int judge_poll_fd(const struct judge *j);

#endif
