/* Status names and error messages. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const char *const names[] = {
    [ST_OK] = "ok",
    [ST_INVALID] = "invalid",
    [ST_UNSUPPORTED] = "unsupported",
    [ST_NOT_FOUND] = "not-found",
    [ST_NOMEM] = "no-memory",
    [ST_IO] = "io",
    [ST_DEVICE] = "device",
    [ST_MISMATCH] = "mismatch",
    [ST_INTERRUPTED] = "interrupted",
    [ST_INTERNAL] = "internal",
};

const char *status_name(enum status st)
{
    if ((size_t)st >= sizeof(names) / sizeof(names[0]))
        return "unknown";
    return names[st];
}

/* End a message that filled its buffer in "...", and make it one visible line. */
static void finish(char *text, size_t size, int wanted)
{
    if (wanted >= (int)size)
        memcpy(text + size - 4, "...", 4);
    utf8_make_visible(text);
}

enum status error_set(struct error *err, enum status status, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!err)
        return status;
    err->status = status;
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n < 0)
        err->text[0] = '\0';
    else
        finish(err->text, sizeof(err->text), n);
    return status;
}

enum status error_prefix(struct error *err, enum status status, const char *fmt, ...)
{
    char old[sizeof(err->text)];
    va_list ap;
    int n, m;

    if (!err)
        return status;
    memcpy(old, err->text, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if (n >= (int)sizeof(err->text))
        n = (int)sizeof(err->text) - 1;
    m = snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", old);
    finish(err->text, sizeof(err->text), n + m);
    return status;
}
