/* The arena. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"

Test(arena, allocations_are_zeroed_aligned_and_do_not_overlap)
{
    enum { N = 2000 };
    struct arena a = { 0 };
    struct rng rng;
    unsigned char *p[N];
    size_t len[N];

    rng_seed(&rng, 1);
    for (int round = 0; round < 3; round++) { /* after a clear, memory is dirty */
        for (int i = 0; i < N; i++) {
            len[i] = rng_below(&rng, 10) ? rng_below(&rng, 200) : rng_below(&rng, 100000);
            p[i] = arena_alloc(&a, len[i]);
            cr_assert_not_null(p[i]);
            cr_assert_eq((uintptr_t)p[i] % 16, 0);
            for (size_t k = 0; k < len[i]; k++)
                cr_assert_eq(p[i][k], 0);
            memset(p[i], i & 255, len[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < len[i]; k++)
                cr_assert_eq(p[i][k], i & 255, "allocation %d was overwritten", i);
        arena_clear(&a);
    }
    arena_release(&a);
}

Test(arena, clear_keeps_a_block_so_that_a_steady_state_allocates_nothing)
{
    struct arena a = { 0 };
    const void *head;

    for (int i = 0; i < 100; i++)
        cr_assert_not_null(arena_alloc(&a, 10000));
    arena_clear(&a);
    head = a.head;
    cr_assert_not_null(head);
    for (int i = 0; i < 50; i++)
        cr_assert_not_null(arena_alloc(&a, 10000));
    cr_expect_eq((const void *)a.head, head, "half as much fits into the largest block");
    arena_release(&a);
    cr_expect_null(a.head);
    cr_assert_not_null(arena_alloc(&a, 1), "usable after release");
    arena_release(&a);
    arena_release(&a);
    arena_clear(&a);
}

Test(arena, size_zero_gives_pointers_of_their_own)
{
    struct arena a = { 0 };
    void *p = arena_alloc(&a, 0), *q = arena_alloc(&a, 0);

    cr_expect(p && q && p != q);
    arena_release(&a);
}

Test(arena, sizes_that_overflow_are_refused)
{
    struct arena a = { 0 };

    cr_expect_null(arena_alloc(&a, SIZE_MAX));
    cr_expect_null(arena_alloc(&a, SIZE_MAX - 20));
    cr_expect_null(arena_array(&a, SIZE_MAX / 4, 8));
    cr_expect_null(arena_strdup(&a, "", SIZE_MAX));
    cr_expect_not_null(arena_array(&a, 0, SIZE_MAX));
    cr_expect_not_null(arena_alloc(&a, 8), "still usable");
    arena_release(&a);
}

Test(arena, strings_are_copied_with_a_nul)
{
    struct arena a = { 0 };
    const char *s = arena_strdup(&a, "a\0bcd", 3);

    cr_expect_eq(memcmp(s, "a\0b", 4), 0);
    cr_expect_str_eq(arena_strdup(&a, NULL, 0), "");
    cr_expect_str_eq(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    cr_expect_str_eq(arena_printf(&a, "%s", ""), "");
    arena_release(&a);
}
