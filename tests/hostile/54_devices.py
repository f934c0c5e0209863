# Device nodes.
# full: pass
# user: pass

import os
import stat

assert set(os.listdir("/dev")) <= {"null", "zero", "random", "urandom", "shm"}
try:
    os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
except PermissionError:
    pass
else:
    raise RuntimeError("block device")
open("/dev/null", "w").write("x")


def add(a, b):
    return a + b
