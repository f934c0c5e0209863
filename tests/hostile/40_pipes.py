# Pipe buffers, as large as they get.
# full: pass|fail|oom
# user: pass|fail|oom

import fcntl
import os

for _ in range(100):
    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        fcntl.fcntl(w, 1031, 1 << 20)
        while True:
            os.write(w, bytes(65536))
    except OSError:
        pass


def add(a, b):
    return a + b
