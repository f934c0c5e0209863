# Numbers that all fall into one slot of a set.
# full: timeout_cpu|fail
# user: timeout_cpu|fail
# limits: cpu

def add(a, b):
    return {i * (2**61 - 1): i for i in range(40_000)}

# --- tests
assert add(2, 3) == 5
