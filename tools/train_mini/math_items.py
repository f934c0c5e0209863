"""Mathematics items in MATH500's form: quantities defined one after another, and a closed form of
them as the boxed answer.

A quantity is an integer, defined by one of a library of small tasks; later ones may use the one
before. A final asks for a closed form (fraction, surd, polynomial, interval, complex number ...)
of the last one or two. Depth, 1 to 5 as MATH's levels, is the number of quantities.
"""

import itertools
import math

import reserve
from code_items import Item

SUBJECTS = {
    "n": "Number Theory",
    "a": "Algebra",
    "p": "Prealgebra",
    "c": "Counting & Probability",
    "g": "Geometry",
    "i": "Intermediate Algebra",
    "t": "Precalculus",
}

QUANTITIES = {}  # name -> (subject, function); function(rng) -> (value, English, working)
CHAINED = {}  # name -> function(rng, value before, its letter) -> the same
FINALS = {}  # name -> (subject, number of values, function(values, letters)) -> English, working, answer


def quantity(subject):
    def add(f):
        QUANTITIES[f.__name__] = (subject, f)
        return f

    return add


def chained(f):
    CHAINED["c_" + f.__name__] = f
    return f


def final(subject, n):
    def add(f):
        FINALS["f_" + f.__name__] = (subject, n, f)
        return f

    return add


def need(ok):
    if not ok:
        raise ValueError


def signed(n):
    return f"+ {n}" if n >= 0 else f"- {-n}"


def mul(a, b):
    """Working of a product, one digit at a time."""
    if max(a, b) < 13 or min(a, b) < 10:
        return f"{a} \\cdot {b} = {a * b}"
    t, o = b // 10 * 10, b % 10
    if not o:
        return f"{a} \\cdot {b} = {a * b}"
    return f"{a} \\cdot {b} = {a * t} + {a * o} = {a * b}"


@quantity("n")
def gcd(r):
    g, (x, y) = r.randint(2, 15), r.choice([(x, y) for x in range(2, 10) for y in range(2, 10) if math.gcd(x, y) == 1])
    return g, f"the greatest common divisor of ${g * x}$ and ${g * y}$", f"\\gcd({g * x}, {g * y}) = {g}"


@quantity("n")
def lcm(r):
    a, b = r.randint(2, 15), r.randint(2, 15)
    v = math.lcm(a, b)
    return v, f"the least common multiple of ${a}$ and ${b}$", f"\\mathrm{{lcm}}({a}, {b}) = {v}"


@quantity("n")
def remainder(r):
    m, q, v = r.randint(3, 12), r.randint(3, 20), r.randint(1, 11)
    need(v < m)
    return v, f"the remainder when ${m * q + v}$ is divided by ${m}$", f"{m * q + v} - {m * q} = {v}"


@quantity("n")
def digits(r):
    n = r.randint(100, 9999)
    v = sum(map(int, str(n)))
    return v, f"the sum of the digits of ${n}$", " + ".join(str(n)) + f" = {v}"


@quantity("n")
def divisors(r):
    n = r.randint(6, 60)
    d = [i for i in range(1, n + 1) if n % i == 0]
    return len(d), f"the number of positive divisors of ${n}$", ", ".join(map(str, d)) + f": {len(d)}"


@quantity("n")
def bigprime(r):
    p, k = r.choice((3, 5, 7, 11, 13, 17)), r.choice((4, 6, 8, 9, 10, 12, 16))
    need(p >= max(q for q in (2, 3, 5) if k % q == 0))
    return p, f"the largest prime factor of ${p * k}$", f"{p * k} = {k} \\cdot {p}"


@quantity("n")
def modpow(r):
    a, e, m = r.randint(2, 9), r.randint(2, 4), r.randint(5, 11)
    v = a**e % m
    need(v)
    return v, f"the remainder when ${a}^{e}$ is divided by ${m}$", f"{a}^{e} = {a**e} = {a**e - v} + {v}"


