# Leaves its output pipes open in a socket that only itself holds.
# full: pass
# user: pass

import os
import socket
import time

a, b = socket.socketpair()
r, w = os.pipe()
if os.fork() == 0:
    socket.send_fds(a, [b"x"], [a.fileno(), b.fileno(), 1, 2, 3])
    os.write(w, b"x")
    time.sleep(1000)
os.read(r, 1)


def add(a, b):
    return a + b
