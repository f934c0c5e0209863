# Climbs above the root by a kept descriptor.
# full: pass
# user: pass

import os

fd = os.open("/", os.O_RDONLY)
os.fchdir(fd)
for _ in range(40):
    os.chdir("..")
assert not os.path.exists("root") and not os.path.exists("etc/passwd")


def add(a, b):
    return a + b
