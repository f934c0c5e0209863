# Dies of SIGBUS.
# full: signal:7
# user: signal:7

import os
import signal

os.kill(os.getpid(), signal.SIGBUS)
