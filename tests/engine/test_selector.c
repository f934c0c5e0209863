/* Selectors: parsing, canonical text, and what they make of a model's routing. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "engine/selector.h"

static const struct route_params own = {
    .n_exp = 64, .top_k = 8, .top_k_base = 8, .renorm = true, .scale = 2.5F
};

Test(selector, vanilla_is_the_models_own_routing)
{
    struct selector s;
    struct route_params r = { 0 };

    cr_assert_eq(selector_parse("vanilla", &s, NULL), ST_OK);
    cr_assert_eq(selector_route(&s, &own, &r, NULL), ST_OK);
    cr_assert(r.n_exp == 64 && r.top_k == 8 && r.top_k_base == 8 && r.renorm && r.scale == 2.5F);
}

Test(selector, topk_changes_k_and_nothing_else)
{
    struct selector s;
    struct route_params r = { 0 };

    cr_assert_eq(selector_parse("topk:k=4", &s, NULL), ST_OK);
    cr_assert_eq(selector_route(&s, &own, &r, NULL), ST_OK);
    cr_assert(r.n_exp == 64 && r.top_k == 4 && r.top_k_base == 8 && r.renorm && r.scale == 2.5F);
}

Test(selector, topk_at_the_models_own_k_is_vanilla)
{
    struct selector s;
    struct route_params r = { 0 };

    cr_assert_eq(selector_parse("topk:k=8", &s, NULL), ST_OK);
    cr_assert_eq(selector_route(&s, &own, &r, NULL), ST_OK);
    cr_assert_eq(r.top_k, own.top_k);
}

Test(selector, topk_above_the_models_own_k_is_refused_with_both_numbers)
{
    struct selector s;
    struct route_params r = { .top_k = -7 };
    struct error err = { 0 };

    cr_assert_eq(selector_parse("topk:k=9", &s, NULL), ST_OK);
    cr_assert_eq(selector_route(&s, &own, &r, &err), ST_INVALID);
    cr_assert(strstr(err.text, "9") && strstr(err.text, "8"), "%s", err.text);
    cr_assert_eq(r.top_k, -7);
}

Test(selector, canonical_text_reads_back_as_itself)
{
    static const char *const texts[][2] = { { "vanilla", "vanilla" },
                                            { "topk:k=4", "topk:k=4" },
                                            { "topk:k=004", "topk:k=4" } };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf a = { 0 }, b = { 0 };

        cr_assert_eq(engine_selector_text(texts[i][0], &a, NULL), ST_OK);
        cr_assert_str_eq(buf_str(&a), texts[i][1]);
        cr_assert_eq(engine_selector_text(buf_str(&a), &b, NULL), ST_OK);
        cr_assert_str_eq(buf_str(&a), buf_str(&b));
        buf_release(&a);
        buf_release(&b);
    }
}

struct bad {
    char text[32], part[64];
};

ParameterizedTestParameters(selector, bad_text_is_refused_with_the_reason)
{
    static struct bad cases[] = {
        { "", "unknown selector ''" },
        { "des", "known: vanilla, topk" },
        { "topk ", "unknown selector 'topk '" },
        { "vanilla:k=4", "has no field 'k'; its fields: none" },
        { "vanilla:", "has no field ''" },
        { "topk", "needs a value of: k" },
        { "topk:", "has no field ''" },
        { "topk:k", "no value: write 'k=...'" },
        { "topk:k=", "not an integer: ''" },
        { "topk:k= 4", "not an integer: ' 4'" },
        { "topk:k=4x", "not an integer: '4x'" },
        { "topk:k=4.0", "not an integer: '4.0'" },
        { "topk:k=+4", "not an integer: '+4'" },
        { "topk:k=0", "need 1 <= k 0 <= 64" },
        { "topk:k=-1", "need 1 <= k -1 <= 64" },
        { "topk:k=65", "need 1 <= k 65 <= 64" },
        { "topk:k=99999999999999999999", "not an integer" },
        { "topk:k=4,", "has no field ''" },
        { "topk:,k=4", "has no field ''" },
        { "topk:k=4,k=4", "given twice" },
        { "topk:K=4", "has no field 'K'; its fields: k" },
        { "topk:k=4:x", "not an integer: '4:x'" },
        { "topk:kk=4", "has no field 'kk'" },
    };

    return cr_make_param_array(struct bad, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad *c, selector, bad_text_is_refused_with_the_reason)
{
    struct selector s = { .k = -7 };
    struct error err = { 0 };

    cr_assert_eq(selector_parse(c->text, &s, &err), ST_INVALID, "'%s'", c->text);
    cr_assert(strstr(err.text, c->part), "'%s' gives: %s", c->text, err.text);
    cr_assert_eq(s.k, -7, "the result was touched");
}

Test(selector, a_long_name_is_shown_in_part)
{
    char text[5000];
    struct selector s;
    struct error err = { 0 };

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    cr_assert_eq(selector_parse(text, &s, &err), ST_INVALID);
    cr_assert(strstr(err.text, "known: vanilla"), "%s", err.text);
}
