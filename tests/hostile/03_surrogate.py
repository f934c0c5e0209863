# A lone surrogate.
# full: syntax
# user: syntax

x = 'í €'


def add(a, b):
    return a + b
