# Pools within the limits, one thread for libraries.
# full: pass
# user: pass

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor


def square(x):
    return x * x


with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
with ProcessPoolExecutor(2) as pool:
    assert list(pool.map(len, ["a", "bb"])) == [1, 2]
assert os.cpu_count() >= 1 and os.environ["OMP_NUM_THREADS"] == "1"


def add(a, b):
    return a + b
