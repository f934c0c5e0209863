"""The library of code skills: what the training items and the mini suites are composed of.

A skill turns a value of one type into a value of another: its code is an expression on {x}, or,
for skills that need statements, lines that leave the result in {o}. Its phrases say the same in
English as imperatives. {k} and {j} are small constants, {c} a letter; the same in code and phrase.

Types: I int, L list of ints, S str, W list of str, D dict of str to int, N list of lists of ints,
B bool. Frequency follows Zipf's law: see Skill.weight.
"""

import dataclasses
import hashlib

TYPE_WORDS = {
    "I": "int",
    "L": "list",
    "S": "str",
    "W": "list",
    "D": "dict",
    "N": "list",
    "B": "bool",
}


@dataclasses.dataclass(frozen=True)
class Skill:
    name: str
    src: str  # type in
    dst: str  # type out
    code: str  # expression, or lines ending in an assignment to {o}
    phrases: tuple
    rank: int = 0  # 0 is the most frequent

    @property
    def is_lines(self):
        return "{o}" in self.code

    def weight(self, exponent):
        """Zipf-Mandelbrot: the first ten skills are about equally frequent."""
        return (self.rank + 10) ** -exponent


# Predicates of a number v: name, test, plural nouns.
NUMBER_TESTS = [
    ("even", "v % 2 == 0", "even numbers|numbers divisible by two|numbers that are even"),
    ("odd", "v % 2 == 1", "odd numbers|numbers that are odd|numbers that are not even"),
    ("positive", "v > 0", "positive numbers|numbers above zero|numbers greater than zero"),
    ("negative", "v < 0", "negative numbers|numbers below zero|numbers less than zero"),
    ("zero", "v == 0", "zeros|numbers equal to zero|entries that are zero"),
    ("over", "v > {k}", "numbers greater than {k}|numbers above {k}|numbers larger than {k}"),
    ("under", "v < {k}", "numbers less than {k}|numbers below {k}|numbers smaller than {k}"),
    ("multiple", "v % {k} == 0", "multiples of {k}|numbers divisible by {k}|numbers that {k} divides"),
    ("nonmultiple", "v % {k} != 0", "numbers not divisible by {k}|numbers that are no multiple of {k}"),
    ("ends", "v % 10 == {k}", "numbers whose last digit is {k}|numbers that end in {k}"),
    ("onedigit", "-10 < v < 10", "single digit numbers|numbers with one digit|numbers of one digit"),
    ("twodigit", "9 < abs(v) < 100", "two digit numbers|numbers with two digits|numbers of two digits"),
    ("square", "v >= 0 and int(v ** 0.5) ** 2 == v", "perfect squares|square numbers"),
    ("far", "abs(v) > {k}", "numbers more than {k} away from zero|numbers whose absolute value exceeds {k}"),
    ("between", "{k} <= v <= {k} * 5", "numbers from {k} to 5 times {k}|numbers between {k} and 5 times {k}"),
    ("hasdigit", "'{k}' in str(v)", "numbers that contain the digit {k}|numbers written with a {k}"),
    ("palin", "str(v) == str(v)[::-1]", "palindromic numbers|numbers that read the same backwards"),
    ("residue", "v % {k} == 1", "numbers that leave a remainder of 1 when divided by {k}|numbers one above a multiple of {k}"),
]

# Maps of a number v: name, expression, "it"-phrases for one, "each"-phrases for many.
NUMBER_MAPS = [
    ("double", "v * 2", "double {it}|multiply {it} by two|take twice {it}"),
    ("triple", "v * 3", "triple {it}|multiply {it} by three|take three times {it}"),
    ("square", "v * v", "square {it}|multiply {it} by itself|take the square of {it}"),
    ("cube", "v ** 3", "cube {it}|raise {it} to the third power|take the cube of {it}"),
    ("negate", "-v", "negate {it}|change the sign of {it}|flip the sign of {it}"),
    ("abs", "abs(v)", "take the absolute value of {it}|drop the sign of {it}|make {it} non-negative"),
    ("add", "v + {k}", "add {k} to {it}|increase {it} by {k}|make {it} larger by {k}"),
    ("sub", "v - {k}", "subtract {k} from {it}|decrease {it} by {k}|make {it} smaller by {k}"),
    ("mul", "v * {k}", "multiply {it} by {k}|scale {it} by {k}|take {k} times {it}"),
    ("div", "v // {k}", "divide {it} by {k} rounding down|floor divide {it} by {k}"),
    ("mod", "v % {k}", "take the remainder of {it} modulo {k}|reduce {it} modulo {k}|replace {it} by its remainder after division by {k}"),
    ("halve", "v // 2", "halve {it} rounding down|take half of {it} rounded down"),
    ("last", "abs(v) % 10", "take the last digit of {it}|replace {it} by its units digit"),
    ("digsum", "sum(map(int, str(abs(v))))", "take the digit sum of {it}|add up the digits of {it}|replace {it} by the sum of its digits"),
    ("diglen", "len(str(abs(v)))", "count the digits of {it}|replace {it} by its number of digits"),
    ("revdig", "int(str(abs(v))[::-1])", "reverse the digits of {it}|write {it} backwards"),
    ("capk", "min(v, {k})", "cap {it} at {k}|limit {it} to at most {k}|replace {it} by {k} if larger"),
    ("floork", "max(v, {k})", "raise {it} to at least {k}|replace {it} by {k} if smaller"),
    ("sign", "(v > 0) - (v < 0)", "take the sign of {it}|replace {it} by its sign as 1, 0 or -1"),
    ("round10", "v // 10 * 10", "round {it} down to a multiple of ten|drop {it} to the ten below"),
    ("flip", "{k} - v", "subtract {it} from {k}|take {k} minus {it}"),
    ("bits", "bin(v).count('1')", "count the one bits of {it}|count the ones in the binary form of {it}"),
    ("collatz", "v // 2 if v % 2 == 0 else 3 * v + 1", "do one Collatz step on {it}|halve {it} if even, else triple {it} and add one"),
    ("tri", "v * (v + 1) // 2", "take the triangular number of {it}|replace {it} by its triangular number"),
    ("dist", "abs(v - {k})", "take the distance of {it} from {k}|measure how far {it} is from {k}"),
    ("next", "v + {k} - v % {k}", "move {it} up to the next multiple of {k}|raise {it} to the following multiple of {k}"),
]

