# Changes its argument and returns it: the tests keep theirs.
# full: pass
# user: pass

def add(a, b):
    a.append(b)
    return a

# --- tests
x = [1]
y = add(x, 2)
assert y == [1, 2] and x == [1]
assert add(x, 3) == [1, 3]
