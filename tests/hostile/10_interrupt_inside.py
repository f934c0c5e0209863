# KeyboardInterrupt inside the function.
# full: fail
# user: fail

def add(a, b):
    raise KeyboardInterrupt
