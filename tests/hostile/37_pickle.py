# Pickles itself to death.
# full: fail|signal:11|oom
# user: fail|signal:11|oom

import pickle
import sys

sys.setrecursionlimit(10**6)
x = []
for _ in range(10**6):
    x = [x]
pickle.dumps(x)
