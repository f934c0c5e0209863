/* Progress on stderr. */
#include "harness/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static const int64_t line_every_ns = 100000000, log_every_ns = 10000000000;

static void erase(void *arg)
{
    struct progress *p = arg;

    if (p->is_drawn)
        fputs("\r\033[K", stderr);
    p->is_drawn = false;
}

void progress_duration(int64_t ns, char *out, size_t size)
{
    int64_t s = (ns + 500000000) / 1000000000;

    if (s >= 3600)
        snprintf(out, size, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

void progress_start(struct progress *p, const char *when, bool is_quiet, size_t total,
                    double work_total)
{
    *p = (struct progress){ .total = total, .work_total = work_total };
    if (strcmp(when, "always") == 0 || (strcmp(when, "auto") == 0 && isatty(STDERR_FILENO)))
        p->mode = PROGRESS_LINE;
    else if (strcmp(when, "auto") == 0)
        p->mode = PROGRESS_LOG;
    if (is_quiet)
        p->mode = PROGRESS_OFF;
    p->start_ns = p->last_ns = clock_mono_ns();
    if (p->mode == PROGRESS_LINE)
        log_set_hooks(erase, NULL, p);
}

static void draw(struct progress *p, int64_t now)
{
    char spent[16], left[16] = "?", text[512];
    struct winsize ws = { 0 };
    int width = 100;

    progress_duration(now - p->start_ns, spent, sizeof(spent));
    if (p->work_done > 0 && p->work_total >= p->work_done)
        progress_duration(
            (int64_t)((double)(now - p->start_ns) * (p->work_total - p->work_done) / p->work_done),
            left, sizeof(left));
    if (p->mode == PROGRESS_LOG) {
        log_info("%zu/%zu done, %s spent, about %s left; %s", p->done, p->total, spent, left,
                 p->note);
        return;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20)
        width = ws.ws_col;
    if (width > (int)sizeof(text))
        width = (int)sizeof(text);
    snprintf(text, (size_t)width, "%zu/%zu  %s  eta %s  %s", p->done, p->total, spent, left,
             p->note);
    fprintf(stderr, "\r%s\033[K", text);
    fflush(stderr);
    p->is_drawn = true;
}

void progress_update(struct progress *p, size_t done, double work_done, const char *fmt, ...)
{
    int64_t now = clock_mono_ns();
    bool is_last = done == p->total && p->done != p->total;
    va_list ap;

    p->done = done;
    p->work_done = work_done;
    if (p->mode == PROGRESS_OFF)
        return;
    if (!is_last && now - p->last_ns < (p->mode == PROGRESS_LINE ? line_every_ns : log_every_ns))
        return;
    p->last_ns = now;
    va_start(ap, fmt);
    vsnprintf(p->note, sizeof(p->note), fmt, ap);
    va_end(ap);
    draw(p, now);
}

void progress_stop(struct progress *p)
{
    erase(p);
    if (p->mode == PROGRESS_LINE)
        log_set_hooks(NULL, NULL, NULL);
}
