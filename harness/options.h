/*
 * Options: one table that drives parsing, --help, the environment and the stored configuration
 * of every verb.
 *
 * A value comes from, later winning: the built-in default, a plan file (harness/plan_file.h), the
 * environment (DESBENCH_TASKS for --tasks, ...; of a list one entry), the command line. Every value
 * keeps its text and its origin.
 */
#ifndef HARNESS_OPTIONS_H
#define HARNESS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"

enum option_id {
    OPT_HELP,
    OPT_CONFIG,
    OPT_TASKS,
    OPT_LIMIT,
    OPT_SAMPLES,
    OPT_DATA_DIR,
    OPT_PROMPT_FORM,
    OPT_NO_DATA_CHECK,
    OPT_HUMANEVAL_LSTRIP,
    OPT_PRO_FIRST_BLOCK,
    OPT_PRO_SANITIZED,
    OPT_MBPP_NO_SETUP,
    OPT_MODEL,
    OPT_LOAD_FORMAT,
    OPT_DUMMY_SEED,
    OPT_OVERRIDE,
    OPT_BACKEND,
    OPT_ISA,
    OPT_NUMERIC,
    OPT_THREADS,
    OPT_UNPINNED,
    OPT_DIAGNOSE,
    OPT_KERNEL_TIMES,
    OPT_BENCH_TOKENS,
    OPT_BENCH_PREFIX,
    OPT_BENCH_UNIQUE,
    OPT_BENCH_REPEATS,
    OPT_BENCH_TRACE,
    OPT_BATCH_SIZE,
    OPT_SELECTOR,
    OPT_DECODER,
    OPT_CACHE,
    OPT_PREFIX_LOOK,
    OPT_AFTER_LOOK,
    OPT_CACHE_WARMUP,
    OPT_GEN_LENGTH,
    OPT_BLOCK_LENGTH,
    OPT_STEPS,
    OPT_THRESHOLD,
    OPT_LOW_THRESHOLD,
    OPT_FACTOR,
    OPT_EDIT_THRESHOLD,
    OPT_MAX_POST_STEPS,
    OPT_CREDIT_ALPHA,
    OPT_CREDIT_DECAY,
    OPT_CREDIT_BOOST,
    OPT_SMOOTHING,
    OPT_SMOOTHING_INIT,
    OPT_SMOOTHING_GROWTH,
    OPT_SMOOTHING_DECAY,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_N_SAMPLES,
    OPT_SEED,
    OPT_CELLS,
    OPT_SKIP_STORED,
    OPT_SANDBOX_LEVEL,
    OPT_ENTRY_POINT,
    OPT_ONE_PROCESS,
    OPT_JOBS,
    OPT_TIMEOUT,
    OPT_WALL_TIMEOUT,
    OPT_MEMORY,
    OPT_MUTANTS,
    OPT_MODEL_NAME,
    OPT_PARTIAL,
    OPT_OUTPUT,
    OPT_RESULTS,
    OPT_FORCE,
    OPT_FORMAT,
    OPT_JSON,
    OPT_DRY_RUN,
    OPT_SHOW_CONFIG,
    OPT_PROGRESS,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_FULL,
    OPT_POPULARITY,
    OPT_BY,
    OPT_MIRROR,
    OPT_OFFLINE,
    OPT_NET_TIMEOUT,
    OPT_RETRIES,
    OPT_TABLE_FORMAT, /* of verbs that print tables: the same name as OPT_FORMAT, more forms */
    OPT_BASELINE,
    OPT_MARGIN,
    OPT_UNDECIDED,
    OPT_FIXED_SUITE,
    OPT_NOISE,
    OPT_CHURN,
    OPT_ALLOW_MISMATCH,
    OPT_FLIPS,
    OPT_DRAWS,
    OPT_DRAWS_SEED,
    OPT_STORE,
    OPT_JUNIT,
    OPT_GITHUB_SUMMARY,
    OPT_BASELINE_OUTPUT,
    OPT_EXPORT_OUTPUT, /* other meanings of names above, of one verb each */
    OPT_EXPORT_FORMAT,
    OPT_EXPORT_SELECTOR,
    OPT_AGAINST,
    OPT_KEEP,
    OPT_SAVE,
    OPT_LS_SELECTOR,
    OPT_TRACE_TOP,
    OPT_TRACE_OUTPUT,
    OPT_REPORT_OUTPUT,
    OPT_CLAIMS,
    OPT_BENCH,
    N_OPTIONS
};

