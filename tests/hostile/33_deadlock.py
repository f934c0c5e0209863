# Waits for a lock it holds.
# full: timeout_wall
# user: timeout_wall
# limits: wall

import threading

lock = threading.Lock()


def add(a, b):
    with lock, lock:
        return a + b
