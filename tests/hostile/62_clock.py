# Sets the clock.
# full: denied
# user: denied

import time

time.clock_settime(time.CLOCK_REALTIME, 0)
