# Returns a file: no data.
# full: fail
# user: fail

def add(a, b):
    return open('/dev/null')
