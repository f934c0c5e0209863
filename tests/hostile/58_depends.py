# Depends on zone, locale and a draw: the same each time.
# full: pass
# user: pass

import locale
import random
import time

assert time.tzname == ("UTC", "UTC")
locale.setlocale(locale.LC_ALL, "")
assert locale.getlocale()[1] == "UTF-8"
assert random.random() == random.Random(0).random()


def add(a, b):
    return a + b
