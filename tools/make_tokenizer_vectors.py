#!/usr/bin/env python3
"""Write tests/vectors/tokenizer/: what Hugging Face tokenizers makes of awkward texts.

    python3 tools/make_tokenizer_vectors.py

Needs the package `tokenizers`; the version used is in the vectors. tests/vectors/tokenizer/README.md
describes the files. The same version writes the same bytes.
"""

import copy
import json
import os
import random
import unicodedata

import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests", "vectors", "tokenizer")

N_RANDOM_TEXTS = 1600
N_RANDOM_IDS = 250

# ---- tokenizers --------------------------------------------------------------------------

QWEN2_SPELLING = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load(name):
    with open(os.path.join(ROOT, "models", "shapes", name, "tokenizer.json"), encoding="utf-8") as f:
        return json.load(f)


def byte_spelling(text):
    """How byte-level BPE spells a text."""
    pre = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre.pre_tokenize_str(text)[0][0]


def without_specials(tok):
    tok = copy.deepcopy(tok)
    for added in tok["added_tokens"]:
        del tok["model"]["vocab"][added["content"]]
    tok["added_tokens"] = []
    return tok


def add(tok, content, **flags):
    """An added token with the id that Hugging Face gives it."""
    base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    token_id = len(tok["model"]["vocab"]) + len(tok["added_tokens"])
    tok["added_tokens"].append({"id": token_id, "content": content, **base, **flags})


def variant_ignore_merges():
    """Whole pieces that merges cannot make; and no normalizer."""
    tok = without_specials(load("tiny-llada2"))
    vocab = tok["model"]["vocab"]
    for piece in ["hello", " hello", "'\u017f", "中文", "    ", "\n\n", "é", "e\u0301", ">>>", " the", "don", "🙂"]:
        vocab.setdefault(byte_spelling(piece), len(vocab))
    tok["model"]["ignore_merges"] = True
    tok["normalizer"] = None
    add(tok, "<|mask|>")
    return tok


