# A terabyte of addresses, not touched: level user counts addresses.
# full: pass
# user: oom

import mmap

m = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000)  # MAP_NORESERVE


def add(a, b):
    return a + b
