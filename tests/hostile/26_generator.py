# Returns a generator: no data.
# full: fail
# user: fail

def add(a, b):
    return (x for x in (5,))
