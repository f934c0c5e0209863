/* Spans, and the cleaning of generations. */
#include "support.h"

#include "tasks/text.h"

static void expect_clean(const char *output, const char *want)
{
    struct arena arena = { 0 };
    struct span t;
    struct error err;

    cr_assert_eq(text_clean(span_of(output), &arena, &t, &err), ST_OK);
    cr_expect(span_equal(t, want), "'%s' became '%.*s'", output, (int)t.len, t.s);
    cr_expect_eq(t.s[t.len], '\0');
    arena_release(&arena);
}

Test(text, cleaning_cuts_at_the_first_end_token)
{
    expect_clean("a<|eot_id|>b<|endoftext|>c", "a");
    expect_clean("a<|endoftext|>b", "a");
    expect_clean("a<|im_end|>b", "a");
    expect_clean("a<|role_end|>b", "a");
    expect_clean("a<|EOT|>b", "a");
    expect_clean("a</s>b", "a");
    expect_clean("<</s>", "<");
    expect_clean("a<|eot_id|", "a<|eot_id|");
    expect_clean("a<|eot|></S>", "a<|eot|></S>");
}

Test(text, cleaning_deletes_masks_and_thoughts)
{
    expect_clean("a<|mdm_mask|>b<|mask|>c", "abc");
    expect_clean("x</think>y</think>z", "z");
    expect_clean("x</think>", "");
    expect_clean("x</think><|eot_id|>y", "");
    expect_clean("x<|eot_id|></think>y", "x");
    /* what deleting a mask joins is no token again */
    expect_clean("<|ma<|mask|>sk|>", "<|mask|>");
}

Test(text, cleaning_makes_every_line_end_a_newline)
{
    expect_clean("a\r\nb\rc\nd\r\r\n", "a\nb\nc\nd\n\n");
}

Test(text, lines_end_with_the_text)
{
    struct span rest = span_of("a\n\nb\n"), line;

    cr_assert(span_next_line(&rest, &line) && span_equal(line, "a"));
    cr_assert(span_next_line(&rest, &line) && span_equal(line, ""));
    cr_assert(span_next_line(&rest, &line) && span_equal(line, "b"));
    cr_assert(!span_next_line(&rest, &line));
}

Test(text, trimming_lines_keeps_indentation)
{
    cr_expect(span_equal(span_trim_lines(span_of(" \n\t\n  a\n b \n \n")), "  a\n b"));
    cr_expect(span_equal(span_trim_lines(span_of(" \n ")), ""));
    cr_expect(span_equal(span_trim(span_of(" \n a b\t\n")), "a b"));
}

Test(text, last_occurrence_is_the_last)
{
    size_t at = 9;

    cr_assert(span_find_last(span_of("aabaab"), "aab", &at));
    cr_expect_eq(at, 3);
    cr_assert(span_find_last(span_of("aaa"), "aa", &at));
    cr_expect_eq(at, 1);
    cr_assert(span_find_last(span_of("aab"), "aab", &at));
    cr_expect_eq(at, 0);
    cr_expect(!span_find_last(span_of("aabb"), "abab", &at));
    cr_expect(!span_find_last(span_of("a"), "ab", &at));
    cr_expect(!span_find_last(span_of(""), "a", &at));
}
