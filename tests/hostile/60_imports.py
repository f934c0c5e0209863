# Packages beside the standard library.
# full: fail
# user: fail

import pip
