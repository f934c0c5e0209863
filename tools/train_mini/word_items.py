"""Word problems in GSM8K's form: chains of story events on one running quantity.

An event says a sentence or two, and tells how the quantity changes, in the steps that an answer
writes down. Depth is the number of events. Products of several digits are split by the digits of
one factor, so that every step is one that can be written down at once.
"""

import reserve
from code_items import Item

PEOPLE = (
    "Mia Tom Ana Leo Ida Sam Eva Max Zoe Ben Lily Omar Nora Paul Ruth Ivan Tara Hugo Lena Amir "
    "Rosa Finn Maya Noah Vera Karl Aisha Theo Wendy Boris"
).split()
THINGS = (
    "apples stamps marbles shells coins cards books stickers pencils beads buttons plums eggs "
    "tickets candles bricks pears badges tiles ropes postcards flowers seeds magnets"
).split()
MONEY = "dollars"


class Story:
    def __init__(self, rng, who, thing, n):
        self.rng, self.who, self.thing, self.n = rng, who, thing, n
        self.steps = []

    def do(self, text, n):
        """A step `text = n`, with the new value."""
        self.steps.append((text, n))
        return n

    def times(self, a, b):
        """a * b, in as many steps as it takes to multiply by one digit at a time."""
        if a < b:
            a, b = b, a
        if b < 10 or a % 10 == 0 and a < 100 or b % 10 == 0 and b < 100 and a < 10:
            return self.do(f"{a} * {b}", a * b)
        tens, ones = b // 10 * 10, b % 10
        if not ones:
            return self.do(f"{a} * {b}", a * b)
        x = self.do(f"{a} * {tens}", a * tens)
        y = self.do(f"{a} * {ones}", a * ones)
        return self.do(f"{x} + {y}", x + y)


EVENTS = {}


def event(f):
    EVENTS[f.__name__] = f
    return f


def need(ok):
    if not ok:
        raise ValueError


def other(s):
    return s.rng.choice([p for p in PEOPLE if p != s.who])


def some(s, low=2, high=99):
    return s.rng.randint(low, high)


def less(s):
    need(s.n > 3)
    return s.rng.randint(1, min(s.n - 1, 150))


def say(s, *forms, **k):
    return s.rng.choice(forms).format(w=s.who, t=s.thing, **k)


@event
def buy(s):
    a = some(s)
    s.n = s.do(f"{s.n} + {a}", s.n + a)
    return say(s, "{w} buys {a} more {t}.", "Then {w} gets another {a} {t}.", "Later {a} {t} are added.", a=a)


@event
def gift(s):
    a = some(s)
    s.n = s.do(f"{s.n} + {a}", s.n + a)
    return say(s, "{o} brings {a} {t} as a present.", "{w} receives {a} {t} from {o}.", a=a, o=other(s))


@event
def found(s):
    a, b = some(s, 2, 40), some(s, 2, 40)
    x = s.do(f"{a} + {b}", a + b)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{w} finds {a} {t} on Monday and {b} on Tuesday.", "{a} {t} turn up at home and {b} at school.", a=a, b=b)


@event
def lose(s):
    a = less(s)
    s.n = s.do(f"{s.n} - {a}", s.n - a)
    return say(s, "{w} loses {a} of them.", "{a} of the {t} get lost.", "Sadly, {a} {t} disappear.", a=a)


@event
def give(s):
    a = less(s)
    s.n = s.do(f"{s.n} - {a}", s.n - a)
    return say(s, "{w} gives {a} {t} to {o}.", "{o} takes {a} of them.", a=a, o=other(s))


