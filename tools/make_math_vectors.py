#!/usr/bin/env python3
"""Pairs of LaTeX answers and whether they are equal, as sympy has it: tests/vectors/math/.

    pip install sympy==1.14.0
    tools/make_math_vectors.py tests/vectors/math/pairs.jsonl

One half of the pairs of each kind are one value written in two ways (expanded, factored, split, with radicals moved),
the other half differ in one number, sign or part. The verdict is sympy's: expressions are equal if their difference
simplifies to 0, unequal if it is not 0 at 50 digits at three points; pairs that neither settles are dropped. Structures
(tuples, intervals, lists, matrices, equations) are equal as their parts are.
"""
import json
import random
import re
import sys

import sympy as sp

SEED, PER_KIND = 20240517, 150
x, y, n = sp.symbols("x y n")
rng = random.Random(SEED)


def rational(big=30):
    return sp.Rational(rng.randint(-big, big), rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15]))


def nonzero(f, *args):
    while True:
        v = f(*args)
        if v != 0:
            return v


def surd():
    k = rng.choice([2, 3, 5, 6, 7, 8, 12, 18, 27, 50])
    return nonzero(rational, 9) * sp.sqrt(k) + rng.choice([0, 1]) * rational(9)


def polynomial(vs, degree=3, terms=3):
    return sp.Add(*[rng.randint(-9, 9) * sp.Mul(*[v ** rng.randint(0, degree) for v in vs]) for _ in range(terms)])


def make_rational():
    return rational() + rng.choice([0, 1]) * rational() * rational()


def make_surd():
    a = surd()
    return rng.choice([lambda: a, lambda: a / surd(), lambda: a * surd(), lambda: sp.sqrt(abs(rational()) + 1) + a,
                       lambda: sp.cbrt(rng.randint(2, 40)) * rational(9)])()


def make_pi():
    return nonzero(rational) * sp.pi ** rng.choice([1, 1, 2, -1]) + rng.choice([0, 1]) * surd()


def make_complex():
    return (rational(9) + nonzero(rational, 9) * sp.I) * rng.choice([1, 1, sp.sqrt(3), 1 + sp.I])


def make_trig():
    angle = sp.pi * sp.Rational(rng.randint(1, 23), rng.choice([3, 4, 6, 12, 5]))
    if sp.cos(angle) == 0:
        return make_trig()  # no tangent
    return rng.choice([sp.sin, sp.cos, sp.tan])(angle, evaluate=False) * rational(5) + rational(5)


def make_log():
    a, b = rng.randint(2, 20), rng.randint(2, 20)
    return rng.choice([sp.log(a) / sp.log(b), rational(5) * sp.log(a), sp.log(a) + sp.log(b), sp.exp(rational(3)),
                       sp.Integer(a) ** rational(4)])


def make_polynomial():
    return rng.choice([polynomial([x]), polynomial([x, y], 2), (x + rational(5)) * (rng.randint(1, 5) * x - rational(5)),
                       (polynomial([x], 1, 2)) ** 2, polynomial([x, y], 1) * polynomial([x, y], 1)])


def make_function():
    return rng.choice([polynomial([x], 2) / nonzero(polynomial, [x], 2), 1 / (x + nonzero(rational, 5)) + rational(5),
                       sp.sin(x) ** 2 * rational(5) + sp.cos(x), sp.sqrt(x + rng.randint(1, 9)) * rational(4),
                       2 ** n * nonzero(rational, 9), sp.exp(2 * x) * nonzero(rational, 9), x ** -rng.randint(1, 4)])


def rewrite(e):
    """The same value, written in another way."""
    def split(e):
        k = nonzero(rational, 5)
        return sp.Add(e, k, -k, evaluate=False)

    way = rng.choice([sp.expand, sp.factor, sp.together, sp.simplify, sp.radsimp, sp.nsimplify, lambda e: e, split,
                      lambda e: sp.expand(e, complex=False), sp.trigsimp, lambda e: sp.apart(e, x) if e.has(x) else e])
    try:
        return way(e)
    except Exception:
        return e


def perturb(e):
    """Another value, nearly the same text."""
    return rng.choice([lambda: -e, lambda: e + rng.choice([-1, 1]), lambda: e * 2, lambda: e + sp.Rational(1, 7),
                       lambda: sp.conjugate(e) if e.has(sp.I) else e - 1,
                       lambda: e.subs(x, x + 1) if e.has(x) else e * sp.Rational(10, 9),
                       lambda: e.subs(sp.sqrt(3), sp.sqrt(2)).subs(sp.pi, sp.E)])()


def is_equal(a, b):
    """True, False, or None where sympy cannot tell."""
    if a.free_symbols != b.free_symbols and sp.simplify(a - b) != 0:
        return False
    d = a - b
    for p in ((0.31, 1.7, 2.3), (1.13, 0.41, 1.9), (2.7, 3.1, 0.7)):
        v = sp.N(d.subs(dict(zip((x, y, n), map(sp.Rational, map(str, p))))), 50)
        if v.is_finite is False or v.free_symbols:
            return None
        if abs(v) > sp.Float("1e-25"):
            return False
    return True if sp.simplify(d) == 0 or sp.simplify(sp.expand(d)) == 0 else None


