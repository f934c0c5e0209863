/* Selectors: parsing, canonical text, and what they make of a model's routing. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* What a text gives for the model above. */
static struct route_params route_of(const char *text)
{
    struct selector s;
    struct route_params r = { 0 };
    struct error err = { 0 };

    cr_assert_eq(selector_parse(text, &s, &err), ST_OK, "%s: %s", text, err.text);
    cr_assert_eq(selector_route(&s, &own, &r, &err), ST_OK, "%s: %s", text, err.text);
    return r;
}

Test(selector, budgets_as_shares_round_down_and_as_numbers_stay)
{
    static const struct {
        const char *text;
        int n_exp, n_core;
    } cases[] = {
        { "des-vote:beta=0.15", 256, 38 }, /* 38.4: Table 1 of arXiv:2602.00879 */
        { "des-vote:beta=0.10", 256, 25 }, /* 25.6 */
        { "des-vote:beta=0.6", 64, 38 },   /* 38.4 */
        { "des-vote:beta=0.4", 64, 25 },   /* 25.6 */
        { "des-vote:beta=0.29", 100, 29 }, /* exact, though not in binary */
        { "des-vote:beta=0.7", 10, 7 },    { "des-vote:beta=1", 64, 64 },
        { "des-vote:m=24", 64, 24 },       { "xshare:m=1", 64, 1 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_params model = own, r;
        struct selector s;

        model.n_exp = cases[i].n_exp;
        cr_assert_eq(selector_parse(cases[i].text, &s, NULL), ST_OK);
        cr_assert_eq(selector_route(&s, &model, &r, NULL), ST_OK);
        cr_assert_eq(r.n_core, cases[i].n_core, "%s of %d: %d", cases[i].text, cases[i].n_exp,
                     r.n_core);
    }
}

Test(selector, a_budget_that_the_model_cannot_have_is_refused_with_the_numbers)
{
    static const char *const cases[][2] = {
        { "des-vote:beta=0.01", "beta 0.01 of 64 experts is none" },
        { "des-vote:m=65", "m 65 is more than the model's 64 experts" },
        { "des-seq:k0=9", "k0 9 is more than the model's own top-k 8" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_params r = { .top_k = -7 };
        struct error err = { 0 };
        struct selector s;

        cr_assert_eq(selector_parse(cases[i][0], &s, NULL), ST_OK);
        cr_assert_eq(selector_route(&s, &own, &r, &err), ST_INVALID);
        cr_assert(strstr(err.text, cases[i][1]), "%s", err.text);
        cr_assert_eq(r.top_k, -7);
    }
}

Test(selector, policies_are_the_settings_that_their_papers_name)
{
    struct route_params r = route_of("des-vote:beta=0.4");

    cr_assert(r.size == SIZE_FIXED && r.elect == ELECT_VOTES && r.vote == VOTE_PROB);
    cr_assert(r.mask == 8 && r.warm == 0 && !r.is_vote_normed && !r.is_truncated && !r.is_joint);
    r = route_of("oea:k0=3");
    cr_assert(r.size == SIZE_UNION && r.warm == 3 && r.top_k == 8 && !r.is_truncated);
    r = route_of("dmoe");
    cr_assert(r.size == SIZE_TOP_P && r.core_p == 0.6 && r.floor == 16 && r.vote == VOTE_BIASED);
    cr_assert(r.mask == 8 && r.is_mask_ungrouped);
    r = route_of("xshare:m=20");
    cr_assert(r.size == SIZE_FIXED && r.mask == 64 && r.warm == 1 && !r.is_truncated);
    r = route_of("moe-spec:m=20");
    cr_assert(r.size == SIZE_FIXED && r.mask == 64 && r.warm == 0 && r.is_truncated);
    r = route_of("naee");
    cr_assert(r.size == SIZE_NONE && r.keep == KEEP_TAIL && r.tail == 0.6 && r.protect == 0);
    r = route_of("mc-moe:tail=0.5");
    cr_assert(r.keep == KEEP_TAIL && r.tail == 0.5 && r.protect == 0.1);
    r = route_of("topp:p=0.9");
    cr_assert(r.keep == KEEP_TOP_P && r.keep_p == 0.9 && !r.is_keep_p_of_top_k);
    r = route_of("previous-step:m=24");
    cr_assert(r.is_lagged && r.elect == ELECT_VOTES && r.n_core == 24);
    cr_assert_eq(route_of("random:m=24").elect, ELECT_RANDOM);
    cr_assert_eq(route_of("static:m=24,file=x").elect, ELECT_STATIC);
    cr_assert_eq(route_of("oracle-mass:m=24").elect, ELECT_MASS);
}

Test(selector, any_field_overrides_any_policy)
{
    struct route_params r = route_of("des-vote:m=24,k=4,k0=1,vote=count,mask=all,voters=masked,"
                                     "outside=truncate,renorm=over,keep=tail,tail=0.3,lag=1");

    cr_assert(r.n_core == 24 && r.top_k == 4 && r.warm == 1 && r.vote == VOTE_COUNT);
    cr_assert(r.mask == 64 && r.is_truncated && r.is_renormed && r.keep == KEEP_TAIL);
    cr_assert(r.tail == 0.3 && r.is_lagged);
    r = route_of("des-vote:beta=0.4,vote_norm=topk,mask=3,mask_group=lift,group=lift,scope=batch");
    cr_assert(r.is_vote_normed && r.mask == 3 && r.is_mask_ungrouped && r.inside == INSIDE_LIFTED);
    cr_assert(r.is_joint);
    cr_assert(route_of("des-vote:m=9,guard=drop").is_guard_drop);
    r = route_of("vanilla:k=4");
    cr_assert(r.top_k == 4 && r.size == SIZE_NONE);
}

Test(selector, canonical_text_reads_back_as_itself)
{
    static const char *const texts[][2] = {
        { "vanilla", "vanilla" },
        { "topk:k=4", "topk:k=4" },
        { "topk:k=004", "topk:k=4" },
        { "oea:k0=3", "des-seq:k0=3" },
        { "des-vote:beta=0.400", "des-vote:beta=0.4" },
        { "des-vote:beta=.4,vote=prob,mask=k", "des-vote:beta=0.4" },
        { "des-vote:vote=count,m=24", "des-vote:m=24,vote=count" },
        { "des-vote:m=24,mask=1024", "des-vote:m=24,mask=all" },
        { "des-vote:m=24,mask=8", "des-vote:m=24,mask=8" },
        { "dmoe", "dmoe:p=0.6" },
        { "dmoe:floor=12,p=0.60", "dmoe:p=0.6,floor=12" },
        { "naee", "naee:tail=0.6" },
        { "mc-moe", "mc-moe:tail=0.6,protect=0.1" },
        { "random:m=8,seed=7", "random:m=8,seed=7" },
        { "des-vote:m=8,outside=truncate", "des-vote:m=8,outside=truncate" },
    };

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

Test(selector, settings_name_all_that_is_read_and_nothing_else)
{
    struct buf b = { 0 };

    cr_assert_eq(engine_selector_settings("topk:k=4", &b, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&b), "k=4,keep=all,size=none,prefill=on,renorm=model");
    buf_clear(&b);
    cr_assert_eq(engine_selector_settings("des-vote:beta=0.4", &b, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&b),
                     "k=model,keep=all,size=fixed,beta=0.4,k0=0,elect=votes,vote=prob,"
                     "vote_norm=all,mask=k,mask_group=model,voters=all,scope=sequence,prefill=off,"
                     "lag=0,outside=reroute,group=natural,guard=widen,renorm=model");
    buf_clear(&b);
    cr_assert_eq(engine_selector_budget("des-vote:vote=count,beta=0.4", &b, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&b), "beta=0.4");
    buf_clear(&b);
    cr_assert_eq(engine_selector_budget("vanilla", &b, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&b), "");
    buf_release(&b);
}

Test(selector, a_file_is_named_with_its_content_which_may_not_change)
{
    struct buf a = { 0 }, b = { 0 };
    char path[] = "/tmp/desbench-test-XXXXXX", text[128], want[128];
    struct error err = { 0 };
    int fd = mkstemp(path);

    cr_assert(fd >= 0 && write(fd, "abc", 3) == 3);
    snprintf(text, sizeof(text), "static:m=8,file=%s", path);
    snprintf(want, sizeof(want), "static:m=8,file=%s@sha256:ba7816bf8f01cfea", path);
    cr_assert_eq(engine_selector_text(text, &a, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&a), want);
    cr_assert_eq(engine_selector_text(buf_str(&a), &b, NULL), ST_OK);
    cr_assert_str_eq(buf_str(&b), want);
    cr_assert(write(fd, "d", 1) == 1);
    close(fd);
    cr_assert_eq(engine_selector_text(want, &b, &err), ST_MISMATCH);
    cr_assert(strstr(err.text, "has changed"), "%s", err.text);
    unlink(path);
    cr_assert_eq(engine_selector_text(text, &b, NULL), ST_NOT_FOUND);
    buf_release(&a);
    buf_release(&b);
}

Test(selector, what_can_be_listed_can_be_parsed)
{
    struct engine_selector e;
    struct engine_selector_field f;
    struct buf b = { 0 };
    size_t n = 0, n_fields = 0;

    for (; buf_clear(&b), engine_selector_get(n, &e, &b); n++) {
        char text[64];
        struct selector s;
        struct error err = { 0 };

        snprintf(text, sizeof(text), "%s:nothing=1", e.name);
        cr_assert_eq(selector_parse(text, &s, &err), ST_INVALID);
        cr_assert(strstr(err.text, "has no field 'nothing'"), "%s", err.text);
        cr_assert(e.alias_of ? !b.len : e.help && e.source && e.open && b.len > 0, "%s", e.name);
    }
    cr_assert_eq(n, 15);
    while (engine_selector_field_get(n_fields, &f, &b))
        n_fields++;
    cr_assert_eq(n_fields, N_SELECTOR_FIELDS);
    buf_release(&b);
}

struct bad {
    char text[48], part[80];
};

ParameterizedTestParameters(selector, bad_text_is_refused_with_the_reason)
{
    static struct bad cases[] = {
        { "", "unknown selector ''" },
        { "des", "known: vanilla, topk" },
        { "topk ", "unknown selector 'topk '" },
        { "vanilla:x=4", "has no field 'x'; its fields: k, keep" },
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
        { "topk:K=4", "has no field 'K'" },
        { "topk:k=4:x", "not an integer: '4:x'" },
        { "topk:kk=4", "has no field 'kk'" },
        { "topk:k=4,beta=0.4", "nothing reads field 'beta' here; it goes with size=fixed" },
        { "des-seq:k0=2,vote=count", "nothing reads field 'vote'" },
        { "des-seq", "needs a value of: k0" },
        { "des-seq:k0=0", "needs a value above 0 of: k0" },
        { "des-vote", "needs a value above 0 of: beta or m" },
        { "des-vote:beta=0", "needs a value above 0 of: beta or m" },
        { "des-vote:beta=0.4,m=25", "beta or m, not both" },
        { "des-vote:beta=1.5", "need 0 <= beta 1.5 <= 1" },
        { "des-vote:beta=-0.1", "not a number: '-0.1'" },
        { "des-vote:beta=nan", "not a number: 'nan'" },
        { "des-vote:beta=0x1p-1", "not a number: '0x1p-1'" },
        { "des-vote:beta=1e-", "not a number: '1e-'" },
        { "des-vote:m=0", "need 1 <= m 0 <= 1024" },
        { "des-vote:m=24,vote=best", "is one of prob|biased|logit|rank|count, not 'best'" },
        { "des-vote:m=24,vote=", "not ''" },
        { "des-vote:m=24,vote=pro", "not 'pro'" },
        { "des-vote:m=9,vote=rank,vote_norm=topk", "goes with vote=prob or vote=biased" },
        { "des-vote:m=24,guard=drop,group=lift", "nothing reads field 'guard'" },
        { "des-vote:m=24,scope=batch,lag=1", "scope=batch goes neither with lag=1" },
        { "dmoe:vote=logit", "needs votes that are not negative" },
        { "dmoe:p=0", "needs a value above 0 of: p" },
        { "dmoe:elect=random", "nothing reads field 'elect'" },
        { "static:m=24", "needs a value of: file" },
        { "static:m=24,file=", "field 'file' is empty" },
        { "topp", "needs a value of: p" },
        { "vanilla:prefill=on", "nothing reads field 'prefill'" },
    };

    return cr_make_param_array(struct bad, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad *c, selector, bad_text_is_refused_with_the_reason)
{
    struct selector s = { .v[SEL_K] = -7 };
    struct error err = { 0 };

    cr_assert_eq(selector_parse(c->text, &s, &err), ST_INVALID, "'%s'", c->text);
    cr_assert(strstr(err.text, c->part), "'%s' gives: %s", c->text, err.text);
    cr_assert_eq(s.v[SEL_K], -7, "the result was touched");
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
