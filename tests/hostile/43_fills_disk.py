# Fills the work folder.
# full: disk
# user: disk

with open('x', 'wb') as f:
    while True:
        f.write(bytes(1 << 20))
