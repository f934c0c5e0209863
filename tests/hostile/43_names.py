# Strange names.
# full: pass
# user: pass

import os

for name in (b'a\nb', b'\xff\xfe', b' ', b'-rf', b'x' * 255):
    open(name, 'w').close()
os.symlink('/', 'root')


def add(a, b):
    return a + b
