# An exception of its own that cannot be described.
# full: fail
# user: fail

class Gone(BaseException):
    def __str__(self):
        raise self


def add(a, b):
    raise Gone