def tex(e):
    """LaTeX in one of the styles that models write."""
    style = dict(mul_symbol=rng.choice([None, None, "dot", "times"]), ln_notation=True,
                 inv_trig_style="power" if rng.random() < 0.5 else "full",
                 order=rng.choice(["lex", "rev-lex", "grevlex"]), imaginary_unit=rng.choice(["i", "i", "ri"]))
    s = sp.latex(e, fold_short_frac=rng.random() < 0.2, **style)
    if re.search(r"/ \d+ ?(\\cdot|\\times|\\pi|\\sqrt|[a-z])", s):  # 1 / 2 \pi for 1/(2 pi): read by nobody so
        s = sp.latex(e, **style)
    for old, new, p in [("\\frac", "\\dfrac", .2), ("\\frac", "\\tfrac", .1), ("\\left", "", .3), ("{", "{ ", .1)]:
        if rng.random() < p and (old != "\\left" or "\\left\\" not in s):
            s = s.replace(old, new)
            if old == "\\left":
                s = s.replace("\\right", "")
    if rng.random() < 0.2:
        s = s.replace(" + ", "+").replace(" - ", "-")
    if rng.random() < 0.15:
        s = re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", s)
    if rng.random() < 0.15:
        s = re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", s)
    return s


SCALARS = {"rational": make_rational, "surd": make_surd, "pi": make_pi, "complex": make_complex, "trig": make_trig,
           "log": make_log, "polynomial": make_polynomial, "function": make_function}


def scalar_pair(kind):
    while True:
        a = SCALARS[kind]()
        b = rewrite(a if rng.random() < 0.5 else perturb(a))
        if a.has(sp.zoo, sp.nan, sp.oo) or b.has(sp.zoo, sp.nan, sp.oo):
            continue
        verdict = is_equal(a, b)
        s, t = tex(a), tex(b)
        if verdict is not None and len(s) + len(t) < 160:
            return s, t, verdict


def structure_pair(kind):
    """Parts of scalars in order, or in any order; one bracket, part or place may be another."""
    size = 2 if kind == "interval" else rng.randint(2, 4)
    parts = [scalar_pair(rng.choice(["rational", "surd", "pi"])) for _ in range(size)]
    if rng.random() < 0.6:
        while not all(v for _, _, v in parts):
            parts = [p if p[2] else scalar_pair(rng.choice(["rational", "surd", "pi"])) for p in parts]
    verdict = all(v for _, _, v in parts)
    left, right = [p[0] for p in parts], [p[1] for p in parts]
    if kind == "list":
        if not verdict and len(set(left) & set(right)) > 0:
            return None  # parts might be equal crosswise
        rng.shuffle(right)
        return ", ".join(left), rng.choice([", ".join(right), "\\{" + ", ".join(right) + "\\}",
                                            " \\text{ and } ".join(right)]), verdict
    if kind == "tuple":
        if rng.random() < 0.2 and right[0] != right[-1] and verdict:
            right.reverse()
            verdict = left == right
        return "(" + ", ".join(left) + ")", "\\left( " + ",".join(right) + " \\right)", verdict
    if kind == "interval":
        a, b = rng.choice("(["), rng.choice(")]")
        c, d = (a, b) if rng.random() < 0.8 else (rng.choice("(["), rng.choice(")]"))
        return f"{a}{left[0]}, {left[1]}{b}", f"\\left{c}{right[0]},{right[1]}\\right{d}", verdict and (a, b) == (c, d)
    column = rng.random() < 0.5
    glue = " \\\\ " if column else " & "
    one, other = rng.choice(["pmatrix", "bmatrix"]), rng.choice(["pmatrix", "bmatrix", "matrix"])
    return (f"\\begin{{{one}}} {glue.join(left)} \\end{{{one}}}", f"\\begin{{{other}}}{glue.join(right)}\\end{{{other}}}",
            verdict)


def equation_pair():
    e = polynomial([x, y], 1, 3)
    if not {x, y} <= e.free_symbols:
        return None
    k = nonzero(rational, 5)
    other = e * k if rng.random() < 0.5 else e * k + rng.choice([1, x, -y])
    move = rational(9) * x + rational(9)
    return f"{tex(e)} = 0", f"{tex(sp.expand(other + move))} = {tex(move)}", sp.simplify(other / e).is_number is True


def decimal_pair():
    q = sp.Rational(rng.choice([-1, 1]) * rng.randint(1, 999), rng.choice([2, 4, 5, 8, 10, 20, 25, 40, 50, 100]))
    s = str(sp.N(q, 12)).rstrip("0").rstrip(".")
    t = q if rng.random() < 0.5 else q + sp.Rational(1, rng.choice([10, 100, 1000]))
    return s, tex(t), sp.Rational(s) == t


def main():
    kinds = [*SCALARS, "list", "tuple", "interval", "matrix", "equation", "decimal"]
    seen = set()
    with open(sys.argv[1], "w") as out:
        for kind in kinds:
            k = 0
            while k < PER_KIND:
                pair = (scalar_pair(kind) if kind in SCALARS else equation_pair() if kind == "equation"
                        else decimal_pair() if kind == "decimal" else structure_pair(kind))
                if pair is None or pair[:2] in seen or pair[0] == pair[1]:
                    continue
                seen.add(pair[:2])
                k += 1
                out.write(json.dumps({"kind": kind, "a": pair[0], "b": pair[1], "equal": bool(pair[2])}) + "\n")
            print(kind, k, file=sys.stderr)


main()
