/*
 * Verbs: what the program can be asked to do, one file each.
 */
#ifndef HARNESS_VERB_H
#define HARNESS_VERB_H

#include "base/status.h"
#include "harness/options.h"

/* The only table of exit codes. */
enum exit_code {
    EXIT_DONE = 0,         /* done, pass, identical */
    EXIT_CHECK_FAILED = 1, /* a gate or a check failed */
    EXIT_USAGE = 2,        /* wrong usage, or an input file that cannot be used */
    EXIT_ENVIRONMENT = 3,  /* driver, device, sandbox, data or model missing; no room */
    EXIT_NOT_COMPARABLE = 4,
    EXIT_UNDECIDED = 5,
    EXIT_INCOMPLETE = 6, /* stopped early, can be resumed */
    EXIT_INTERNAL = 7,   /* judge or internal fault, any verdict `internal` */
    EXIT_INTERRUPTED = 130,
};

struct verb {
    const char *name;
    unsigned bit;           /* of enum verb_bit */
    const char *args;       /* positional arguments, for the usage line */
    int min_args, max_args; /* max < 0: any number */
    bool takes_plan;        /* its argument, or --config, is a plan file; laid under c below */
    const char *summary;    /* one line */
    const char *help;       /* a few lines: what it does and examples */
    /* Does it. Prints data on stdout. *ret_exit starts as EXIT_DONE; on an error returned,
     * main() prints the message and derives the code from the status. */
    enum status (*run)(const struct options *c, enum exit_code *ret_exit, struct error *err);
};

extern const struct verb verb_sweep, verb_score, verb_export, verb_import, verb_run, verb_resume,
    verb_validate, verb_grade, verb_extract, verb_show, verb_ls, verb_data, verb_doctor, verb_bench,
    verb_routing, verb_compare, verb_gate, verb_baseline, verb_trace, verb_fidelity, verb_report,
    verb_sandbox;

/* True for --json or --format json. */
bool verb_wants_json(const struct options *c);

/* Write a finished text to stdout. ST_IO when it cannot be written (full disk, closed pipe). */
MUST_CHECK enum status verb_print(const struct buf *text, struct error *err);

/* What a program was built from: harness/version.c. */
extern const char build_version[], build_commit[], build_flags[], build_compiler[];

#endif
