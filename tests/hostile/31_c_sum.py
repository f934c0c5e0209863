# One C call that does not return: a sum.
# full: timeout_cpu
# user: timeout_cpu
# limits: cpu

def add(a, b):
    return sum(range(10**13))
