# Floods the descriptor of the report.
# full: timeout_cpu|fail
# user: timeout_cpu|fail
# limits: cpu

import os

while True:
    os.write(4, bytes(65536))
