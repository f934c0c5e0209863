/* Stops: one counter, as signals can reach nothing but a global. */
#include "harness/stops.h"

#include <stddef.h>

static volatile sig_atomic_t n_stops;

static void on_stop(int sig)
{
    n_stops++;
    if (n_stops >= 2)
        signal(sig, SIG_DFL);
}

const volatile sig_atomic_t *stops_catch(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction sa = { .sa_handler = on_stop }, old;

    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    return &n_stops;
}
