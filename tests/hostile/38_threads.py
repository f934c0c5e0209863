# Starts threads without end.
# full: pids
# user: pids

import threading

stop = threading.Event()
while True:
    threading.Thread(target=stop.wait, daemon=True).start()
