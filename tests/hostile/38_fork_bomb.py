# Forks without end.
# full: pids
# user: pids

import os

while True:
    os.fork()
