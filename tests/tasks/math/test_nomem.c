/* Each allocation fails once, GMP's among them: an error, no fault, and nothing left behind. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <gmp.h>
#include <string.h>

#include "tests/base/fail_malloc.h"

struct pair {
    const char *pred, *gold;
    bool is_equal;
};

static enum status try_equal(void *arg, struct error *err)
{
    const struct pair *p = arg;
    bool is_equal = !p->is_equal;
    enum status st = math_equal(p->pred, strlen(p->pred), p->gold, strlen(p->gold), &is_equal, err);

    cr_expect_eq(is_equal, st ? !p->is_equal : p->is_equal, "'%s' and '%s'", p->pred, p->gold);
    cr_expect(!st || strstr(err->text, "out of memory"), "'%s'", err->text);
    return st;
}

Test(math_nomem, each_failing_allocation_is_reported)
{
    static char list[2000], long_number[4000];
    const struct pair pairs[] = {
        { list, "1.5, 2", false },
        { "2^{9000}", "4^{4500}", true },          /* numbers that GMP has to make room for */
        { "\\frac{1000!}{998!}", "999000", true }, /* ... and temporaries */
        { "\\binom{1000}{500}", "1", false },
        { "\\sqrt{10^{400}}", "10^{200}", true },
        { "(x+1)^{10}-x", "1-x+(1+x)^{10}-1", true },
        { "\\left[0,\\frac{1}{3}\\right)\\cup\\{2\\}", "[0,0.5)", false },
        { "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
          true },
        { long_number, "1.5", false },
        { "\\sqrt{2}+\\sqrt{3}", "\\sqrt{5+2\\sqrt{6}}", true },
        { "0.\\overline{142857}", "1/7", true },
    };

    for (size_t i = 0; i + 8 < sizeof(list); i += 8) /* enough for more than one block */
        memcpy(list + i, "\\pm 1.5,", 8);
    strcpy(list + 1600, "1.5");
    memset(long_number, '7', sizeof(long_number) - 1);
    long_number[2000] = '.';
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct pair p = pairs[i];
        struct fail_sweep s = { .what = p.pred, .f = try_equal, .arg = &p };

        cr_expect_geq(fail_malloc_sweep(&s), 1);
    }
}

static enum status try_extract(void *arg, struct error *err)
{
    struct arena arena = { 0 };
    const char *text = "old", *method = "old";
    size_t len = 3;
    enum status st = math_extract("\\boxed{1}", 9, &arena, &text, &len, &method, err);

    (void)arg;
    cr_expect_str_eq(text, st ? "old" : "1");
    arena_release(&arena);
    return st;
}

Test(math_nomem, extraction_needs_memory_for_its_result)
{
    struct fail_sweep s = { .what = "math_extract", .f = try_extract };

    cr_expect_eq(fail_malloc_sweep(&s), 1);
}

Test(math_nomem, numbers_of_others_are_left_alone)
{
    struct pair p = { "2^{9000}", "4^{4500}", true };
    struct error err;
    mpz_t x;

    mpz_init_set_ui(x, 7);
    mpz_pow_ui(x, x, 1000);
    cr_expect_eq(try_equal(&p, &err), ST_OK);
    mpz_pow_ui(x, x, 10);
    cr_expect_eq(mpz_divisible_ui_p(x, 49), 1);
    mpz_clear(x);
}
