"""Code items: pipelines of library skills, as HumanEval, HumanEval Pro and MBPP records.

An item is a chain of skills under a combinator (a guard, a lift over rows, words or values, a
repetition, a branch ...). Its parts in order are what is held out: see reserve.py. Depth is the
number of skills. Everything is drawn from a random.Random; the same seed gives the same items.
"""

import ast
import functools
import itertools
import math
import re
import signal
import textwrap

import reserve
from library import BY_NAME, SKILLS, TYPE_WORDS

SAFE = {"math": math, "functools": functools, "itertools": itertools}
ARGS = {"I": "n", "L": "nums", "S": "text", "W": "words", "D": "table", "N": "rows"}
OUT_NAMES = "xyzpqr"
LETTERS = "abcdeilmnorst"
WORDS = (
    "apple river stone level noon table cloud tiger lemon otto eagle house green radar "
    "mouse bread ocean light anna paper civic horse sugar train night kayak plant dance "
    "ice urn ash oak elm bee owl ant cat dog sun map pen cup".split()
)
VERBS = (
    "make find get build pick sort scan fold join trim pack list count check form read "
    "load move draw cut rank link pass test map take mark name turn hold".split()
)
NOUNS = (
    "marbles boxes stones lamps cards trains birds roads coins parts tiles ropes seeds "
    "plants towns ships wheels rooms leaves songs bells keys masks rings knots doors "
    "fields clouds rivers shells".split()
)


class Rejected(Exception):
    """The draw makes no good item; draw again."""


# ---- skills with their constants -------------------------------------------------------------


class Part:
    """A skill with constants and a phrase chosen."""

    def __init__(self, skill, rng):
        self.skill = skill
        self.consts = {"{k}": str(rng.randint(2, 9)), "{c}": rng.choice(LETTERS)}
        self.phrase = self._fill(rng.choice(skill.phrases))
        self.plain = self._fill(skill.phrases[0])

    def _fill(self, text):
        for key, value in self.consts.items():
            text = text.replace(key, value)
        return text

    def expr(self, var):
        assert not self.skill.is_lines
        return self._fill(self.skill.code).replace("{x}", var)

    def lines(self, var, out):
        return self._fill(self.skill.code).replace("{x}", var).replace("{o}", out).split("\n")


def make_chooser(exponent):
    """A function (rng, src, keep, dst=None) -> Skill, by Zipf weight among those of a type."""
    groups = {}
    for s in SKILLS:
        for key in ((s.src, None), (s.src, s.dst), (s.src, "not B"))[: 3 if s.dst != "B" else 2]:
            groups.setdefault(key, []).append(s)
    cum = {
        key: list(itertools.accumulate(s.weight(exponent) for s in skills))
        for key, skills in groups.items()
    }

    def choose(rng, src, keep, dst=None):
        if (src, dst) not in groups:
            raise Rejected(src)
        for _ in range(40):
            s = rng.choices(groups[src, dst], cum_weights=cum[src, dst])[0]
            if keep(s):
                return s
        raise Rejected(src)

    return choose


START_WEIGHTS = {"L": 8, "W": 5, "S": 4, "D": 3, "I": 3, "N": 2}


def draw_chain(rng, choose, depth, src=None, dst=None):
    """Parts of a chain of `depth` skills; its type in and, if given, out."""
    cur = src or rng.choices(list(START_WEIGHTS), START_WEIGHTS.values())[0]
    parts = []
    for i in range(depth):
        is_last = i == depth - 1
        before = parts[-1].skill if parts else None
        want = dst if is_last else "not B"
        s = choose(rng, cur, lambda s: s is not before, want)
        parts.append(Part(s, rng))
        cur = s.dst
    return parts


# ---- combinators -----------------------------------------------------------------------------

# name: types in, types out of the chain, depths; say() and code are below.
COMBINATORS = {
    "plain": 10,
    "guard": 3,
    "unchanged": 1,
    "rows": 2,
    "values": 1,
    "words": 2,
    "numbers": 2,
    "both": 2,
    "branch": 2,
    "again": 2,
}


