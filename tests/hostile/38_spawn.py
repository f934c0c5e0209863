# posix_spawn without end.
# full: pids
# user: pids

import os

while True:
    os.posix_spawn('/usr/bin/sleep', ['sleep', '1000'], {})
