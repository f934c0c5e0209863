# C recursion: repr of a deep list.
# full: fail|signal:11|oom
# user: fail|signal:11|oom

import sys

sys.setrecursionlimit(10**9)
x = []
for _ in range(10**5):
    x = [x]
repr(x)
