# Sixty lists, each twice in the next.
# full: output
# user: output

def add(a, b):
    x = []
    for _ in range(60):
        x = [x, x]
    return x
