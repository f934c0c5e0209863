# Links to what lies outside.
# full: pass
# user: pass

import os

os.symlink("/etc/shadow", "shadow")
os.symlink("../../../../../../etc/shadow", "up")
for name in ("shadow", "up"):
    try:
        open(name)
    except FileNotFoundError:
        pass
    else:
        raise RuntimeError(name)
try:
    os.link("/usr/bin/su", "su")
except OSError:
    pass
else:
    raise RuntimeError("hard link")


def add(a, b):
    return a + b
