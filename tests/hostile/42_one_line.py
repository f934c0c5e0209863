# One line of 50 MB.
# full: output
# user: output

print('x' * 50_000_000)