# Predicates of a word v.
WORD_TESTS = [
    ("long", "len(v) > {k}", "words longer than {k} letters|words with more than {k} letters"),
    ("short", "len(v) < {k}", "words shorter than {k} letters|words with fewer than {k} letters"),
    ("evenlen", "len(v) % 2 == 0", "words of even length|words with an even number of letters"),
    ("oddlen", "len(v) % 2 == 1", "words of odd length|words with an odd number of letters"),
    ("starts", "v.startswith('{c}')", "words that start with '{c}'|words beginning with '{c}'"),
    ("ends", "v.endswith('{c}')", "words that end with '{c}'|words ending in '{c}'"),
    ("has", "'{c}' in v", "words that contain '{c}'|words with the letter '{c}'"),
    ("lacks", "'{c}' not in v", "words without '{c}'|words that do not contain '{c}'"),
    ("vowelstart", "v[:1] in 'aeiou'", "words that start with a vowel|words beginning with a vowel"),
    ("vowelend", "v[-1:] in 'aeiou'", "words that end with a vowel|words ending in a vowel"),
    ("palin", "v == v[::-1]", "palindromes|words that read the same backwards"),
    ("double", "len(set(v)) < len(v)", "words with a repeated letter|words in which some letter occurs twice"),
    ("sameends", "v[:1] == v[-1:]", "words whose first and last letters agree|words that start and end with the same letter"),
    ("sorted", "list(v) == sorted(v)", "words whose letters are in alphabetical order|words with letters in order"),
    ("manyvowels", "sum(c in 'aeiou' for c in v) > 1", "words with more than one vowel|words with at least two vowels"),
]

# Maps of a word v (a string) to a string.
WORD_MAPS = [
    ("upper", "v.upper()", "turn {it} into capitals|write {it} in upper case|capitalise every letter of {it}"),
    ("title", "v.capitalize()", "capitalise {it}|give {it} a capital first letter"),
    ("rev", "v[::-1]", "reverse {it}|write {it} backwards|turn {it} around"),
    ("dropfirst", "v[1:]", "remove the first letter of {it}|drop the first letter of {it}"),
    ("droplast", "v[:-1]", "remove the last letter of {it}|drop the last letter of {it}"),
    ("take", "v[:{k}]", "keep the first {k} letters of {it}|cut {it} to {k} letters|truncate {it} after {k} letters"),
    ("tail", "v[-{k}:]", "keep the last {k} letters of {it}|take the final {k} letters of {it}"),
    ("novowels", "''.join(c for c in v if c not in 'aeiou')", "remove the vowels from {it}|strip the vowels of {it}"),
    ("onlyvowels", "''.join(c for c in v if c in 'aeiou')", "keep only the vowels of {it}|drop all but the vowels of {it}"),
    ("without", "v.replace('{c}', '')", "delete every '{c}' from {it}|remove the letter '{c}' from {it}"),
    ("star", "v.replace('{c}', '*')", "replace each '{c}' in {it} by a star|put a star for every '{c}' in {it}"),
    ("sortl", "''.join(sorted(v))", "sort the letters of {it}|put the letters of {it} in alphabetical order"),
    ("double", "''.join(c * 2 for c in v)", "double every letter of {it}|write each letter of {it} twice"),
    ("twice", "v + v", "repeat {it} twice|write {it} two times"),
    ("mirror", "v + v[::-1]", "append the reverse to {it}|follow {it} by its mirror image"),
    ("odds", "v[::2]", "keep every second letter of {it}|take the letters of {it} at even positions"),
    ("rot", "v[1:] + v[:1]", "move the first letter of {it} to the end|rotate {it} left by one letter"),
    ("dedup", "''.join(dict.fromkeys(v))", "remove repeated letters from {it}|keep the first of each letter of {it}"),
    ("append", "v + '{c}'", "add the letter '{c}' to the end of {it}|append '{c}' to {it}"),
    ("prepend", "'{c}' + v", "put the letter '{c}' in front of {it}|prepend '{c}' to {it}"),
    ("swapcase", "v.swapcase()", "swap the case of {it}|exchange upper and lower case in {it}"),
    ("dash", "'-'.join(v)", "put dashes between the letters of {it}|separate the letters of {it} by dashes"),
    ("swapends", "v[-1:] + v[1:-1] + v[:1]", "exchange the first and last letters of {it}|swap the ends of {it}"),
    ("bracket", "'[' + v + ']'", "put {it} in square brackets|enclose {it} in square brackets"),
]

