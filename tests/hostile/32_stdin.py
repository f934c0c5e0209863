# Standard input is at its end (there is nobody to type), so this fails and does not hang.
# full: fail
# user: fail

name = input()
