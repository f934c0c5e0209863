/* YAML: what it stands for in JSON, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/yaml.h"

static void reads_as(const char *yaml, const char *json)
{
    struct error err = { 0 };
    json_t *v = NULL, *want = NULL;

    cr_assert_eq(yaml_parse(yaml, strlen(yaml), "x.yaml", &v, &err), ST_OK, "%s: %s", yaml,
                 err.text);
    cr_assert_eq(json_parse(json, strlen(json), "want", 0, &want, &err), ST_OK, "%s", err.text);
    if (!json_equal(v, want)) {
        struct buf got = { 0 };

        json_put_value(&got, v, 0);
        cr_expect(false, "%s: got %s, want %s", yaml, buf_str(&got), json);
        buf_release(&got);
    }
    json_decref(v);
    json_decref(want);
}

static void is_refused(const char *yaml, size_t len, const char *words)
{
    struct error err = { 0 };
    json_t *v = NULL;

    cr_expect_eq(yaml_parse(yaml, len, "x.yaml", &v, &err), ST_INVALID, "%s", yaml);
    cr_expect(strstr(err.text, "'x.yaml'") && strstr(err.text, words), "%s: %s", yaml, err.text);
    cr_expect_null(v);
    json_decref(v);
}

Test(yaml, plain_scalars_have_the_core_types)
{
    reads_as("- ~\n- null\n- NULL\n-\n", "[null, null, null, null]");
    reads_as("[true, False, TRUE]", "[true, false, true]");
    reads_as("[yes, no, on, off]", "[\"yes\", \"no\", \"on\", \"off\"]");
    reads_as("[0, -12, +7, 9223372036854775807]", "[0, -12, 7, 9223372036854775807]");
    reads_as("[0.5, .5, -2., 1e3, 2.5E-1]", "[0.5, 0.5, -2.0, 1000.0, 0.25]");
    reads_as("[1.2.3, 1e, e5, ., -, 0x10, 12a]",
             "[\"1.2.3\", \"1e\", \"e5\", \".\", \"-\", \"0x10\", \"12a\"]");
    reads_as("a: ", "{\"a\": null}");
}

Test(yaml, quoted_and_block_scalars_are_strings)
{
    reads_as("['1', \"true\", \"\", 'it''s']", "[\"1\", \"true\", \"\", \"it's\"]");
    reads_as("\"a\\n\\u00e9\\x41\\\\\"", "\"a\\n\\u00e9A\\\\\"");
    reads_as("a: |\n  one\n   two\nb: >-\n  one\n  two\n\n  three\n",
             "{\"a\": \"one\\n two\\n\", \"b\": \"one two\\nthree\"}");
    /* folded over lines, as long texts in configurations are */
    reads_as("q: There are 15\n  trees in\n  the grove.\nt: 'Q: x\n\n  A:'\n",
             "{\"q\": \"There are 15 trees in the grove.\", \"t\": \"Q: x\\nA:\"}");
    reads_as("\"a\\0b\"", "\"a\\u0000b\"");
}

Test(yaml, nesting_comments_tags_and_aliases_are_followed)
{
    reads_as("# head\na:\n  - b: 1 # tail\n    c: [x, {d: e}]\n  - 2\n",
             "{\"a\": [{\"b\": 1, \"c\": [\"x\", {\"d\": \"e\"}]}, 2]}");
    reads_as("f: !function utils.f\n", "{\"f\": \"utils.f\"}");
    reads_as("a: &x [1]\nb: *x\n", "{\"a\": [1], \"b\": [1]}");
    reads_as("1: one\n", "{\"1\": \"one\"}");
}

Test(yaml, faults_are_told_by_line)
{
    static const struct {
        const char *yaml, *words;
    } cases[] = {
        { "", "no YAML document" },
        { "# only talk\n", "no YAML document" },
        { "a: 1\n---\nb: 2\n", "more than one" },
        { "a: 1\nb: [1\n", "line 3: not valid YAML" },
        { "a: 1\n\tb: 2\n", "line 2: not valid YAML" },
        { "a: 'open\n", "line 2: not valid YAML" },
        { "a: 1\nb: 2\na: 3\n", "line 3: key 'a' is there twice" },
        { "a: 1\n[x]: 2\n", "line 2: a key must be a text" },
        { "a: *nobody\n", "line 1: not valid YAML" },
        { "x\n: 99999999999999999999\n", "line" },
        { "- 99999999999999999999\n", "line 1: 99999999999999999999 is out of range" },
        { "- 1e999\n", "out of range" },
        { "&a [*a]\n", "levels deep" },
        { "\"\\ud800\"", "not valid YAML" },
        { "a: \xff\n", "not valid YAML" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        is_refused(cases[i].yaml, strlen(cases[i].yaml), cases[i].words);
    is_refused("a: \0b", 5, "not valid YAML");
}

Test(yaml, what_grows_by_aliases_or_depth_is_refused)
{
    char text[2048] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
    char deep[1024];

    for (int i = 1; i < 9; i++) {
        char line[160];

        snprintf(line, sizeof(line), "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n",
                 i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        strcat(text, line);
    }
    is_refused(text, strlen(text), "more than 100000 values");
    memset(deep, '[', 500);
    memset(deep + 500, ']', 500);
    is_refused(deep, 1000, "levels deep");
}
