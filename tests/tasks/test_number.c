/* Numbers in running text. */
#include "support.h"

#include "tasks/number.h"

static struct arena arena;

/* All numbers of a text as decimals, joined by spaces. */
static void expect_numbers(const char *text, const char *want)
{
    struct buf b = { 0 };
    struct number n;

    for (size_t from = 0; number_find(span_of(text), from, &n); from = n.end) {
        cr_assert(n.start < n.end && n.end > from);
        if (b.len)
            buf_putc(&b, ' ');
        buf_puts(&b, number_text(&n, &arena));
    }
    cr_expect_str_eq(buf_str(&b), want, "'%s' gave '%s'", text, buf_str(&b));
    buf_release(&b);
    arena_release(&arena);
}

Test(number, plain_and_grouped)
{
    expect_numbers("0 7 42 007", "0 7 42 007");
    expect_numbers("1,234 12,345,678.90", "1234 12345678.90");
    expect_numbers("1,23", "1 23");
    expect_numbers("1,2345", "1 2345");
    expect_numbers("1234,567", "1234 567");
    expect_numbers("1{,}234 and 5\\,678", "1234 5678");
    expect_numbers("1, 234", "1 234");
    expect_numbers("123456789012345678901234567890", "123456789012345678901234567890");
}

Test(number, points)
{
    expect_numbers("18. 18.5 18.5.", "18 18.5 18.5");
    expect_numbers(".5 x.5 ..5 1.2.3 (.5)", "0.5 5 5 1.2 3 0.5");
    expect_numbers("... . .", "");
}

Test(number, signs)
{
    expect_numbers("-5 - 5 +5 (-5) =-5", "-5 5 5 -5 -5");
    expect_numbers("3-5 x-5 )-5 ]-5", "3 5 5 5 5");
    expect_numbers("\xe2\x88\x92"
                   "5 3\xe2\x88\x92"
                   "5",
                   "-5 3 5");
    expect_numbers("-.5 -1,000", "-0.5 -1000");
    expect_numbers("--5", "-5");
}

Test(number, currencies)
{
    expect_numbers("$5 -$5 $-5 \\$5 -\\$5", "5 -5 -5 5 -5");
    expect_numbers("\xc2\xa3"
                   "5 \xe2\x82\xac"
                   "6 -\xc2\xa5"
                   "7 \xe2\x82\xb9"
                   "8",
                   "5 6 -7 8");
    expect_numbers("$.50", "0.50");
    expect_numbers("3-$5", "3 5");
}

Test(number, quotients)
{
    expect_numbers("3/4 10/5 -1/8 1,000/8", "0.75 2 -0.125 125");
    expect_numbers("1/3", "0.3333333333333333");
    expect_numbers("5/0 5/00 5/ 5/x", "5 0 5 00 5 5");
    expect_numbers("1.5/2 3/1.5", "1.5 2 3 1.5");
    expect_numbers("3/4.", "0.75");
}

Test(number, numbers_beyond_a_double_are_not_divided)
{
    char text[700];
    struct number n;

    memset(text, '9', sizeof(text));
    text[320] = '/';
    cr_assert(number_find((struct span){ text, sizeof(text) }, 0, &n));
    cr_expect(n.end == 320 && n.divisor.len == 0, "not inf/inf, which is no number");
    cr_expect_eq(strlen(number_text(&n, &arena)), 320);
    arena_release(&arena);
}

Test(number, units_and_letters_do_not_matter)
{
    expect_numbers("20% 5km 3x a4 5th 6e7", "20 5 3 4 5 6 7");
}