class Function:
    """A function: name, arguments as (name, type), result type, body lines, its English."""

    def __init__(self, name, args, dst, body, phrases, parts):
        self.name, self.args, self.dst = name, args, dst
        self.body, self.phrases, self.parts = body, phrases, parts

    def signature(self, is_typed):
        args = ", ".join(f"{a}: {TYPE_WORDS[t]}" if is_typed else a for a, t in self.args)
        return f"def {self.name}({args})" + (f" -> {TYPE_WORDS[self.dst]}:" if is_typed else ":")

    def source(self, is_typed):
        return self.signature(is_typed) + "\n" + indent(self.body)


def indent(lines):
    return "".join("    " + line + "\n" for line in lines)


def chain_lines(parts, var, offset=0):
    """Statements of the chain on variable var, the last one a return."""
    out = []
    for i, p in enumerate(parts):
        name, is_last = OUT_NAMES[offset + i], i == len(parts) - 1
        if p.skill.is_lines:
            out += p.lines(var, name)
            out += [f"return {name}"] if is_last else []
        else:
            out.append(("return " if is_last else name + " = ") + p.expr(var))
        var = name
    return out


def draw_name(rng, used=()):
    while True:
        name = rng.choice(VERBS) + "_" + rng.choice(NOUNS)
        if name not in used:
            return name


