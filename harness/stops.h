/*
 * Stops: signals that ask for an end, counted instead of obeyed.
 */
#ifndef HARNESS_STOPS_H
#define HARNESS_STOPS_H

#include <signal.h>

/*
 * From here on SIGINT, SIGTERM and SIGHUP ask for an end instead of making one: *result says how
 * often. One that nobody heeds makes an end the third time. SIGINT is caught even where it was
 * ignored, as a shell does to jobs in the background: who sends it means it. SIGHUP stays ignored
 * under nohup.
 */
const volatile sig_atomic_t *stops_catch(void);

#endif
