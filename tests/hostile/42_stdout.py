# Prints without end.
# full: output
# user: output

while True:
    print('x' * 1000)
