# A thread that never ends, after a right answer: the tests are done, and that counts.
# full: pass
# user: pass

import threading
import time

threading.Thread(target=time.sleep, args=(1000,)).start()


def add(a, b):
    return a + b
