/*
 * Status codes and error messages: how every module reports what went wrong.
 *
 * Whatever comes from input, files, memory, the device or a child process is an
 * `enum status` plus a message; a programmer's mistake is an assert(). Functions
 * below harness/main.c never print and never exit.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))

#ifdef __cplusplus /* device code */
extern "C" {
#endif

enum status {
    ST_OK = 0,
    ST_INVALID,     /* outside data or an option is wrong: file, field and value are named */
    ST_UNSUPPORTED, /* well-formed, but not something this build or backend can do */
    ST_NOT_FOUND,   /* a file, data set, model or run that was asked for is not there */
    ST_NOMEM,       /* no room: memory; the message has the number of bytes when known */
    ST_IO,          /* the operating system refused: read, write, disk full, permission */
    ST_DEVICE,      /* accelerator or driver fault */
    ST_MISMATCH,    /* two things that may not be compared or mixed */
    ST_INTERRUPTED, /* stopped on request; what was done is kept */
    ST_INTERNAL,    /* our own fault: a broken promise between modules, judge failure */
};

/* Short lower-case word for a status ("invalid", "io", ...); never NULL. */
const char *status_name(enum status st);

/* A failure and its message. Storage is the caller's; no release needed. A message that
 * does not fit keeps its beginning and ends in "...". */
struct error {
    enum status status;
    char text[1024];
};

/*
 * Fill err (if not NULL) and return status, so that detecting and returning is one line.
 * Messages: cause first, lower case, no full stop, names in quotes, the offending value.
 * Control characters and bytes that are not UTF-8 are shown as '?': a message is one line and
 * safe on a terminal whatever the outside data held.
 */
enum status error_set(struct error *err, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* which does not see into it: say that it returns what it is given */
#define error_set(err, status, ...) (error_set((err), (status), __VA_ARGS__), (status))
#endif

/* Put "prefix: " in front of a message already set, keeping its status; returns that status.
 * err may be NULL, then status is returned as given. */
enum status error_prefix(struct error *err, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
