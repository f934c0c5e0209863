# A wrong value.
# full: fail
# user: fail

def add(a, b):
    return a - b
