# Returns a function: no data.
# full: fail
# user: fail

def add(a, b):
    return add