@quantity("p")
def power(r):
    a, e = r.choice(((2, 3), (2, 4), (2, 5), (3, 2), (3, 3), (4, 2), (5, 2), (6, 2), (7, 2), (3, 4)))
    return a**e, f"${a}^{e}$", f"{a}^{e} = {a**e}"


@quantity("p")
def product(r):
    a, b = r.randint(3, 30), r.randint(3, 12)
    return a * b, f"the product of ${a}$ and ${b}$", mul(a, b)


@quantity("p")
def difference(r):
    a, b = r.randint(20, 150), r.randint(2, 99)
    need(a > b)
    return a - b, f"the difference ${a} - {b}$", f"{a} - {b} = {a - b}"


@quantity("p")
def total(r):
    a = [r.randint(2, 40) for _ in range(3)]
    return sum(a), f"the sum of ${a[0]}$, ${a[1]}$ and ${a[2]}$", f"{a[0]} + {a[1]} + {a[2]} = {sum(a)}"


@quantity("p")
def mean(r):
    a = [r.randint(2, 30) for _ in range(3)]
    need(sum(a) % 3 == 0)
    return sum(a) // 3, f"the mean of ${a[0]}$, ${a[1]}$ and ${a[2]}$", f"{sum(a)} / 3 = {sum(a) // 3}"


@quantity("p")
def median(r):
    a = r.sample(range(2, 60), 5)
    v = sorted(a)[2]
    return v, f"the median of ${', '.join(map(str, a))}$", ", ".join(map(str, sorted(a))) + f": {v}"


@quantity("p")
def percent(r):
    p, n = r.choice((10, 20, 25, 50)), r.randint(2, 30)
    n *= 100 // p
    return n * p // 100, f"${p}\\%$ of ${n}$", f"{n} / {100 // p} = {n * p // 100}"


@quantity("p")
def rounded(r):
    n = r.randint(21, 499)
    need(n % 10 != 5)
    v = (n + 5) // 10 * 10
    return v, f"${n}$ rounded to the nearest ten", f"{n} \\approx {v}"


@quantity("c")
def choose(r):
    n, k = r.randint(4, 9), r.randint(2, 3)
    v = math.comb(n, k)
    return v, f"the number of ways to choose ${k}$ of ${n}$ people", f"\\binom{{{n}}}{{{k}}} = {v}"


@quantity("c")
def factorial(r):
    n = r.randint(3, 5)
    return math.factorial(n), f"the number of orders of ${n}$ books", f"{n}! = {math.factorial(n)}"


@quantity("c")
def outfits(r):
    a, b = r.randint(3, 12), r.randint(3, 12)
    return a * b, f"the number of ways to pick one of ${a}$ shirts and one of ${b}$ hats", mul(a, b)


@quantity("c")
def handshakes(r):
    n = r.randint(4, 12)
    v = n * (n - 1) // 2
    return v, f"the number of handshakes among ${n}$ people", f"{n} \\cdot {n - 1} / 2 = {v}"


@quantity("c")
def between(r):
    a, d = r.randint(3, 40), r.randint(5, 60)
    return d - 1, f"the number of integers strictly between ${a}$ and ${a + d}$", f"{a + d} - {a} - 1 = {d - 1}"


@quantity("a")
def solve(r):
    a, x, b = r.randint(2, 9), r.randint(2, 15), r.randint(1, 30)
    return x, f"the solution of ${a}x + {b} = {a * x + b}$", f"{a}x = {a * x + b} - {b} = {a * x}, x = {x}"


@quantity("a")
def solveminus(r):
    a, x, b = r.randint(2, 9), r.randint(2, 15), r.randint(1, 30)
    need(a * x > b)
    return x, f"the solution of ${a}x - {b} = {a * x - b}$", f"{a}x = {a * x - b} + {b} = {a * x}, x = {x}"


