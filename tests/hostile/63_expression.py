# An expression that takes the compiler down.
# full: syntax|fail|oom|timeout_cpu|signal:11
# user: syntax|fail|oom|timeout_cpu|signal:11
# limits: cpu

source = "x = " + "-" * 200_000 + "1"
exec(source)
