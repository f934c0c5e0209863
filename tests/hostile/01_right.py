# A correct solution.
# full: pass
# user: pass

def add(a, b):
    return a + b
