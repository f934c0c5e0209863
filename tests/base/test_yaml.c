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

/* ---- item by item ---------------------------------------------------------------------------- */

/* The items of a text as "kind line:column text", a line each; the fault of one that is not YAML.
 */
static void items_are(const char *yaml, const char *want)
{
    static const char *const kinds[] = { "document", "mapping", "list", "end",
                                         "scalar",   "alias",   "eof" };
    struct yaml_reader *r = NULL;
    struct yaml_item it = { 0 };
    struct error err = { 0 };
    struct buf got = { 0 };
    enum status st;

    cr_assert_eq(yaml_reader_new(yaml, strlen(yaml), &r, &err), ST_OK, "%s", err.text);
    do {
        st = yaml_reader_next(r, &it, &err);
        if (st) {
            buf_printf(&got, "%d:%d %s\n", it.line, it.column, err.text);
            break;
        }
        buf_printf(&got, "%s %d:%d%s", kinds[it.kind], it.line, it.column, it.text ? " " : "");
        buf_printf(&got, "%s%s%s%s%s%s%s\n", it.text ? it.text : "", it.is_plain ? " plain" : "",
                   it.anchor ? " &" : "", it.anchor ? it.anchor : "", it.tag ? " " : "",
                   it.tag ? it.tag : "", it.has_tag_directives ? " %TAG" : "");
        cr_expect(!it.text || strlen(it.text) == it.len);
    } while (it.kind != YAML_ITEM_EOF);
    cr_expect_str_eq(buf_str(&got), want, "%s: %s", yaml, buf_str(&got));
    buf_release(&got);
    yaml_reader_free(r);
}

Test(yaml, items_come_with_their_places)
{
    items_are("", "eof 1:1\n");
    items_are(
        "a: [1, 'b\u00e9', \u00e9c]\n",
        "document 1:1\nmapping 1:1\nscalar 1:1 a plain\nlist 1:4\nscalar 1:5 1 plain\n"
        "scalar 1:8 b\u00e9\nscalar 1:14 \u00e9c plain\nend 1:16\nend 2:1\nend 2:1\neof 2:1\n");
    items_are("- &x !!str y\n- *x\n",
              "document 1:1\nlist 1:1\nscalar 1:3 y plain &x tag:yaml.org,2002:str\n"
              "alias 2:3 x\nend 3:1\nend 3:1\neof 3:1\n");
    items_are("%TAG ! x:\n--- a\n--- b\n",
              "document 1:1 %TAG\nscalar 2:5 a plain\nend 3:1\ndocument 3:1\n"
              "scalar 3:5 b plain\nend 4:1\neof 4:1\n");
}

Test(yaml, a_fault_comes_with_its_place)
{
    items_are("a: [1\nb: 2\n", "document 1:1\nmapping 1:1\nscalar 1:1 a plain\nlist 1:4\n"
                               "scalar 1:5 1 b plain\n2:2 not YAML: did not find expected ',' or "
                               "']' while parsing a flow sequence\n");
    items_are("a: \u00e9\n \x01", "2:2 not YAML: control characters are not allowed\n");
}
