# A list without end.
# full: oom
# user: oom

x = []
while True:
    x.append(bytes(1 << 20))