@quantity("a")
def evaluate(r):
    a, b, x = r.randint(2, 9), r.randint(1, 20), r.randint(2, 12)
    return a * x + b, f"$f({x})$ where $f(x) = {a}x + {b}$", f"{a} \\cdot {x} + {b} = {a * x} + {b} = {a * x + b}"


@quantity("a")
def evalsquare(r):
    b, x = r.randint(1, 20), r.randint(2, 9)
    return x * x + b, f"$g({x})$ where $g(x) = x^2 + {b}$", f"{x}^2 + {b} = {x * x} + {b} = {x * x + b}"


@quantity("a")
def slope(r):
    m, x, d, y = r.randint(2, 9), r.randint(1, 9), r.randint(2, 6), r.randint(1, 20)
    return m, f"the slope of the line through $({x},{y})$ and $({x + d},{y + m * d})$", f"({y + m * d} - {y}) / ({x + d} - {x}) = {m * d} / {d} = {m}"


@quantity("a")
def arithmetic(r):
    a, d, n = r.randint(1, 12), r.randint(2, 9), r.randint(4, 11)
    return a + (n - 1) * d, f"term number ${n}$ of the arithmetic sequence ${a}, {a + d}, {a + 2 * d}, \\ldots$", f"{a} + {n - 1} \\cdot {d} = {a} + {(n - 1) * d} = {a + (n - 1) * d}"


@quantity("a")
def geometric(r):
    a, q, n = r.randint(1, 5), r.randint(2, 3), r.randint(4, 5)
    return a * q ** (n - 1), f"term number ${n}$ of the geometric sequence ${a}, {a * q}, {a * q * q}, \\ldots$", f"{a} \\cdot {q}^{n - 1} = {a} \\cdot {q ** (n - 1)} = {a * q ** (n - 1)}"


@quantity("a")
def sumto(r):
    n = r.randint(5, 20)
    return n * (n + 1) // 2, f"the sum $1 + 2 + \\cdots + {n}$", f"{n} \\cdot {n + 1} / 2 = {n * (n + 1)} / 2 = {n * (n + 1) // 2}"


@quantity("i")
def largerroot(r):
    a, b = r.randint(1, 9), r.randint(2, 12)
    need(a < b)
    return b, f"the larger root of $x^2 - {a + b}x + {a * b}$", f"(x - {a})(x - {b}), x = {b}"


@quantity("i")
def smallerroot(r):
    a, b = r.randint(2, 9), r.randint(3, 12)
    need(a < b)
    return a, f"the smaller root of $x^2 - {a + b}x + {a * b}$", f"(x - {a})(x - {b}), x = {a}"


@quantity("i")
def discriminant(r):
    b, c = r.randint(5, 12), r.randint(1, 9)
    v = b * b - 4 * c
    need(v > 0)
    return v, f"the discriminant of $x^2 + {b}x + {c}$", f"{b}^2 - 4 \\cdot {c} = {b * b} - {4 * c} = {v}"


@quantity("i")
def logarithm(r):
    b, e = r.choice(((2, 3), (2, 4), (2, 5), (2, 6), (3, 2), (3, 3), (3, 4), (5, 2), (5, 3), (10, 3)))
    return e, f"$\\log_{{{b}}} {b**e}$", f"{b}^{e} = {b**e}"


@quantity("i")
def root(r):
    n = r.randint(4, 20)
    return n, f"$\\sqrt{{{n * n}}}$", f"{n}^2 = {n * n}"


@quantity("g")
def area(r):
    a, b = r.randint(3, 25), r.randint(3, 12)
    return a * b, f"the area of a rectangle with sides ${a}$ and ${b}$", mul(a, b)


@quantity("g")
def perimeter(r):
    a, b = r.randint(3, 40), r.randint(3, 40)
    return 2 * (a + b), f"the perimeter of a rectangle with sides ${a}$ and ${b}$", f"2 \\cdot ({a} + {b}) = 2 \\cdot {a + b} = {2 * (a + b)}"


