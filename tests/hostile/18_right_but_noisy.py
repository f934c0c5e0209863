# A right answer, and noise where the proof goes: that proves nothing.
# full: forged
# user: forged

import os

os.write(4, b'P')


def add(a, b):
    return a + b
