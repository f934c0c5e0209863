# Bytes that are no UTF-8.
# full: syntax
# user: syntax

x = 'ÿþ'


def add(a, b):
    return a + b
