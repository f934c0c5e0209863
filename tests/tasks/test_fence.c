/* Fenced blocks. */
#include "support.h"

#include "tasks/fence.h"

#define F "```"

static struct arena arena;

static struct blocks find(const char *text)
{
    struct blocks b;
    struct error err;

    cr_assert_eq(fence_find(span_of(text), &arena, &b, &err), ST_OK);
    return b;
}

static void expect_block(const char *text, const char *tag, const char *content, bool is_python,
                         bool is_closed)
{
    struct blocks b = find(text);

    cr_assert_eq(b.n, 1, "%s: %zu blocks", text, b.n);
    cr_expect(span_equal(b.list[0].tag, tag), "%s", text);
    cr_expect(span_equal(b.list[0].text, content), "%s gave '%.*s'", text, (int)b.list[0].text.len,
              b.list[0].text.s);
    cr_expect_eq(b.list[0].is_python, is_python, "%s", text);
    cr_expect_eq(b.list[0].is_closed, is_closed, "%s", text);
    arena_release(&arena);
}

Test(fence, tags_say_what_is_python)
{
    expect_block(F "\nx\n" F, "", "x", true, true);
    expect_block(F "py\nx\n" F, "py", "x", true, true);
    expect_block(F "PYTHON\nx\n" F, "PYTHON", "x", true, true);
    expect_block(F " python3 \nx\n" F, "python3", "x", true, true);
    expect_block(F "python title=a\nx\n" F, "python", "x", true, true);
    expect_block(F "python2\nx\n" F, "python2", "x", false, true);
    expect_block(F "bash\nx\n" F, "bash", "x", false, true);
}

Test(fence, blocks_close_at_a_fence_alone_or_glued)
{
    expect_block(F "\nx\n" F "python\ny\n" F, "", "x\n" F "python\ny", true, true);
    expect_block(F "\nx\n" F "`\ny", "", "x", true, true);
    expect_block(F "\nx" F "  \ny", "", "x", true, true);
    expect_block(F "\n    \"\"\"\n    " F "\n    x\n" F, "", "    \"\"\"\n    " F "\n    x", true,
                 true);
    expect_block(F "\nx `` y\n", "", "x `` y", true, false);
    expect_block(F "\nx\n\n", "", "x\n", true, false);
}

Test(fence, what_opens_no_block)
{
    cr_expect_eq(find("``\nx\n``").n, 0);
    cr_expect_eq(find("text " F "\nx").n, 0);
    cr_expect_eq(find("    " F "\nx").n, 0);
    cr_expect_eq(find(F "x" F "\ny").n, 0);
    cr_expect_eq(find(F "\n" F).n, 0);
    cr_expect_eq(find(F).n, 0);
    cr_expect_eq(find("").n, 0);
    arena_release(&arena);
}

Test(fence, empty_blocks_are_left_out_and_others_follow)
{
    struct blocks b = find("a\n" F "\n \n" F "\n" F "py\nx\n" F "\n" F "c\ny");

    cr_assert_eq(b.n, 2);
    cr_expect(span_equal(b.list[0].text, "x"));
    cr_expect(span_equal(b.list[1].text, "y"));
    cr_expect_eq(b.first_fence, 2);
    cr_expect(b.is_first_bare);
    arena_release(&arena);
}

Test(fence, a_block_indented_with_its_fence_is_shifted_back)
{
    expect_block("  " F "\n  a\n\n    b\n  " F, "", "a\n\n  b", true, true);
    expect_block("  " F "\na\n  b\n" F, "", "a\n  b", true, true);
    expect_block("  " F "\n    a\n    b\n" F, "", "    a\n    b", true, true);
    expect_block("  " F "\n  a\nb\n" F, "", "  a\nb", true, true);
}
