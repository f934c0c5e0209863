# The entry point is a lambda.
# full: pass
# user: pass

add = lambda a, b: a + b