@quantity("g")
def triangle(r):
    a, b = r.randint(3, 15), 2 * r.randint(2, 8)
    return a * b // 2, f"the area of a triangle with base ${b}$ and height ${a}$", f"{b} \\cdot {a} / 2 = {a * b // 2}"


@quantity("g")
def hypotenuse(r):
    a, b, c = r.choice(((3, 4, 5), (5, 12, 13), (8, 15, 17), (6, 8, 10), (9, 12, 15), (7, 24, 25)))
    return c, f"the hypotenuse of a right triangle with legs ${a}$ and ${b}$", f"{a}^2 + {b}^2 = {a * a} + {b * b} = {c * c} = {c}^2"


@quantity("g")
def diagonals(r):
    n = r.randint(5, 12)
    v = n * (n - 3) // 2
    return v, f"the number of diagonals of a polygon with ${n}$ sides", f"{n} \\cdot {n - 3} / 2 = {n * (n - 3)} / 2 = {v}"


@quantity("g")
def angle(r):
    a, b = r.randint(20, 80), r.randint(20, 80)
    v = 180 - a - b
    return v, f"the third angle in degrees of a triangle with angles ${a}^\\circ$ and ${b}^\\circ$", f"180 - {a} - {b} = {v}"


@quantity("g")
def cube(r):
    n = r.randint(2, 7)
    return n**3, f"the volume of a cube with edge ${n}$", f"{n}^3 = {n**3}"


@quantity("t")
def dot(r):
    a, b, c, d = (r.randint(1, 9) for _ in range(4))
    v = a * c + b * d
    return v, f"the dot product of $({a},{b})$ and $({c},{d})$", f"{a} \\cdot {c} + {b} \\cdot {d} = {a * c} + {b * d} = {v}"


@quantity("t")
def determinant(r):
    a, b, c, d = (r.randint(1, 9) for _ in range(4))
    v = a * d - b * c
    need(v > 0)
    return v, f"the determinant of $\\begin{{pmatrix}} {a} & {b} \\\\ {c} & {d} \\end{{pmatrix}}$", f"{a} \\cdot {d} - {b} \\cdot {c} = {a * d} - {b * c} = {v}"


@chained
def plus(r, v, x):
    k = r.randint(2, 30)
    return v + k, f"${x} + {k}$", f"{v} + {k} = {v + k}"


@chained
def minus(r, v, x):
    need(v > 3)
    k = r.randint(1, min(v - 1, 40))
    return v - k, f"${x} - {k}$", f"{v} - {k} = {v - k}"


@chained
def twice(r, v, x):
    k = r.randint(2, 5)
    return k * v, f"${k}{x}$", f"{k} \\cdot {v} = {k * v}"


@chained
def twiceplus(r, v, x):
    k, b = r.randint(2, 4), r.randint(1, 20)
    return k * v + b, f"${k}{x} + {b}$", f"{k} \\cdot {v} + {b} = {k * v} + {b} = {k * v + b}"


@chained
def modulo(r, v, x):
    m = r.randint(3, 9)
    need(v > m and v % m)
    return v % m, f"the remainder when ${x}$ is divided by ${m}$", f"{v} - {v - v % m} = {v % m}"


@chained
def digitsum(r, v, x):
    need(v > 9)
    s = sum(map(int, str(v)))
    return s, f"the sum of the digits of ${x}$", " + ".join(str(v)) + f" = {s}"


@chained
def halved(r, v, x):
    need(v % 2 == 0)
    return v // 2, f"half of ${x}$", f"{v} / 2 = {v // 2}"


@chained
def solved(r, v, x):
    a = [d for d in range(2, 10) if v % d == 0 and v > d]
    need(a)
    a = r.choice(a)
    return v // a, f"the solution of ${a}t = {x}$", f"{v} / {a} = {v // a}"


