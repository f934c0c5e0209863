# A million empty files.
# full: disk
# user: disk

for i in range(10**6):
    open(str(i), 'w').close()
