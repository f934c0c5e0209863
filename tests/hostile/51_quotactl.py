# Asks for quotas.
# full: denied
# user: denied

import ctypes

ctypes.CDLL(None).quotactl(0, None, 0, None)
