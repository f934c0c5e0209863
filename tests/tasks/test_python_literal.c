/* Python values: what they are in JSON, and what is refused, by line. */
#include "support.h"

#include "tasks/python_literal.h"

static enum status read(const char *source, size_t len, enum python_place place, const char *name,
                        json_t **ret, struct error *err)
{
    return python_literal_read((struct span){ source, len }, "m.py", place, name, ret, err);
}

/* `x = VALUE` reads as the JSON text. */
static void means_in(const char *source, const char *json)
{
    struct error err = { 0 };
    json_t *v = NULL, *want = NULL;

    cr_assert_eq(read(source, strlen(source), PYTHON_ASSIGNED, "x", &v, &err), ST_OK, "%s: %s",
                 source, err.text);
    cr_assert_eq(json_parse(json, strlen(json), "want", 0, &want, &err), ST_OK, "%s", err.text);
    if (!json_equal(v, want)) {
        struct buf got = { 0 };

        json_put_value(&got, v, 0);
        cr_expect(false, "%s: got %s, want %s", source, buf_str(&got), json);
        buf_release(&got);
    }
    json_decref(v);
    json_decref(want);
}

static void means(const char *value, const char *json)
{
    char source[1024];

    snprintf(source, sizeof(source), "x = %s\n", value);
    means_in(source, json);
}

static void is_refused_in(const char *source, size_t len, const char *words)
{
    struct error err = { 0 };
    json_t *v = NULL;

    cr_expect_eq(read(source, len, PYTHON_ASSIGNED, "x", &v, &err), ST_INVALID, "%s", source);
    cr_expect(strstr(err.text, "'m.py'") && strstr(err.text, words), "%s: %s", source, err.text);
    cr_expect_null(v);
}

static void is_refused(const char *value, const char *words)
{
    char source[1024];

    snprintf(source, sizeof(source), "# a module\nx = %s\n", value);
    is_refused_in(source, strlen(source), words);
}

Test(python_literal, strings_keep_what_python_keeps)
{
    means("'a'", "\"a\"");
    means("\"it's\"", "\"it's\"");
    means("'say \"\"'", "\"say \\\"\\\"\"");
    means("''", "\"\"");
    means("'a' \"b\"  'c'", "\"abc\"");
    means("('a'\n   'b' # c\n\n   'd')", "\"abd\"");
    means("'a' \\\n 'b'", "\"ab\"");
    means("'\\n\\t\\r\\\\\\'\\\"\\a\\b\\f\\v'", "\"\\n\\t\\r\\\\'\\\"\\u0007\\b\\f\\u000b\"");
    means("'\\0\\101\\1012\\x41\\u00e9\\U0001F600'", "\"\\u0000AA2A\\u00e9\\ud83d\\ude00\"");
    means("'one \\\n line'", "\"one  line\"");
    /* what names no escape stays: formulas in strings that are not raw live by this */
    means("'$\\sqrt{2} \\ge \\det \\\\frac$'", "\"$\\\\sqrt{2} \\\\ge \\\\det \\\\frac$\"");
    means("r'\\n\\'x'", "\"\\\\n\\\\'x\"");
    means("R\"\\\\\"", "\"\\\\\\\\\"");
    means("u'a'", "\"a\"");
    means("'\xc3\xa9'", "\"\\u00e9\"");
}

Test(python_literal, triple_quotes_span_lines)
{
    means("'''a\n 'b' \"\"\n'''", "\"a\\n 'b' \\\"\\\"\\n\"");
    means("\"\"\"\"a\"\"\"", "\"\\\"a\"");
    means("\"\"\"a\\\"\"\"\"", "\"a\\\"\"");
    means("r\"\"\"\\a\n\\\n\"\"\"", "\"\\\\a\\n\\\\\\n\"");
    means("''''''", "\"\"");
    means_in("x = '''a\r\nb\rc'''\r\n", "\"a\\nb\\nc\"");
    means_in("x = 'a\\\r\nb'\r\n", "\"ab\"");
    means_in("x = [1, \\\r\n 2]\r\ny = 3\r\n", "[1, 2]");
}

Test(python_literal, containers_and_constants)
{
    means("[]", "[]");
    means("[1, -2, +3, 1_000, 0.5, -.5, 2., 1e3]", "[1, -2, 3, 1000, 0.5, -0.5, 2.0, 1000.0]");
    means("[True, False, None,]", "[true, false, null]");
    means("()", "[]");
    means("(1,)", "[1]");
    means("(1)", "1");
    means("(1, 'a')", "[1, \"a\"]");
    means("{'a': 1, \"b\" 'c': [2]}", "{\"a\": 1, \"bc\": [2]}");
    means("{}", "{}");
    means("dict()", "{}");
    means("dict(a=1, b=dict(c='d',),)", "{\"a\": 1, \"b\": {\"c\": \"d\"}}");
    means("dict(\n  a=[ # first\n\n    'x',\n  ],\n)", "{\"a\": [\"x\"]}");
}

Test(python_literal, objects_of_a_running_program_are_null)
{
    means("dict(type=GenInferencer, n=512)", "{\"type\": null, \"n\": 512}");
    means("[a.b.C, f(), g.h('x', [1], k=dict(a=1)), dict]", "[null, null, null, null]");
}

