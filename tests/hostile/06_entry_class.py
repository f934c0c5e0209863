# The entry point is a class, but callable and right.
# full: pass
# user: pass

class add(int):
    def __new__(cls, a, b):
        return a + b
