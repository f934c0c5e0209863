# Dies of the filter's signal without the filter: its own loss.
# full: denied
# user: denied

import os
import signal

os.kill(os.getpid(), signal.SIGSYS)
