# TCP to 1.1.1.1.
# full: fail
# user: fail

import socket

socket.create_connection(('1.1.1.1', 80), timeout=5)
