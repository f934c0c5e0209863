/*
 * Plan file: the settings of a run, or of the runs of a sweep, as YAML, to be kept, reviewed and
 * shared.
 *
 *     # ten items of two tasks under two policies
 *     model: LLaDA-MoE-7B-A1B-Instruct
 *     tasks: [gsm8k, math500]      # or: gsm8k,math500
 *     limit: 10
 *     selector:
 *       - vanilla
 *       - topk:k=4
 *     no-data-check: false
 *
 * One document, one mapping. A key is an option's long name without dashes, and its value goes
 * through the option's own check (harness/options.h), so that a plan says nothing that the command
 * line could not. A value is the text as it stands in the file: nothing turns into another type,
 * quotes are only for YAML's own sake. An option that may be given several times, or takes words
 * separated by commas, or numbers to combine, may have a list; a flag is true or false. --help,
 * --config, --dry-run and the like are of one invocation and refused here.
 *
 * The plan of a sweep may also have a key `runs`, a list of mappings, each with the settings of
 * runs where they differ from those above, and a list of models:
 *
 *     tasks: [gsm8k, math500]
 *     runs:
 *       - model: [mini-e64, mini-e16]
 *         selector: [vanilla, des-vote:beta=0.2,0.4]
 *       - model: LLaDA-MoE-7B-A1B-Instruct
 *         threshold: 0.8
 *
 * Refused as well, always with line and column: unknown keys, keys given twice, keys without a
 * value, anchors, aliases, tags, further documents, tabs that indent, bytes that are not UTF-8,
 * NUL, an empty plan, and more than PLAN_FILE_MAX_BYTES. Nesting ends at the lists of a run and
 * aliases are refused, so the work is linear in the size of the file, but for the lists of
 * selectors, which have their own limit (harness/ranges.h).
 */
#ifndef HARNESS_PLAN_FILE_H
#define HARNESS_PLAN_FILE_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"
#include "harness/options.h"

enum { PLAN_FILE_MAX_BYTES = 256 * 1024, PLAN_FILE_MAX_RUNS = 1000 };

/* One value with its place in the file, both counted from 1; columns in characters. */
struct plan_value {
    const char *text;
    int line, column;
};

/* A key with its values: one, or those of a list; all checked. */
struct plan_setting {
    enum option_id id;
    struct plan_value *values; /* (n) n >= 1; of a flag "true" or "false" */
    size_t n;
    int line, column; /* of the key */
};

/* Settings of one mapping, each key once. */
struct plan_settings {
    struct plan_setting *items;
    size_t n;
};

/* Everything lies in the arena. */
struct plan_file {
    struct arena arena;
    const char *name; /* in messages and origins: the path as given */
    struct plan_settings common;
    struct plan_settings *runs; /* (n_runs) of a sweep; 0: there is no key `runs` */
    size_t n_runs;
};

/*
 * Read a plan from memory (len bytes, any at all) for a verb (its bit). name is for messages and
 * origins. *ret is released with plan_file_release(); untouched on failure. ST_INVALID: "name:line:
 * column: cause"; ST_NOMEM.
 */
MUST_CHECK enum status plan_file_parse(const char *text, size_t len, const char *name,
                                       unsigned verb, struct plan_file *ret, struct error *err);

/* The same of a file; further ST_NOT_FOUND and ST_IO. */
MUST_CHECK enum status plan_file_read(const char *path, unsigned verb, struct plan_file *ret,
                                      struct error *err);

void plan_file_release(struct plan_file *p); /* accepts a zeroed one */

/* Lay settings of p under what the environment and the command line have set, with "name:line" as
 * their origin; of several models only the last. Copies: p may be released afterwards. ST_NOMEM. */
MUST_CHECK enum status plan_file_apply(const struct plan_file *p, const struct plan_settings *s,
                                       struct options *c, struct error *err);

/* The setting of an option, or NULL. */
const struct plan_setting *plan_settings_find(const struct plan_settings *s, enum option_id id);

#endif
