/* Lists and ranges: which values they stand for, exactly, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "harness/ranges.h"

typedef enum status (*expand_fn)(const char *, struct arena *, const char *const **, size_t *,
                                 struct error *);

/* The values as one text, with blanks between; the message where they are refused. */
static const char *expand(expand_fn fn, const char *text)
{
    static char out[4096];
    struct arena a = { 0 };
    struct error err = { 0 };
    const char *const *values;
    size_t n = 0, at = 0;

    if (fn(text, &a, &values, &n, &err)) {
        snprintf(out, sizeof(out), "! %s", err.text);
        arena_release(&a);
        return out;
    }
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i ? " " : "", values[i]);
    arena_release(&a);
    return out;
}

Test(ranges, lists_are_written_as_llama_bench_writes_them)
{
    static const struct {
        const char *text, *values;
    } cases[] = {
        { "8", "8" },
        { "8,16,32", "8 16 32" },
        { "8-12", "8 9 10 11 12" },
        { "8-64+8", "8 16 24 32 40 48 56 64" },
        { "8-63+8", "8 16 24 32 40 48 56" },
        { "8-64*2", "8 16 32 64" },
        { "1-100*3", "1 3 9 27 81" },
        { "5-5", "5" },
        { "1,4-8*2,100", "1 4 8 100" },
        { "0.8-0.95+0.05", "0.8 0.85 0.9 0.95" },
        { "0.1-0.3+0.1", "0.1 0.2 0.3" }, /* 0.1 + 0.2 is above 0.3 in doubles */
        { "0.5-2.5", "0.5 1.5 2.5" },
        { "1e-3,-5,a-b", "1e-3 -5 a-b" }, /* no ranges */
        { "none,dual", "none dual" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_str_eq(expand(ranges_expand, cases[i].text), cases[i].values, "'%s': '%s'",
                         cases[i].text, expand(ranges_expand, cases[i].text));
}

Test(ranges, what_stands_for_no_values_is_refused)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        { "8,,16", "empty entry" },
        { "8,", "empty entry" },
        { "8,16,8", "'8' is listed" },
        { "4-8,6", "'6' is listed" },
        { "9-8", "ends before" },
        { "1-8+0", "takes no steps" },
        { "1-8*1", "whole factor" },
        { "1-8*1.5", "whole factor" },
        { "0-8*2", "whole factor" },
        { "1-2000", "more than 1000 values" },
        { "0.000001-999999999999999", "too many digits" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = expand(ranges_expand, cases[i].text);

        cr_assert(*found == '!' && strstr(found, cases[i].word), "'%s': '%s'", cases[i].text,
                  found);
    }
}

Test(ranges, a_selector_stands_for_all_combinations_of_its_fields)
{
    static const struct {
        const char *text, *values;
    } cases[] = {
        { "vanilla", "vanilla" },
        { "topk:k=4", "topk:k=4" },
        { "topk:k=1-3", "topk:k=1 topk:k=2 topk:k=3" },
        { "d:beta=0.2,0.4,vote=count", "d:beta=0.2,vote=count d:beta=0.4,vote=count" },
        { "d:a=1,2,b=x,y", "d:a=1,b=x d:a=1,b=y d:a=2,b=x d:a=2,b=y" },
        { "topk:k=", "topk:k=" }, /* the engine knows better what is wrong with these */
        { "topk:4", "topk:4" },
        { "topk:", "topk:" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_str_eq(expand(ranges_expand_selector, cases[i].text), cases[i].values,
                         "'%s': '%s'", cases[i].text,
                         expand(ranges_expand_selector, cases[i].text));
    cr_assert(strstr(expand(ranges_expand_selector, "topk:k=1,1"), "selector 'topk:k=1,1'"));
    cr_assert(strstr(expand(ranges_expand_selector, "d:a=1-100,b=1-100"), "more than 1000"));
}
