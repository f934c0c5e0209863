# A sparse file of a terabyte.
# full: disk
# user: disk

with open('x', 'wb') as f:
    f.truncate(1 << 40)