Test(python_literal, the_last_assignment_at_column_0_counts)
{
    means_in("x = 1\nif y:\n    x = 2\n'x = 3'\nz = [\nx == 4,\n]\nx.y = 5\nx: int = 6\n", "1");
    means_in("x = 1\n\nx = 'two'; y = 3", "\"two\"");
    means_in("import a\ndef f(x):\n    return 'x = 1'\n\nx=[f\n]", "[null]");
}

Test(python_literal, a_function_s_first_return_counts)
{
    static const char source[] = "def other() -> str:\n    return 'no'\n\n\n"
                                 "def wanted(a: str = 'return 1') -> list[dict]:\n"
                                 "    \"\"\"Say\n    return 2\n    \"\"\"\n"
                                 "    # return 3\n"
                                 "    return [\n{'a': 'b'},\n    ]\n\n"
                                 "def none():\n    pass\n\nreturn_value = 1\n";
    struct error err = { 0 };
    json_t *v = NULL;

    cr_assert_eq(read(source, strlen(source), PYTHON_RETURNED, "wanted", &v, &err), ST_OK, "%s",
                 err.text);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(v, 0), "a")), "b");
    json_decref(v);
    v = NULL;
    cr_expect_eq(read(source, strlen(source), PYTHON_RETURNED, "none", &v, &err), ST_INVALID);
    cr_expect(strstr(err.text, "'none'"), "%s", err.text);
    cr_expect_eq(read(source, strlen(source), PYTHON_RETURNED, "absent", &v, &err), ST_INVALID);
    cr_expect_null(v);
}

Test(python_literal, faults_are_told_by_file_and_line)
{
    static const char *const cases[][2] = {
        { "", "line 2: a value is needed, the line ends" },
        { "'open", "line 2: a string that does not end" },
        { "'''open\n\n", "line 2: a string that does not end" },
        { "'a\\'", "does not end" },
        { "[1, 2", "the file ends" },
        { "[1 2]", "line 2: ',' or ']' is needed, found '2'" },
        { "[1,\n 2\n 3]", "line 4: ',' or ']' is needed, found '3'" },
        { "[,]", "a value is needed, found ','" },
        { "(1 2)", "',' or ')'" },
        { "{1: 2}", "a string as key is needed, found '1'" },
        { "{'a'}", "':' is needed" },
        { "{'a': 1, 'a': 2}", "key 'a' is there twice" },
        { "{**a}", "a string as key" },
        { "dict(1)", "NAME=VALUE is needed" },
        { "dict(a)", "'=' is needed" },
        { "dict(a=1, a=2)", "key 'a' is there twice" },
        { "dict(**a)", "NAME=VALUE" },
        { "[i for i in y]", "',' or ']' is needed, found 'for'" },
        { "'a' + 'b'", "the end of the line is needed, found '+'" },
        { "'a' % b", "found '%'" },
        { "a[0]", "found '['" },
        { "'a'.strip()", "found '.'" },
        { "not a", "a value is needed, found 'not'" },
        { "lambda: 1", "found 'lambda'" },
        { "0x10", "a decimal number is needed, found '0x10'" },
        { "2j", "a decimal number" },
        { "99999999999999999999", "a decimal number" },
        { "1e999", "a decimal number" },
        { "-'a'", "a decimal number is needed" },
        { "f'{a}'", "prefix 'f'" },
        { "b'a'", "prefix 'b'" },
        { "'\\x4'", "'\\x' does not name a character" },
        { "'\\ud800'", "'\\u' does not name a character" },
        { "'\\U00110000'", "'\\U' does not name" },
        { "'\\N{BULLET}'", "'\\N' is not understood" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        is_refused(cases[i][0], cases[i][1]);
    is_refused_in("", 0, "nothing is assigned to 'x'");
    is_refused_in("y = 1\n x = 2\n", 13, "nothing is assigned to 'x'");
    is_refused_in("x = '\xff'\n", 8, "byte 5: not valid UTF-8");
}

Test(python_literal, depth_is_bounded)
{
    char deep[2048] = "x = ";

    memset(deep + 4, '[', 1000);
    is_refused_in(deep, 1004, "levels deep");
    for (size_t i = 0; i < 200; i++)
        memcpy(deep + 4 + 7 * i, "dict(a=", 7);
    is_refused_in(deep, 4 + 7 * 200, "levels deep");
}

Test(python_literal, any_cut_or_changed_byte_is_survived)
{
    static const char source[] = "x = dict(a=['b\\n' r'\\d', (1, -2.5)], c={'d': f(g, h=\"i\")},\n"
                                 "  e='''j\nk''')\n";
    char changed[sizeof(source)];
    struct error err;
    size_t n = strlen(source);

    for (size_t cut = 0; cut < n; cut++) { /* whole without its newline; a mere name up to "dict" */
        json_t *v = NULL;

        cr_expect_eq(read(source, cut, PYTHON_ASSIGNED, "x", &v, &err),
                     cut == n - 1 || (cut > 4 && cut < 9) ? ST_OK : ST_INVALID, "%zu", cut);
        json_decref(v);
    }
    for (size_t i = 0; i < n; i++)
        for (int c = 1; c < 128; c += 3) {
            json_t *v = NULL;
            enum status st;

            memcpy(changed, source, sizeof(source));
            changed[i] = (char)c;
            st = read(changed, n, PYTHON_ASSIGNED, "x", &v, &err);
            cr_expect(st == ST_OK || (st == ST_INVALID && !v), "%zu %d", i, c);
            json_decref(v);
        }
}
