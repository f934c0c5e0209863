/* Pre-tokenizer: pieces and Unicode classes. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/pretokenize.h"

/* The pieces of a text, joined by '|'. */
static const char *pieces(const char *text)
{
    static struct buf b;
    size_t len = strlen(text);

    buf_clear(&b);
    while (len) {
        size_t n = pretokenize_next(text, len);

        cr_assert(n >= 1 && n <= len);
        if (b.len)
            buf_putc(&b, '|');
        buf_append(&b, text, n);
        text += n;
        len -= n;
    }
    return buf_str(&b);
}

Test(pretokenize, cuts_as_the_expression_does)
{
    /* taken by hand from the expression, alternative by alternative */
    static const char *const cases[][2] = {
        { "", "" },
        { "Hello world", "Hello| world" },
        { "don't I'LL they'Re", "don|'t| I|'LL| they|'Re" },
        { "'sun", "'s|un" },
        { "'\u017fun", "'\u017f|un" }, /* the long s folds to s */
        { "'lx 'v", "'lx| '|v" },
        { "3141", "3|1|4|1" },
        { "x\u00b2\u2163y", "x|\u00b2|\u2163|y" },
        { " 12", " |1|2" },
        { "  12", " | |1|2" },
        { "(a) b", "(a|)| b" },
        { "a != b", "a| !=| b" },
        { "!!\r\n\n x", "!!\r\n\n| x" },
        { "   x", "  | x" },
        { "\t\tx", "\t|\tx" },
        { "\u3000\u3000x", "\u3000|\u3000x" },
        { "\n\nx", "\n\n|x" },
        { " \n \n  x", " \n \n| | x" },
        { " \n \n  ", " \n \n|  " },
        { "a  ", "a|  " },
        { "\n 1", "\n| |1" },
        { "\r", "\r" },
        { "e\u0301a", "e|\u0301a" }, /* a mark is no letter, but may lead a word */
        { " \u0301", " \u0301" },
        { "\U0001f642\U0001f642!", "\U0001f642\U0001f642!" },
        { "\u4e2d\u65871\u6587", "\u4e2d\u6587|1|\u6587" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_str_eq(pieces(cases[i][0]), cases[i][1], "'%s' became '%s', not '%s'",
                         cases[i][0], pieces(cases[i][0]), cases[i][1]);
}

Test(pretokenize, other_expressions_are_not_known)
{
    cr_assert(pretokenize_is_known_regex("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{"
                                         "N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                                         "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"));
    cr_assert_not(pretokenize_is_known_regex(
        "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
        "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
        "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+")); /* GPT-4's: up to three digits a piece */
    cr_assert_not(pretokenize_is_known_regex(""));
}

/* Does a class hold exactly the code points of the ranges? */
static void check_class(const json_t *ranges, const char *name, bool (*is_in)(uint32_t))
{
    size_t n = 0, i = 0, n_bad = 0;

    cr_assert(json_array_size(ranges) > 0);
    for (uint32_t c = 0; c < 0x110000; c++) {
        const json_t *r = json_array_get(ranges, i);
        bool want;

        if (c >= 0xd800 && c < 0xe000)
            continue;
        while (r && (json_int_t)c > json_integer_value(json_array_get(r, 1)))
            r = json_array_get(ranges, ++i);
        want = r && (json_int_t)c >= json_integer_value(json_array_get(r, 0));
        n += want;
        if (is_in(c) != want && n_bad++ < 5)
            cr_log_error("U+%04X: %s is %d, must be %d", (unsigned)c, name, is_in(c), want);
    }
    cr_expect_eq(n_bad, 0, "%zu code points differ in class %s", n_bad, name);
    cr_log_info("%s: %zu code points", name, n);
}

Test(pretokenize, classes_are_those_of_hugging_face_tokenizers)
{
    static const struct {
        const char *name;
        bool (*is_in)(uint32_t);
    } classes[] = {
        { "letter", unicode_is_letter },
        { "number", unicode_is_number },
        { "space", unicode_is_space },
        { "word", unicode_is_word },
    };
    struct buf path = { 0 };
    char *line = NULL;
    size_t cap = 0;
    FILE *f;

    buf_printf(&path, "%s/vectors/tokenizer/classes.jsonl", getenv("DESBENCH_TESTS"));
    f = fopen(buf_str(&path), "r");
    cr_assert(f, "cannot open %s", buf_str(&path));
    cr_assert(getline(&line, &cap, f) > 0); /* the head */
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        json_t *ranges;

        cr_assert(getline(&line, &cap, f) > 0);
        ranges = json_loads(line, 0, NULL);
        check_class(ranges, classes[i].name, classes[i].is_in);
        json_decref(ranges);
    }
    free(line);
    fclose(f);
    buf_release(&path);
}
