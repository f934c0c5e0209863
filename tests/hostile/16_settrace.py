# A trace function that jumps over asserts.
# full: fail
# user: fail

import sys


def trace(frame, event, arg):
    frame.f_trace_opcodes = True
    while frame:
        frame.f_trace = jump
        frame = frame.f_back
    return jump


def jump(frame, event, arg):
    if event == "line" and "tests" in frame.f_code.co_filename:
        frame.f_lineno += 1
    return jump


sys.settrace(trace)


def add(a, b):
    return 0