def draw_function(rng, choose, depth, name, kind=None, src=None, dst=None):
    """A Function; kind is a combinator or drawn."""
    kind = kind or rng.choices(list(COMBINATORS), COMBINATORS.values())[0]
    if (src or dst) and kind not in ("plain", "guard", "again"):
        kind = "plain"
    head = "comb:" + kind
    if kind in ("plain", "guard"):
        parts = draw_chain(rng, choose, depth, src, dst)
        t = parts[0].skill.src
        body, phrases = chain_lines(parts, ARGS[t]), [p.phrase for p in parts]
        if kind == "guard":
            if t == "I":
                raise Rejected(kind)
            value = {"I": "-1", "L": "[]", "S": "''", "W": "[]", "D": "{}", "N": "[]", "B": "False"}
            value = value[parts[-1].skill.dst]
            body = [f"if not {ARGS[t]}:", f"    return {value}"] + body
            phrases = [f"return {value} if the input is empty"] + phrases
        names = [head] * (kind != "plain") + [p.skill.name for p in parts]
        return Function(name, [(ARGS[t], t)], parts[-1].skill.dst, body, phrases, names)
    if kind == "again":  # an endomorphism, repeated
        parts = draw_chain(rng, choose, depth, src, dst)
        last = parts[-1]
        if last.skill.src != last.skill.dst or last.skill.is_lines:
            raise Rejected(kind)
        t, times = parts[0].skill.src, rng.randint(2, 4)
        var = ARGS[t] if depth == 1 else OUT_NAMES[depth - 2]
        body = chain_lines(parts, ARGS[t])[:-1]
        body += [f"for _ in range({times}):", f"    {var} = {last.expr(var)}", f"return {var}"]
        phrases = [p.phrase for p in parts[:-1]]
        phrases.append(rng.choice(("do this {} times: {}", "{1}, and that {0} times in all")).format(
            times, last.phrase))
        names = [p.skill.name for p in parts[:-1]] + [head, last.skill.name]
        return Function(name, [(ARGS[t], t)], last.skill.dst, body, phrases, names)
    if kind == "unchanged":
        parts = draw_chain(rng, choose, depth)
        t = parts[0].skill.src
        if parts[-1].skill.dst != t or any(p.skill.is_lines for p in parts[-1:]):
            raise Rejected(kind)
        body = chain_lines(parts, ARGS[t])
        body[-1] = body[-1] + f" == {ARGS[t]}" if " if " not in body[-1] else "return (" + \
            body[-1].removeprefix("return ") + f") == {ARGS[t]}"
        say = rng.choice(("check whether the input stays the same when you {}",
                          "tell if nothing changes when you {}"))
        phrases = [p.phrase for p in parts]
        phrases[0] = say.format(phrases[0])
        return Function(name, [(ARGS[t], t)], "B", body, phrases, [head] + [p.skill.name for p in parts])
    if kind == "both":
        a = draw_chain(rng, choose, depth)
        t, dst = a[0].skill.src, a[-1].skill.dst
        if depth > 2 or any(p.skill.is_lines for p in a) or dst == "D":
            raise Rejected(kind)
        op = rng.choice("+=") if dst in "ILSWN" else "="
        op, say = {"+": ("+", "for both inputs and add the results"),
                   "=": ("==", "for both inputs and tell if the results agree")}[op]
        body, names = [], []
        if depth == 2:
            body = [f"{o} = {a[0].expr(v)}" for o, v in (("x", "a"), ("y", "b"))]
            body.append(f"return ({a[1].expr('x')}) {op} ({a[1].expr('y')})")
        else:
            body.append(f"return ({a[0].expr('a')}) {op} ({a[0].expr('b')})")
        phrases = [p.phrase for p in a]
        phrases[-1] += " " + say
        names = [head + op] + [p.skill.name for p in a]
        return Function(name, [("a", t), ("b", t)], dst if op == "+" else "B", body, phrases, names)
    if kind == "branch":  # two skills of one signature, chosen by a test of the input
        lead = draw_chain(rng, choose, depth - 1) if depth > 1 else draw_chain(rng, choose, 1)
        t = lead[0].skill.src
        if depth < 2 or t == "I" or lead[0].skill.dst in "B":
            raise Rejected(kind)
        other = Part(choose(rng, t, lambda s: s is not lead[0].skill, lead[0].skill.dst), rng)
        if other.skill.is_lines or lead[0].skill.is_lines:
            raise Rejected(kind)
        k, arg = rng.randint(2, 5), ARGS[t]
        tail = chain_lines(lead[1:], "x", 1) if depth > 2 else ["return x"]
        body = [f"if len({arg}) > {k}:", f"    x = {lead[0].expr(arg)}", "else:",
                f"    x = {other.expr(arg)}"] + tail
        what = "letters" if t == "S" else "entries"
        phrases = [rng.choice((f"{lead[0].phrase} if there are more than {k} {what}, else {other.phrase}",
                               f"if there are more than {k} {what}, {lead[0].phrase}, otherwise {other.phrase}"))]
        phrases += [p.phrase for p in lead[1:]]
        names = [head, lead[0].skill.name, other.skill.name] + [p.skill.name for p in lead[1:]]
        return Function(name, [(arg, t)], lead[-1].skill.dst, body, phrases, names)
    # Lifts: the first skill is applied to each member.
    t, inner, var, say = {
        "rows": ("N", "L", "row", ("for each row, {}", "{} in every row")),
        "values": ("D", "I", "v", ("for each value, {}", "{} for every value")),
        "words": ("W", "S", "w", ("for each word, {}", "{} for every word")),
        "numbers": ("L", "I", "v", ("for each number, {}", "{} for every number")),
    }[kind]
    first = Part(choose(rng, inner, lambda s: not s.is_lines and s.dst != "B"), rng)
    dst = {"I": "L", "S": "W", "L": "N"}.get(first.skill.dst)
    if kind == "values":
        dst = "D" if first.skill.dst == "I" else None
    if not dst or re.search(rf"\b{var}\b", first.skill.code):
        raise Rejected(kind)
    body = [f"x = [{first.expr(var)} for {var} in {ARGS[t]}]"]
    if kind == "values":
        body = [f"x = {{k: {first.expr('v')} for k, v in {ARGS[t]}.items()}}"]
    rest = draw_chain(rng, choose, depth - 1, src=dst) if depth > 1 else []
    if rest:
        body += chain_lines(rest, "x", 1)
    else:
        body[0] = "return " + body[0][4:]
    phrases = [rng.choice(say).format(first.phrase)] + [p.phrase for p in rest]
    names = [head, first.skill.name] + [p.skill.name for p in rest]
    return Function(name, [(ARGS[t], t)], rest[-1].skill.dst if rest else dst, body, phrases, names)


