# A value that keeps the tests busy for ever.
# full: timeout_cpu
# user: timeout_cpu
# limits: cpu

def add(a, b):
    return range(10**15)

# --- tests
assert sum(add(2, 3)) == 5
