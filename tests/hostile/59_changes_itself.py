# Leaves folder, mask, signals, environment and locale changed.
# full: pass
# user: pass

import os
import signal
import sys

os.mkdir("sub")
os.chdir("sub")
os.umask(0o777)
os.environ["LEFT"] = "1"
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
sys.path[:] = []
sys.modules.clear()


def add(a, b):
    return a + b
