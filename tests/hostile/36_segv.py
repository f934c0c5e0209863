# Dies of SIGSEGV.
# full: signal:11
# user: signal:11

import os
import signal

os.kill(os.getpid(), signal.SIGSEGV)
