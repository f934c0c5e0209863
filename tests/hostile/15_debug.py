# Asserts switched off, where they are not compiled yet.
# full: fail
# user: fail

import builtins
import os
import sys

builtins.__dict__["__debug__"] = False
os.environ["PYTHONOPTIMIZE"] = "2"
try:
    sys.flags = type("flags", (), {"optimize": 2, "__getattr__": lambda self, name: 2})()
except AttributeError:
    pass


def add(a, b):
    return 0
