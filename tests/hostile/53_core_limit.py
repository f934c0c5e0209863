# Asks for a core dump, and for priorities that starve others.
# full: pass
# user: pass

import os
import resource

soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
assert soft == hard <= 1, (soft, hard)
try:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise RuntimeError("the core limit was changed")
except (OSError, ValueError):
    pass
assert resource.getrlimit(resource.RLIMIT_CORE) == (soft, hard)
for limit in (13, 14):  # nice, real-time priority
    assert resource.getrlimit(limit) == (0, 0), limit
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    raise RuntimeError("real-time priority")
except PermissionError:
    pass
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 256))


def add(a, b):
    return a + b
