# A daemon that outlives it and holds the output open.
# full: pass
# user: pass

import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1000)
    os._exit(0)
os.wait()


def add(a, b):
    return a + b
