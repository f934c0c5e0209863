# A loop that swallows every exception.
# full: timeout_cpu
# user: timeout_cpu
# limits: cpu

while True:
    try:
        while True:
            pass
    except BaseException:
        pass
