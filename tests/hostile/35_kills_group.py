# Kills its own process group: itself.
# full: signal:9
# user: signal:9

import os
import signal

os.killpg(0, signal.SIGKILL)
