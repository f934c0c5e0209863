# Writes where the next interpreter would look.
# full: pass
# user: pass

import os
import sys

folder = os.path.dirname(os.__file__)
for path in (folder + "/sitecustomize.py", folder + "/x.pth", folder + "/__pycache__/os.cpython-311.pyc",
             "/usr/lib/python3/dist-packages/x.pth", "/usr/local/x", "/x", "/dev/x", "/etc/x", "/bin/x"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise RuntimeError(path)


def add(a, b):
    return a + b
