# Floods the channel to the checker.
# full: forged
# user: forged
# limits: cpu

import os

while True:
    os.write(3, bytes(65536))
