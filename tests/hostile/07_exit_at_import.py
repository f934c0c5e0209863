# Leaves before the tests with status 0, politely.
# full: fail
# user: fail

import sys

sys.exit(0)
