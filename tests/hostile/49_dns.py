# A name look-up.
# full: fail
# user: fail

import socket

socket.getaddrinfo('example.com', 80)
