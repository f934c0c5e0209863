# Opens the memory of other processes.
# full: pass
# user: pass

for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/fd/0", "/proc/1/root/etc/passwd"):
    try:
        open(path, "rb").read(1)
    except OSError:
        continue
    raise RuntimeError(path)


def add(a, b):
    return a + b
