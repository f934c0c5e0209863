# Prose only.
# full: syntax
# user: syntax

The function add(a, b) returns the sum of a and b.
