# Calls setns().
# full: denied
# user: denied

import ctypes

ctypes.CDLL(None).setns(0x10000000, 0)
