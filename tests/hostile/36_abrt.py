# Dies of SIGABRT.
# full: signal:6
# user: signal:6

import os
import signal

os.kill(os.getpid(), signal.SIGABRT)
