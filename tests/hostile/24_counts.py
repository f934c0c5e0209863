# Right at first, wrong from the second call on.
# full: fail
# user: fail

calls = 0


def add(a, b):
    global calls
    calls += 1
    return a + b if calls < 2 else 1
