# Reads address 0.
# full: signal:11
# user: signal:11

import ctypes

ctypes.string_at(0)
