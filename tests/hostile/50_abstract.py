# An abstract socket of the host is not in this network namespace.
# full: pass
# user: pass

import socket

s = socket.socket(socket.AF_UNIX)
try:
    s.connect("\0desbench-hostile")
except ConnectionRefusedError:
    pass
else:
    raise RuntimeError("connected")
a, b = socket.socketpair()
a.send(b"x")
assert b.recv(1) == b"x"


def add(a, b):
    return a + b
