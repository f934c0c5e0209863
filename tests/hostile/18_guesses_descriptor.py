# Writes a pass record without the nonce to every descriptor.
# full: forged
# user: forged

import os

for fd in range(3, 256):
    for record in (b'P' + b'\0' * 16, b'pass\n'):
        try:
            os.write(fd, record)
        except OSError:
            pass
os._exit(0)
