/*
 * The system call filter of a program, compiled by libseccomp when the program is built
 * (filter_gen.c) and loaded by each child.
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

/* Constant: nothing to release. */
struct sock_fprog filter_program(void);

#endif
