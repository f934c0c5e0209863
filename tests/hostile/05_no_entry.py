# Defines nothing of the name that is tested.
# full: fail
# user: fail

def plus(a, b):
    return a + b