# ---- running references ----------------------------------------------------------------------


def draw_value(rng, t):
    if t == "I":
        return rng.choice((rng.randint(2, 12), rng.randint(2, 40), rng.randint(10, 99)))
    if t == "L":
        low, high = rng.choice(((-9, 12), (0, 9), (1, 30), (-20, 60)))
        v = [rng.randint(low, high) for _ in range(rng.randint(3, 7))]
        return v + [rng.choice(v)] if rng.random() < 0.5 else v
    if t == "S":
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))
    if t == "W":
        v = [rng.choice(WORDS) for _ in range(rng.randint(3, 5))]
        return v + [rng.choice(v)] if rng.random() < 0.4 else v
    if t == "D":
        return {w: rng.randint(-5, 20) for w in rng.sample(WORDS, rng.randint(3, 4))}
    width = rng.randint(2, 3)
    return [[rng.randint(-5, 15) for _ in range(width)] for _ in range(rng.randint(2, 3))]


def bounded(v):
    """Values that may stand in a test: short, small, built-in."""
    if isinstance(v, bool):
        return True
    if isinstance(v, int):
        return abs(v) < 10**7
    if isinstance(v, (list, dict, str)):
        return len(repr(v)) <= 90 and (isinstance(v, str) or all(map(bounded, v.values() if isinstance(v, dict) else v)))
    return False


TIME_S = 0.4


def _too_slow(*_):
    raise Rejected("too slow")


def results(code, entry, inputs):
    """Yield the result of entry on each input (a tuple of arguments). Rejected on any failure,
    and where one takes more than TIME_S of wall time: only programs thousands of times slower
    than the rest come near it. For the main thread of a process; memory is the caller's to
    limit."""
    space = dict(SAFE)
    try:
        exec(code, space)
        for args in inputs:
            before = repr(args)
            r = space[entry](*args)
            if not bounded(r) or repr(args) != before:
                raise Rejected(entry)
            yield r
    except (ArithmeticError, ValueError, IndexError, KeyError, TypeError, RecursionError, MemoryError):
        raise Rejected(entry) from None


def run(code, entry, inputs):
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, TIME_S)
    try:
        return list(results(code, entry, inputs))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def draw_cases(rng, code, fn, n, make=None):
    """n pairs (arguments, result), not all of one result."""
    inputs, seen = [], set()
    for _ in range(4 * n):
        args = make(rng) if make else tuple(draw_value(rng, t) for _, t in fn.args)
        text = repr(args)
        if text not in seen and len(text) <= 100:
            seen.add(text)
            inputs.append(args)
        if len(inputs) == n:
            break
    if len(inputs) < n:
        raise Rejected(fn.name)
    out = run(code, fn.name, inputs)
    if len({repr(r) for r in out}) < 2:
        raise Rejected(fn.name)
    return list(zip(inputs, out))


def imports_of(*bodies):
    text = "\n".join(bodies)
    return "".join(f"import {m}\n" for m in ("functools", "itertools", "math") if m + "." in text)


# ---- English ---------------------------------------------------------------------------------


def up(s):
    return s[0].upper() + s[1:]


def sentence(rng, phrases):
    """The phrases as one description."""
    p = list(phrases)
    if len(p) == 1:
        return up(p[0]) + "."
    style = rng.randrange(7)
    if style == 0:
        return up(", then ".join(p)) + "."
    if style == 1:
        words = ["First", "Next", "Then", "After that", "Afterwards", "Now", "In the end"]
        return " ".join(f"{w} {x}." for w, x in zip(words, p))
    if style == 2:
        return " ".join(up(x) + "." for x in p)
    if style == 3:
        return up("; ".join(p)) + "."
    if style == 4:
        return up(", ".join(p[:-1])) + ", and finally " + p[-1] + "."
    if style == 5 and len(p) == 2:
        return f"{up(p[1])} after you {p[0]}."
    if style == 5:
        return f"{up(', then '.join(p[1:]))}; but before that, {p[0]}."
    return " ".join(f"({i + 1}) {x}." for i, x in enumerate(p))


