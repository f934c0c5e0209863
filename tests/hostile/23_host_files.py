# Looks for the host's files.
# full: pass
# user: pass

import os

assert sorted(os.listdir("/")) == sorted(
    n for n in os.listdir("/") if n in ("bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "tmp", "usr"))
assert os.listdir("/etc") in ([], ["ld.so.cache"])
assert os.listdir("/tmp") == [] and os.getcwd() == "/tmp"
for path in ("/etc/passwd", "/root", "/home", "/var", "/sys", "/run", "/proc/sys", "/proc/meminfo"):
    assert not os.path.exists(path), path


def add(a, b):
    return a + b
