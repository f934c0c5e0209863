# A product that is too large for a list.
# full: timeout_cpu|oom
# user: timeout_cpu|oom
# limits: cpu

import itertools


def add(a, b):
    return list(itertools.product(range(1000), repeat=5))
