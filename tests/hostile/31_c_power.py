# One C call that does not return: a power.
# full: timeout_cpu|oom
# user: timeout_cpu|oom
# limits: cpu

def add(a, b):
    return 10 ** 10 ** 8
