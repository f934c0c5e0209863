/*
 * Clocks. Durations are int64_t nanoseconds of the monotonic clock until they are printed;
 * dates are UTC, ISO 8601.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of a clock that never goes back; only differences mean anything. */
int64_t clock_mono_ns(void);

/* "2026-11-22T06:51:19Z" into out; size >= 21. */
void clock_utc(char *out, size_t size);

#endif
