# A string above the cap of a message.
# full: output
# user: output

def add(a, b):
    return 'x' * (17 << 20)
