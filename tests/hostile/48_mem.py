# Opens the memory of other processes.
# full: pass
# user: pass

for name in ("mem", "environ", "fd/0", "root/etc/passwd"):
    path = "/proc/1/" + name
    try:
        open(path, "rb").read(1)
    except OSError:
        continue
    raise RuntimeError(path)


def add(a, b):
    return a + b
