

# --- the zygote: forks the others -------------------------------------------------------------


def main():
    import ctypes
    import gc

    helper = ctypes.PyDLL("/helper.so")
    if sys.path and not sys.path[0]:
        del sys.path[0]
    gc.collect()
    gc.freeze()
    role = helper.zygote_serve()
    # A fork of the zygote's from here on: a checker, or the first process of a sandbox.
    if role == 3:
        check()
    try:
        pid = posix.fork()
    except OSError:
        pid = -1
    if pid != 0:
        helper.zygote_reap(pid)
    helper.zygote_confine()
    if role == 2:
        run_alone()
    else:
        answer_calls()


main()
