# Waits for a writer that never comes.
# full: timeout_wall
# user: timeout_wall
# limits: wall

import os

os.mkfifo('pipe')
open('pipe').read()
