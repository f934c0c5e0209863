# A right answer, and noise on the channel: that proves nothing.
# full: forged
# user: forged

import os

os.write(3, b'P')


def add(a, b):
    return a + b