def variant_array_merges():
    """Merges as pairs, the other spelling of the expression, a post-processor without effect,
    fields that may be absent."""
    tok = without_specials(load("llada2.0-mini"))
    merges = tok["model"]["merges"][:400]
    made = {m.replace(" ", "") for m in merges}
    vocab = {t: i for t, i in tok["model"]["vocab"].items() if i < 256 or t in made}
    tok["model"]["vocab"] = {t: i for i, t in enumerate(vocab)}
    tok["model"]["merges"] = [m.split(" ") for m in merges]
    tok["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = QWEN2_SPELLING
    tok["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {},
    }
    for key in "dropout", "unk_token", "ignore_merges", "byte_fallback":
        del tok["model"][key]
    add(tok, "<|mask|>")
    return tok


def variant_added_tokens():
    """Added tokens with every flag, overlapping ones, and some that normalization touches."""
    tok = without_specials(load("tiny-llada2"))
    tok["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    add(tok, "<|mask|>")
    add(tok, "<|mask|><|mask|>")
    add(tok, "<|ma", special=False)
    add(tok, "<l>", lstrip=True)
    add(tok, "<r>", rstrip=True)
    add(tok, "<lr>", lstrip=True, rstrip=True)
    add(tok, "<w>", single_word=True)
    add(tok, "word", single_word=True, special=False)
    add(tok, "wordless", single_word=True, lstrip=True, special=False)
    add(tok, "less", special=False)
    add(tok, "<n>", normalized=True)
    add(tok, "\u00e9!", normalized=True, special=False)
    add(tok, "e\u0301;")
    add(tok, "\u212b", special=False)  # NFC would make it U+00C5
    add(tok, "\u0301", special=False)  # cuts a mark off before NFC can compose it
    add(tok, "中文", normalized=True, single_word=True)
    add(tok, "\n\n", rstrip=True, special=False)
    add(tok, "  x", special=False)
    add(tok, "a b", special=False)
    add(tok, "\u00fe\u00ff", special=False)  # decodes to the bytes FE FF
    return tok


# ---- texts -------------------------------------------------------------------------------

SPACES = [chr(c) for c in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029]]
SPACES += ["\u202f", "\u205f", "\u3000"]
NOT_SPACES = ["\u200b", "\u180e", "\ufeff", "\x1c", "\x1f", "\u2060", "\u200c", "\u200d"]
MARKS = "\u0300 \u0301 \u0302 \u0308 \u0315 \u0316 \u0327 \u0328 \u0334 \u0345 \u034f \u05b0 \u05b4 \u064b \u0651".split()
MARKS += "\u093c \u09be \u09c7 \u0bbe \u0bc6 \u0bd7 \u0f71 \u0f72 \u0f80 \u102e \u20d0 \u3099 \u309a \U0001d165 \U0001d16d".split()
JAMO = "\u1100 \u1112 \u1161 \u1175 \u11a7 \u11a8 \u11c2 \uac00 \ud7a3".split()
QUOTES = ["'" + s for s in "s S t T m M d D ll LL lL Ll ve VE vE re RE rE \u017f \u017fa l v r x ' '' e le".split()]
WORDS = """the def return lambda x: answer The >>> === != -> 🙂 👩‍👩‍👧 🇫🇷 ☝🏽 é e\u0301 ﬁ ß İ ı Å \u212b \u2126 \u1e9b\u0323
    中文 日本語 がが か\u3099 한국어 \u1112\u1161\u11ab مرحبا שָׁלוֹם ไทย हिन्दी Ελλάδα ὕδωρ Привет ñandú naïve 𝔘𝔫𝔦 ²³ Ⅳ ½ ٣٤ 一二 x² a_b
    snake_case CamelCase 3.14 1,000 $x^2$ \\frac{1}{2} \\boxed{42} "quoted" don't I'M they'RE it'S o'clock 'tis""".split()
CODE = [
    "def f(x):\n    return x + 1\n",
    "\tif (a != b) {\r\n\t\treturn 0;\r\n\t}\r\n",
    "for i in range(10):\n        print(i, end='')\n\n\n    # done\n",
    "x = {'a': [1, 2, 3], \"b\": None}  # comment\n",
    "#include <stdio.h>\n\nint main(void)\n{\n\tprintf(\"%d\\n\", 42);\n}\n",
    "SELECT * FROM t WHERE a >= 1 AND b LIKE '%x%';",
    "<div class=\"a\">\n  <p>Hi&nbsp;there</p>\n</div>",
    "$\\sum_{i=1}^{n} i = \\frac{n(n+1)}{2}$",
    "https://example.org/a/b?c=d&e=f#g",
    "assert gcd(12, 18) == 6\nassert gcd(7, 5) == 1",
    "```python\nprint('hi')\n```",
    "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>1+1=?<|role_end|><role>ASSISTANT</role>",
]


def prefixes(contents):
    for c in contents:
        for n in range(1, len(c)):
            yield c[:n]
            yield c[:n] + c
        yield f"{c}{c}"
        yield f"a{c}b"
        yield f" {c} "
        yield f"\n {c}\t\n{c[:-1]}"
        yield f"x {c}  y\u3000{c}\u00a0z"


def fixed_texts(contents):
    yield ""
    for ws in SPACES + NOT_SPACES:
        for form in "{0}", "a{0}b", "a{0}{0}b", "1{0}2", "!{0}{0}!", "{0}\n{0}", " {0}'s", "a{0} {0}b", "{0}{0}{0}":
            yield form.format(ws)
    for n in range(1, 9):
        for tail in "", "a", "1", "!", "\n", "\r\na", "\n  b", "\u3000c", "\xa0":
            yield " " * n + tail
        yield "\n" * n + "x" + "\r\n" * n + "y"
    for q in QUOTES:
        yield from (q, "a" + q, q + "b", "1" + q + " ", " " + q, "a" + q + q)
    for k in MARKS:
        yield from ("e" + k, "e" + k + "\u0301\u0327", k, " " + k + "a", "\u00e9" + k, "か" + k, "1" + k)
    for a in JAMO:
        for b in JAMO:
            yield a + b
    yield "e" + "\u0301\u0327" * 40  # more marks in a row than are sorted in place
    yield "a" + "".join(reversed(MARKS)) + "b" + "".join(MARKS)
    yield from WORDS
    yield from CODE
    yield from prefixes(contents)
    for run in "a", "ab", " ", "\n", "\t ", "!", "=", "0", "é", "中", "🙂", "\u0301", "'", "s", " a", "\r\n", "the ", "<":
        yield run * 150
    for c in [*range(0x00, 0x180), *range(0x2000, 0x2070)]:
        if c != 0x2065:
            yield f"a{chr(c)}b {chr(c)}{chr(c)}1"


def random_text(rnd, contents, assigned):
    def atom():
        kind = rnd.randrange(12)
        if kind == 0:
            return rnd.choice(SPACES + NOT_SPACES) * rnd.choice([1, 1, 1, 2, 3])
        if kind == 1:
            return rnd.choice(["\r\n", "\n", "\r", "\n\n", " \n", "\t", " ", "  "])
        if kind == 2:
            return rnd.choice("aeiouc \u00e5か") + "".join(rnd.choice(MARKS) for _ in range(rnd.randrange(1, 4)))
        if kind == 3:
            return chr(rnd.choice(assigned))
        if kind == 4:
            return rnd.choice(QUOTES)
        if kind == 5:
            content = rnd.choice(contents)
            return content if rnd.random() < 0.6 else content[: rnd.randrange(len(content) + 1)]
        if kind == 6:
            return "".join(rnd.choice("0123456789٣²Ⅳ½") for _ in range(rnd.randrange(1, 4)))
        if kind in (7, 8):
            return rnd.choice(WORDS)
        if kind == 9:
            return rnd.choice("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~")
        if kind == 10:
            return rnd.choice(["a", "b", "ab", " ", "Z"]) * rnd.randrange(1, 6)
        return " "

    return "".join(atom() for _ in range(rnd.randrange(1, 8)))


def texts(contents):
    rnd = random.Random(20260101)
    # Characters of Unicode 3.2, which every library's tables agree on; no marks but the ones above,
    # as Hugging Face orders marks by an older table.
    old = unicodedata.ucd_3_2_0
    assigned = [c for c in range(0x20, 0x110000) if old.category(chr(c)) not in ("Cn", "Cs", "Co")]
    assigned = [c for c in assigned if not unicodedata.combining(chr(c))]
    seen = dict.fromkeys(fixed_texts(contents))
    n = len(seen) + N_RANDOM_TEXTS
    while len(seen) < n:
        seen[random_text(rnd, contents, assigned)] = None
    return list(seen)


# ---- files -------------------------------------------------------------------------------


def write_lines(name, head, rows):
    with open(os.path.join(OUT, name), "w", encoding="utf-8", newline="\n") as f:
        for row in [head, *rows]:
            f.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")


def both_decodings(tok, ids):
    return [tok.decode(ids, skip_special_tokens=skip) for skip in (False, True)]


def encode_row(tok, text):
    ids = tok.encode(text).ids
    full, skipped = both_decodings(tok, ids)
    row = [ids]
    if full != text or skipped != text:
        row.append(full if full != text else 0)
    if skipped != full:
        row.append(skipped)
    return row


def decode_rows(tok, rnd, max_id):
    for _ in range(N_RANDOM_IDS):
        # bytes above 7F mostly, so that broken UTF-8 of every kind comes up
        ids = [rnd.randrange(256) for _ in range(rnd.randrange(1, 9))]
        for i in range(len(ids)):
            if rnd.random() < 0.5:
                ids[i] = tok.token_to_id(rnd.choice("\u00c2\u00e0\u00e2\u00ed\u00f0\u00f4\u00f1\u00bf\u0142\u0122\u00c0\u00ff\u00e4"))
            elif rnd.random() < 0.2:
                ids[i] = rnd.randrange(max_id + 10)
        yield [ids, *both_decodings(tok, ids)]


def ranges(is_in):
    out = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or not is_in(c):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def class_ranges(pattern):
    """Code points that a one-character expression matches."""
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed")
    kept = set()
    for base in range(0, 0x110000, 0x800):
        if base != 0xD800:
            block = "".join(map(chr, range(base, base + 0x800)))
            kept.update("".join(piece for piece, _ in split.pre_tokenize_str(block)))
    return ranges(lambda c: chr(c) not in kept)


def word_ranges():
    """Code points that keep a single_word token from matching."""
    raw = without_specials(load("tiny-llada2"))
    add(raw, "@@", single_word=True)
    tok, token_id = tokenizers.Tokenizer.from_str(json.dumps(raw)), raw["added_tokens"][0]["id"]
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    words = set()
    for k in range(0, len(points), 4096):
        block = points[k : k + 4096]
        for c, e in zip(block, tok.encode_batch([chr(c) + "@@" for c in block])):
            if token_id not in e.ids:
                words.add(c)
    return ranges(lambda c: c in words)


def main():
    made_by = {"tokenizers": tokenizers.__version__, "command": "python3 tools/make_tokenizer_vectors.py"}
    variants = {
        "ignore-merges": variant_ignore_merges(),
        "array-merges": variant_array_merges(),
        "added-tokens": variant_added_tokens(),
    }
    for name, tok in variants.items():
        with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8", newline="\n") as f:
            f.write(json.dumps(tok, ensure_ascii=False, indent=0) + "\n")
    used = {"llada2.0-mini": load("llada2.0-mini"), "tiny-llada2": load("tiny-llada2"), **variants}
    contents = list(dict.fromkeys(a["content"] for t in used.values() for a in t["added_tokens"]))
    all_texts = texts(contents)
    write_lines("texts.jsonl", {**made_by, "texts": len(all_texts)}, all_texts)
    for name, raw in used.items():
        tok = tokenizers.Tokenizer.from_str(json.dumps(raw))
        for a in raw["added_tokens"]:
            assert tok.token_to_id(a["content"]) == a["id"], a
        max_id = max(*raw["model"]["vocab"].values(), *(a["id"] for a in raw["added_tokens"]))
        path = f"tests/vectors/tokenizer/{name}.json" if name in variants else f"models/shapes/{name}/tokenizer.json"
        head = {**made_by, "tokenizer": path}
        write_lines(name + ".encode.jsonl", head, (encode_row(tok, t) for t in all_texts))
        write_lines(name + ".decode.jsonl", head, decode_rows(tok, random.Random(7), max_id))
    write_lines(
        "classes.jsonl",
        made_by,
        [class_ranges(r"\p{L}"), class_ranges(r"\p{N}"), class_ranges(r"\s"), word_ranges()],
    )


if __name__ == "__main__":
    main()
