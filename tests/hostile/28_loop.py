# A plain endless loop.
# full: timeout_cpu
# user: timeout_cpu
# limits: cpu

while True:
    pass
