# One C call that does not return: a regular expression.
# full: timeout_cpu
# user: timeout_cpu
# limits: cpu

import re


def add(a, b):
    return re.match('(a+)+$', 'a' * 60 + 'b')
