# UDP to the Internet.
# full: fail
# user: fail

import socket

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))
