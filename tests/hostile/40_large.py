# One allocation larger than all there is.
# full: oom
# user: oom

x = bytearray(1 << 40)
