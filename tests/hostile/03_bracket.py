# A bracket that never closes.
# full: syntax
# user: syntax

def add(a, b:
    return a + b
