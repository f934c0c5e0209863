/* Options: sources and their order, errors that name option and value, help. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/options.h"

static struct options c;
static struct error err;

static enum status parse(unsigned verb, const char *const *argv)
{
    int argc = 0;

    options_release(&c);
    while (argv[argc])
        argc++;
    return options_parse(verb, argc, (char *const *)argv, &c, &err);
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

TestSuite(options, .fini = NULL);

Test(options, a_default_holds_until_something_else_is_given)
{
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert_str_eq(options_text(&c, OPT_SELECTOR), "vanilla");
    cr_assert_not(options_is_given(&c, OPT_SELECTOR));
    cr_assert_not(options_has(&c, OPT_MODEL));
    options_release(&c);
}

Test(options, the_command_line_wins_over_the_environment_and_that_over_the_default)
{
    setenv("DESBENCH_SEED", "5", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert_eq(options_int(&c, OPT_SEED), 5);
    cr_assert_eq(c.values[OPT_SEED].source, SOURCE_ENV);
    cr_assert_eq(parse(VERB_RUN, ARGV("--seed", "7")), ST_OK);
    cr_assert_eq(options_int(&c, OPT_SEED), 7);
    unsetenv("DESBENCH_SEED");
    options_release(&c);
}

Test(options, a_list_grows_within_a_source_and_replaces_the_default)
{
    cr_assert_eq(parse(VERB_RUN, ARGV("--selector", "vanilla", "--selector=topk:k=4")), ST_OK);
    cr_assert_eq(c.values[OPT_SELECTOR].n, 2);
    cr_assert_str_eq(c.values[OPT_SELECTOR].texts[1], "topk:k=4");
    options_release(&c);
}

Test(options, short_forms_take_their_value_joined_or_apart)
{
    cr_assert_eq(parse(VERB_RUN, ARGV("-L2", "-t", "gsm8k")), ST_OK);
    cr_assert_eq(options_int(&c, OPT_LIMIT), 2);
    cr_assert_str_eq(options_text(&c, OPT_TASKS), "gsm8k");
    options_release(&c);
}

Test(options, after_two_dashes_everything_is_an_argument)
{
    cr_assert_eq(parse(VERB_GRADE, ARGV("--", "--seed")), ST_OK);
    cr_assert_eq(c.n_args, 1);
    cr_assert_str_eq(c.args[0], "--seed");
    options_release(&c);
}

struct bad {
    const char *argv[4];
    const char *words[3]; /* each must be in the message */
};

Test(options, every_mistake_is_refused_by_name_and_value)
{
    static const struct bad cases[] = {
        { { "--limit", "ten" }, { "--limit", "whole", "'ten'" } },
        { { "--limit", "0" }, { "--limit", "1 ..", "'0'" } },
        { { "--limit", "2.5" }, { "--limit", "'2.5'" } },
        { { "--limit", "3x" }, { "--limit", "'3x'" } },
        { { "--limit", "" }, { "--limit", "''" } },
        { { "--limit", " 3" }, { "--limit" } },
        { { "--limit" }, { "--limit", "needs a value" } },
        { { "--limit", "+3" }, { "--limit", "whole", "'+3'" } },
        { { "--limit", "-" }, { "--limit", "whole" } },
        { { "--limit", "1e2" }, { "--limit", "whole", "'1e2'" } },
        { { "--limit", "0x10" }, { "--limit", "whole" } },
        { { "--limit", "1000000001" }, { "--limit", "1 .. 1000000000" } },
        { { "--seed", "-1" }, { "--seed", "0 ..", "'-1'" } },
        /* a double would round it to the bound */
        { { "--seed", "9007199254740993" }, { "--seed", "9007199254740992", "993'" } },
        { { "--seed", "99999999999999999999" }, { "--seed", "0 .. 9007199254740992" } },
        { { "--temperature", "0x1p3" }, { "--temperature", "'0x1p3'" } },
        { { "--temperature", "inf" }, { "--temperature", "a number" } },
        { { "--temperature", "1e999" }, { "--temperature", "a number" } },
        { { "--model", "--dry-run" }, { "--model", "DIR", "'--model=--dry-run'" } },
        { { "--model", "--seed=3" }, { "--model", "option '--seed=3'" } },
        { { "-o", "" }, { "--output", "''" } },
        { { "--threshold", "1.5" }, { "--threshold", "0 .. 1", "'1.5'" } },
        { { "--threshold", "nan" }, { "--threshold", "'nan'" } },
        { { "--load-format", "gguf" }, { "--load-format", "safetensors|dummy", "'gguf'" } },
        { { "--load-format", "dum" }, { "'dum'" } },
        { { "--dry-run=yes" }, { "--dry-run", "'yes'" } },
        { { "--thresold", "1" }, { "'--thresold'", "did you mean '--threshold'" } },
        { { "--zzzzzzzzzzzz" }, { "--zzzzzzzzzzzz", "--help" } },
        { { "--full" }, { "--full", "does not belong" } },
        { { "-Z" }, { "'-Z'" } },
        { { "--model", "" }, { "--model", "''" } },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(parse(VERB_RUN, cases[i].argv), ST_INVALID, "case %zu", i);
        for (int k = 0; k < 3 && cases[i].words[k]; k++)
            cr_assert(strstr(err.text, cases[i].words[k]), "case %zu: '%s' not in '%s'", i,
                      cases[i].words[k], err.text);
    }
}

