# A profile function that replaces what calls return.
# full: fail
# user: fail

import sys


def profile(frame, event, arg):
    if event == "return":
        frame.f_globals["passed"] = True


sys.setprofile(profile)


def add(a, b):
    return 0