@chained
def squared(r, v, x):
    need(v < 13)
    return v * v, f"${x}^2$", f"{v}^2 = {v * v}"


@chained
def handshake(r, v, x):
    need(3 < v < 13)
    return v * (v - 1) // 2, f"the number of pairs among ${x}$ people", f"{v} \\cdot {v - 1} / 2 = {v * (v - 1) // 2}"


@chained
def sequence(r, v, x):
    d, n = r.randint(2, 9), r.randint(3, 9)
    w = v + (n - 1) * d
    return w, f"term number ${n}$ of the arithmetic sequence with first term ${x}$ and difference ${d}$", f"{v} + {n - 1} \\cdot {d} = {v} + {(n - 1) * d} = {w}"


@chained
def nextmultiple(r, v, x):
    m = r.randint(3, 9)
    w = (v // m + 1) * m
    return w, f"the least multiple of ${m}$ above ${x}$", f"{m} \\cdot {v // m + 1} = {w}"


def frac(a, b):
    g = math.gcd(a, b)
    a, b = a // g, b // g
    return f"{a}" if b == 1 else f"\\frac{{{a}}}{{{b}}}"


def surd(n):
    s = max(k for k in range(1, math.isqrt(n) + 1) if n % (k * k) == 0)
    rest = n // (s * s)
    return s, rest, f"{s}" if rest == 1 else ("" if s == 1 else str(s)) + f"\\sqrt{{{rest}}}"


def coefficient(n, x):
    """ + n x as it is written, n not 0."""
    return f"{'+' if n > 0 else '-'} {'' if abs(n) == 1 and x else abs(n)}{x}"


@final("p", 2)
def ratio(v, x):
    a, b = v
    need(a % b)
    g = math.gcd(a, b)
    return f"Write $\\frac{{{x[0]}}}{{{x[1]}}}$ in lowest terms.", f"\\frac{{{a}}}{{{b}}}, \\gcd = {g}", frac(a, b)


@final("p", 2)
def recipsum(v, x):
    a, b = v
    need(max(v) <= 20 and a > 1 and b > 1)
    return f"Write $\\frac{{1}}{{{x[0]}}} + \\frac{{1}}{{{x[1]}}}$ as a fraction in lowest terms.", f"\\frac{{{b} + {a}}}{{{mul(a, b).split(' = ')[0]}}} = \\frac{{{a + b}}}{{{a * b}}}", frac(a + b, a * b)


@final("c", 2)
def probability(v, x):
    a, b = v
    return f"A bag holds ${x[0]}$ red and ${x[1]}$ blue balls. What is the probability to draw a red one?", f"{a} + {b} = {a + b}, \\frac{{{a}}}{{{a + b}}}, \\gcd = {math.gcd(a, b)}", frac(a, a + b)


@final("c", 2)
def notprob(v, x):
    a, b = v
    return f"Of ${x[0]}$ old and ${x[1]}$ new coins one is drawn. What is the probability that it is new?", f"{a} + {b} = {a + b}, \\frac{{{b}}}{{{a + b}}}, \\gcd = {math.gcd(a, b)}", frac(b, a + b)


@final("a", 1)
def root1(v, x):
    n = v[0]
    s, rest, text = surd(n)
    need(n > 1 and s < 13)
    return f"Simplify $\\sqrt{{{x[0]}}}$.", f"{n} = {s}^2 \\cdot {rest}", text


@final("a", 2)
def rootsum(v, x):
    n = sum(v)
    s, rest, text = surd(n)
    need(n < 200)
    return f"Simplify $\\sqrt{{{x[0]} + {x[1]}}}$.", f"{v[0]} + {v[1]} = {n} = {s}^2 \\cdot {rest}", text


@final("g", 2)
def hyp(v, x):
    a, b = v
    need(max(v) <= 12)
    n = a * a + b * b
    s, rest, text = surd(n)
    return f"Find the hypotenuse of a right triangle with legs ${x[0]}$ and ${x[1]}$ in simplest radical form.", f"{a}^2 + {b}^2 = {a * a} + {b * b} = {n} = {s}^2 \\cdot {rest}", text


@final("a", 2)
def expand(v, x):
    a, b = v
    need(max(v) <= 40)
    return f"Expand $(t + {x[0]})(t + {x[1]})$.", f"{a} + {b} = {a + b}, {mul(a, b)}", f"t^2 + {a + b}t + {a * b}"


@final("a", 2)
def expandminus(v, x):
    a, b = v
    need(max(v) <= 40 and a != b)
    return f"Expand $(t + {x[0]})(t - {x[1]})$.", f"{a} - {b} = {a - b}, {mul(a, b)}", f"t^2 {coefficient(a - b, 't')} - {a * b}"


@final("a", 1)
def square(v, x):
    a = v[0]
    need(a < 25)
    return f"Expand $(t - {x[0]})^2$.", f"2 \\cdot {a} = {2 * a}, {a}^2 = {a * a}", f"t^2 - {2 * a}t + {a * a}"


@final("i", 2)
def absolute(v, x):
    a, b = v
    return f"Solve $|t - {x[0]}| \\le {x[1]}$ and give the interval.", f"{a} - {b} = {a - b}, {a} + {b} = {a + b}", f"[{a - b}, {a + b}]"


@final("i", 2)
def outside(v, x):
    a, b = v
    return f"Solve $|t - {x[0]}| > {x[1]}$ and give the union of intervals.", f"{a} - {b} = {a - b}, {a} + {b} = {a + b}", f"(-\\infty, {a - b}) \\cup ({a + b}, \\infty)"


@final("i", 2)
def complexsum(v, x):
    a, b = v
    return f"Compute $({x[0]} + {x[1]}i) + (3 - 2i)$.", f"{a} + 3 = {a + 3}, {b} - 2 = {b - 2}", f"{a + 3} {coefficient(b - 2, 'i')}" if b != 2 else f"{a + 3}"


@final("i", 2)
def complexmul(v, x):
    a, b = v
    need(a != b)
    c = coefficient(a + b, "i")
    return f"Compute $({x[0]} + {x[1]}i)(1 + i)$.", f"{a} - {b} = {a - b}, {a} + {b} = {a + b}", f"{a - b} {c}"


@final("a", 2)
def midpoint(v, x):
    a, b = v
    return f"Find the midpoint of $(0, {x[0]})$ and $({x[1]}, 0)$.", f"{b} / 2 = {frac(b, 2)}, {a} / 2 = {frac(a, 2)}", f"\\left({frac(b, 2)}, {frac(a, 2)}\\right)"


@final("n", 1)
def base(v, x):
    n, b = v[0], 5
    need(4 < n < 125)
    d, m = [], n
    while m:
        d.append(m % b)
        m //= b
    text = " + ".join(f"{k} \\cdot {b**i}" for i, k in reversed(list(enumerate(d))))
    return f"Write ${x[0]}$ in base ${b}$.", f"{n} = {text}", "".join(map(str, reversed(d))) + f"_{{{b}}}"


@final("g", 1)
def circle(v, x):
    n = v[0]
    need(n < 30)
    return f"Find the area of a circle with radius ${x[0]}$.", f"{n}^2 = {n * n}", f"{n * n}\\pi"


@final("g", 1)
def circumference(v, x):
    n = v[0]
    return f"Find the circumference of a circle with radius ${x[0]}$.", f"2 \\cdot {n} = {2 * n}", f"{2 * n}\\pi"


@final("a", 2)
def line(v, x):
    a, b = v
    return f"Find the equation of the line with slope ${x[0]}$ through $(0, {x[1]})$.", f"m = {a}, b = {b}", f"y = {a}x + {b}" if a > 1 else f"y = x + {b}"


@final("i", 2)
def roots(v, x):
    a, b = v
    need(a != b and max(v) < 40)
    return f"Find the monic quadratic in $t$ with roots ${x[0]}$ and ${x[1]}$.", f"{a} + {b} = {a + b}, {mul(a, b)}", f"t^2 - {a + b}t + {a * b}"


@final("t", 2)
def vector(v, x):
    a, b = v
    return f"Compute $2\\begin{{pmatrix}} {x[0]} \\\\ {x[1]} \\end{{pmatrix}}$.", f"2 \\cdot {a} = {2 * a}, 2 \\cdot {b} = {2 * b}", f"\\begin{{pmatrix}} {2 * a} \\\\ {2 * b} \\end{{pmatrix}}"


@final("p", 2)
def pair(v, x):
    a, b = v
    return f"Give the ordered pair $({x[1]}, {x[0]} + {x[1]})$.", f"{a} + {b} = {a + b}", f"({b}, {a + b})"


@final("p", 2)
def gap(v, x):
    a, b = v
    return f"Find ${x[0]} - {x[1]}$.", f"{a} - {b} = {a - b}", f"{a - b}"


@final("p", 2)
def both(v, x):
    a, b = v
    need(max(v) < 60)
    return f"Find ${x[0]}{x[1]}$.", mul(a, b), f"{a * b}"


@final("n", 2)
def common(v, x):
    a, b = v
    return f"List the prime numbers between ${x[0]}$ and ${x[0]} + 10$.", f"{a} + 10 = {a + 10}", _primes(a)


def _primes(a):
    p = [n for n in range(a + 1, a + 10) if n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))]
    need(p and a < 60)
    return ", ".join(map(str, p))


