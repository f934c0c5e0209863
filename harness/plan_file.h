/*
 * Plan file: the settings of a run as YAML, to be kept, reviewed and shared.
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
 * separated by commas, may have a list; a flag is true or false. --help, --config, --dry-run and
 * --show-config are of one invocation and refused here.
 *
 * Refused as well, always with line and column: unknown keys, keys given twice, keys without a
 * value, anchors, aliases, tags, further documents, tabs that indent, bytes that are not UTF-8,
 * NUL, an empty plan, and more than PLAN_FILE_MAX_BYTES. Nesting ends at lists of values and
 * aliases are refused, so the work is linear in the size of the file.
 */
#ifndef HARNESS_PLAN_FILE_H
#define HARNESS_PLAN_FILE_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"
#include "harness/options.h"

enum { PLAN_FILE_MAX_BYTES = 256 * 1024 };

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

/* Everything lies in the arena. */
struct plan_file {
    struct arena arena;
    const char *name; /* in messages and origins: the path as given */
    struct plan_setting *settings;
    size_t n_settings;
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

/* Lay the settings under what the environment and the command line have set, with "name:line" as
 * their origin. Copies: p may be released afterwards. ST_NOMEM. */
MUST_CHECK enum status plan_file_apply(const struct plan_file *p, struct options *c,
                                       struct error *err);

#endif
