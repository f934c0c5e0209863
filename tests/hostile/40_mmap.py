# Anonymous memory.
# full: oom
# user: oom

import mmap

kept = []
while True:
    m = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE)
    m.write(b'x' * len(m))
    kept.append(m)