@event
def giveboth(s):
    need(s.n > 20)
    a, b = some(s, 2, s.n // 3), some(s, 2, s.n // 3)
    x = s.do(f"{a} + {b}", a + b)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{o} takes {a} {t} and {q} takes {b}.", "{w} gives {a} to {o} and {b} to {q}.", a=a, b=b, o=other(s), q=other(s))


@event
def double(s):
    s.n = s.do(f"{s.n} * 2", s.n * 2)
    return say(s, "Then the number of {t} doubles.", "{w} manages to double this.", "Soon there are twice as many {t}.")


@event
def triple(s):
    s.n = s.do(f"{s.n} * 3", s.n * 3)
    return say(s, "Then the number of {t} triples.", "{w} manages to triple this.", "Soon there are three times as many {t}.")


@event
def manytimes(s):
    k = some(s, 4, 9)
    s.n = s.do(f"{s.n} * {k}", s.n * k)
    return say(s, "A year later there are {k} times as many {t}.", "{w} ends up with {k} times that many.", k=k)


@event
def half(s):
    need(s.n % 2 == 0)
    s.n = s.do(f"{s.n} / 2", s.n // 2)
    return say(s, "Half of them are sold.", "{w} gives half of the {t} away.", "Then half of the {t} break.")


@event
def third(s):
    need(s.n % 3 == 0)
    x = s.do(f"{s.n} / 3", s.n // 3)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "A third of them is given to {o}.", "{w} sells a third of the {t}.", o=other(s))


@event
def quarter(s):
    need(s.n % 4 == 0)
    x = s.do(f"{s.n} / 4", s.n // 4)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "A quarter of them breaks.", "{w} gives a quarter of the {t} to {o}.", o=other(s))


@event
def keepfifth(s):
    need(s.n % 5 == 0)
    s.n = s.do(f"{s.n} / 5", s.n // 5)
    return say(s, "{w} keeps only a fifth of them.", "All but a fifth of the {t} are sold.")


@event
def boxes(s):
    b, c = some(s, 2, 15), some(s, 2, 12)
    x = s.times(b, c)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{w} buys {b} boxes with {c} {t} each.", "{b} boxes arrive, each with {c} {t}.", "A shop delivers {b} bags of {c} {t}.", b=b, c=c)


@event
def lostboxes(s):
    c = some(s, 2, 12)
    need(s.n > 2 * c + 1)
    b = s.rng.randint(2, min(12, (s.n - 1) // c))
    x = s.times(b, c)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{w} sells {b} packs of {c} {t}.", "{b} bags with {c} {t} each are used up.", b=b, c=c)


@event
def share(s):
    p = [d for d in range(3, 10) if s.n % d == 0 and s.n > d]
    need(p)
    p = s.rng.choice(p)
    s.n = s.do(f"{s.n} / {p}", s.n // p)
    return say(s, "{p} children share the {t} equally, and {w} takes one share.", "The {t} are split evenly into {p} piles and {w} keeps one pile.", p=p)


@event
def eachgives(s):
    p, a = some(s, 3, 12), some(s, 2, 15)
    x = s.times(p, a)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "Each of {p} friends gives {w} {a} {t}.", "{p} neighbours bring {a} {t} each.", p=p, a=a)


@event
def eachgets(s):
    a = some(s, 2, 12)
    need(s.n > 3 * a)
    p = s.rng.randint(2, min(12, (s.n - 1) // a))
    x = s.times(p, a)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{w} hands {a} {t} to each of {p} friends.", "{p} guests take {a} {t} each.", p=p, a=a)


@event
def percentup(s):
    p = s.rng.choice((10, 20, 25, 50))
    need(s.n * p % 100 == 0)
    x = s.do(f"{s.n} / {100 // p}", s.n * p // 100)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "The number of {t} grows by {p}%.", "{w} increases the stock by {p}%.", p=p)


@event
def percentdown(s):
    p = s.rng.choice((10, 20, 25, 50))
    need(s.n * p % 100 == 0)
    x = s.do(f"{s.n} / {100 // p}", s.n * p // 100)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{p}% of the {t} are thrown away.", "{w} loses {p}% of the {t}.", p=p)


@event
def together(s):
    a = some(s, 2, 60)
    x = s.do(f"{s.n} + {a}", s.n + a)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{o} has {a} more {t} than {w}, and they put all of theirs together.", "{o}, who owns {a} {t} more than {w}, adds all of them.", a=a, o=other(s))


@event
def fewer(s):
    a = less(s)
    x = s.do(f"{s.n} - {a}", s.n - a)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{o} has {a} {t} fewer than {w}, and they put all of theirs together.", "{o}, who owns {a} {t} less than {w}, adds all of them.", a=a, o=other(s))


@event
def times(s):
    k = some(s, 2, 6)
    x = s.do(f"{s.n} * {k}", s.n * k)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{o} has {k} times as many {t} as {w}, and they put all of theirs together.", "{o}, who owns {k} times as many {t}, adds all of them.", k=k, o=other(s))


@event
def price(s):
    p = some(s, 2, 15)
    need(s.thing != MONEY)
    s.n = s.times(s.n, p)
    out = say(s, "{w} sells them all for {p} dollars each and counts the dollars.", "All the {t} are sold at {p} dollars apiece, so that {w} now has dollars.", p=p)
    s.thing = MONEY
    return out


@event
def weight(s):
    p = some(s, 2, 15)
    need(s.thing not in (MONEY, "grams"))
    s.n = s.times(s.n, p)
    out = say(s, "Each of them weighs {p} grams, and {w} writes down the grams.", "One of the {t} weighs {p} grams, so {w} computes the total in grams.", p=p)
    s.thing = "grams"
    return out


@event
def daily(s):
    a, d = some(s, 2, 20), some(s, 3, 14)
    x = s.times(a, d)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "For {d} days {w} collects {a} {t} a day.", "Every day {a} {t} come in, for {d} days.", a=a, d=d)


@event
def weekly(s):
    a = some(s, 2, 30)
    x = s.do(f"{a} * 7", a * 7)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "For a week {w} makes {a} {t} every day.", "Each day of one week brings {a} {t}.", a=a)


@event
def dailyuse(s):
    a = some(s, 2, 12)
    need(s.n > 3 * a)
    d = s.rng.randint(2, min(12, (s.n - 1) // a))
    x = s.times(a, d)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{w} uses {a} {t} a day for {d} days.", "Over {d} days {a} {t} are used up each day.", a=a, d=d)


@event
def dozens(s):
    k = some(s, 2, 9)
    x = s.do(f"{k} * 12", k * 12)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{w} buys {k} dozen {t}.", "{k} dozen {t} are delivered.", k=k)


@event
def pairs(s):
    k = some(s, 5, 40)
    x = s.do(f"{k} * 2", k * 2)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{w} adds {k} pairs of {t}.", "{k} pairs of {t} come on top.", k=k)


@event
def packed(s):
    p = [d for d in range(3, 13) if s.n % d == 0 and s.n > 2 * d]
    need(p and s.thing not in (MONEY, "grams", "packs"))
    p = s.rng.choice(p)
    s.n = s.do(f"{s.n} / {p}", s.n // p)
    out = say(s, "The {t} are put into packs of {p}, and from now on {w} counts packs.", "{w} makes packs of {p} {t} and counts the packs.", p=p)
    s.thing = "packs"
    return out


@event
def remain(s):
    p = some(s, 4, 12)
    need(s.n > 2 * p and s.n % p > 1)
    q = s.n // p
    x = s.do(f"{q} * {p}", q * p)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{w} makes as many full bags of {p} as possible and is left with the rest.", "Full rows of {p} {t} are sold until fewer than {p} are left.", p=p)


@event
def swap(s):
    a, b = less(s), some(s)
    x = s.do(f"{s.n} - {a}", s.n - a)
    s.n = s.do(f"{x} + {b}", x + b)
    return say(s, "{w} trades {a} {t} for {b} others.", "In a swap {w} hands over {a} and gets {b} {t}.", a=a, b=b)


@event
def target(s):
    need(s.n < 900)
    goal = (s.n // 100 + s.rng.randint(1, 3)) * 100
    s.n = s.do(f"{goal} - {s.n}", goal - s.n)
    return say(s, "{w} wants {g} {t} and orders exactly those that are missing; only the ordered ones count from here.", "The goal is {g} {t}; {w} now looks only at how many are missing.", g=goal)


@event
def average(s):
    a = some(s, 2, 80)
    need((s.n + a) % 2 == 0)
    x = s.do(f"{s.n} + {a}", s.n + a)
    s.n = s.do(f"{x} / 2", x // 2)
    return say(s, "{o} has {a} {t}; they pool everything and {w} takes exactly half.", "{w} and {o}, who has {a} {t}, even things out so that both have the same.", a=a, o=other(s))


@event
def minusdouble(s):
    a = some(s, 2, 50)
    need(s.n > 2 * a)
    x = s.do(f"{a} * 2", a * 2)
    s.n = s.do(f"{s.n} - {x}", s.n - x)
    return say(s, "{o} takes {a} {t}, and {q} takes just as many.", "Twice, {a} {t} are taken away.", a=a, o=other(s), q=other(s))


@event
def plusdouble(s):
    a = some(s, 2, 50)
    x = s.do(f"{a} * 2", a * 2)
    s.n = s.do(f"{s.n} + {x}", s.n + x)
    return say(s, "{o} adds {a} {t}, and {q} adds the same number.", "Twice, {a} {t} are put on top.", a=a, o=other(s), q=other(s))


@event
def tenth(s):
    need(s.n % 10 == 0)
    s.n = s.do(f"{s.n} / 10", s.n // 10)
    return say(s, "Only one in ten of the {t} is kept.", "{w} keeps a tenth of them.")


NAMES = sorted(EVENTS)

OPEN = (
    "{w} has {n} {t}.",
    "{w} starts with {n} {t}.",
    "At first {w} owns {n} {t}.",
    "There are {n} {t} in the box of {w}.",
)
ASK = (
    "How many {t} does {w} have now?",
    "How many {t} are there in the end?",
    "What is the final number of {t}?",
)


def draw(rng, depth):
    who, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    n = rng.choice((rng.randint(10, 60), rng.randint(10, 120), 12 * rng.randint(2, 9), 10 * rng.randint(3, 12)))
    s = Story(rng, who, thing, n)
    text = [rng.choice(OPEN).format(w=who, n=n, t=thing)]
    names = ["start"]
    for _ in range(depth):
        for _ in range(50):
            name = rng.choice(NAMES)
            n_steps = len(s.steps)
            try:
                if name == names[-1]:
                    continue
                line = EVENTS[name](s)
            except ValueError:
                continue
            assert len(s.steps) > n_steps
            break
        else:
            return None
        if not 0 < s.n < 1000:
            return None
        text.append(line)
        names.append(name)
    text.append(rng.choice(ASK).format(w=who, t=s.thing))
    return s, " ".join(text), names


def draw_item(rng, depth, split):
    while True:
        got = draw(rng, depth)
        if not got:
            continue
        s, question, names = got
        if reserve.split_of("gsm8k", names, depth) == split:
            break
    marked = "\n".join(f"{e} = <<{e.replace(' ', '')}={v}>>{v}" for e, v in s.steps)
    plain = "\n".join(f"{e} = {v}" for e, v in s.steps)
    record = {"question": question, "answer": f"{marked}\n#### {s.n}"}
    return Item(record, f"{plain}\nThe answer is {s.n}", names, depth)
