/* Equality of answers, case by case. Each pair is tried both ways round. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

struct pair {
    const char *a, *b;
    bool is_equal;
};

static bool equal(const char *a, const char *b)
{
    struct error err = { 0 };
    bool r = false, s = false;

    cr_assert_eq(math_equal(a, strlen(a), b, strlen(b), &r, &err), ST_OK, "%s", err.text);
    cr_assert_eq(math_equal(b, strlen(b), a, strlen(a), &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(r, s, "not symmetric: '%s' and '%s'", a, b);
    return r;
}

static void check(const struct pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_expect_eq(equal(pairs[i].a, pairs[i].b), pairs[i].is_equal, "'%s' and '%s' should %s",
                     pairs[i].a, pairs[i].b, pairs[i].is_equal ? "be equal" : "differ");
}

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const struct pair pairs[] = { __VA_ARGS__ };                                        \
        check(pairs, sizeof(pairs) / sizeof(pairs[0]));                                            \
    } while (0)

Test(math_equal, numbers_are_equal_by_value)
{
    CHECK({ "7", "7.000", true }, { "-0", "0", true }, { "+12", "12", true },
          { "0012", "12", true }, { "12", "21", false }, { "12", "-12", false },
          { "--5", "5", true }, { "1e3", "1000", false }, { ".75", "3/4", true },
          { "\\frac68", ".75", true }, { "-\\frac{-3}{-4}", "-0.75", true },
          { "0.1+0.2", "0.3", true }, { "10^{20}+1", "10^{20}", false },
          { "99999999999999999999", "10^{20}-1", true }, { "2^{64}", "18446744073709551616", true },
          { "2^{64}", "18446744073709551617", false }, { "4!", "24", true }, { "5!!", "15", true },
          { "3!!", "720", false }, { "\\binom{6}{3}", "20", true },
          { "\\binom{6}{3}", "\\frac63", false }, { "0.\\overline{3}", "\\frac13", true },
          { "0.1\\overline{6}", "\\frac16", true }, { "0.\\overline{9}", "1", true },
          { "0.\\overline{3}", "0.3", false }, { "\\lfloor 7/2 \\rfloor", "3", true },
          { "\\lceil 7/2 \\rceil", "4", true }, { "|-3|", "3", true },
          { "2\\left|-3\\right|", "6", true }, { "6 \\div 4", "1.5", true },
          { "\u22125", "-5", true }, { "2**5", "32", true });
}

Test(math_equal, digit_groups_are_one_number_and_lists_are_not)
{
    CHECK({ "1,234,567", "1234567", true }, { "1{,}234", "1234", true },
          { "1\\,234", "1234", true }, { "12 345", "12345", true }, { "12 \\, 345", "12345", true },
          { "1,234.5", "1234.5", true }, { "12", "1 2", false }, { "1,23", "123", false },
          { "1, 234", "1234", false }, { "1,2,3", "123", false }, { "0,123", "123", false },
          { "(1,234)", "1234", false }, { "100,200", "200,100", false },
          { "100, 200", "100,200", true }, { "300, 100", "100,300", true },
          { "\\$1,234", "1234", true }, { "1,234", "1,2,3,4", false });
}

Test(math_equal, mixed_numbers_are_sums_and_other_neighbours_are_products)
{
    CHECK({ "2\\frac{1}{2}", "2.5", true }, { "2\\frac12", "1", false },
          { "-2\\frac12", "-2.5", true }, { "2 1/2", "5/2", true }, { "2\\frac{3}{2}", "3", true },
          { "2\\frac{1}{2}", "\\frac{21}{2}", false },
          { "2\\frac{\\pi}{4}", "\\frac{\\pi}{2}", true },
          { "3\\frac{x}{4}", "\\frac{3x}{4}", true }, { "5\\frac{1}{2}\\%", "5.5", true });
}

Test(math_equal, decimals_stand_for_values_only_at_six_places)
{
    CHECK({ "0.333333", "1/3", true }, { "0.33333", "1/3", false }, { "0.333334", "1/3", false },
          { "3.141593", "\\pi", true }, { "3.14159", "\\pi", false }, { "3.14", "\\pi", false },
          { "1.414214", "\\sqrt2", true }, { "1.4142136", "\\sqrt2", true },
          { "1.414213", "\\sqrt2", false }, { "0.035156", "\\frac{9}{256}", true },
          { "0.03516", "\\frac{9}{256}", false }, { "7.0000001", "7", false },
          { "0.3333333", "0.3333334", false }, { "0.000067", "\\frac{1}{14900}", false },
          { ".0000672", ".0000671", false }, { "-0.666667", "-\\frac23", true },
          { "0.666667", "-\\frac23", false });
}

Test(math_equal, surds_and_constants_are_equal_by_value)
{
    CHECK({ "\\sqrt{8}", "2\\sqrt2", true }, { "\\sqrt{3+2\\sqrt2}", "1+\\sqrt2", true },
          { "3\\sqrt{2}", "\\sqrt[3]{2}", false }, { "\\sqrt[3]{-8}", "-2", true },
          { "\\sqrt{-4}", "2i", true }, { "4^{3/2}", "8", true }, { "2^{3}", "23", false },
          { "\\sqrt{10^{10}+1}", "10^5", false }, { "\\sqrt2+\\sqrt3", "\\sqrt{5}", false },
          { "\\sqrt2\\sqrt3", "\\sqrt6", true }, { "\\sqrt{2}\\sqrt{2}-2", "0", true },
          { "\\sqrt{2}\\cdot 10^{-30}", "0", false }, { "e^{i\\pi}", "-1", true },
          { "e", "2.718", false }, { "\\pi", "\\frac{22}{7}", false }, { "\\pi", "e", false },
          { "i^2", "-1", true }, { "\\frac{1}{1+i}", "\\frac{1-i}{2}", true },
          { "2+3i", "2-3i", false }, { "\\log_2 8", "3", true }, { "\\log 100", "2", true },
          { "\\ln e^2", "2", true }, { "\\log_2 9", "2\\log_2 3", true },
          { "\\ln 3", "\\log 3", false }, { "\\sin 30^\\circ", "\\frac12", true },
          { "\\sin(30^\\circ)", "0.5", true }, { "\\cos\\frac{\\pi}{3}", "\\frac12", true },
          { "\\sin 30", "\\frac12", false }, { "\\tan 90^\\circ", "\\tan 270^\\circ", false },
          { "\\arctan 1", "\\frac\\pi4", true }, { "\\sin^{-1} 1", "\\frac{\\pi}{2}", true },
          { "\\sin^2 1 + \\cos^2 1", "1", true }, { "\\sqrt{16}", "4", true },
          { "(-8)^{1/3}", "2", false }, { "\u221a2", "\\sqrt{2}", true },
          { "2\u03c0", "2\\pi", true }, { "sqrt(2)", "\\sqrt2", true },
          { "5^{1/2}", "5/2", false });
}

Test(math_equal, what_has_no_value_equals_only_its_own_spelling)
{
    CHECK({ "1/0", "2/0", false }, { "\\frac{1}{0}", "\\frac{2}{0}", false },
          { "1/0", "1/0", true }, { "0/0", "0", false }, { "1/0", "\\infty", false },
          { "0^0", "1", false }, { "\\infty", "\\infty", true }, { "+\\infty", "\\infty", true },
          { "\\infty", "-\\infty", false }, { "\\infty", "2\\infty", false },
          { "10^{10^{10}}", "10^{10^{11}}", false }, { "10^{10^{10}}", "10^{10^{10}}+1", false },
          { "(10^{10})!", "(10^{11})!", false }, { "\\ln 0", "-\\infty", false },
          { "0x", "10^{500^{500}}x", false }, { "0\\sin x", "10^{500^{500}}x", false },
          { "1/mes0^{3}", "10mes 10^{3}\n10^500^500", false },
          { "\\emptyset", "\\varnothing", true }, { "\\emptyset", "\\{\\}", true },
          { "\\emptyset", "0", false }, { "", "", false }, { " ", "", false },
          { "$$", "$$", false }, { "", "0", false }, { "{}", "{}", true },
          { "\\foo", "\\foo", true }, { "\\foo", "\\bar", false }, { "2+", "2", false },
          { "n!", "n!", true }, { "(n+1)!", "(1+n)!", true }, { "n!", "(n+1)!", false },
          { "1,\\ldots,n", "1,\\dots,n", true }, { "\\mathbb{R}", "\\mathbb{Z}", false },
          { "\\mathbb{R}", "(-\\infty,\\infty)", true }, { "nan", "nan", true },
          { "inf", "\\infty", false });
}

Test(math_equal, expressions_with_variables_are_equal_as_identities)
{
    CHECK({ "(x+y)^2", "x^2+2xy+y^2", true }, { "(x+y)^2", "x^2+y^2", false },
          { "\\frac{x^2-1}{x-1}", "x+1", true }, { "x", "X", false }, { "x", "42", false },
          { "x_1+x_2", "x_2+x_1", true }, { "x_1", "x_2", false }, { "x_1", "x1", false },
          { "x_{12}", "x_12", true }, { "ab", "ba", true }, { "ab", "a+b", false },
          { "2^n", "2\\cdot 2^{n-1}", true }, { "2^n", "n^2", false },
          { "\\sqrt{x^2}", "x", false }, { "\\sqrt{x}", "x^{1/2}", true },
          { "\\sin 2x", "2\\sin x\\cos x", true }, { "\\sin 2x", "2\\sin x", false },
          { "\\sec x", "1/\\cos x", true }, { "\\frac{\\sin x}{\\cos x}", "\\tan x", true },
          { "\\sin^2 x", "\\sin x^2", false }, { "\\sin^2 x", "1-\\cos^2 x", true },
          { "e^{x+y}", "e^x e^y", true }, { "\\binom{n}{2}", "\\frac{n(n-1)}{2}", true },
          { "10^{30}x+x", "10^{30}x", false }, { "10^{30}+\\pi", "10^{30}+2\\pi", false },
          { "10^{30}+\\sqrt2", "10^{30}+\\sqrt3", false },
          { "2+\\sqrt2", "10^{30}-\\sqrt{10^{60}+1}+\\sqrt3", false },
          { "10^{30}+\\sqrt8", "2\\sqrt2+10^{30}", true },
          { "1+\\cos(448+64i)", "\\cos(448+64i)", false }, { "\\alpha+1", "1+\\alpha", true },
          { "\\alpha", "\\beta", false }, { "x-x+5", "5", false }, { "f'(x)", "f(x)", false },
          { "\\frac{1}{x}", "x^{-1}", true }, { "1/2x", "\\frac{x}{2}", true },
          { "2x^10", "2x^{10}", true }, { "x^2", "x^{-2}", false }, { "-x^2", "(-x)^2", false },
          { "ei", "i\\cdot e", true }, { "\\mathbf{v}+1", "v+1", true },
          { "x^{1000000}", "x^{1000001}", false });
}

Test(math_equal, relations_are_equal_up_to_form)
{
    CHECK(
        { "x=5", "5=x", true }, { "x=5", "y=5", false }, { "x=5", "x=6", false },
        { "x", "x=5", false }, { "f(x)=x^2", "x^2", true }, { "xy=6", "6", false },
        { "x=2\\cdot3=6", "6", true }, { "x=2=6", "6", false }, { "A=\\pi r^2", "\\pi r^2", true },
        { "2x+4y=6", "x+2y=3", true }, { "2x+4y=6", "x+2y=4", false }, { "0=0", "1=1", false },
        { "x+y=1", "x-y=1", false }, { "\\text{Area}=12", "12", true },
        { "x>2", "(2,\\infty)", true }, { "x\\ge2", "(2,\\infty)", false },
        { "x\\ge 2", "[2,\\infty)", true }, { "2<x", "x>2", true }, { "x>2", "x<2", false },
        { "x>2", "y>2", false }, { "x+y<5", "5>x+y", true }, { "x+y<5", "x+y>5", false },
        { "-x<3", "x>-3", true }, { "2x+2y<4", "x+y<2", true }, { "1<x\\le3", "(1,3]", true },
        { "3\\ge x>1", "(1,3]", true }, { "1<x\\le3", "[1,3)", false }, { "1<x<3", "3>x>1", true },
        { "x\\in(1,3]", "1<x\\le 3", true }, { "x\\in[1,3]", "y\\in[1,3]", false },
        { "x<1\\text{ or }x>2", "(-\\infty,1)\\cup(2,\\infty)", true },
        { "x>1\\text{ and }x<2", "(1,\\infty)\\cup(-\\infty,2)", false },
        { "x\\ne 2", "x \\neq 2", true }, { "x\\ne 2", "x=2", false }, { "x\\ne 2", "2", false },
        { "x=1,y=2", "y=2,x=1", true }, { "x=1,y=2", "x=2,y=1", false },
        { "x=3\\text{ or }x=5", "3,5", true }, { "(x,y)=(1,2)", "(1,2)", true },
        { "(x,y)=(1,2)", "(2,1)", false }, { "3:4", "3:4", true }, { "3:4", "4:3", false },
        { "3 : 4", "6/2:4", true }, { "x \\leq 5", "x <= 5", true });
}

Test(math_equal, brackets_tell_tuples_intervals_and_sets_apart)
{
    CHECK({ "(1,2)", "[1,2]", false }, { "(1,2)", "\\{1,2\\}", false },
          { "[1,2]", "\\{1,2\\}", false }, { "(1,2)", "1,2", false }, { "(1,2)", "(2,1)", false },
          { "\\{1,2\\}", "\\{2,1\\}", true }, { "\\{1,1,2\\}", "\\{1,2,2\\}", false },
          { "\\{1,2\\}", "\\{1,2,3\\}", false }, { "\\{5\\}", "5", true }, { "(5)", "5", true },
          { "{1,2}", "2,1", true }, { "1\\text{ and }2", "2,1", true },
          { "1, 2, \\text{ and } 3", "3,2,1", true }, { "(1,2),(3,4)", "(3,4),(1,2)", true },
          { "(1,2),(3,4)", "(1,3),(2,4)", false }, { "(1,(2,3))", "((1,2),3)", false },
          { "\\langle1,2\\rangle", "(1,2)", false }, { "(0,1)\\cup(2,3)", "(2,3)\\cup(0,1)", true },
          { "(0,1)\\cup(2,3)", "(0,1)\\cap(2,3)", false },
          { "(0,1)\\cup(2,3)", "(0,1),(2,3)", false }, { "(0,1)\\cup(2,3)", "(0,1)", false },
          { "\\mathbb{R}\\setminus\\{1\\}", "\\mathbb{R}\\setminus\\{1.0\\}", true },
          { "(-\\infty,1]", "(-\\infty,1)", false }, { "(-\\infty,1]", "(\\infty,1]", false },
          { "1,,2", "1,2", false }, { "1,2,", "1,2", false }, { "\\{1,2", "1,2", false });
}

Test(math_equal, plus_or_minus_stands_for_both)
{
    CHECK({ "\\pm3", "3,-3", true }, { "\\pm3", "3", false }, { "\\pm3", "-3", false },
          { "2\\pm\\sqrt3", "2\\mp\\sqrt3", true }, { "x=\\pm2", "2,-2", true },
          { "x=\\pm2", "x=2,x=-2", true },
          { "\\frac{1\\pm\\sqrt5}{2}", "\\frac{1+\\sqrt5}{2},\\frac{1-\\sqrt5}{2}", true },
          { "\\pm1\\pm2", "3,1,-1,-3", true }, { "\\pm1\\mp2", "-1,1", true },
          { "\u00b13", "\\pm 3", true }, { "(\\pm1,2)", "(1,2),(-1,2)", true },
          { "1\\pm2", "1\\pm3", false }, { "-\\pm3", "\\pm3", true });
}

Test(math_equal, matrices_have_shape_and_order)
{
    CHECK(
        { "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}",
          true },
        { "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}",
          false },
        { "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}",
          false },
        { "\\begin{pmatrix}1\\\\2\\\\\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
          true },
        { "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)", false },
        { "\\left(\\begin{array}{cc}1&0\\\\0&1\\end{array}\\right)",
          "\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}", true },
        { "\\frac12\\begin{pmatrix}2\\\\4\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
          true },
        { "-\\begin{pmatrix}2\\\\4\\end{pmatrix}", "\\begin{pmatrix}2\\\\4\\end{pmatrix}", false },
        { "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&\\end{pmatrix}",
          false });
}

Test(math_equal, bases_are_part_of_a_number)
{
    CHECK({ "101_2", "101_{2}", true }, { "101_2", "5", false }, { "101_2", "101", false },
          { "101_2", "101_3", false }, { "0101_2", "101_2", true }, { "(101)_2", "101_2", true },
          { "A5_{16}", "A5_{16}", true }, { "A5_{16}", "5A_{16}", false },
          { "43_{\\text{five}}", "43_5", true }, { "2A_{11}", "2A_{12}", false });
}

Test(math_equal, units_are_dropped_unless_they_contradict)
{
    CHECK({ "5\\text{ cm}", "5", true }, { "5 cm", "5\\text{ cm}", true },
          { "5\\text{ cm}", "5\\text{ m}", false }, { "5\\text{ cm}", "5\\text{ cm}^2", false },
          { "5\\text{ cm}^2", "5\\text{ square centimeters}", true },
          { "60\\text{ miles per hour}", "60\\text{ mi/h}", true },
          { "60\\text{ mph}", "60", true }, { "5\\text{ m}", "500\\text{ cm}", false },
          { "5\\text{ students}", "5\\text{ people}", true },
          { "5\\text{ million}", "5000000", true }, { "5\\text{ million}", "5", false },
          { "\\$5\\text{ million}", "5,000,000", true }, { "\\$5", "5\\text{ cents}", false },
          { "\\$5.00", "5\\text{ dollars}", true }, { "-\\$5", "-5", true },
          { "\\$-5", "\\$5", false }, { "50\\%", "50", true }, { "50\\%", "0.5", true },
          { "50\\%", "50^\\circ", false }, { "50%", "50\\text{ percent}", true },
          { "90^\\circ", "90\u00b0", true }, { "90^\\circ", "\\frac{\\pi}{2}", false },
          { "5\\text{ p.m.}", "5\\text{ a.m.}", false }, { "5\\text{ p.m.}", "5\\text{ pm}", true },
          { "10\\text{ units}^2", "10", true }, { "2\\pi\\text{ radians}", "2\\pi", true },
          { "12 inches", "12", true }, { "2+3\\text{i}", "5", false },
          { "2+3\\text{i}", "2+3i", true }, { "6\\,\\mathrm{cm^2}", "6\\text{ cm}^2", true },
          { "6\\,\\mathrm{m/s}", "6", true });
}

Test(math_equal, words_are_compared_as_letters_without_case)
{
    CHECK({ "\\text{Monday}", "monday", true }, { "\\text{Monday}", "Friday", false },
          { "\\text{no solution}", "No Solution", true }, { "\\text{(B)}", "b", true },
          { "\\text{(B)}", "\\textbf{B}", true }, { "\\text{B}", "\\text{D}", false },
          { "B", "(B)", true }, { "B", "b", false }, { "\\text{east}", "seat", false },
          { "east", "seat", false }, { "east", "East", true }, { "\\text{odd}", "5", false },
          { "\\text{A, B}", "B, A", true }, { "\\text{A and B}", "A,B", true },
          { "\\text{even}.", "\\text{even}", true }, { "\\operatorname{sin} x", "\\sin x", true },
          { "\\text{5}", "5", true }, { "\\text{not } 5", "5", false },
          { "\\text{Yes}", "\\text{No}", false });
}

Test(math_equal, spelling_does_not_matter)
{
    CHECK({ "\\left(\\frac{1}{2}\\right)", "\\tfrac12", true },
          { "$\\frac{1}{2}$", "\\(0.5\\)", true }, { "\\boxed{\\frac12}", "\\frac12", true },
          { "\\fbox{3}", "3", true }, { "{{3}}", "3", true }, { "\\Big(1,2\\Big)", "(1,2)", true },
          { "x\\cdot y", "xy", true }, { "x\\times y", "x*y", true }, { "2\\,x", "2x", true },
          { "\\frac{ 1 }{ 2 }", "\\cfrac{1}{2}", true }, { "\\frac1{12}", "\\frac{11}{2}", false },
          { "\\frac123", "\\frac{1}{23}", false }, { "\\frac{1}{23}", "\\frac{12}{3}", false },
          { "\\sqrt 2", "\\sqrt{2}", true }, { "\\color{red}5", "5", true },
          { "5\\quad", "5", true }, { "x^{2}y", "x^2y", true },
          { "\\dfrac{\\sqrt3}{2}", "\\frac{3^{1/2}}{2}", true });
}

Test(math_equal, what_says_what_something_equals_stands_for_that)
{
    CHECK({ "AB = 5", "5", true }, { "|AB| = 5", "5", true }, { "\\overline{AB}=5", "5", true },
          { "\\angle ABC = 45^\\circ", "45", true }, { "m\\angle A = 45", "45^\\circ", true },
          { "S_{\\triangle ABC}=5", "5", true }, { "f(2) = 5", "5", true },
          { "P(A)=\\frac12", "0.5", true }, { "\\sin A=\\frac35", "\\frac35", true },
          { "f(2) = 5", "2", false }, { "AB = 5", "AB = 6", false }, { "AB = 5", "CD = 5", false },
          { "2+3=5", "5", true }, { "2+3=6", "5", false }, { "2+3=6", "6", false },
          { "x^2+y^2=4", "4", false }, { "x+y=5", "5", false }, { "x(x+1)=6", "6", false },
          { "xy=6", "6", false }, { "5x-7y+4=0", "0", false }, { "x=5=5", "5", true },
          { "x=5=6", "5", false }, { "x > 5", "5", false });
}

Test(math_equal, what_is_approximate_is_dropped)
{
    CHECK({ "\\approx 5", "5", true }, { "x \\approx 5", "5", true },
          { "\\approx 3.14", "\\pi", false }, { "x \\approx 3.14", "\\pi", false },
          { "\\frac{20000}{\\pi} \\approx 6366.2", "\\frac{20000}{\\pi}", true },
          { "x = \\frac13 \\approx 0.33", "\\frac13", true },
          { "x = \\frac13 \u2248 0.33", "0.33", false }, { "\\pi \\approx 3.14", "3.14", false },
          { "\\approx", "5", false }, { "5 \\approx", "5", false });
}

Test(math_equal, named_coordinates_are_a_point)
{
    CHECK({ "x=3, y=4", "(3,4)", true }, { "y=4, x=3", "(3,4)", true },
          { "x=4, y=3", "(3,4)", false }, { "x = 3 \\text{ and } y = 4", "(3,4)", true },
          { "x=3 \\text{ or } y=4", "(3,4)", false }, { "(x,y)=(3,4)", "x=3,y=4", true },
          { "a=1,b=2,c=3", "(1,2,3)", true }, { "m=2,b=3", "(2,3)", true },
          { "b=3,m=2", "(2,3)", false }, { "x=3,x=4", "(3,4)", false },
          { "x=3,y=4", "[3,4]", false }, { "x=3,y=4", "(3,4,5)", false },
          { "x=3,y=4", "4,3", true }, { "x < 3, y = 4", "(3,4)", false });
}

Test(math_equal, all_but_some_points_is_a_union_of_intervals)
{
    CHECK({ "x \\ne 3", "(-\\infty,3)\\cup(3,\\infty)", true },
          { "x \\neq 2", "(-\\infty,3)\\cup(3,\\infty)", false },
          { "x \\ne 3", "(-\\infty,3]\\cup(3,\\infty)", false },
          { "\\mathbb{R}\\setminus\\{3\\}", "(-\\infty,3)\\cup(3,\\infty)", true },
          { "\\mathbb{R}\\setminus\\{3\\}", "x \\ne 3", true },
          { "\\mathbb{R}\\setminus\\{2\\}", "x \\ne 3", false },
          { "\\mathbb{R} \\setminus \\{1,-1\\}", "(-\\infty,-1)\\cup(-1,1)\\cup(1,\\infty)", true },
          { "\\mathbb{R} \\setminus \\{1,-1\\}", "\\mathbb{R}\\setminus\\{-1,1\\}", true },
          { "x \\ne y", "(-\\infty,y)\\cup(y,\\infty)", false }, { "x \\ne 3", "3", false },
          { "\\{x \\mid x > 3\\}", "(3,\\infty)", true }, { "\\{x : x > 3\\}", "x > 3", true },
          { "\\{x \\in \\mathbb{R} : 1 < x \\le 3\\}", "(1,3]", true },
          { "\\{x \\mid x \\ne 3\\}", "(-\\infty,3)\\cup(3,\\infty)", true },
          { "\\{x \\mid x > 3\\}", "[3,\\infty)", false });
}

Test(math_equal, a_percentage_is_a_part_of_one_too)
{
    CHECK({ "3\\%", "0.03", true }, { "3\\%", "3", true }, { "3\\%", "0.3", false },
          { "3\\%", "300", false }, { "150\\%", "\\frac32", true }, { "3\\%", "0.03\\%", false },
          { "3\\%", "0.03\\text{ cm}", false }, { "12.5\\%", "\\frac18", true },
          { "10\\text{ per cent}", "10\\%", true }, { "33\\%", "\\frac13", false });
}

Test(math_equal, plain_tex_and_units_as_models_write_them)
{
    CHECK({ "{1 \\over 2}", "\\frac12", true }, { "{x+1 \\over 2}", "\\frac{x+1}{2}", true },
          { "{5 \\choose 2}", "10", true }, { "1 \\over 2 \\over 3", "\\frac16", false },
          { "\\nicefrac{1}{2}", "0.5", true }, { "5 \\mathrm{~m}", "5", true },
          { "5 \\mathrm{~m}^2", "5", true }, { "5 \\, \\mathrm{s}", "5", true },
          { "5 \\mathrm{~m}", "5\\text{ cm}", false }, { "5 \\mathrm{~x}", "5", false },
          { "5\\mathrm{x}", "5x", true }, { "5^{\\text{th}}", "5", true }, { "5^{th}", "5", true },
          { "1^\\text{st}", "1", true }, { "5^{\\text{tt}}", "5", false }, { "x^{th}", "x", false },
          { "5 \\\\", "5", true }, { "**5**", "5", true }, { "**5", "5", false },
          { "11{:}30", "11:30", true }, { "x_{1,2}=1\\pm\\sqrt2", "1\\pm\\sqrt2", true },
          { "x_{1,2}", "x_{12}", false }, { "x_{1,2}", "x_{1,3}", false },
          { "42_{10}", "42", true }, { "42_{10}", "43", false }, { "42_{10}", "42_8", false },
          { "x = \\{1\\pm\\sqrt5,-2\\}", "\\{1\\pm\\sqrt5,-2\\}", true });
}
