#!/usr/bin/env python3
"""Turn a file into C: usage: embed.py IN OUT.c SYMBOL

OUT.c defines the bytes of IN, with a NUL behind them that the length leaves out:

    const char SYMBOL[];
    const size_t SYMBOL_len;

An array and no string literal: compilers need not take literals of more than 4095 bytes, and
character constants keep bytes above 0x7f right whether char is signed or not.
"""
import os
import re
import sys


def char(byte):
    if byte in (0x27, 0x5C):  # quote, backslash
        return "'\\%c'" % byte
    if 0x20 <= byte < 0x7F:
        return "'%c'" % byte
    return "'\\x%02x'" % byte


def main():
    if len(sys.argv) != 4 or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", sys.argv[3]):
        sys.exit(__doc__.splitlines()[0])
    source, target, symbol = sys.argv[1:]
    with open(source, "rb") as f:
        data = f.read()
    lines = []
    for at in range(0, len(data), 16):
        lines.append("    " + ", ".join(char(b) for b in data[at : at + 16]) + ",\n")
    with open(target, "w", encoding="ascii") as f:
        f.write("/* Made by tools/embed.py from %s; do not edit. */\n" % ascii(os.path.basename(source)))
        f.write("#include <stddef.h>\n\n")
        f.write("extern const char %s[];\nextern const size_t %s_len;\n\n" % (symbol, symbol))
        f.write("const char %s[] = {\n%s    '\\0',\n};\n" % (symbol, "".join(lines)))
        f.write("const size_t %s_len = %d;\n" % (symbol, len(data)))


if __name__ == "__main__":
    main()
