# Nesting beyond the compiler's depth.
# full: fail|signal:11|oom
# user: fail|signal:11|oom

eval('(' * 10**6 + ')' * 10**6)