def call(name, args):
    return f"{name}({', '.join(map(repr, args))})"


def fence(text):
    return "```python\n" + text.strip("\n") + "\n```"


# ---- records ---------------------------------------------------------------------------------


class Item:
    """A record of a suite, the answer a model is trained to give, and what it is made of."""

    def __init__(self, record, answer, parts, depth, code=None):
        self.record, self.answer, self.parts, self.depth = record, answer, parts, depth
        self.code = code  # the programs inside, for normal forms


def humaneval(rng, choose, depth, n_cases=6, **how):
    fn = draw_function(rng, choose, depth, draw_name(rng), **how)
    head = fn.signature(True) + "\n"
    body = indent(fn.body)
    top = imports_of(body)
    cases = draw_cases(rng, top + head + body, fn, n_cases)
    text = textwrap.fill(sentence(rng, fn.phrases), 86, break_long_words=False, break_on_hyphens=False)
    doc = '    """' + text.replace("\n", "\n    ") + "\n"
    doc += f"    >>> {call(fn.name, cases[0][0])}\n    {cases[0][1]!r}\n" + '    """\n'
    tests = "".join(f"    assert {call('candidate', a)} == {r!r}\n" for a, r in cases)
    record = {
        "prompt": head + doc,
        "entry_point": fn.name,
        "canonical_solution": "".join("    " + m + "\n" for m in top.splitlines()) + body,
        "test": "def check(candidate):\n" + tests,
    }
    code = top + head + body
    return Item(record, fence(code), fn.parts, depth, code)


def mbpp(rng, choose, depth, n_cases=3, **how):
    fn = draw_function(rng, choose, depth, draw_name(rng), **how)
    code = fn.source(False)
    code = imports_of(code) + code
    cases = draw_cases(rng, code, fn, 3)
    lead = rng.choice(("Write a function to ", "Write a python function to ", "Write a function that can "))
    text = sentence(rng, fn.phrases)
    record = {
        "text": lead + text[0].lower() + text[1:] if not text.startswith("(") else lead + "do this: " + text,
        "code": code.rstrip("\n"),
        "test_setup_code": "",
        "test_list": [f"assert {call(fn.name, a)} == {r!r}" for a, r in cases],
        "challenge_test_list": [],
    }
    plan = "Plan: " + "; ".join(fn.phrases) + ".\n"
    return Item(record, plan + fence(code), fn.parts, depth, code)


