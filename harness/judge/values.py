"""What runs inside: values.py, candidate.py, checker.py and zygote.py, one behind the other.

A zygote (zygote.py) forks checkers (checker.py) and candidates (candidate.py), which talk over a
socket in frames. judge.c has the protocol byte by byte.
"""
import io
import posix
import struct
import sys

MAX_BYTES = 16 << 20  # of one message
MAX_DEPTH = 200  # of containers in each other
NONCE_BYTES = 16


class NotData(BaseException):
    """A value that does not cross: the name of its type."""


class TooLarge(BaseException):
    """A value of more than MAX_BYTES."""


class Malformed(BaseException):
    """Bytes that are no value, or no frame."""


class Gone(BaseException):
    """The other side has left."""


def put_bytes(tag, data, out):
    if len(data) > MAX_BYTES:
        raise TooLarge
    out += tag
    out += len(data).to_bytes(4, "little")
    out += data


def put_items(tag, items, out, depth):
    if depth >= MAX_DEPTH:
        raise NotData("%s nested more than %d deep" % (type(items).__name__, MAX_DEPTH))
    if len(out) > MAX_BYTES:
        raise TooLarge
    out += tag
    out += len(items).to_bytes(4, "little")
    for item in items:
        put(item, out, depth + 1)


def put_pairs(tag, items, out, depth):
    if depth >= MAX_DEPTH:
        raise NotData("%s nested more than %d deep" % (type(items).__name__, MAX_DEPTH))
    if len(out) > MAX_BYTES:
        raise TooLarge
    out += tag
    out += len(items).to_bytes(4, "little")
    for key, value in items.items():
        put(key, out, depth + 1)
        put(value, out, depth + 1)


def put_library(value, kind, out, depth):
    """Types of the library, which cannot be met before somebody imported their module."""
    collections, re = sys.modules.get("collections"), sys.modules.get("re")
    if collections and kind is collections.Counter:
        put_pairs(b"C", value, out, depth)
    elif collections and kind is collections.defaultdict:
        put_pairs(b"D", value, out, depth)
    elif collections and kind is collections.OrderedDict:
        put_pairs(b"O", value, out, depth)
    elif collections and kind is collections.deque:
        put_items(b"q", value, out, depth)
        put(value.maxlen, out, depth)
    elif re and kind is re.Match:
        out += b"M"
    else:
        raise NotData(kind.__name__)


def put(value, out, depth):
    kind = type(value)
    if kind is int:
        size = value.bit_length() // 8 + 1
        if size > MAX_BYTES:
            raise TooLarge
        put_bytes(b"i", value.to_bytes(size, "little", signed=True), out)
    elif kind is str:
        if len(value) > MAX_BYTES:
            raise TooLarge
        put_bytes(b"s", value.encode("utf-8", "surrogatepass"), out)
    elif value is True:
        out += b"T"
    elif value is False:
        out += b"F"
    elif value is None:
        out += b"N"
    elif kind is float:
        out += b"f"
        out += struct.pack("<d", value)
    elif kind is list:
        put_items(b"l", value, out, depth)
    elif kind is tuple:
        put_items(b"t", value, out, depth)
    elif kind is dict:
        put_pairs(b"d", value, out, depth)
    elif kind is set:
        put_items(b"u", value, out, depth)
    elif kind is frozenset:
        put_items(b"z", value, out, depth)
    elif kind is complex:
        out += b"c"
        out += struct.pack("<2d", value.real, value.imag)
    elif kind is bytes:
        put_bytes(b"b", value, out)
    elif kind is bytearray:
        put_bytes(b"a", value, out)
    elif kind is range:
        put_items(b"r", (value.start, value.stop, value.step), out, depth)
    elif value is Ellipsis:
        out += b"."
    else:
        put_library(value, kind, out, depth)


def encode(value):
    out = bytearray()
    put(value, out, 0)
    if len(out) > MAX_BYTES:
        raise TooLarge
    return bytes(out)


