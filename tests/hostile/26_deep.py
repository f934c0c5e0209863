# A list a million deep.
# full: fail
# user: fail

def add(a, b):
    x = []
    for _ in range(10**6):
        x = [x]
    return x
