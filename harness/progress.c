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
#include "base/utf8.h"

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
    const int64_t most_s = 359999; /* 99:59:59 */
    int64_t s = ns / 1000000000 + (ns % 1000000000 >= 500000000);

    if (ns < 0)
        snprintf(out, size, "?");
    else if (s > most_s)
        snprintf(out, size, "%" PRId64 " days", s / 86400);
    else if (s >= 3600)
        snprintf(out, size, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

int64_t progress_left_ns(int64_t spent_ns, double work_done, double work_total)
{
    double left;

    if (!(work_done > 0) || work_total < work_done)
        return -1;
    left = (double)spent_ns * (work_total - work_done) / work_done;
    return left < 0x1p62 ? (int64_t)left : -1;
}

void progress_cut(char *text, int n_cols)
{
    size_t len = strlen(text), i = 0;
    uint32_t cp;

    for (int col = 0; i < len && col < n_cols; col++) {
        int n = utf8_decode(text + i, len - i, &cp);

        i += n ? (size_t)n : 1;
    }
    text[i] = '\0';
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
    int64_t spent_ns = now - p->start_ns;
    char spent[32], left[32], text[512];
    struct winsize ws = { 0 };
    int n_cols = 100;

    progress_duration(spent_ns, spent, sizeof(spent));
    progress_duration(progress_left_ns(spent_ns, p->work_done, p->work_total), left, sizeof(left));
    if (p->mode == PROGRESS_LOG) {
        log_info("%zu/%zu done, %s spent, about %s left; %s", p->done, p->total, spent, left,
                 p->note);
        return;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
        n_cols = ws.ws_col;
    snprintf(text, sizeof(text), "%zu/%zu  %s  eta %s  %s", p->done, p->total, spent, left,
             p->note);
    utf8_make_visible(text);
    progress_cut(text, n_cols - 1); /* the last column would wrap on some terminals */
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
