# Tries all places where the next program could find something.
# full: pass
# user: pass

import fcntl
import os
import socket

for path in ("/dev/shm/x", "/tmp/x", "/var/tmp/x", "/run/x", "/usr/x", "/x", "/proc/self/comm"):
    try:
        with open(path, "w") as f:
            f.write("left")
    except OSError:
        pass
for call in (lambda: socket.sethostname("left"),
             lambda: fcntl.flock(os.open("/usr/bin", os.O_RDONLY), fcntl.LOCK_EX)):
    try:
        call()
        raise RuntimeError("a channel to the next program")
    except OSError:
        pass


def add(a, b):
    return a + b
