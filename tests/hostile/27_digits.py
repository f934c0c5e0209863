# An integer of ten million digits: a value like others.
# full: fail
# user: fail

def add(a, b):
    return 1 << 33_000_000
