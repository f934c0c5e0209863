# Raw vfork without end, in children of children.
# full: pids|signal:11
# user: pids|signal:11

import ctypes
import os

libc = ctypes.CDLL(None)
while True:
    if libc.fork() < 0:
        raise BlockingIOError(11, 'fork')
