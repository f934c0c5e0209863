/*
 * The supervisor: the process that owns the slots. See judge.c for how it fits in.
 */
#ifndef HARNESS_JUDGE_SUPERVISOR_H
#define HARNESS_JUDGE_SUPERVISOR_H

#include <stdint.h>

#include "base/status.h"
#include "harness/judge/judge.h"
#include "harness/judge/sandbox.h"

/* On the jobs socket (a stream), then the four texts. */
struct wire_job {
    uint64_t id, code_len, tests_len, helpers_len, entry_len;
    int64_t cpu_limit_ns;
    uint64_t mode, is_tried_once; /* whole words: no padding to send */
};

/* First message on the results socket; struct judge_result after that. */
struct wire_hello {
    int32_t status; /* enum status; not ST_OK: the supervisor gave up */
    char text[512];
};

struct supervisor_config {
    const char *python; /* resolved path */
    enum sandbox_level level;
    struct judge_options opts; /* n_workers resolved */
    int jobs, results;         /* its ends of the two sockets */
};

/* Put a fresh child of the program into a state of its own: default signals, no terminal, no
 * supplementary groups, and no descriptors but those kept (ascending) and 0 .. 2. */
void supervisor_detach(const int *kept, size_t n_kept);

/* Run programs until the jobs socket closes; then kill what runs and exit. */
_Noreturn void supervisor_main(const struct supervisor_config *config);

#endif
