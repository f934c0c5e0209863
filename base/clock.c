/* Clocks. */
#include "base/clock.h"

#include <time.h>

int64_t clock_mono_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void clock_utc(char *out, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    if (!strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm) && size)
        out[0] = '\0';
}