# The rest: name | types | code | phrases.
OTHERS = r"""
sum|L>I|sum({x})|return the sum;add up the numbers;compute the total
product|L>I|math.prod({x})|return the product;multiply the numbers together;compute the product of all of them
max|L>I|max({x})|return the largest;find the maximum;pick the greatest number
min|L>I|min({x})|return the smallest;find the minimum;pick the least number
len|L>I|len({x})|return how many there are;count the elements;return the length
range|L>I|max({x}) - min({x})|return the range;subtract the minimum from the maximum;compute the spread from smallest to largest
second|L>I|sorted({x})[-2]|return the second largest;find the second greatest number
secondmin|L>I|sorted({x})[1]|return the second smallest;find the second least number
median|L>I|sorted({x})[len({x}) // 2]|return the upper median;find the middle of the sorted list
mean|L>I|sum({x}) // len({x})|return the average rounded down;compute the mean rounded down
first|L>I|{x}[0]|return the first;take the first element;pick the leading element
last|L>I|{x}[-1]|return the last;take the last element;pick the final element
mid|L>I|{x}[len({x}) // 2]|return the middle element;take the element in the middle
distinct|L>I|len(set({x}))|return the number of distinct values;count the different values
sumsq|L>I|sum(v * v for v in {x})|return the sum of squares;add up the squares
altsum|L>I|sum({x}[::2]) - sum({x}[1::2])|return the alternating sum;add and subtract the numbers in turn
mode|L>I|max({x}, key={x}.count)|return the most frequent value;find the most common number
argmax|L>I|{x}.index(max({x}))|return the position of the largest;find the index of the maximum
argmin|L>I|{x}.index(min({x}))|return the position of the smallest;find the index of the minimum
countmax|L>I|{x}.count(max({x}))|count how often the maximum occurs;return how many times the largest appears
countk|L>I|{x}.count({k})|count how often {k} occurs;return how many times {k} appears
ends|L>I|{x}[0] + {x}[-1]|add the first and the last;return the sum of both ends
inversions|L>I|sum(a > b for i, a in enumerate({x}) for b in {x}[i:])|count the inversions;count the pairs that are out of order
rises|L>I|sum(a < b for a, b in zip({x}, {x}[1:]))|count the rises;count how often the next number is larger
maxdiff|L>I|max(abs(a - b) for a, b in zip({x}, {x}[1:]))|find the largest step between neighbours;return the greatest gap of adjacent numbers
weighted|L>I|sum(i * v for i, v in enumerate({x}))|sum each number times its position;compute the sum weighted by index
gcdall|L>I|math.gcd(*{x})|return the greatest common divisor;find the gcd of all numbers
xor|L>I|functools.reduce(lambda a, b: a ^ b, {x}, 0)|return the exclusive or;combine all numbers by xor
horner|L>I|functools.reduce(lambda a, b: a * 10 + b, {x}, 0)|read the numbers as decimal digits;join them as digits of one number
maxrun|L>I|{o} = run = 0\nlast = None\nfor v in {x}:\n    run = run + 1 if v == last else 1\n    last = v\n    {o} = max({o}, run)|return the length of the longest run of equal values;find how long the longest streak of one value is
maxsub|L>I|{o} = best = 0\nfor v in {x}:\n    best = max(best + v, 0)\n    {o} = max({o}, best)|return the largest sum of a contiguous part;find the maximum subarray sum
issorted|L>B|{x} == sorted({x})|check whether the list is sorted;tell if the numbers are in ascending order
isdistinct|L>B|len(set({x})) == len({x})|check whether all values differ;tell if there are no duplicates
ispalin|L>B|{x} == {x}[::-1]|check whether the list is a palindrome;tell if it reads the same in both directions
hask|L>B|{k} in {x}|check whether {k} is in the list;tell if {k} occurs
sumeven|L>B|sum({x}) % 2 == 0|check whether the sum is even;tell if the total is even
haspair|L>B|any({k} - v in {x} for v in {x})|check whether two entries may sum to {k};tell if {k} is a sum of two entries
reverse|L>L|{x}[::-1]|reverse the list;put the list in reverse order;turn the list around
sort|L>L|sorted({x})|sort the list;put the numbers in ascending order;order the numbers from small to large
sortdesc|L>L|sorted({x}, reverse=True)|sort in descending order;order the numbers from large to small
dedup|L>L|list(dict.fromkeys({x}))|remove duplicates keeping the order;keep the first of each value
uniqsort|L>L|sorted(set({x}))|list the distinct values in ascending order;sort without duplicates
head|L>L|{x}[:{k}]|keep the first {k};take the first {k} elements
tail|L>L|{x}[-{k}:]|keep the last {k};take the last {k} elements
drop|L>L|{x}[{k}:]|skip the first {k};leave out the first {k} elements
dropfirst|L>L|{x}[1:]|remove the first element;leave out the first one
droplast|L>L|{x}[:-1]|remove the last element;leave out the last one
evens|L>L|{x}[::2]|keep every second element;take the elements at even positions
oddpos|L>L|{x}[1::2]|take the elements at odd positions;keep every second element starting from the second
everyk|L>L|{x}[::{k}]|keep every element whose position is a multiple of {k};take each {k}th element from the start
rotate|L>L|{x}[1:] + {x}[:1]|rotate the list left by one;move the first element to the end
rotright|L>L|{x}[-1:] + {x}[:-1]|rotate the list right by one;move the last element to the front
rotk|L>L|{x}[{k}:] + {x}[:{k}]|rotate the list left by {k};move the first {k} elements to the end
prefix|L>L|list(itertools.accumulate({x}))|compute the running totals;replace each by the sum up to it;form the prefix sums
runmax|L>L|list(itertools.accumulate({x}, max))|compute the running maximum;replace each by the largest so far
runmin|L>L|list(itertools.accumulate({x}, min))|compute the running minimum;replace each by the smallest so far
runprod|L>L|list(itertools.accumulate({x}, lambda a, b: a * b))|compute the running products;form the prefix products
diffs|L>L|[b - a for a, b in zip({x}, {x}[1:])]|compute the differences of neighbours;list the steps between adjacent numbers
pairsum|L>L|[a + b for a, b in zip({x}, {x}[1:])]|add neighbouring numbers;list the sums of adjacent numbers
pairprod|L>L|[a * b for a, b in zip({x}, {x}[1:])]|multiply neighbouring numbers;list the products of adjacent numbers
pairmax|L>L|[max(a, b) for a, b in zip({x}, {x}[1:])]|take the larger of each two neighbours;list the maxima of adjacent pairs
appendsum|L>L|{x} + [sum({x})]|append the sum;add the total at the end
appendlen|L>L|{x} + [len({x})]|append the length;add the number of elements at the end
appendk|L>L|{x} + [{k}]|append {k};add {k} at the end
prependk|L>L|[{k}] + {x}|put {k} in front;insert {k} at the start
nomax|L>L|[v for v in {x} if v != max({x})]|remove the largest value;drop every copy of the maximum
nomin|L>L|[v for v in {x} if v != min({x})]|remove the smallest value;drop every copy of the minimum
submin|L>L|[v - min({x}) for v in {x}]|subtract the minimum from each;shift so that the smallest is zero
submax|L>L|[max({x}) - v for v in {x}]|subtract each from the maximum;replace each by its distance to the largest
overmean|L>L|[v for v in {x} if v * len({x}) > sum({x})]|keep the numbers above the average;select those larger than the mean
undermean|L>L|[v for v in {x} if v * len({x}) < sum({x})]|keep the numbers below the average;select those smaller than the mean
addindex|L>L|[v + i for i, v in enumerate({x})]|add its position to each number;increase each number by its index
mulindex|L>L|[v * i for i, v in enumerate({x})]|multiply each number by its position;scale each number by its index
twice|L>L|{x} * 2|repeat the list twice;append a copy of the list
mirror|L>L|{x} + {x}[::-1]|append the reversed list;follow the list by its mirror image
dupeach|L>L|[v for v in {x} for _ in range(2)]|repeat each element twice in place;duplicate every element
once|L>L|[v for v in {x} if {x}.count(v) == 1]|keep the values that occur once;select the unique values
repeated|L>L|[v for v in {x} if {x}.count(v) > 1]|keep the values that occur more than once;select the repeated values
sortabs|L>L|sorted({x}, key=abs)|sort by absolute value;order the numbers by distance from zero
sortlast|L>L|sorted({x}, key=lambda v: v % 10)|sort by last digit;order the numbers by their units digit
swapends|L>L|{x}[-1:] + {x}[1:-1] + {x}[:1]|swap the first and the last element;exchange the ends of the list
halves|L>L|{x}[len({x}) // 2:] + {x}[:len({x}) // 2]|swap the two halves;exchange the halves of the list
firsthalf|L>L|{x}[:len({x}) // 2]|keep the first half;take the front half
lasthalf|L>L|{x}[len({x}) // 2:]|keep the second half;take the back half
evensfirst|L>L|sorted({x}, key=lambda v: v % 2)|move even numbers to the front;put evens before odds
counts|L>L|[{x}.count(v) for v in {x}]|replace each value by how often it occurs;list the number of occurrences of each
ranks|L>L|[sorted({x}).index(v) for v in {x}]|replace each number by its rank;list the sorted position of each
compress|L>L|{o} = []\nfor v in {x}:\n    if not {o} or {o}[-1] != v:\n        {o}.append(v)|collapse runs of equal values;drop values equal to the one before
growing|L>L|{o} = []\nfor v in {x}:\n    if not {o} or v > {o}[-1]:\n        {o}.append(v)|keep each number that exceeds all kept before;select the record highs
untilneg|L>L|list(itertools.takewhile(lambda v: v >= 0, {x}))|keep the numbers before the first negative;stop at the first negative number
untilk|L>L|list(itertools.takewhile(lambda v: v != {k}, {x}))|keep the numbers before the first {k};stop at the first {k}
smooth|L>L|[sum({x}[max(i - 1, 0):i + 2]) for i in range(len({x}))]|replace each by the sum of itself and its neighbours;sum each with its neighbours
chunks|L>N|[{x}[i:i + {k}] for i in range(0, len({x}), {k})]|split the list into chunks of {k};cut the list into pieces of length {k}
windows|L>N|[{x}[i:i + 2] for i in range(len({x}) - 1)]|list all pairs of neighbours;form the adjacent pairs
prefixes|L>N|[{x}[:i + 1] for i in range(len({x}))]|list all prefixes;form every non-empty prefix
suffixes|L>N|[{x}[i:] for i in range(len({x}))]|list all suffixes;form every non-empty suffix
parts|L>N|[[v for v in {x} if v % 2 == 0], [v for v in {x} if v % 2 == 1]]|separate evens and odds into two lists;split into a list of evens and a list of odds
indexed|L>N|[[i, v] for i, v in enumerate({x})]|pair each number with its position;list position and value of each
strs|L>W|[str(v) for v in {x}]|write each number as text;convert the numbers to strings
joined|L>S|','.join(map(str, {x}))|join the numbers by commas;write the numbers separated by commas
digits|L>S|''.join(map(str, {x}))|write the numbers one after another as text;join the numbers without spaces
hist|L>D|{str(v): {x}.count(v) for v in {x}}|count each value in a dictionary keyed by its text;build a dictionary of occurrences keyed by text
flatten|N>L|[v for row in {x} for v in row]|flatten the rows;join all rows into one list;concatenate the inner lists
rowsums|N>L|[sum(row) for row in {x}]|compute the sum of each row;list the row sums
rowlens|N>L|[len(row) for row in {x}]|list the length of each row;compute the size of each row
rowmax|N>L|[max(row) for row in {x}]|list the maximum of each row;take the largest of each row
rowmin|N>L|[min(row) for row in {x}]|list the minimum of each row;take the smallest of each row
firstcol|N>L|[row[0] for row in {x}]|take the first of each row;list the first column
lastcol|N>L|[row[-1] for row in {x}]|take the last of each row;list the last column
longest|N>L|max({x}, key=len)|pick the longest row;return the row with most elements
heaviest|N>L|max({x}, key=sum)|pick the row with the largest sum;return the heaviest row
colsums|N>L|[sum(col) for col in zip(*{x})]|compute the column sums;add up the rows position by position
revrows|N>N|[row[::-1] for row in {x}]|reverse each row;turn every row around
sortrows|N>N|[sorted(row) for row in {x}]|sort each row;put every row in ascending order
bysum|N>N|sorted({x}, key=sum)|sort the rows by their sums;order the rows by total
bylen|N>N|sorted({x}, key=len)|sort the rows by length;order the rows from short to long
transpose|N>N|[list(col) for col in zip(*{x})]|transpose the rows;exchange rows and columns
nonempty|N>N|[row for row in {x} if row]|remove empty rows;keep only the rows with elements
revall|N>N|{x}[::-1]|reverse the order of the rows;put the rows in reverse order
nrows|N>I|len({x})|return the number of rows;count the rows
ncells|N>I|sum(len(row) for row in {x})|return the number of entries in all rows;count the entries of all rows
totalall|N>I|sum(sum(row) for row in {x})|return the sum over all rows;add up every entry of every row
strlen|S>I|len({x})|return its length;count the characters
vowels|S>I|sum(c in 'aeiou' for c in {x})|count the vowels;return the number of vowels
consonants|S>I|sum(c.isalpha() and c not in 'aeiou' for c in {x})|count the consonants;return the number of consonants
letterk|S>I|{x}.count('{c}')|count the letter '{c}';return how often '{c}' occurs
nwords|S>I|len({x}.split())|count the words;return the number of words
nspaces|S>I|{x}.count(' ')|count the spaces;return the number of spaces
alphasum|S>I|sum(ord(c) - 96 for c in {x} if c.isalpha())|add up the alphabet positions of the letters;sum the letter values with a as 1
ndistinct|S>I|len(set({x}))|count the distinct characters;return how many different characters occur
findc|S>I|{x}.find('{c}')|return the position of the first '{c}' or -1;find where '{c}' first occurs, -1 if never
strpalin|S>B|{x} == {x}[::-1]|check whether it is a palindrome;tell if the text reads the same backwards
hasc|S>B|'{c}' in {x}|check whether '{c}' occurs;tell if the text contains '{c}'
startvowel|S>B|{x}[:1] in 'aeiou'|check whether it starts with a vowel;tell if the first letter is a vowel
words|S>W|{x}.split()|split the text into words;list the words
letters|S>W|list({x})|split the text into characters;list the characters
codes|S>L|[ord(c) - 96 for c in {x} if c.isalpha()]|list the alphabet positions of the letters;replace each letter by its number in the alphabet
wordlens|S>L|[len(w) for w in {x}.split()]|list the lengths of the words;compute the length of each word of the text
chist|S>D|{c: {x}.count(c) for c in {x}}|count each character in a dictionary;build a dictionary of character counts
rle|S>S|{o} = ''.join(c + str(len(list(g))) for c, g in itertools.groupby({x}))|run-length encode the text;write each run as its letter and length
revwords|S>S|' '.join({x}.split()[::-1])|reverse the order of the words;put the words in reverse order
eachrev|S>S|' '.join(w[::-1] for w in {x}.split())|reverse each word of the text;turn every word of the text around
titlecase|S>S|{x}.title()|capitalise each word of the text;put the text in title case
nospaces|S>S|{x}.replace(' ', '')|remove the spaces;delete all spaces
underscore|S>S|{x}.replace(' ', '_')|replace spaces by underscores;put underscores for spaces
initials|S>S|''.join(w[0] for w in {x}.split())|take the initials;join the first letters of the words
caesar|S>S|''.join(chr((ord(c) - 97 + {k}) % 26 + 97) if c.isalpha() else c for c in {x})|shift each letter by {k} in the alphabet;encode with a Caesar shift of {k}
longword|S>S|max({x}.split(), key=len)|pick the longest word;return the longest word of the text
shortword|S>S|min({x}.split(), key=len)|pick the shortest word;return the shortest word of the text
sortwords|S>S|' '.join(sorted({x}.split()))|sort the words of the text;put the words in alphabetical order
lens|W>L|[len(w) for w in {x}]|replace each word by its length;list the lengths of the words
vowelcounts|W>L|[sum(c in 'aeiou' for c in w) for w in {x}]|replace each word by its number of vowels;count the vowels of each word
ccounts|W>L|[w.count('{c}') for w in {x}]|count the letter '{c}' in each word;list how often '{c}' occurs in each word
joinspace|W>S|' '.join({x})|join the words by spaces;write the words separated by spaces
joinall|W>S|''.join({x})|join the words without spaces;concatenate the words
joindash|W>S|'-'.join({x})|join the words by dashes;put dashes between the words
firstletters|W>S|''.join(w[:1] for w in {x})|join the first letters;form the acronym of the words
lastletters|W>S|''.join(w[-1:] for w in {x})|join the last letters;form a string of the last letters
longestw|W>S|max({x}, key=len)|pick the longest entry;return the longest one
shortestw|W>S|min({x}, key=len)|pick the shortest entry;return the shortest one
firstw|W>S|min({x})|pick the first in alphabetical order;return the alphabetically first one
lastw|W>S|max({x})|pick the last in alphabetical order;return the alphabetically last one
commonw|W>S|max({x}, key={x}.count)|pick the most frequent word;return the most common word
wcount|W>I|len({x})|return the number of words;count how many words there are
wtotal|W>I|sum(len(w) for w in {x})|return the total number of letters;add up the lengths of the words
wdistinct|W>I|len(set({x}))|return the number of different words;count the distinct words
wsort|W>W|sorted({x})|sort the words;put the words in dictionary order
wsortlen|W>W|sorted({x}, key=len)|sort the words by length;order the words from short to long
wsortlast|W>W|sorted({x}, key=lambda w: w[-1:])|sort the words by last letter;order the words by their final letter
wreverse|W>W|{x}[::-1]|reverse the list of words;put the list of words in reverse order
wdedup|W>W|list(dict.fromkeys({x}))|remove repeated words;keep the first of each word
whead|W>W|{x}[:{k}]|keep the first {k} words;take the first {k} words
wtail|W>W|{x}[-{k}:]|keep the last {k} words;take the last {k} words
wevens|W>W|{x}[::2]|keep every second word;take the words at even positions
wpairs|W>W|[a + b for a, b in zip({x}, {x}[1:])]|join each word to the next;concatenate neighbouring words
wnumber|W>W|[str(i) + w for i, w in enumerate({x})]|put its position before each word;number the words from zero
wlen|W>W|[w + str(len(w)) for w in {x}]|append its length to each word;write the length after each word
wlendict|W>D|{w: len(w) for w in {x}}|map each word to its length;build a dictionary from word to length
wcountdict|W>D|{w: {x}.count(w) for w in {x}}|count each word in a dictionary;map each word to how often it occurs
wposdict|W>D|{w: i for i, w in enumerate({x})}|map each word to its last position;build a dictionary from word to position
whask|W>B|any('{c}' in w for w in {x})|check whether some word contains '{c}';tell if '{c}' occurs in any word
wsorted|W>B|{x} == sorted({x})|check whether the words are sorted;tell if the words are in order
keys|D>W|list({x})|list the keys;take the keys of the dictionary
sortkeys|D>W|sorted({x})|list the keys in alphabetical order;sort the keys
vals|D>L|list({x}.values())|list the values;take the values of the dictionary
topkey|D>S|max({x}, key={x}.get)|return the key with the largest value;find the key of the maximum
lowkey|D>S|min({x}, key={x}.get)|return the key with the smallest value;find the key of the minimum
keysbyval|D>W|sorted({x}, key={x}.get)|list the keys by increasing value;sort the keys by value
bigkeys|D>W|[k for k, v in {x}.items() if v > {k}]|list the keys whose value exceeds {k};take the keys with values above {k}
evenkeys|D>W|[k for k, v in {x}.items() if v % 2 == 0]|list the keys with even values;take the keys whose value is even
dsum|D>I|sum({x}.values())|return the sum of the values;add up the values
dmax|D>I|max({x}.values())|return the largest value;find the greatest value
dlen|D>I|len({x})|return the number of keys;count the keys
dkeylen|D>I|sum(len(k) for k in {x})|return the total length of the keys;add up the lengths of the keys
dget|D>I|{x}.get('{c}', 0)|look up '{c}', 0 if missing;return the value of '{c}' or 0
dbig|D>D|{k: v for k, v in {x}.items() if v > {k}}|keep the entries whose value exceeds {k};drop entries with values up to {k}
dsmall|D>D|{k: v for k, v in {x}.items() if v < {k}}|keep the entries with values below {k};drop entries whose value is at least {k}
dodd|D>D|{k: v for k, v in {x}.items() if v % 2 == 1}|keep the entries with odd values;drop the entries whose value is even
ddouble|D>D|{k: v * 2 for k, v in {x}.items()}|double every value;multiply each value by two
dadd|D>D|{k: v + {k} for k, v in {x}.items()}|add {k} to every value;increase each value by {k}
dneg|D>D|{k: -v for k, v in {x}.items()}|negate every value;change the sign of each value
dupper|D>D|{k.upper(): v for k, v in {x}.items()}|turn the keys into capitals;write the keys in upper case
dshort|D>D|{k: v for k, v in {x}.items() if len(k) < {k}}|keep the entries whose key has fewer than {k} letters;drop entries with keys of {k} or more letters
dkeyadd|D>D|{k: v + len(k) for k, v in {x}.items()}|add the length of its key to each value;increase each value by its key length
dsort|D>D|dict(sorted({x}.items()))|sort the entries by key;put the entries in order of their keys
dsortv|D>D|dict(sorted({x}.items(), key=lambda p: p[1]))|sort the entries by value;put the entries in order of their values
dpairs|D>W|[k + str(v) for k, v in {x}.items()]|join each key and its value;write each key followed by its value
fact|I>I|math.factorial({x} % {k})|take the factorial of the remainder modulo {k};reduce modulo {k} and return the factorial
isqrt|I>I|math.isqrt(abs({x}))|take the integer square root of its size;return the whole part of the root of its size
gcdk|I>I|math.gcd({x}, {k} * 6)|take the gcd with 6 times {k};find the greatest common divisor with 6 times {k}
ndiv|I>I|sum(abs({x}) % d == 0 for d in range(1, abs({x}) + 1))|count its divisors;return the number of divisors
sumto|I>I|{x} * ({x} + 1) // 2|add up the numbers from 0 to it;return the sum of all numbers up to it
sumsqto|I>I|sum(i * i for i in range({x} + 1))|add up the squares from 0 to it;return the sum of all squares up to it
maxdigit|I>I|max(map(int, str(abs({x}))))|take its largest digit;return the greatest of its digits
mindigit|I>I|min(map(int, str(abs({x}))))|take its smallest digit;return the least of its digits
proddigit|I>I|math.prod(map(int, str(abs({x}))))|multiply its digits;return the product of its digits
iseven|I>B|{x} % 2 == 0|check whether it is even;tell if it is divisible by two
ismult|I>B|{x} % {k} == 0|check whether {k} divides it;tell if it is a multiple of {k}
isprime|I>B|{x} > 1 and all({x} % d for d in range(2, {x}))|check whether it is prime;tell if it is a prime number
isover|I>B|{x} > {k}|check whether it is greater than {k};tell if it exceeds {k}
ispos|I>B|{x} > 0|check whether it is positive;tell if it is above zero
digitlist|I>L|[int(c) for c in str(abs({x}))]|list its digits;split it into digits
divisors|I>L|[d for d in range(1, abs({x}) + 1) if {x} % d == 0]|list its divisors;list the numbers that divide it
countup|I>L|list(range({x}))|list the numbers from 0 up to but not including it;count up from 0 below it
countdown|I>L|list(range({x}, 0, -1))|list the numbers from it down to 1;count down from it to 1
multiples|I>L|[{x} * i for i in range(1, {k} + 1)]|list its first {k} multiples;list {k} multiples of it
squaresto|I>L|[i * i for i in range({x})]|list the squares of the numbers below it;square every number below it
primesto|I>L|[n for n in range(2, {x}) if all(n % d for d in range(2, n))]|list the primes below it;find all primes less than it
bitlist|I>L|[int(c) for c in bin(abs({x}))[2:]]|list its binary digits;write it in binary as a list of digits
asbin|I>S|bin(abs({x}))[2:]|write it in binary;return its binary form as text
ashex|I>S|hex(abs({x}))[2:]|write it in hexadecimal;return its hexadecimal form as text
astext|I>S|str({x})|write it as text;convert it to a string
stars|I>S|'*' * {x}|return that many stars;write a row of that many stars
fib|I>I|{o}, b = 0, 1\nfor _ in range({x}):\n    {o}, b = b, {o} + b|return the Fibonacci number of that index;compute that Fibonacci number
collatzlen|I>I|{o} = 0\nn = abs({x}) + 1\nwhile n > 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n    {o} += 1|add one to its size and count the Collatz steps down to 1;count the steps of the Collatz walk from one above its size
digroot|I>I|{o} = abs({x})\nwhile {o} > 9:\n    {o} = sum(map(int, str({o})))|take the digital root;sum its digits until one digit is left
recpow|I>I|def power(n):\n    return 1 if n == 0 else 2 * power(n - 1)\n{o} = power(abs({x}) % 10)|raise two to its last digit by recursion;return a recursive power of two for its last digit
recfact|I>I|def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)\n{o} = fact(abs({x}) % 8)|take the factorial of its remainder modulo 8 by recursion;recursively compute the factorial of its remainder modulo 8
rectrib|I>I|def trib(n):\n    return n if n < 3 else trib(n - 1) + trib(n - 2) + trib(n - 3)\n{o} = trib(abs({x}) % 10)|take the tribonacci number of its last digit by recursion;recursively compute the tribonacci number of its last digit
rechanoi|I>I|def moves(n):\n    return 0 if n == 0 else 2 * moves(n - 1) + 1\n{o} = moves(abs({x}) % 10)|count the Hanoi moves for as many discs as its last digit;recursively count the moves of a tower of its last digit
recstairs|I>I|def ways(n):\n    return 1 if n < 2 else ways(n - 1) + ways(n - 2)\n{o} = ways(abs({x}) % 10)|count the ways to climb as many stairs as its last digit;recursively count the climbs of its last digit of stairs
recsum|L>I|def total(v):\n    return v[0] + total(v[1:]) if v else 0\n{o} = total({x})|add up the numbers by recursion;recursively compute the sum
recmax|L>I|def top(v):\n    return v[0] if len(v) == 1 else max(v[0], top(v[1:]))\n{o} = top({x})|find the largest number by recursion;recursively compute the maximum
recrev|S>S|def turn(s):\n    return turn(s[1:]) + s[0] if s else ''\n{o} = turn({x})|reverse the text by recursion;recursively turn the text around
reccount|S>I|def count(s):\n    return (s[0] == '{c}') + count(s[1:]) if s else 0\n{o} = count({x})|count the letter '{c}' by recursion;recursively count how often '{c}' occurs
recsubsets|L>I|def subsets(v):\n    return 2 * subsets(v[1:]) if v else 1\n{o} = subsets({x})|count the subsets by recursion;recursively count all subsets
recflat|N>L|def flat(v):\n    return flat(v[0]) + flat(v[1:]) if v and isinstance(v[0], list) else v[:1] + flat(v[1:]) if v else []\n{o} = flat({x})|flatten the rows by recursion;recursively join nested rows into one list
quick|L>L|def quick(v):\n    return quick([w for w in v[1:] if w < v[0]]) + v[:1] + quick([w for w in v[1:] if w >= v[0]]) if v else []\n{o} = quick({x})|sort the numbers by recursive quicksort;apply quicksort to the list
merge2|L>L|{o} = []\nfor v in {x}:\n    {o} = [v] + {o} if v % 2 == 0 else {o} + [v]|put evens in front one by one and odds at the end;build a list with each even put in front and each odd at the end
balance|L>I|{o} = 0\nfor v in {x}:\n    {o} = max({o} + v, 0)|add up the numbers but never fall below zero;keep a running balance that stops at zero
steps|L>I|{o} = 0\nfor v in {x}:\n    {o} = {o} * 2 + v % 2|read the parities as binary digits;form a binary number from odd as 1 and even as 0
pickups|L>I|{o} = 0\nwhile 0 <= {o} < len({x}) and {x}[{o}] > 0:\n    {o} += {x}[{o}]|jump forward by each value until out of the list;follow the jumps and return where they end
vstack|W>W|{o} = []\nfor w in {x}:\n    if w in {o}:\n        {o}.remove(w)\n    else:\n        {o}.append(w)|keep words that occur an odd number of times;toggle each word in and out of the list
"""


