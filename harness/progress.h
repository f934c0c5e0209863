/*
 * Progress on stderr: one redrawn line on a terminal, a log line now and then elsewhere.
 */
#ifndef HARNESS_PROGRESS_H
#define HARNESS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_mode { PROGRESS_OFF, PROGRESS_LOG, PROGRESS_LINE };

struct progress {
    enum progress_mode mode;
    int64_t start_ns, last_ns;
    size_t total, done;
    double work_total, work_done; /* any unit: what the estimate goes by */
    bool is_drawn;
    char note[160];
};

/* "auto": a line on a terminal, else a log; "always": a line, "never": nothing; is_quiet: nothing
 * either. Installs hooks so that log messages and the line do not mix. */
void progress_start(struct progress *p, const char *when, bool is_quiet, size_t total,
                    double work_total);

/* State as it is now: items done, work done, and a few words. Draws at most ten times a second
 * (line) or once in 10 s (log), and always when done reaches total. */
void progress_update(struct progress *p, size_t done, double work_done, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Erase the line and remove the hooks. */
void progress_stop(struct progress *p);

/* "2:03", "1:02:03", "5 days", or "?" for a negative one, into out (>= 32 bytes). */
void progress_duration(int64_t ns, char *out, size_t size);

/* What is left at the mean speed so far; -1 when that cannot be told. */
int64_t progress_left_ns(int64_t spent_ns, double work_done, double work_total);

/* Cut a text to n_cols characters, never inside one. */
void progress_cut(char *text, int n_cols);

#endif
