# Leaves through the C library.
# full: forged
# user: forged

import ctypes

ctypes.CDLL(None)._exit(0)
