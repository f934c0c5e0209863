# Not a number, which is equal to nothing.
# full: fail
# user: fail

def add(a, b):
    return float('nan')

# --- tests
assert add(2, 3) == add(2, 3)
