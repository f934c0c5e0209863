# A pool of a thousand processes.
# full: pids
# user: pids

import multiprocessing

multiprocessing.Pool(1000)
