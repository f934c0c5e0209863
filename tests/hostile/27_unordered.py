# Sets compare without order.
# full: pass
# user: pass

def add(a, b):
    return {chr(c) for c in range(97 + b, 97 + a, -1)}

# --- tests
assert add(1, 9) == set('cdefghij')
