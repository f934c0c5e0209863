/*
 * Talk on stderr: messages of a level, one line each. stdout belongs to data.
 *
 * The one piece of process-wide state in the program, as stderr itself is. Safe from
 * several threads: a line is written by one call.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped; LOG_INFO at start. A line is made visible as by
 * utf8_make_visible(), and cut to 2047 bytes, then ending in "...". */
void log_set_level(enum log_level level);

/* A status line drawn by a progress display is cleared before and after each message by
 * these, when set (NULL: none). */
void log_set_hooks(void (*before)(void *arg), void (*after)(void *arg), void *arg);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
