# Looks for what another program left.
# full: pass
# user: pass

import os
import socket

assert os.listdir("/tmp") == [] and os.listdir("/dev/shm") == []
assert not os.path.exists("/x") and not os.path.exists("/usr/x")
assert socket.gethostname() == "sandbox"
assert os.getcwd() == "/tmp" and os.getpid() == 2


def add(a, b):
    return a + b
