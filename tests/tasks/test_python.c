/* Names, definitions and calls in Python source. */
#include "support.h"

#include "tasks/python.h"

Test(python, definitions_stand_at_column_0)
{
    cr_expect(python_defines(span_of("x\ndef f(a):"), "f"));
    cr_expect(python_defines(span_of("def  f (a):"), "f"));
    cr_expect(python_defines(span_of("async def f():"), "f"));
    cr_expect(python_defines(span_of("def\tf():"), "f"));
    cr_expect(!python_defines(span_of(" def f():"), "f"));
    cr_expect(!python_defines(span_of("def ff():"), "f"));
    cr_expect(!python_defines(span_of("def f"), "f"));
    cr_expect(!python_defines(span_of("def f:"), "f"));
    cr_expect(!python_defines(span_of("deff()"), "f"));
    cr_expect(!python_defines(span_of("asyncdef f():"), "f"));
    cr_expect(!python_defines(span_of(""), "f"));
}

Test(python, the_last_definition_counts)
{
    struct span name = { 0 };

    cr_assert(python_last_def(span_of("def a():\n  1\ndef b():\n  def c(): 2\n"), &name));
    cr_expect(span_equal(name, "b"));
    cr_expect(!python_last_def(span_of("x = 1"), &name));
}

Test(python, the_call_under_test_is_found)
{
    static const struct {
        const char *test, *name;
    } cases[] = {
        { "assert f(1) == 2", "f" },
        { "assert set(f((1, 2))) == set((1,))", "f" },
        { "assert math.isclose(area(2), 12.5, rel_tol=1e-3)", "area" },
        { "assert not is_odd (4)", "is_odd" },
        { "assert sum(3, 4) == 7", "sum" },
        { "assert (f(1))", "f" },
        { "\nassert round(abs(g_2(0.5)), 3) == 1", "g_2" },
        { "assert 3f(1) == h(2)", "h" },
        { "x = Node(1)\nassert f(x)", "Node" },
    };
    struct span name;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert(python_first_call(span_of(cases[i].test), &name), "%s", cases[i].test);
        cr_expect(span_equal(name, cases[i].name), "%s", cases[i].test);
    }
    cr_expect(!python_first_call(span_of("assert x == (1, 2)"), &name));
    cr_expect(!python_first_call(span_of("a.b(1)"), &name));
    cr_expect(!python_first_call(span_of(""), &name));
}

Test(python, names_are_identifiers_and_no_keywords)
{
    cr_expect(python_is_name(span_of("_a1")));
    cr_expect(!python_is_name(span_of("1a")));
    cr_expect(!python_is_name(span_of("a b")));
    cr_expect(!python_is_name(span_of("a;b")));
    cr_expect(!python_is_name(span_of("lambda")));
    cr_expect(!python_is_name(span_of("")));
}

static void expect_code(const char *text, const char *code)
{
    struct span t = span_of(text);

    t.len = python_code_len(t);
    cr_expect(span_equal(t, code), "'%s' gave '%.*s'", text, (int)t.len, t.s);
}

Test(python, prose_after_code_is_cut)
{
    expect_code("def f():\n    1\n\nThis is it.", "def f():\n    1\n\n");
    expect_code("class A:\n    pass\nNote", "class A:\n    pass\n");
    expect_code("import x\nthis is before a definition\ndef f(): 1\nthis after",
                "import x\nthis is before a definition\ndef f(): 1\n");
    expect_code("def f(): 1\n- item", "def f(): 1\n");
    expect_code("def f(): 1\n**bold**", "def f(): 1\n");
    expect_code("def f(): 1\nx == y", "def f(): 1\nx == y"); /* NAME = */
    expect_code("def f(): 1\nfor a in b: c\nelse: d\ntry: e\nfinally: g\nreturn",
                "def f(): 1\nfor a in b: c\nelse: d\ntry: e\nfinally: g\nreturn");
}

Test(python, open_strings_and_brackets_are_not_cut)
{
    expect_code("def f():\n    '''a\nProse inside\n'''\nProse",
                "def f():\n    '''a\nProse inside\n'''\n");
    expect_code("def f():\n    x = r'\\'''\nProse", "def f():\n    x = r'\\'''\n");
    expect_code("def f():\n    x = [\n1\n]\nProse", "def f():\n    x = [\n1\n]\n");
    expect_code("def f():\n    x = 1 + \\\nprose\nProse", "def f():\n    x = 1 + \\\nprose\n");
    expect_code("def f():\n    x = 'a\\\nprose'\nProse", "def f():\n    x = 'a\\\nprose'\n");
    expect_code("def f():\n    # it's (\nProse", "def f():\n    # it's (\n");
    expect_code("def f():\n    x = '#('\nProse", "def f():\n    x = '#('\n");
    expect_code("def f():\n    x = \"'''\"\nProse", "def f():\n    x = \"'''\"\n");
}
