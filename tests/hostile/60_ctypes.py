# The standard library is all there.
# full: pass
# user: pass

import collections, ctypes, dataclasses, decimal, fractions, functools, hashlib, itertools, json, math
import random, re, sqlite3, statistics, string, typing, unittest, zlib


def add(a, b):
    return a + b
