# Memory by way of /dev/shm, which is the work folder.
# full: disk
# user: disk

for i in range(1000):
    with open('/dev/shm/%d' % i, 'wb') as f:
        f.write(b'x' * (1 << 20))
