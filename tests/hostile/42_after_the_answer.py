# Right, but with more output than is kept.
# full: output
# user: output

print('x' * 100_000)


def add(a, b):
    return a + b
