# Leaves through the module below os.
# full: forged
# user: forged

import posix

posix._exit(0)