@final("p", 2)
def mixed(v, x):
    a, b = v
    need(b > 1)
    return f"Write ${x[0]} + \\frac{{1}}{{{x[1]}}}$ as one fraction.", f"{mul(a, b)}, {a * b} + 1 = {a * b + 1}", f"\\frac{{{a * b + 1}}}{{{b}}}"


def draw(rng, depth):
    name = rng.choice(list(FINALS))
    subject, n_values, make = FINALS[name]
    n = depth
    if n < n_values:
        return None
    letters = rng.choice(("abcde", "abcde", "pqrsu", "kmnpq"))
    names, text, work, values = [], [], [], []
    for i in range(n):
        use = i > 0 and rng.random() < 0.5
        kind = rng.choice(list(CHAINED) if use else list(QUANTITIES))
        try:
            v, what, how = CHAINED[kind](rng, values[-1], letters[i - 1]) if use else QUANTITIES[kind][1](rng)
        except ValueError:
            return None
        if not 0 < v < 1000:
            return None
        values.append(v)
        names.append(kind)
        text.append(rng.choice(("Let ${}$ be {}.", "Suppose that ${}$ is {}.", "Denote by ${}$ the value of {}.")[:2]).format(letters[i], what))
        work.append(f"${letters[i]}$: ${how}$")
    names.append(name)
    try:
        ask, how, answer = make(values[-n_values:], letters[n - n_values : n])
    except ValueError:
        return None
    problem = " ".join([*text, ask])
    solution = ".\n".join([*work, f"${how}$"]) + f".\nThe answer is $\\boxed{{{answer}}}$."
    return problem, solution, answer, names, SUBJECTS[subject]


def draw_item(rng, depth, split):
    while True:
        got = draw(rng, depth)
        if not got:
            continue
        problem, solution, answer, names, subject = got
        if reserve.split_of("math500", names, depth) == split:
            break
    record = {"problem": problem, "solution": solution, "answer": answer, "subject": subject, "level": depth}
    return Item(record, solution, names, depth)


NAMES = sorted(itertools.chain(QUANTITIES, CHAINED, FINALS))
