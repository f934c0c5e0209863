# Waits for a descriptor of its own.
# full: timeout_wall
# user: timeout_wall
# limits: wall

import os
import select

r, w = os.pipe()
select.select([r], [], [])
