# Memory by way of memfd_create, which is refused.
# full: fail
# user: fail

import os

os.memfd_create('x')
