# SystemExit inside the function.
# full: fail
# user: fail

def add(a, b):
    raise SystemExit(0)
