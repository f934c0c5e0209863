# TCP to 127.0.0.1.
# full: fail
# user: fail

import socket

socket.create_connection(('127.0.0.1', 80), timeout=5)
