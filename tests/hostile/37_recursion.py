# Recursion with the limit raised.
# full: signal:11|oom|fail|timeout_cpu
# user: signal:11|oom|fail|timeout_cpu
# limits: cpu

import sys

sys.setrecursionlimit(10**9)


def add(a, b):
    return add(a, b)
