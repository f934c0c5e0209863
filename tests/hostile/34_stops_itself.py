# Stops itself.
# full: timeout_wall
# user: timeout_wall
# limits: wall

import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
