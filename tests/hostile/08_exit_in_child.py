# The parent leaves; a child of its goes on to the tests.
# full: forged
# user: forged

import os

if os.fork():
    os._exit(0)


def add(a, b):
    return a + b
