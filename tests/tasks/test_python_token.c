/* Python source to tokens. */
#include "support.h"

#include "tasks/python_token.h"

/* Kinds and texts of all tokens: "n:name o:( ..." with the depth of operators in front. */
static void expect_tokens(const char *source, const char *expected)
{
    static const char letters[] = { 'E', 'L', 'n', 'd', 's', 'o' };
    struct arena arena = { 0 };
    struct buf b = { 0 };
    struct python_token *v;
    struct error err = { 0 };
    size_t n;

    cr_assert_eq(python_tokenize(span_of(source), &arena, &v, &n, &err), ST_OK, "%s", err.text);
    cr_expect_eq(v[n].kind, PYTHON_END);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "%s%c", i ? " " : "", letters[v[i].kind]);
        if (v[i].kind != PYTHON_NEWLINE)
            buf_append(&b, source + v[i].at, v[i].len);
    }
    cr_expect_str_eq(buf_str(&b), expected, "%s", source);
    buf_release(&b);
    arena_release(&arena);
}

Test(python_token, names_numbers_and_operators)
{
    expect_tokens("x = a1+2", "nx o= na1 o+ d2");
    expect_tokens("if a<=b!=c//d**e: pass", "nif na o<= nb o!= nc o// nd o** ne o: npass");
    expect_tokens("x-=1;y>>=.5", "nx o-= d1 o; ny o>>= d.5");
    expect_tokens("1_000 0xfe-1 1e-3 2.5j 1.", "d1_000 d0xfe o- d1 d1e-3 d2.5j d1.");
    expect_tokens("f(x)[...] -> :=", "nf o( nx o) o[ o... o] o-> o:=");
    expect_tokens("na\xc3\xafve", "nna\xc3\xafve");
    expect_tokens("a ? $", "na o? o$");
    expect_tokens("", "");
}

Test(python_token, strings_are_whole_and_comments_nothing)
{
    expect_tokens("a = 'x # y' # z 'q'\nb", "na o= s'x # y' L nb");
    expect_tokens("rb'\\'' f\"{x['a']}\" u''", "srb'\\'' sf\"{x['a']}\" su''");
    expect_tokens("'''a\n'b''' + \"\"\"\\\"\"\"\"", "s'''a\n'b''' o+ s\"\"\"\\\"\"\"\"");
    expect_tokens("'open\nx", "s'open L nx");
    expect_tokens("\"\"\"open\nx", "s\"\"\"open\nx");
    expect_tokens("bar'x'", "nbar s'x'");
    expect_tokens("# only", "");
    expect_tokens("x #", "nx");
}

Test(python_token, logical_lines_end_where_brackets_are_closed)
{
    expect_tokens("f(a,\n  b)\n\n# c\n  \ng", "nf o( na o, nb o) L ng");
    expect_tokens("a = \\\n  b\r\nc", "na o= nb L nc");
    expect_tokens("a)\nb", "na o) L nb");
}

Test(python_token, places_are_told)
{
    static const char source[] = "def f(a):\n    '''d\n'''\n    x = (a +\n  1); return x\n";
    struct arena arena = { 0 };
    struct python_token *v;
    struct error err = { 0 };
    size_t n, n_first = 0;

    cr_assert_eq(python_tokenize(span_of(source), &arena, &v, &n, &err), ST_OK);
    for (size_t i = 0; i < n; i++) {
        struct span t = span_sub(span_of(source), v[i].at, v[i].at + v[i].len);

        n_first += v[i].is_first;
        if (span_equal(t, "def"))
            cr_expect(v[i].line == 1 && v[i].is_first);
        if (span_equal(t, "'''d\n'''"))
            cr_expect(v[i].line == 2 && v[i].is_first);
        if (span_equal(t, "("))
            cr_expect_eq(v[i].depth, 0u);
        if (span_equal(t, ")"))
            cr_expect_eq(v[i].depth, 0u);
        if (span_equal(t, "+"))
            cr_expect(v[i].line == 4 && v[i].depth == 1 && !v[i].is_first);
        if (span_equal(t, "1"))
            cr_expect(v[i].line == 5 && v[i].depth == 1);
        if (span_equal(t, "return"))
            cr_expect(v[i].line == 5 && v[i].is_first);
    }
    cr_expect_eq(n_first, 4u);
    arena_release(&arena);
}
