# An object that is equal to everything.
# full: fail
# user: fail

class Any:
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = None


def add(a, b):
    return Any()
