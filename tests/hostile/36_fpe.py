# Dies of SIGFPE.
# full: signal:8
# user: signal:8

import os
import signal

os.kill(os.getpid(), signal.SIGFPE)
