# Returns a iterator: no data.
# full: fail
# user: fail

def add(a, b):
    return iter([5])
