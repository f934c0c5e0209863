# Sleeps.
# full: timeout_wall
# user: timeout_wall
# limits: wall

import time

time.sleep(1e6)
