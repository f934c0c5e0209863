/* Talk on stderr. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum log_level max_level = LOG_INFO;
static void (*hook_before)(void *), (*hook_after)(void *);
static void *hook_arg;

void log_set_level(enum log_level level)
{
    pthread_mutex_lock(&lock);
    max_level = level;
    pthread_mutex_unlock(&lock);
}

void log_set_hooks(void (*before)(void *arg), void (*after)(void *arg), void *arg)
{
    pthread_mutex_lock(&lock);
    hook_before = before;
    hook_after = after;
    hook_arg = arg;
    pthread_mutex_unlock(&lock);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    static const char *const prefix[] = {
        [LOG_ERROR] = "desbench: error: ",
        [LOG_WARN] = "desbench: warning: ",
        [LOG_INFO] = "desbench: ",
        [LOG_DEBUG] = "desbench: debug: ",
    };
    char line[2048];
    va_list ap;

    pthread_mutex_lock(&lock);
    if (level <= max_level) {
        va_start(ap, fmt);
        if (vsnprintf(line, sizeof(line), fmt, ap) >= (int)sizeof(line))
            memcpy(line + sizeof(line) - 4, "...", 4);
        va_end(ap);
        utf8_make_visible(line);
        if (hook_before)
            hook_before(hook_arg);
        fprintf(stderr, "%s%s\n", prefix[level], line);
        if (hook_after)
            hook_after(hook_arg);
    }
    pthread_mutex_unlock(&lock);
}
