# A list that holds itself.
# full: fail
# user: fail

def add(a, b):
    x = []
    x.append(x)
    return x
