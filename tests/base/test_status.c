/* Statuses and messages. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/status.h"

Test(status, every_status_has_its_own_name)
{
    for (int i = ST_OK; i <= ST_INTERNAL; i++) {
        cr_assert_not_null(status_name((enum status)i));
        for (int j = ST_OK; j < i; j++)
            cr_expect_str_neq(status_name((enum status)i), status_name((enum status)j));
    }
    cr_expect_str_eq(status_name((enum status)(ST_INTERNAL + 1)), "unknown");
    cr_expect_str_eq(status_name((enum status) - 1), "unknown");
}

Test(status, setting_returns_the_status_and_keeps_the_message)
{
    struct error err;

    cr_expect_eq(error_set(&err, ST_IO, "cannot read '%s': %d", "x", 7), ST_IO);
    cr_expect_eq(err.status, ST_IO);
    cr_expect_str_eq(err.text, "cannot read 'x': 7");
    cr_expect_eq(error_set(NULL, ST_NOMEM, "%s", "nobody asks"), ST_NOMEM);
}

Test(status, a_prefix_stands_in_front_and_keeps_the_status)
{
    struct error err;

    error_set(&err, ST_INVALID, "no such key");
    cr_expect_eq(error_prefix(&err, ST_INVALID, "'%s' line %d", "a.json", 3), ST_INVALID);
    cr_expect_str_eq(err.text, "'a.json' line 3: no such key");
    cr_expect_eq(err.status, ST_INVALID);
    cr_expect_eq(error_prefix(NULL, ST_IO, "x"), ST_IO);
}

Test(status, a_message_that_does_not_fit_keeps_its_beginning_and_ends_in_dots)
{
    struct error err;
    char big[3000];

    for (size_t len = 1018; len < 1032; len++) {
        memset(big, 'x', len);
        big[len] = '\0';
        error_set(&err, ST_IO, "%s", big);
        if (len < sizeof(err.text)) {
            cr_expect_str_eq(err.text, big, "%zu bytes fit", len);
        } else {
            cr_expect_eq(strlen(err.text), sizeof(err.text) - 1);
            cr_expect_str_eq(err.text + sizeof(err.text) - 5, "x...");
        }
    }
    error_prefix(&err, ST_IO, "front");
    cr_expect_eq(strncmp(err.text, "front: xxx", 10), 0);
    cr_expect_str_eq(err.text + sizeof(err.text) - 4, "...");
    memset(big, 'y', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    error_prefix(&err, ST_IO, "%s", big);
    cr_expect_eq(err.text[0], 'y');
    cr_expect_str_eq(err.text + sizeof(err.text) - 4, "...");
}

Test(status, a_message_is_one_line_whatever_it_quotes)
{
    struct error err;

    error_set(&err, ST_INVALID, "no field '%s'", "a\nb\x1b[2J\x7f\xff caf\xc3\xa9");
    cr_expect_str_eq(err.text, "no field 'a?b?[2J?? caf\xc3\xa9'");
    error_prefix(&err, ST_INVALID, "\t%s", "\r");
    cr_expect_str_eq(err.text, "??: no field 'a?b?[2J?? caf\xc3\xa9'");
}
