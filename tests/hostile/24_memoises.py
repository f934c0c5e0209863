# Remembers calls: right by its values.
# full: pass
# user: pass

import functools


@functools.lru_cache(None)
def add(a, b):
    return a + b
