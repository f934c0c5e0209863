# Minus zero, which is equal to zero.
# full: pass
# user: pass

def add(a, b):
    return -0.0

# --- tests
assert add(0, 0) == 0
