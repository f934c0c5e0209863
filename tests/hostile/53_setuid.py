# Setuid programs gain nothing.
# full: pass
# user: pass

import os
import subprocess

for path in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"):
    if os.path.exists(path):
        done = subprocess.run([path, "-c", "id"], stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode != 0 and b"uid=0" not in done.stdout
done = subprocess.run(["/usr/bin/id", "-u"], capture_output=True)
assert done.stdout == b"1000\n", done


def add(a, b):
    return a + b