/* Verbs an option belongs to. */
enum verb_bit {
    VERB_RUN = 1 << 0,
    VERB_VALIDATE = 1 << 1,
    VERB_GRADE = 1 << 2,
    VERB_EXTRACT = 1 << 3,
    VERB_SHOW = 1 << 4,
    VERB_LS = 1 << 5,
    VERB_DOCTOR = 1 << 6,
    VERB_SCORE = 1 << 7,
    VERB_EXPORT = 1 << 8,
    VERB_IMPORT = 1 << 9,
    VERB_DATA = 1 << 10,
    VERB_RESUME = 1 << 11,
    VERB_BENCH = 1 << 12,
    VERB_ROUTING = 1 << 13,
    VERB_COMPARE = 1 << 14,
    VERB_GATE = 1 << 15,
    VERB_BASELINE = 1 << 16,
    VERB_TRACE = 1 << 17,
    VERB_FIDELITY = 1 << 18,
    VERB_SWEEP = 1 << 19,
    VERB_REPORT = 1 << 20,
    VERB_SANDBOX = 1 << 21,
    VERB_ALL = (1 << 22) - 1
};

enum option_kind {
    OPTION_FLAG, /* no argument; "true" in the environment or stored configuration */
    OPTION_TEXT,
    OPTION_WORDS, /* separated by commas; the last one given counts */
    OPTION_LIST,  /* may be given several times */
    OPTION_INT,
    OPTION_REAL
};

struct option_def {
    const char *name; /* without dashes; of one option only within a verb */
    char letter;      /* short form, or 0 */
    enum option_kind kind;
    unsigned verbs;      /* of enum verb_bit */
    const char *group;   /* heading in --help */
    const char *metavar; /* argument's name in --help */
    const char *deflt;   /* built-in default as text; NULL: none */
    const char *shown;   /* default as --help words it when deflt is NULL, or NULL */
    double min, max;     /* OPTION_INT, OPTION_REAL: inclusive bounds */
    const char *choices; /* "a|b|c", or NULL */
    const char *env;     /* variable that is read when DESBENCH_ and the name is not set, or NULL */
    const char *help;
    bool is_command_only; /* the environment does not set it: it means this one command */
    bool is_axis; /* `run` and `sweep` take a list (harness/ranges.h), and combine its values */
};

extern const struct option_def option_table[N_OPTIONS];

/* Where a value came from; a later one wins. */
enum option_source { SOURCE_DEFAULT, SOURCE_PLAN, SOURCE_ENV, SOURCE_COMMAND_LINE };

struct options {
    unsigned verb; /* its bit */
    struct option_value {
        const char **texts; /* (n) borrowed from argv, environment or the table, or in the arena */
        size_t n;
        enum option_source source; /* also of a flag that was switched off: then n is 0 */
        const char *origin;        /* "plan.yaml:3" for SOURCE_PLAN, in the arena; else NULL */
    } values[N_OPTIONS];
    struct arena arena;
    const char **args; /* (n_args) what is not an option */
    size_t n_args;
};

/*
 * Read the environment and argv (argc strings after the verb) for a verb. ST_INVALID names the
 * option and the value: unknown option (with the nearest known one), missing or unwanted
 * argument, not a whole number, out of range, not one of the choices. The strings must outlive
 * *ret, which options_release() frees.
 */
MUST_CHECK enum status options_parse(unsigned verb, int argc, char *const *argv,
                                     struct options *ret, struct error *err);
void options_release(struct options *c);

/* The built-in defaults of a verb alone. ST_NOMEM. */
MUST_CHECK enum status options_defaults(unsigned verb, struct options *ret, struct error *err);

/* One value as options_parse() checks it; of an axis also a list. Of a flag: "true" or "false". */
MUST_CHECK enum status options_check(enum option_id id, const char *text, struct error *err);

/*
 * Set an option to n checked texts (copied, as is origin, which may be NULL) unless a source of
 * higher rank has set it. A flag is set by n = 1 and cleared by n = 0; several texts of
 * OPTION_WORDS or of an axis are joined by commas. ST_INVALID as from options_check(); ST_NOMEM.
 */
MUST_CHECK enum status options_set(struct options *c, enum option_id id, const char *const *texts,
                                   size_t n, enum option_source source, const char *origin,
                                   struct error *err);

/* The option of a verb whose long name is the len bytes at name, or N_OPTIONS. */
int options_find(unsigned verb, const char *name, size_t len);

/* The long name of a verb's option that is nearest to a mistyped one; NULL: none is near. */
const char *options_nearest(unsigned verb, const char *name);

bool options_has(const struct options *c, enum option_id id);      /* set by anyone, default too */
bool options_is_given(const struct options *c, enum option_id id); /* by environment or user */
bool options_flag(const struct options *c, enum option_id id);
const char *options_text(const struct options *c, enum option_id id); /* last value, or NULL */
int64_t options_int(const struct options *c, enum option_id id); /* must have a value, and one */
double options_real(const struct options *c, enum option_id id);

/* {"tasks": {"value": "...", "source": "command line"}, ...}: every option of the verb that has
 * a value, in table order; lists as arrays. A value of a plan file also has "origin". */
void options_put_json(const struct options *c, struct buf *ret);

/* "option = value  # source" lines, for --show-config; of a plan file its name and line. */
void options_put_text(const struct options *c, struct buf *ret);

/* The options of a verb grouped by purpose, for --help. */
void options_put_help(unsigned verb, struct buf *ret);

#endif
