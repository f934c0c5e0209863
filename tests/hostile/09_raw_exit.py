# Leaves by a raw exit_group.
# full: forged
# user: forged

import ctypes
import platform

ctypes.CDLL(None).syscall(231 if platform.machine() == 'x86_64' else 94, 0)
