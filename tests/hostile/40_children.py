# Many children, each under the limit.
# full: oom
# user: oom

import os
import time

for _ in range(10):
    if os.fork() == 0:
        x = b"x" * (64 << 20)
        time.sleep(1000)
for _ in range(10):
    os.wait()
time.sleep(1000)
