# A string of 1 GB.
# full: oom
# user: oom

def add(a, b):
    return 'x' * (1 << 30)
