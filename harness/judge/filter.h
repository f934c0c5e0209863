/*
 * The system call filter of a program, compiled once by libseccomp and loaded by each child.
 *
 * Everything is allowed but two lists. KILL ends the process (verdict `denied`): calls that no
 * honest solution makes and that reach for the host, other processes or the kernel's riskier
 * parts. ERRNO makes the call fail: calls that libraries probe for and can do without, and those
 * that would carry bits between programs or hide memory from the limits. Calls of another
 * architecture (32-bit, x32) kill.
 */
#ifndef HARNESS_JUDGE_FILTER_H
#define HARNESS_JUDGE_FILTER_H

#include <linux/filter.h>

#include "base/status.h"

/* ret->filter is released by filter_release(), which accepts a zeroed struct. */
MUST_CHECK enum status filter_make(struct sock_fprog *ret, struct error *err);
void filter_release(struct sock_fprog *f);

#endif
