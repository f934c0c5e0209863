# Dies of SIGILL.
# full: signal:4
# user: signal:4

import os
import signal

os.kill(os.getpid(), signal.SIGILL)
