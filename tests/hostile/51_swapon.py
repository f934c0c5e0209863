# Swaps to a file of its own.
# full: denied
# user: denied

import ctypes

ctypes.CDLL(None).swapon(b"/tmp/x", 0)