class Match:
    """Stands for an re.Match: true, and equal to nothing but itself."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise Malformed
        self.at += size
        return part

    def size(self):
        return int.from_bytes(self.take(4), "little")

    def items(self, depth):
        return [self.get(depth + 1) for _ in range(self.size())]

    def pairs(self, depth, into):
        for _ in range(self.size()):
            key = self.get(depth + 1)
            into[key] = self.get(depth + 1)
        return into

    def get(self, depth):
        if depth > MAX_DEPTH:
            raise Malformed
        tag = self.take(1)
        if tag == b"i":
            return int.from_bytes(self.take(self.size()), "little", signed=True)
        if tag == b"s":
            return self.take(self.size()).decode("utf-8", "surrogatepass")
        if tag == b"l":
            return self.items(depth)
        if tag == b"t":
            return tuple(self.items(depth))
        if tag == b"T":
            return True
        if tag == b"F":
            return False
        if tag == b"N":
            return None
        if tag == b"f":
            return struct.unpack("<d", self.take(8))[0]
        if tag == b"d":
            return self.pairs(depth, {})
        if tag == b"u":
            return set(self.items(depth))
        if tag == b"z":
            return frozenset(self.items(depth))
        if tag == b"c":
            return complex(*struct.unpack("<2d", self.take(16)))
        if tag == b"b":
            return self.take(self.size())
        if tag == b"a":
            return bytearray(self.take(self.size()))
        if tag == b"r":
            return range(*self.items(depth))
        if tag == b".":
            return Ellipsis
        if tag == b"M":
            return Match()
        import collections

        if tag == b"C":
            return collections.Counter(self.pairs(depth, {}))
        if tag == b"D":
            return self.pairs(depth, collections.defaultdict())
        if tag == b"O":
            return self.pairs(depth, collections.OrderedDict())
        if tag == b"q":
            items = self.items(depth)
            return collections.deque(items, self.get(depth + 1))
        raise Malformed


def decode(data):
    reader = Reader(data)
    try:
        value = reader.get(0)
    except (ValueError, TypeError, struct.error, OverflowError):
        raise Malformed
    if reader.at != len(data):
        raise Malformed
    return value


class Channel:
    """Frames on a stream: nonce (16 bytes), length of the rest (4), kind (1), payload.

    The nonce comes first so that whatever else was written is noticed at its first byte.
    """

    def __init__(self, fd):
        self.fd, self.pending = fd, b""

    def send(self, nonce, kind, payload):
        size = len(kind) + len(payload)
        data = memoryview(nonce + size.to_bytes(4, "little") + kind + payload)
        while data:
            try:
                data = data[posix.write(self.fd, data) :]
            except (BrokenPipeError, ConnectionResetError):
                raise Gone

    def fill(self, size, nonce):
        """Have at least so many bytes pending; the first are those of the nonce, if not None."""
        parts, have = [self.pending], len(self.pending)
        while have < size:
            try:
                part = posix.read(self.fd, max(size - have, 1 << 16))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Gone
            parts.append(part)
            have += len(part)
            if nonce:
                parts = [b"".join(parts)]
                if parts[0][:NONCE_BYTES] != nonce[:have]:
                    raise Malformed
        self.pending = b"".join(parts)

    def receive(self, nonce=None):
        """Nonce, kind and payload. Raises Malformed if the nonce is another, Gone at the end."""
        self.fill(NONCE_BYTES + 5, nonce)
        got = self.pending[:NONCE_BYTES]
        size = int.from_bytes(self.pending[NONCE_BYTES : NONCE_BYTES + 4], "little")
        if nonce and got != nonce or not 0 < size <= MAX_BYTES + (1 << 16):
            raise Malformed
        end = NONCE_BYTES + 4 + size
        self.fill(end, None)
        frame, self.pending = self.pending[NONCE_BYTES + 4 : end], self.pending[end:]
        return got, frame[:1], frame[1:]


def read_program(fd):
    """Nonce, code, tests, helpers and entry point, as the supervisor sends them."""

    def take(size):
        parts = []
        while size > 0:
            part = posix.read(fd, min(size, 1 << 20))
            if not part:
                posix._exit(70)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    nonce = take(NONCE_BYTES)
    sizes = struct.unpack("=4Q", take(32))
    texts = [take(size) for size in sizes]
    posix.close(fd)
    return nonce, texts[0], texts[1], texts[2], texts[3].decode()


def describe(e):
    """An exception in one line, with the place in code or tests that it came from."""
    try:
        text = str(e)[:300]
    except BaseException:
        text = "(no text)"
    where, tb = "", e.__traceback__
    while tb:
        name = tb.tb_frame.f_code.co_filename
        if name == "<code>" or name == "<tests>":
            where = " (%s, line %d)" % (name[1:-1], tb.tb_lineno)
        tb = tb.tb_next
    name = type(e).__name__
    return (name + ": " + text if text else name) + where


def show_traceback(e):
    """Write its end to standard error: it may quote a line or a message of any length."""
    kept = sys.stderr
    try:
        sys.stderr = io.StringIO()
        sys.__excepthook__(type(e), e, e.__traceback__)
        posix.write(2, sys.stderr.getvalue()[-8192:].encode("utf-8", "backslashreplace"))
    except BaseException:
        pass
    finally:
        sys.stderr = kept


def seed_random(text):
    """Programs and tests that draw without a seed of their own draw the same each time."""
    if b"random" in text:
        import random

        random.seed(0)
