/* Ceilings of this machine: not how high, but that they are there and make sense. */
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/limits.h"

Test(limits, every_instruction_set_that_runs_has_a_ceiling, .timeout = 120)
{
    const char *isas[LIMIT_MAX_ISAS];
    int n = limit_isas(isas);
    struct error err = { 0 };

    cr_assert_geq(n, 1);
    cr_assert_str_eq(isas[0], "generic");
    for (int i = 0; i < n; i++) {
        double rate = 0;

        cr_assert_eq(limit_arithmetic(isas[i], 1, &rate, &err), ST_OK, "%s", err.text);
        cr_assert_gt(rate, 1e7, "%s: %g", isas[i], rate); /* a sanitizer on a busy machine */
        cr_assert_lt(rate, 1e15, "%s: %g", isas[i], rate);
    }
}

Test(limits, what_does_not_exist_is_refused)
{
    struct error err = { 0 };
    double rate = -1;

    cr_assert_eq(limit_arithmetic("mmx", 1, &rate, &err), ST_INVALID);
    cr_assert(strstr(err.text, "'mmx'"), "%s", err.text);
    cr_assert_eq(limit_arithmetic("generic", 0, &rate, &err), ST_INVALID);
    cr_assert_eq(limit_read_rate(-1, &rate, &err), ST_INVALID);
    cr_assert_eq(rate, -1);
}

Test(limits, memory_is_read_at_some_rate, .timeout = 120)
{
    struct error err = { 0 };
    double rate = 0;

    cr_assert_eq(limit_read_rate(2, &rate, &err), ST_OK, "%s", err.text);
    cr_assert_gt(rate, 1e6);
    cr_assert_lt(rate, 1e13);
}
