/*
 * Stops: signals that ask for an end, counted instead of obeyed.
 */
#ifndef HARNESS_STOPS_H
#define HARNESS_STOPS_H

#include <signal.h>

/*
 * From here on SIGINT, SIGTERM and SIGHUP ask for an end instead of making one: *result says how
 * often. One that nobody heeds makes an end the third time. A signal that was ignored when the
 * program started stays ignored: SIGHUP under nohup, SIGINT in the background of a shell without
 * job control.
 */
const volatile sig_atomic_t *stops_catch(void);

#endif
