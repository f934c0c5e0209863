# The entry point is None.
# full: fail
# user: fail

add = None
