/*
 * What this machine can do at most: the ceilings that kernels on the CPU are measured against.
 *
 * Reading: a buffer beyond all caches, by n_threads at once, in the better of two ways: front to
 * back with the machine's own prefetching, and in 16 streams fetched by hand, as one stream does
 * not keep every memory busy. Arithmetic: multiply-adds on registers alone, nothing loaded. The
 * best of a few tries each: a ceiling, not a mean.
 */
#ifndef KERNELS_LIMITS_H
#define KERNELS_LIMITS_H

#include "base/status.h"

/* Bytes per second that n_threads (>= 1) read together. Takes half a second and 256 MiB.
 * ST_NOMEM. */
MUST_CHECK enum status limit_read_rate(int n_threads, double *ret, struct error *err);

enum { LIMIT_MAX_ISAS = 8 };

/* Names of kernel_params.isa that this machine runs, the plainest first; returns how many. */
int limit_isas(const char *ret[LIMIT_MAX_ISAS]);

/* Floating-point operations (two a multiply-add) per second of n_threads together, with the
 * instruction that isa multiplies packed weights with. ST_INVALID: no such isa; ST_UNSUPPORTED: not
 * on this machine; ST_NOMEM. */
MUST_CHECK enum status limit_arithmetic(const char *isa, int n_threads, double *ret,
                                        struct error *err);

#endif
