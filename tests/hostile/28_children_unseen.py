# Burns CPU time in short children that nobody waits for: only a control group counts them.
# full: timeout_cpu
# user: timeout_cpu|pass
# limits: cpu

import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(60):
    pid = os.fork()
    if pid == 0:
        while time.process_time() < 0.02:
            pass
        os._exit(0)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def add(a, b):
    return a + b
