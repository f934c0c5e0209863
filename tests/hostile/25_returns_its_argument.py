# Hands back the list that it was given, to change it later.
# full: fail
# user: fail

kept = []


def add(a, b):
    kept.append(a)
    for x in kept:
        x[:] = [b]
    return a

# --- tests
x = add([1], 2)
assert x == [2]
add([5], 7)
assert x == [7]
