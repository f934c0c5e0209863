# Tabs mixed with spaces.
# full: syntax
# user: syntax

def add(a, b):
	x = 1
        return a + b
