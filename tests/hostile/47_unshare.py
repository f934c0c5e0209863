# Calls unshare().
# full: denied
# user: denied

import ctypes

ctypes.CDLL(None).unshare(0x10000000, 0)