def _each(phrases, words):
    """Fill {it} of a map's phrases for one value and for many."""
    return tuple(p.replace("{it}", w) for p in phrases.split("|") for w in words)


def _make():
    out = []

    def add(name, src, dst, code, phrases):
        out.append(Skill(name, src, dst, code, tuple(phrases)))

    for kind, tests, src in (("n", NUMBER_TESTS, "L"), ("w", WORD_TESTS, "W")):
        for name, test, nouns in tests:
            nouns = nouns.split("|")
            neg = f"not ({test})" if " and " in test or test.count("<") == 2 else f"not {test}"

            def say(*verbs, nouns=nouns):
                return tuple(v.replace("#", n) for v in verbs for n in nouns)

            add(f"keep_{kind}_{name}", src, src, f"[v for v in {{x}} if {test}]",
                say("keep only the #", "select the #", "discard all but the #"))
            add(f"drop_{kind}_{name}", src, src, f"[v for v in {{x}} if {neg}]",
                say("remove the #", "drop the #", "take out the #"))
            add(f"count_{kind}_{name}", src, "I", f"sum({test} for v in {{x}})",
                say("count the #", "return the number of #"))
            add(f"any_{kind}_{name}", src, "B", f"any({test} for v in {{x}})",
                say("check whether there are any #", "tell if the list has any #"))
            if kind == "n":
                add(f"first_{kind}_{name}", src, "I",
                    f"next((i for i, v in enumerate({{x}}) if {test}), -1)",
                    say("return the position of the first of the # or -1",
                        "find where the # begin, -1 if there are none"))
                add(f"sum_{kind}_{name}", src, "I", f"sum(v for v in {{x}} if {test})",
                    say("add up the #", "return the sum of the #"))
    for name, expr, phrases in NUMBER_MAPS:
        add(f"map_n_{name}", "L", "L", f"[{expr} for v in {{x}}]",
            _each(phrases, ("each number", "every element")))
        add(f"one_n_{name}", "I", "I", expr.replace("v", "{x}") if name != "div" else "{x} // {k}",
            _each(phrases, ("it", "the number")))
    for name, expr, phrases in WORD_MAPS:
        add(f"map_w_{name}", "W", "W", f"[{expr} for v in {{x}}]",
            _each(phrases, ("each word", "every word")))
        one = __import__("re").sub(r"\bv\b", "{x}", expr)
        add(f"one_s_{name}", "S", "S", one, _each(phrases, ("the text", "the string")))
    for line in OTHERS.strip().split("\n"):
        name, types, rest = line.split("|", 2)
        code, phrases = rest.rsplit("|", 1)
        src, dst = types.split(">")
        add(name, src, dst, code.replace("\\n", "\n"), phrases.split(";"))
    names = [s.name for s in out]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    # Ranks by a hash of the name: frequency has nothing to do with type or length.
    order = sorted(out, key=lambda s: hashlib.sha256(("rank:" + s.name).encode()).digest())
    return [dataclasses.replace(s, rank=i) for i, s in enumerate(order)]


SKILLS = _make()
BY_NAME = {s.name: s for s in SKILLS}
