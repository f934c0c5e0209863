/* Text tables. */
#include <criterion/criterion.h>
#include <string.h>

#include "harness/table.h"

Test(table, columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right)
{
    struct table t;
    struct buf b = { 0 };

    table_init(&t, "name|>n|x");
    table_row(&t);
    table_cell(&t, "a");
    table_cell(&t, "%d", 7);
    table_cell(&t, "end");
    table_row(&t);
    table_cell(&t, "long name");
    table_cell(&t, "%d", 1234);
    cr_assert(table_put(&t, &b));
    cr_assert_str_eq(b.data, "name          n  x\n"
                             "a             7  end\n"
                             "long name  1234  \n");
    buf_release(&b);
    table_release(&t);
}

Test(table, width_counts_characters_not_bytes)
{
    struct table t;
    struct buf b = { 0 };

    table_init(&t, "\xc3\xa9|>n");
    table_row(&t);
    table_cell(&t, "ab");
    table_cell(&t, "1");
    cr_assert(table_put(&t, &b));
    cr_assert_str_eq(b.data, "\xc3\xa9   n\nab  1\n");
    buf_release(&b);
    table_release(&t);
}

Test(table, a_long_cell_is_whole_and_control_characters_cannot_reach_the_terminal)
{
    struct table t;
    struct buf b = { 0 };
    char text[3000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    table_init(&t, "a|b");
    table_row(&t);
    table_cell(&t, "%s", text);
    table_cell(&t, "\033[31mred\n\xff");
    cr_assert(table_put(&t, &b));
    cr_assert(strstr(b.data, text));
    cr_assert(strstr(b.data, "  ?[31mred??\n"));
    buf_release(&b);
    table_release(&t);
}

Test(table, many_rows_and_surplus_cells_do_no_harm)
{
    struct table t;
    struct buf b = { 0 };
    size_t lines = 0;

    table_init(&t, "a");
    for (int i = 0; i < 1000; i++) {
        table_row(&t);
        table_cell(&t, "%d", i);
        table_cell(&t, "surplus");
    }
    cr_assert(table_put(&t, &b));
    for (size_t i = 0; i < b.len; i++)
        lines += b.data[i] == '\n';
    cr_assert_eq(lines, 1001);
    buf_release(&b);
    table_release(&t);
}
