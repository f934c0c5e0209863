# Closes the standard streams.
# full: pass
# user: pass

import os

for fd in range(3):
    os.close(fd)


def add(a, b):
    return a + b
