# Types into the caller's terminal.
# full: denied
# user: denied

import fcntl

fcntl.ioctl(0, 0x5412, b"x")
