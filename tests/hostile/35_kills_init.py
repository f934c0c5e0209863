# Kills its parent (pid 1) and everybody it may: nobody.
# full: pass
# user: pass

import os
import signal

for target in (1, os.getppid(), -1):
    for s in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(target, s)
        except OSError:
            pass


def add(a, b):
    return a + b