Test(options, a_bad_environment_value_names_its_variable)
{
    setenv("DESBENCH_LIMIT", "none", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_INVALID);
    cr_assert(strstr(err.text, "DESBENCH_LIMIT") && strstr(err.text, "'none'"), "%s", err.text);
    unsetenv("DESBENCH_LIMIT");
    setenv("DESBENCH_DRY_RUN", "maybe", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_INVALID);
    cr_assert(strstr(err.text, "DESBENCH_DRY_RUN") && strstr(err.text, "'maybe'"), "%s", err.text);
}

Test(options, a_flag_may_be_switched_by_the_environment)
{
    setenv("DESBENCH_DRY_RUN", "false", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert_not(options_flag(&c, OPT_DRY_RUN));
    setenv("DESBENCH_DRY_RUN", "1", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert(options_flag(&c, OPT_DRY_RUN));
    unsetenv("DESBENCH_DRY_RUN");
    options_release(&c);
}

Test(options, the_last_of_several_wins_and_bounds_are_inclusive)
{
    cr_assert_eq(parse(VERB_RUN, ARGV("--seed", "1", "--seed=9007199254740992", "-L1000000000",
                                      "--threshold", "1", "--model=--seed", "--backend", "--x")),
                 ST_OK);
    cr_assert_eq(options_int(&c, OPT_SEED), INT64_C(9007199254740992));
    cr_assert_eq(options_int(&c, OPT_LIMIT), 1000000000);
    cr_assert_eq(options_real(&c, OPT_THRESHOLD), 1.0);
    cr_assert_str_eq(options_text(&c, OPT_MODEL), "--seed");
    cr_assert_str_eq(options_text(&c, OPT_BACKEND), "--x");
    options_release(&c);
}

/* "--sandbox-level" as the shell knows it. */
static void variable_of(const struct option_def *d, char *out, size_t size)
{
    snprintf(out, size, "DESBENCH_%s", d->name);
    for (char *p = out; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

Test(options, every_option_has_its_variable)
{
    char name[64];

    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option_def *d = &option_table[i];
        char text[64] = "some";
        unsigned verb = d->verbs & (~d->verbs + 1);

        if (i == OPT_HELP || d->is_command_only)
            continue;
        if (d->kind == OPTION_FLAG)
            snprintf(text, sizeof(text), "true");
        else if (d->kind == OPTION_INT || d->kind == OPTION_REAL)
            snprintf(text, sizeof(text), "%.16g", d->max);
        else if (d->choices)
            snprintf(text, sizeof(text), "%.*s", (int)strcspn(d->choices, "|"), d->choices);
        variable_of(d, name, sizeof(name));
        setenv(name, text, 1);
        cr_assert_eq(parse(verb, (const char *const[]){ NULL }), ST_OK, "%s: %s", name, err.text);
        cr_assert_eq(c.values[i].n, 1, "%s", name);
        cr_assert_eq(c.values[i].source, SOURCE_ENV, "%s", name);
        cr_assert_str_eq(options_text(&c, (enum option_id)i), text);
        unsetenv(name);
    }
    options_release(&c);
}

Test(options, data_dir_is_read_from_its_own_variable)
{
    setenv("DESBENCH_DATA", "somewhere", 1);
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert_str_eq(options_text(&c, OPT_DATA_DIR), "somewhere");
    setenv("DESBENCH_DATA_DIR", "elsewhere", 1); /* the regular name wins */
    cr_assert_eq(parse(VERB_RUN, (const char *const[]){ NULL }), ST_OK);
    cr_assert_str_eq(options_text(&c, OPT_DATA_DIR), "elsewhere");
    unsetenv("DESBENCH_DATA_DIR");
    unsetenv("DESBENCH_DATA");
    options_release(&c);
}

Test(options, the_stored_configuration_has_values_typed_and_sourced)
{
    struct buf b = { 0 };

    cr_assert_eq(parse(VERB_RUN, ARGV("-L", "3", "--temperature", "0.5", "--override", "a=1")),
                 ST_OK);
    options_put_json(&c, &b);
    cr_assert(strstr(b.data, "\"limit\":{\"value\":3,\"source\":\"command line\"}"), "%s", b.data);
    cr_assert(strstr(b.data, "\"temperature\":{\"value\":0.5,"), "%s", b.data);
    cr_assert(strstr(b.data, "\"override\":{\"value\":[\"a=1\"],"), "%s", b.data);
    cr_assert(strstr(b.data, "\"seed\":{\"value\":0,\"source\":\"default\"}"), "%s", b.data);
    buf_release(&b);
    options_release(&c);
}

Test(options, the_table_is_whole_and_unambiguous)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option_def *d = &option_table[i];

        cr_assert(d->name && d->group && d->help && d->verbs, "row %d", i);
        cr_assert(d->kind == OPTION_FLAG ? !d->metavar : d->metavar != NULL, "--%s", d->name);
        for (int k = 0; k < i; k++) {
            if (!(d->verbs & option_table[k].verbs))
                continue; /* no verb knows both */
            cr_assert_str_neq(d->name, option_table[k].name);
            cr_assert(!d->letter || d->letter != option_table[k].letter, "-%c", d->letter);
        }
    }
}

Test(options, help_fits_100_columns_and_names_every_option_of_the_verb)
{
    struct buf b = { 0 };
    size_t column = 0;

    options_put_help(VERB_RUN, &b);
    for (size_t i = 0; i < b.len; i++) {
        column = b.data[i] == '\n' ? 0 : column + 1;
        cr_assert_leq(column, 100);
    }
    for (int i = 0; i < N_OPTIONS; i++)
        if (option_table[i].verbs & VERB_RUN)
            cr_assert(strstr(b.data, option_table[i].name), "--%s", option_table[i].name);
    cr_assert_null(strstr(b.data, "--full"));
    buf_release(&b);
}
