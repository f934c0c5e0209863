

# --- the checker: runs the tests, asks the candidate ------------------------------------------

# Modules that tests may take from the program's imports: the checker's own are what they get.
MODULES = frozenset((
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools",
    "heapq", "itertools", "math", "operator", "random", "re", "statistics", "string", "sys",
))


class Verdict(BaseException):
    """The end: kind and text of the report. Tests that catch it do not change it."""


class CandidateError(Exception):
    """An exception of the program whose type is not Python's own."""


class Candidate:
    def __init__(self):
        self.channel, self.verdict = Channel(3), None

    def end(self, kind, text=""):
        if not self.verdict:
            self.verdict = Verdict(kind, text)
        raise self.verdict

    def ask(self, request, payload):
        """Kind and payload of the answer to one request."""
        if self.verdict:
            raise self.verdict
        nonce = posix.urandom(NONCE_BYTES)
        try:
            self.channel.send(nonce, request, payload)
            _, kind, rest = self.channel.receive(nonce)
        except Gone:
            self.end(b"E", "the candidate is gone")
        except Malformed:
            self.end(b"V", "wrote to the channel what does not answer the request made")
        return kind, rest

    def value(self, data):
        try:
            return decode(data)
        except Malformed:
            self.end(b"V", "answered with what is no value")
        except MemoryError:
            self.end(b"O", "returned a value that the checker has no room for")

    def raise_failure(self, data):
        """As the program's exception would pass through the tests."""
        kind, told = data[:1], self.value(data[1:])
        if type(told) is not tuple or len(told) != 2 or set(map(type, told)) != {str}:
            self.end(b"V", "answered with what is no exception")
        name, text = told
        if kind != b"F":
            self.end(kind if kind in (b"S", b"M", b"D", b"N") else b"V", text)
        e = None
        own = getattr(sys.modules["builtins"], name, None)
        if isinstance(own, type) and issubclass(own, Exception):
            try:
                e = own(text)
            except Exception:
                pass
        e = e or CandidateError(text)
        e.told = text
        raise e

    def run(self, code):
        kind, rest = self.ask(b"R", code)
        if kind == b"X":
            self.raise_failure(rest)
        if kind != b"V":
            self.end(b"V", "answered a program with '%r'" % kind)

    def call(self, name, args, kwargs):
        try:
            payload = encode((name, args, kwargs))
        except NotData as e:
            self.end(b"I", "the tests pass a value that does not cross: %s" % e.args[0])
        except TooLarge:
            self.end(b"I", "the tests pass a value of more than %d bytes" % MAX_BYTES)
        kind, rest = self.ask(b"C", payload)
        if kind == b"V":
            return self.value(rest)
        if kind == b"X":
            self.raise_failure(rest)
        if kind == b"A":
            raise NameError("name '%s' is not defined" % name)
        if kind == b"U":
            self.end(b"F", "not_data:%s" % self.value(rest))
        if kind == b"O":
            self.end(b"O", "returned a value of more than %d bytes" % MAX_BYTES)
        self.end(b"V", "answered a call with '%r'" % kind)

    def module(self, name):
        """The checker's own module that the program knows by this name, or None."""
        kind, rest = self.ask(b"M", encode(name))
        module = self.value(rest) if kind == b"V" else None
        if type(module) is not str or module not in MODULES:
            return None
        return __import__(module)

    def leave(self):
        """Tell it to go without waiting for it to listen."""
        try:
            posix.set_blocking(3, False)
            self.channel.send(posix.urandom(NONCE_BYTES), b"E", b"")
        except (OSError, Gone):
            pass


class Names(dict):
    """What tests see: their own names, the entry point, Python's, helpers, the program's modules."""

    def __init__(self, candidate, helpers, entry):
        super().__init__()
        self.candidate, self.helpers, self.helper_names = candidate, helpers, None
        self.builtins = vars(sys.modules["builtins"])
        if entry:

            def call(*args, **kwargs):
                return candidate.call(entry, args, kwargs)

            call.__name__ = entry
            self[entry] = call

    def __missing__(self, name):
        if name in self.builtins:
            raise KeyError(name)  # found there
        if self.helper_names is None:
            self.helper_names = {}
            exec(compile(self.helpers.decode(), "<helpers>", "exec"), self.helper_names)
        if name in self.helper_names:
            value = self.helper_names[name]
        else:
            value = self.candidate.module(name)
            if value is None:
                raise KeyError(name)
        self[name] = value
        return value


def describe_failure(e):
    told = getattr(e, "told", None)
    return told if type(told) is str else describe(e)


def check():
    """Runs in the checker. Reports, after the nonce:

        P       the tests ran to their end
        E       the candidate has left: how it ended decides
        F, S    an assertion or exception; the program does not compile
        M, D, N memory, disk or processes ran out, as the candidate says
        O, V    returned too much; broke the protocol
        I       the tests themselves are at fault
    """
    nonce, code, tests, helpers, entry = read_program(5)

    def report(kind, text):
        posix.write(4, kind + nonce + text.encode("utf-8", "backslashreplace")[:400])
        posix._exit(0)

    try:
        tests_code = compile(tests.decode(), "<tests>", "exec", dont_inherit=True)
    except BaseException as e:
        report(b"I", describe(e))
    seed_random(tests)
    candidate = Candidate()
    try:
        candidate.run(code)
        exec(tests_code, Names(candidate, helpers, entry))
        if not candidate.verdict:
            candidate.ask(b"E", b"")
            report(b"P", "")
    except Verdict:
        pass
    except MemoryError as e:
        candidate.verdict = candidate.verdict or Verdict(b"M", "the tests ran out of memory")
    except BaseException as e:
        if not candidate.verdict:
            candidate.verdict = Verdict(b"F", describe_failure(e))
            if not hasattr(e, "told"):  # else the candidate has shown it
                show_traceback(e)
    kind, text = candidate.verdict.args
    if kind != b"E":
        candidate.leave()
    report(kind, text)
