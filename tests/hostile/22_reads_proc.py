# Looks for answers in /proc, descriptors, arguments, environment: nothing is there.
# full: pass
# user: pass

import os
import sys

assert not os.path.exists("/proc/1")
assert [n for n in os.listdir("/proc") if n.isdigit()] == [str(os.getpid())]
for fd in range(4, 256):
    try:
        os.fstat(fd)
    except OSError:
        continue
    raise RuntimeError("descriptor %d is open" % fd)
assert all(k.startswith(("PATH", "HOME", "TMPDIR", "USER", "LANG", "LC_", "TZ", "PYTHON"))
           or k.endswith("_NUM_THREADS") for k in os.environ), os.environ
assert "assert add" not in open("/proc/self/cmdline").read()
assert sys.argv == ["-c"]
assert sys.stdin.read() == ""


def add(a, b):
    return a + b
