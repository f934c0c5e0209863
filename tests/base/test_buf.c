/* Growable byte strings. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/size.h"

Test(buf, a_zeroed_buf_is_empty_and_releasable)
{
    struct buf b = { 0 };

    cr_expect_str_eq(buf_str(&b), "");
    cr_expect(buf_ok(&b));
    buf_clear(&b);
    buf_release(&b);
    buf_append(&b, NULL, 0);
    cr_expect_eq(b.len, 0);
    cr_expect_str_eq(buf_str(&b), "");
    buf_release(&b);
    cr_expect(!b.data && !b.cap);
}

Test(buf, what_is_appended_is_there_in_order_and_ends_in_nul)
{
    struct buf b = { 0 };
    struct rng rng;
    char want[4096];
    size_t n = 0;

    rng_seed(&rng, 1);
    while (n < 4000) {
        char piece[64];
        size_t len = rng_below(&rng, 60);

        for (size_t i = 0; i < len; i++)
            piece[i] = (char)rng_below(&rng, 256); /* NUL too */
        if (n + len > 4000)
            len = 4000 - n;
        memcpy(want + n, piece, len);
        n += len;
        buf_append(&b, piece, len);
        cr_assert_eq(b.len, n);
        cr_assert_eq(b.data[n], '\0');
        cr_assert_lt(b.len, b.cap);
    }
    cr_expect_eq(memcmp(b.data, want, n), 0);
    buf_release(&b);
}

Test(buf, printf_fits_itself_at_every_length)
{
    for (int len = 0; len < 300; len++) {
        struct buf b = { 0 };

        buf_puts(&b, "ab");
        buf_printf(&b, "%*s|%d", len, "x", len);
        cr_assert_eq(b.data[b.len], '\0');
        cr_assert_eq(strlen(b.data), b.len);
        cr_expect_eq(atoi(strchr(b.data, '|') + 1), len);
        cr_expect_eq(strchr(b.data, '|')[-1], 'x');
        buf_release(&b);
    }
}

Test(buf, reserved_room_is_written_and_counted_by_the_caller)
{
    struct buf b = { 0 };
    char *p = buf_reserve(&b, 1000);

    cr_assert_not_null(p);
    cr_expect_geq(b.cap, 1001);
    cr_expect_eq(b.len, 0);
    memset(p, 'x', 1000);
    b.len += 1000;
    buf_putc(&b, 'y');
    cr_expect_eq(b.data[1000], 'y');
    cr_expect_eq(b.data[1001], '\0');
    buf_release(&b);
}

Test(buf, clear_keeps_the_memory_and_the_content_is_empty)
{
    struct buf b = { 0 };
    char *data;

    buf_puts(&b, "hello");
    data = b.data;
    buf_clear(&b);
    cr_expect_str_eq(buf_str(&b), "");
    cr_expect_str_eq(b.data, "", "data is NUL-terminated at len");
    buf_puts(&b, "x");
    cr_expect_eq(b.data, data);
    cr_expect_str_eq(buf_str(&b), "x");
    buf_release(&b);
}

Test(buf, after_a_failure_nothing_is_appended_until_it_is_cleared)
{
    struct buf b = { 0 };

    buf_puts(&b, "kept");
    cr_expect_null(buf_reserve(&b, SIZE_MAX - 2));
    cr_expect_not(buf_ok(&b));
    buf_puts(&b, "lost");
    buf_printf(&b, "%d", 1);
    buf_putc(&b, 'c');
    buf_put_utf8(&b, 0x20ac);
    cr_expect_str_eq(buf_str(&b), "kept");
    cr_expect_null(buf_reserve(&b, 1));
    buf_clear(&b);
    cr_expect(buf_ok(&b));
    buf_puts(&b, "new");
    cr_expect_str_eq(buf_str(&b), "new");
    buf_release(&b);
}

Test(buf, code_points_take_the_documented_bytes)
{
    struct buf b = { 0 };

    buf_put_utf8(&b, 0x7f);
    buf_put_utf8(&b, 0x80);
    buf_put_utf8(&b, 0x7ff);
    buf_put_utf8(&b, 0x800);
    buf_put_utf8(&b, 0xffff);
    buf_put_utf8(&b, 0x10000);
    buf_put_utf8(&b, 0x10ffff);
    cr_expect_str_eq(buf_str(&b), "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80"
                                  "\xf4\x8f\xbf\xbf");
    buf_release(&b);
}

Test(size, overflow_is_reported_and_leaves_the_result)
{
    size_t r = 7;

    cr_expect(size_mul(6, 7, &r) && r == 42);
    cr_expect_not(size_mul(SIZE_MAX / 2 + 1, 2, &r));
    cr_expect_not(size_mul(SIZE_MAX, SIZE_MAX, &r));
    cr_expect_not(size_add(SIZE_MAX, 1, &r));
    cr_expect_eq(r, 42);
    cr_expect(size_mul(SIZE_MAX, 1, &r) && r == SIZE_MAX);
    cr_expect(size_mul(SIZE_MAX, 0, &r) && r == 0);
    cr_expect(size_add(SIZE_MAX, 0, &r) && r == SIZE_MAX);
}
