# A small value that takes much room when the tests work on it.
# full: oom|timeout_cpu|fail
# user: oom|timeout_cpu|fail

def add(a, b):
    return 1 << 40

# --- tests
assert 'x' * add(2, 3)
