# Priority, limits and those of its init.
# full: pass
# user: pass

import os
import resource


def refused(f, *args):
    try:
        f(*args)
    except (OSError, ValueError):
        return
    raise RuntimeError((f, args))


refused(os.nice, -5)
refused(os.setpriority, os.PRIO_PROCESS, 1, 19)
refused(os.sched_setaffinity, 1, {0})
for what in (resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    soft, hard = resource.getrlimit(what)
    assert hard != resource.RLIM_INFINITY, what
    refused(resource.setrlimit, what, (hard + 1, hard + 1))
refused(resource.prlimit, 1, resource.RLIMIT_CPU, (0, 0))
refused(open, "/proc/self/oom_score_adj", "w")
refused(open, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "w")


def add(a, b):
    return a + b