# Second functions that call the first, f. Types of f; the argument's type stands for itself.
PRO_FORMS = {
    # name: (needs dst of f, result or None, argument suffix, code, phrases)
    "map": (None, "L", "list", "return [{f}(v) for v in items]",
            ("apply {f} to each of the items and return the list of results", "return what {f} gives for every item, as a list")),
    "sum": ("I", "I", "list", "return sum({f}(v) for v in items)",
            ("add up what {f} gives for the items", "return the total of {f} over all items")),
    "max": ("I", "*", "list", "return max(items, key={f})",
            ("return the item for which {f} is largest", "find the item with the greatest {f}")),
    "min": ("I", "*", "list", "return min(items, key={f})",
            ("return the item for which {f} is smallest", "find the item with the least {f}")),
    "filter": ("B", "L", "list", "return [v for v in items if {f}(v)]",
               ("keep the items for which {f} is true", "return the list of items that pass {f}")),
    "reject": ("B", "L", "list", "return [v for v in items if not {f}(v)]",
               ("keep the items for which {f} is false", "return the list of items that fail {f}")),
    "countb": ("B", "I", "list", "return sum({f}(v) for v in items)",
               ("count the items for which {f} is true", "return how many items pass {f}")),
    "over": ("I", "L", "list", "return [v for v in items if {f}(v) > {k}]",
             ("keep the items for which {f} exceeds {k}", "return the items whose {f} is above {k}")),
    "sortby": ("I", "L", "list", "return sorted(items, key={f})",
               ("sort the items by {f}", "return the items in ascending order of {f}")),
    "best": ("I", "I", "list", "return max({f}(v) for v in items)",
             ("return the largest value of {f} over the items", "find the greatest result of {f} on the items")),
    "distinct": ("I", "I", "list", "return len(set({f}(v) for v in items))",
                 ("count the different results of {f} on the items", "return how many distinct values {f} takes on the items")),
    "add": ("ILSW", "=", "two", "return {f}(a) + {f}(b)",
            ("return {f} of a plus {f} of b", "add the results of {f} on both inputs")),
    "same": (None, "B", "two", "return {f}(a) == {f}(b)",
             ("tell if {f} gives the same for a and b", "check whether {f} agrees on both inputs")),
    "bigger": ("I", "*", "two", "return a if {f}(a) >= {f}(b) else b",
               ("return the input with the larger {f}, a in a tie", "choose between a and b the one with the larger {f}, a in a tie")),
    "gap": ("I", "I", "two", "return abs({f}(a) - {f}(b))",
            ("return the absolute difference of {f} on a and b", "find how far apart {f} of a and {f} of b are")),
    "twice": ("*", "=", "one", "return {f}({f}(a))",
              ("apply {f} to a and once more to the result", "apply {f} twice in a row")),
    "table": (None, "D", "dict", "return {k: {f}(v) for k, v in table.items()}",
              ("map each key of the table to {f} of its value", "replace each value of the table by its {f}")),
    "topkey": ("I", "S", "dict", "return max(table, key=lambda k: {f}(table[k]))",
               ("return the key of the table whose value has the largest {f}", "find the key for which {f} of its value is greatest")),
    "after": (None, None, "one", None, ("apply {f}, then {p}", "{p}, on the result of {f}")),
    "before": (None, None, "one", None, ("{p}, then apply {f}", "apply {f} after you {p}")),
    "head": ("ILSW", "=", "one", "return {f}(a[:{k}]) + {f}(a[{k}:])",
             ("add {f} of the first {k} elements and {f} of the rest", "return {f} of a up to position {k} plus {f} of what follows")),
}
PRO_TAILS = ("I", "L", "S", "W", "D")


