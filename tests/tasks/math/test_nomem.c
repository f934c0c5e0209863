/* The n-th allocation fails, n = 1, 2, ...: an error, no fault, and nothing left behind. The
 * linker sends this program's malloc() here (--wrap); GMP's own stays what it is. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static long n_left = -1; /* allocations until one fails; below 0: never */

void *__wrap_malloc(size_t size)
{
    if (n_left == 0)
        return NULL;
    n_left -= n_left > 0;
    return __real_malloc(size);
}

Test(math_nomem, each_failing_allocation_is_reported)
{
    static char list[4096];
    struct error err = { 0 };
    enum status st = ST_NOMEM;
    bool is_equal = true;
    long n;

    for (size_t i = 0; i + 8 < sizeof(list); i += 8) /* enough for more than one block */
        memcpy(list + i, "\\pm 1.5,", 8);
    strcpy(list + 1600, "1.5");
    for (n = 0; st == ST_NOMEM && n < 100; n++) {
        n_left = n;
        st = math_equal(list, strlen(list), "1.5, 2", 6, &is_equal, &err);
        n_left = -1;
        if (st == ST_NOMEM) {
            cr_expect(is_equal, "the result was touched");
            cr_expect(strstr(err.text, "out of memory"), "'%s'", err.text);
        }
    }
    cr_assert_eq(st, ST_OK);
    cr_expect_not(is_equal);
    cr_expect_gt(n, 2);
}

Test(math_nomem, extraction_needs_memory_for_its_result_only)
{
    struct arena arena = { 0 };
    struct error err = { 0 };
    const char *text = "old", *method = "old";
    size_t len = 3;

    n_left = 0;
    cr_expect_eq(math_extract("\\boxed{1}", 9, &arena, &text, &len, &method, &err), ST_NOMEM);
    n_left = -1;
    cr_expect_str_eq(text, "old");
    cr_expect_eq(math_extract("\\boxed{1}", 9, &arena, &text, &len, &method, &err), ST_OK);
    cr_expect_str_eq(text, "1");
    arena_release(&arena);
}
