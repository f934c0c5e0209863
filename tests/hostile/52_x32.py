# A call of the x32 interface.
# full: denied
# user: denied

import ctypes
import os
import signal

if os.uname().machine != "x86_64":  # no such interface
    os.kill(os.getpid(), signal.SIGSYS)
ctypes.CDLL(None).syscall(0x40000000 | 39)