def humaneval_pro(rng, choose, depth, n_cases=4, form=None, **how):
    """depth skills in all: the first function's, and one or two in the second."""
    form = form or rng.choice(list(PRO_FORMS))
    need, dst, shape, code, says = PRO_FORMS[form]
    tail_depth = 0
    if form not in ("after", "before"):
        tail_depth = rng.choice((0, 0, 1, 1, 2)) if depth > 1 else 0
        if dst in ("B", None) or (form in ("max", "min", "bigger", "map", "filter", "over", "sortby", "reject", "table")):
            tail_depth = 0 if form in ("max", "min", "bigger", "filter", "over", "sortby", "reject", "table") or dst == "B" else tail_depth
    else:
        tail_depth = 1
    f_depth = depth - tail_depth
    if f_depth < 1:
        raise Rejected(form)
    f = draw_function(rng, choose, f_depth, draw_name(rng), **how)
    if len(f.args) != 1:
        raise Rejected(form)
    t, u = f.args[0][1], f.dst
    if need == "*" and t != u or need and need != "*" and u not in need:
        raise Rejected(form)
    if form == "head" and t not in "LSW" or form == "map" and u != "I" and tail_depth:
        raise Rejected(form)
    name = draw_name(rng, (f.name,))
    k = str(rng.randint(2, 6))
    last = f.parts[-1]
    tail = []
    if form == "after":
        tail = [Part(choose(rng, u, lambda s: not s.is_lines and s.name != last), rng)] if u != "B" else []
        if not tail:
            raise Rejected(form)
        body, res = [f"return {tail[0].expr(f.name + '(a)')}"], tail[0].skill.dst
        if body[0].count(f.name) > 1:
            body = [f"x = {f.name}(a)", f"return {tail[0].expr('x')}"]
        args = [("a", t)]
        names = f.parts + ["pro:after", tail[0].skill.name]
        phrase = rng.choice(says).replace("{p}", tail[0].phrase).replace("{f}", f.name)
    elif form == "before":
        pre = [s for s in SKILLS if s.dst == t and not s.is_lines]
        part = Part(rng.choice(pre), rng)
        body = [f"return {f.name}({part.expr('a')})"]
        args, res = [("a", part.skill.src)], u
        names = [part.skill.name, "pro:before"] + f.parts
        phrase = rng.choice(says).replace("{p}", part.phrase).replace("{f}", f.name)
    else:
        res = {"=": u, "*": t}.get(dst, dst)
        if form == "map":
            res = "L" if u == "I" else "N" if u == "L" else "W" if u == "S" else None
        if form == "table" and u != "I":
            res = None
        if res is None:
            raise Rejected(form)
        body = [code.replace("{f}", f.name).replace("{k}", k) if "{k:" not in code
                else code.replace("{f}", f.name)]
        args = {"list": [("items", "*")], "two": [("a", t), ("b", t)], "one": [("a", t)],
                "dict": [("table", "#")]}[shape]
        phrase = rng.choice(says).replace("{f}", f.name).replace("{k}", k)
        names = f.parts + ["pro:" + form]
        if tail_depth:
            if res not in PRO_TAILS:
                raise Rejected(form)
            tail = draw_chain(rng, choose, tail_depth, src=res)
            body[0] = "x = " + body[0][len("return "):]
            body += chain_lines(tail, "x", 1)
            phrase += ", then " + ", then ".join(p.phrase for p in tail)
            names += [p.skill.name for p in tail]
            res = tail[-1].skill.dst
    g = Function(name, [(a, ty) for a, ty in args], res, body, [phrase], names)
    typed = ", ".join(f"{a}: {'list' if ty == '*' else 'dict' if ty == '#' else TYPE_WORDS[ty]}" for a, ty in args)
    g_sig = f"def {name}({typed}) -> {TYPE_WORDS[res] if res in TYPE_WORDS else 'list'}:\n"
    f_src, g_src = f.source(True), g_sig + indent(body)
    top = imports_of(f_src, g_src)

    def make(rng):
        def one(ty):
            if ty == "*":
                return [draw_value(rng, t) for _ in range(rng.randint(2, 3))]
            if ty == "#":
                return {w: draw_value(rng, t) for w in rng.sample(WORDS, 2)}
            return draw_value(rng, ty)

        return tuple(one(ty) for _, ty in args)

    code = top + f_src + "\n\n" + g_src
    f_case = draw_cases(rng, top + f_src, f, 2)[0]
    cases = draw_cases(rng, code, g, n_cases, make)
    text = textwrap.fill(sentence(rng, f.phrases), 86, break_long_words=False, break_on_hyphens=False)
    raw = f.signature(True) + '\n    """' + text.replace("\n", "\n    ") + "\n"
    raw += f"    >>> {call(f.name, f_case[0])}\n    {f_case[1]!r}\n" + '    """\n'
    record = {
        "raw_problem": raw,
        "raw_solution": "".join("    " + m + "\n" for m in imports_of(f_src).splitlines()) + indent(f.body) + "\n\n",
        "new_problem": f"# {up(phrase)}.\n{g_sig}",
        "new_solution": "".join("    " + m + "\n" for m in imports_of(g_src).splitlines()) + indent(body),
        "test_code": "\n" + "\n".join(f"assert {call(name, a)} == {r!r}" for a, r in cases),
    }
    return Item(record, fence(code), names, depth, code)


FORMATS = {"humaneval": humaneval, "humaneval_pro": humaneval_pro, "mbpp": mbpp}


def draw_item(rng, choose, task, depth, split):
    """An item of the split: 'train' or 'test' (see reserve.py)."""
    while True:
        try:
            item = FORMATS[task](rng, choose, depth, **({"n_cases": 2} if split == "train" else {}))
        except Rejected:
            continue
        if reserve.split_of(task, item.parts, depth) == split:
            return item


def rarity(parts):
    """Largest rank among the library skills of an item: its rarest."""
    return max(BY_NAME[p].rank for p in parts if p in BY_NAME)
