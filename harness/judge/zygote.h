/*
 * Within a zygote: what it does before it becomes the interpreter, and the helper that it then
 * loads. See sandbox.h.
 *
 * The helper (inside.c, probe_inside.c, ctl.c and the filter) is a shared library of its own that
 * travels in the program: an interpreter cannot make namespaces by itself. zygote.py calls its
 * three functions by ctypes.
 */
#ifndef HARNESS_JUDGE_ZYGOTE_H
#define HARNESS_JUDGE_ZYGOTE_H

#include <stdbool.h>

#include "harness/judge/sandbox.h"

enum { ZYGOTE_CMD = 3 };

/*
 * Build a root that shows /usr, the loader's cache and four harmless devices, all read-only, with
 * the helper at SANDBOX_HELPER, and pivot to it. The host's /proc stays mounted: the kernel lets a
 * namespace mount its own only where another is in sight. Ends the process on failure.
 */
void root_build(void);

#define HELPER_API __attribute__((visibility("default")))

/* Take requests until the spawner goes, then exit. Returns in a process that was forked for one:
 * its role, ROLE_CHECKER ready to run, else that of an init that has yet to fork its candidate. */
HELPER_API int zygote_serve(void);

/* In the candidate, a fork of init's: give up what is left. */
HELPER_API void zygote_confine(void);

/* In init: wait for its candidate, tell, leave. */
HELPER_API _Noreturn void zygote_reap(int candidate);

/* What a probe does inside, before the filter is loaded and after; writes findings to FD_REPORT. */
void sandbox_probe_run(const struct zygote_request *r, bool is_filtered);

#endif
