/*
 * Getting the files of the data folder.
 */
#ifndef HARNESS_DATA_FETCH_H
#define HARNESS_DATA_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tasks/task.h"

/* What lies in the data folder under a file's name. */
struct data_look {
    bool is_there;
    enum data_state state; /* if it is there */
    int64_t bytes;
    char sha256[65];
};

/* Read and check one file of a folder. That it is missing is no failure. */
MUST_CHECK enum status data_look(const char *dir, const struct data_file *f, struct data_look *ret,
                                 struct error *err);

struct data_fetch_options {
    const char *dir;    /* made where it is missing, if there is anything to get */
    const char *mirror; /* "http[s]://...", in place of https://HOST in every address; or NULL */
    bool is_forced;     /* files that are right too */
    bool is_offline;
    int timeout_s, n_retries;
    const char *progress; /* "auto", "always", "never" */
    bool is_quiet;
};

/*
 * Get those of the n files that are missing or wrong, from their addresses in turn, each failure
 * logged. A file is put in place only when its content is right; a wrong one that was there is kept
 * as NAME.old. What came of a broken transfer stays as NAME.part, and the next call goes on with
 * it. One process at a time may do this in a folder.
 *
 * All files are tried; then the failure is told: ST_MISMATCH if an address gave another content,
 * ST_NOT_FOUND offline, ST_IO, ST_INTERRUPTED, ST_NOMEM, ST_INVALID for a mirror that is none.
 */
MUST_CHECK enum status data_fetch(const struct data_fetch_options *o,
                                  const struct data_file *const *files, size_t n,
                                  struct error *err);

#endif
