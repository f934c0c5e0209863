# Values whose counts promise more than there is.
# full: forged
# user: forged

import sys
import posix


def add(a, b):
    frame = sys._getframe(1)
    while "nonce" not in frame.f_locals:
        frame = frame.f_back
    value = b"Vl\xff\xff\xff\xff" + b"l\xff\xff\xff\xff" * 150 + b"T"
    posix.write(3, frame.f_locals["nonce"] + len(value).to_bytes(4, "little") + value)
    return a + b
