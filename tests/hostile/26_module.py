# Returns a module: no data.
# full: fail
# user: fail

import sys


def add(a, b):
    return sys
