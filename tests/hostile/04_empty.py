# Nothing but a comment.
# full: fail
# user: fail

# no code at all
