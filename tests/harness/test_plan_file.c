/* Plan files: values with their places, every mistake by line and column, what wins over what. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "harness/plan_file.h"
#include "tests/base/fail_malloc.h"

static struct options c;
static struct plan_file plan;
static struct error err;

static enum status parse_bytes(const char *text, size_t len)
{
    plan_file_release(&plan);
    err = (struct error){ 0 };
    return plan_file_parse(text, len, "p.yaml", VERB_RUN, &plan, &err);
}

static enum status parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void options_of(const char *const *argv)
{
    int argc = 0;

    options_release(&c);
    while (argv[argc])
        argc++;
    cr_assert_eq(options_parse(VERB_RUN, argc, (char *const *)argv, &c, &err), ST_OK, "%s",
                 err.text);
    cr_assert_eq(plan_file_apply(&plan, &plan.common, &c, &err), ST_OK, "%s", err.text);
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_ARGS ((const char *const[]){ NULL })

static void end(void)
{
    plan_file_release(&plan);
    options_release(&c);
}

TestSuite(plan_file, .fini = end);

Test(plan_file, values_keep_their_text_and_their_place)
{
    cr_assert_eq(parse("# talk\nlimit: 10\ntasks: [gsm8k, 'math500']\n\nselector:\n  - vanilla\n"
                       "  - topk:k=4\ntemperature: \"0.5\"\n"),
                 ST_OK, "%s", err.text);
    cr_assert_eq(plan.common.n, 4);
    cr_assert_eq(plan.common.items[0].id, OPT_LIMIT);
    cr_assert_str_eq(plan.common.items[0].values[0].text, "10");
    cr_assert_eq(plan.common.items[0].line, 2);
    cr_assert_eq(plan.common.items[0].values[0].column, 8);
    cr_assert_eq(plan.common.items[1].n, 2);
    cr_assert_str_eq(plan.common.items[1].values[1].text, "math500");
    cr_assert_eq(plan.common.items[1].values[1].column, 16);
    cr_assert_eq(plan.common.items[2].line, 5);
    cr_assert_eq(plan.common.items[2].values[1].line, 7);
    cr_assert_eq(plan.common.items[2].values[1].column, 5);
    cr_assert_str_eq(plan.common.items[3].values[0].text, "0.5");
}

Test(plan_file, a_plan_lies_between_defaults_and_environment)
{
    cr_assert_eq(parse("limit: 10\nseed: 3\ntasks: [gsm8k, math500]\nselector: topk:k=4\n"
                       "gen-length: 64\njson: true\n"),
                 ST_OK, "%s", err.text);
    setenv("DESBENCH_SEED", "5", 1);
    setenv("DESBENCH_LIMIT", "6", 1);
    options_of(ARGV("--limit", "7"));
    unsetenv("DESBENCH_SEED");
    unsetenv("DESBENCH_LIMIT");
    cr_assert_eq(options_int(&c, OPT_LIMIT), 7);
    cr_assert_eq(c.values[OPT_LIMIT].source, SOURCE_COMMAND_LINE);
    cr_assert_null(c.values[OPT_LIMIT].origin);
    cr_assert_eq(options_int(&c, OPT_SEED), 5);
    cr_assert_eq(c.values[OPT_SEED].source, SOURCE_ENV);
    cr_assert_eq(options_int(&c, OPT_GEN_LENGTH), 64);
    cr_assert_str_eq(c.values[OPT_GEN_LENGTH].origin, "p.yaml:5");
    cr_assert_str_eq(options_text(&c, OPT_TASKS), "gsm8k,math500");
    cr_assert_eq(c.values[OPT_SELECTOR].n, 1); /* it replaces the default */
    cr_assert_str_eq(options_text(&c, OPT_SELECTOR), "topk:k=4");
    cr_assert(options_flag(&c, OPT_JSON));
    cr_assert_str_eq(options_text(&c, OPT_LOAD_FORMAT), "safetensors");
    cr_assert_eq(c.values[OPT_LOAD_FORMAT].source, SOURCE_DEFAULT);
}

Test(plan_file, what_is_set_outlives_the_plan)
{
    cr_assert_eq(parse("selector: [vanilla, topk:k=4]\nmodel: abc\n"), ST_OK);
    options_of(NO_ARGS);
    plan_file_release(&plan);
    cr_assert_str_eq(c.values[OPT_SELECTOR].texts[0], "vanilla");
    cr_assert_str_eq(c.values[OPT_SELECTOR].texts[1], "topk:k=4");
    cr_assert_str_eq(options_text(&c, OPT_MODEL), "abc");
    cr_assert_str_eq(c.values[OPT_MODEL].origin, "p.yaml:2");
}

Test(plan_file, a_flag_of_a_plan_can_be_switched_off_by_the_environment)
{
    cr_assert_eq(parse("quiet: true\njson: false\n"), ST_OK);
    options_of(NO_ARGS);
    cr_assert(options_flag(&c, OPT_QUIET) && !options_flag(&c, OPT_JSON));
    cr_assert_str_eq(c.values[OPT_JSON].origin, "p.yaml:2");
    setenv("DESBENCH_QUIET", "false", 1);
    options_of(ARGV("--json"));
    unsetenv("DESBENCH_QUIET");
    cr_assert(!options_flag(&c, OPT_QUIET) && options_flag(&c, OPT_JSON));
}

Test(plan_file, the_origin_is_shown_and_stored)
{
    struct buf b = { 0 };

    cr_assert_eq(parse("\nlimit: 3\n"), ST_OK);
    options_of(NO_ARGS);
    options_put_text(&c, &b);
    cr_assert(strstr(buf_str(&b), "\nlimit          = 3  # p.yaml:2\n"), "%s", buf_str(&b));
    buf_clear(&b);
    options_put_json(&c, &b);
    cr_assert(strstr(buf_str(&b), "\"limit\":{\"value\":3,\"source\":\"plan file\",\"origin\":"
                                  "\"p.yaml:2\"}"),
              "%s", buf_str(&b));
    buf_release(&b);
}

Test(plan_file, byte_order_mark_line_ends_and_version_are_no_matter)
{
    cr_assert_eq(parse("\xef\xbb\xbflimit: 2\r\nseed: 3\r\n"), ST_OK, "%s", err.text);
    cr_assert_str_eq(plan.common.items[0].values[0].text, "2");
    cr_assert_eq(plan.common.items[1].line, 2);
    cr_assert_eq(parse("%YAML 1.2\n---\n{limit: 2}\n...\n"), ST_OK, "%s", err.text);
    cr_assert_eq(parse("limit: 2"), ST_OK, "%s", err.text);
}

Test(plan_file, every_mistake_is_told_with_its_place_and_words)
{
    static const struct {
        const char *text, *place;
        const char *words[2];
    } cases[] = {
        { "limt: 3\n", "p.yaml:1:1: ", { "unknown key 'limt'", "'limit'" } },
        { "seed: 1\ngen_length: 64\n", "p.yaml:2:1: ", { "'gen_length'", "'gen-length'" } },
        { "zzzzzzzzzzzz: 64\n", "p.yaml:1:1: ", { "'zzzzzzzzzzzz'", "--help" } },
        { "full: true\n", "p.yaml:1:1: ", { "'full'", "other verbs" } },
        { "dry-run: true\n", "p.yaml:1:1: ", { "'dry-run'", "command line" } },
        { "config: x\n", "p.yaml:1:1: ", { "'config'", "command line" } },
        { "limit: 3\nseed: 1\nlimit: 4\n", "p.yaml:3:1: ", { "'limit'", "first in line 1" } },
        { "limit: ten\n", "p.yaml:1:8: ", { "--limit", "'ten'" } },
        { "limit: 0\n", "p.yaml:1:8: ", { "1 .. 1000000000", "'0'" } },
        { "threshold: 1.5\n", "p.yaml:1:12: ", { "0 .. 1", "'1.5'" } },
        { "load-format: gguf\n", "p.yaml:1:14: ", { "safetensors|dummy", "'gguf'" } },
        { "json: yes\n", "p.yaml:1:7: ", { "true or false", "'yes'" } },
        { "model: \"\"\n", "p.yaml:1:8: ", { "--model", "''" } },
        { "limit:\n", "p.yaml:1:7: ", { "'limit' has no value" } },
        { "limit: ~\n", "p.yaml:1:8: ", { "'limit' has no value" } },
        { "tasks: [a, ]\nseed: null", "p.yaml:2:7: ", { "'seed' has no value" } },
        { "tasks: [a, ~]\n", "p.yaml:1:12: ", { "an entry of 'tasks'" } },
        { "limit: [3]\n", "p.yaml:1:8: ", { "'limit' takes one value", "list" } },
        { "limit: {a: b}\n", "p.yaml:1:8: ", { "'limit' takes one value", "mapping" } },
        { "tasks:\n  a: b\n", "p.yaml:2:3: ", { "'tasks' takes a value or a list", "mapping" } },
        { "tasks: [a, [b]]\n", "p.yaml:1:12: ", { "an entry of 'tasks'" } },
        { "tasks: []\n", "p.yaml:1:8: ", { "'tasks' is empty" } },
        { "samples: [a, 'b,c']\n", "p.yaml:1:14: ", { "comma", "'b,c'" } },
        { "selector: [vanilla, '']\n", "p.yaml:1:21: ", { "--selector", "''" } },
        { "tasks: &x a\n", "p.yaml:1:8: ", { "anchor '&x'" } },
        { "&k tasks: a\n", "p.yaml:1:1: ", { "anchor '&k'" } },
        { "tasks: *x\n", "p.yaml:1:8: ", { "alias '*x'" } },
        { "limit: !!int 3\n", "p.yaml:1:8: ", { "tag", "int" } },
        { "%TAG ! tag:x,2000:\n---\nlimit: 2\n", "p.yaml:1:1: ", { "tag directives" } },
        { "<<: {a: b}\n", "p.yaml:1:1: ", { "unknown key '<<'" } },
        { "? [a]\n: b\n", "p.yaml:1:3: ", { "a key must be" } },
        { "limit: 3\n---\nseed: 3\n", "p.yaml:2:1: ", { "second document" } },
        { "", "p.yaml:1:1: ", { "empty" } },
        { "# talk\n", "p.yaml:", { "empty" } },
        { "---\n", "p.yaml:", { "empty" } },
        { "{}\n", "p.yaml:", { "empty" } },
        { "[limit]\n", "p.yaml:1:1: ", { "mapping" } },
        { "limit\n", "p.yaml:1:1: ", { "mapping" } },
        { "tasks:\n\t- a\n", "p.yaml:2:1: ", { "tab" } },
        { "tasks:\n  \t- a\n", "p.yaml:2:3: ", { "tab" } },
        { "seed: 1\nmodel: \xc3\xa9\xff\n", "p.yaml:2:9: ", { "not UTF-8" } },
        { "model: \"a\\0b\"\n", "p.yaml:1:8: ", { "NUL" } },
        { "model: a\x01\n", "p.yaml:1:9: ", { "control characters" } },
        { "limit: 3: 4\n", "p.yaml:1:9: ", { "not YAML" } },
        { "model: \"abc\n", "p.yaml:", { "not YAML", "quoted" } },
        { "limit: 3\n seed: 4\n", "p.yaml:1:8: ", { "'3 seed'" } },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(parse(cases[i].text), ST_INVALID, "case %zu: '%s'", i, cases[i].text);
        cr_assert(strncmp(err.text, cases[i].place, strlen(cases[i].place)) == 0,
                  "case %zu: '%s' does not begin with '%s'", i, err.text, cases[i].place);
        for (int k = 0; k < 2 && cases[i].words[k]; k++)
            cr_assert(strstr(err.text, cases[i].words[k]), "case %zu: '%s' not in '%s'", i,
                      cases[i].words[k], err.text);
        cr_assert_eq(plan.common.n, 0, "case %zu", i);
    }
    cr_assert_eq(parse_bytes("limit: 3\nseed\0: 3\n", 18), ST_INVALID);
    cr_assert_str_eq(err.text, "p.yaml:2:5: a NUL byte");
}

Test(plan_file, what_is_too_large_or_too_deep_is_refused_at_once)
{
    struct buf b = { 0 };

    for (int i = 0; i < 100000; i++)
        buf_putc(&b, '[');
    cr_assert_eq(parse_bytes(b.data, b.len), ST_INVALID);
    buf_clear(&b);
    buf_puts(&b, "tasks: ");
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "[");
    cr_assert_eq(parse_bytes(b.data, b.len), ST_INVALID);
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "- ");
    cr_assert_eq(parse_bytes(b.data, b.len), ST_INVALID);
    buf_clear(&b);
    for (int i = 0; i < 30000; i++)
        buf_puts(&b, "? ");
    cr_assert_eq(parse_bytes(b.data, b.len), ST_INVALID);
    buf_clear(&b);
    buf_puts(&b, "limit: 3\n");
    while (b.len <= PLAN_FILE_MAX_BYTES)
        buf_puts(&b, "# a long talk\n");
    cr_assert_eq(parse_bytes(b.data, b.len), ST_INVALID);
    cr_assert(strstr(err.text, "262144"), "%s", err.text);
    cr_assert_eq(parse_bytes(b.data, PLAN_FILE_MAX_BYTES), ST_OK, "%s", err.text);
    buf_clear(&b);
    buf_puts(&b, "samples: [0");
    for (int i = 1; i < 20000; i++)
        buf_printf(&b, ", %d", i);
    buf_puts(&b, "]\n");
    cr_assert_eq(parse_bytes(b.data, b.len), ST_OK, "%s", err.text);
    cr_assert_eq(plan.common.items[0].n, 20000);
    options_of(NO_ARGS);
    cr_assert(strstr(options_text(&c, OPT_SAMPLES), ",19998,19999"));
    buf_release(&b);
}

Test(plan_file, any_cut_of_a_plan_is_read_or_refused)
{
    static const char text[] = "tasks: [gsm8k, \"math500\"]\nselector:\n  - 'vanilla'\n"
                               "  - topk:k=4\nlimit: 3\nmodel: >-\n  a\n  b\njson: true\n";

    cr_assert_eq(parse(text), ST_OK, "%s", err.text);
    for (size_t len = 0; len < sizeof(text); len++) {
        enum status st = parse_bytes(text, len);

        cr_assert(st == ST_OK || (st == ST_INVALID && strncmp(err.text, "p.yaml:", 7) == 0),
                  "%zu bytes: %s", len, err.text);
    }
}

static enum status try_plan(void *arg, struct error *e)
{
    static const char text[] = "tasks: [gsm8k, math500]\nselector: [vanilla, topk:k=4]\nlimit: 3\n"
                               "model: >-\n  a\n  \"b\"\ndata-dir: \"\\u00e9\"\n";
    struct options o = { 0 };
    struct plan_file p = { 0 };
    enum status st = options_parse(VERB_RUN, 0, NULL, &o, e);

    (void)arg;
    if (!st)
        st = plan_file_parse(text, sizeof(text) - 1, "p.yaml", VERB_RUN, &p, e);
    if (!st)
        st = plan_file_apply(&p, &p.common, &o, e);
    if (!st)
        cr_expect_str_eq(options_text(&o, OPT_TASKS), "gsm8k,math500");
    plan_file_release(&p);
    options_release(&o);
    return st;
}

Test(plan_file, a_failed_allocation_is_reported_and_leaks_nothing)
{
    struct fail_sweep s = { .what = "plan", .f = try_plan };

    cr_expect_gt(fail_malloc_sweep(&s), 20);
}

Test(plan_file, a_missing_file_is_not_found_and_a_bundled_plan_reads)
{
    struct buf path = { 0 };

    cr_assert_eq(plan_file_read("no-such-plan.yaml", VERB_RUN, &plan, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "no-such-plan.yaml"), "%s", err.text);
    buf_printf(&path, "%s/plans/quick.yaml", getenv("DESBENCH_SOURCE"));
    cr_assert_eq(plan_file_read(buf_str(&path), VERB_RUN, &plan, &err), ST_OK, "%s", err.text);
    options_of(NO_ARGS);
    cr_assert_eq(c.values[OPT_SELECTOR].n, 2);
    buf_release(&path);
}

static enum status parse_sweep(const char *text)
{
    plan_file_release(&plan);
    err = (struct error){ 0 };
    return plan_file_parse(text, strlen(text), "p.yaml", VERB_SWEEP, &plan, &err);
}

Test(plan_file, the_runs_of_a_sweep_keep_their_settings_apart)
{
    const struct plan_setting *s;

    cr_assert_eq(parse_sweep("tasks: gsm8k\nblock-length: [8, 16-32*2]\nruns:\n"
                             "  - model: [a, b]\n    seed: 0-2\n  - threshold: 0.8,0.9\n"),
                 ST_OK, "%s", err.text);
    cr_assert_eq(plan.common.n, 2);
    cr_assert_eq(plan.n_runs, 2);
    s = plan_settings_find(&plan.runs[0], OPT_MODEL);
    cr_assert(s && s->n == 2 && strcmp(s->values[1].text, "b") == 0);
    cr_assert_eq(s->line, 4);
    cr_assert_null(plan_settings_find(&plan.runs[1], OPT_MODEL));
    cr_assert_str_eq(plan_settings_find(&plan.runs[1], OPT_THRESHOLD)->values[0].text, "0.8,0.9");
    cr_assert_eq(options_parse(VERB_RUN, 0, NULL, &c, &err), ST_OK);
    cr_assert_eq(plan_file_apply(&plan, &plan.common, &c, &err), ST_OK);
    cr_assert_str_eq(options_text(&c, OPT_BLOCK_LENGTH), "8,16-32*2");
}

Test(plan_file, mistakes_of_a_sweep_are_told_with_their_place)
{
    static const struct {
        const char *text, *start;
    } cases[] = {
        { "runs:\n  - modell: a\n", "p.yaml:2:5: unknown key 'modell'" },
        { "runs:\n  - seed: 1\n    seed: 2\n", "p.yaml:3:5: key 'seed' is given twice" },
        { "runs: a\n", "p.yaml:1:7: key 'runs' takes a list" },
        { "runs: [a]\n", "p.yaml:1:8: an entry of 'runs' is a mapping" },
        { "runs: []\n", "p.yaml:1:1: the list of 'runs' is empty" },
        { "runs:\n  - {}\n", "p.yaml:2:5: an entry of 'runs' is empty" },
        { "runs:\n  - limit: 1\nruns:\n  - limit: 1\n", "p.yaml:3:1: key 'runs' is given twice" },
        { "runs:\n  - runs: []\n", "p.yaml:2:5: unknown key 'runs'" },
        { "seed: 3-1\n", "p.yaml:1:7: option '--seed': range '3-1' ends before" },
        { "block-length: 8,8\n", "p.yaml:1:15: option '--block-length': value '8' is listed" },
        { "block-length: 0-4\n", "p.yaml:1:15: option '--block-length' must be 1 .." },
        { "selector:\n  - vanilla\n  - topk:q=1\n", "p.yaml:3:5: " },
        { "cells: 1/2\n", "p.yaml:1:1: key 'cells' belongs on the command line" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(parse_sweep(cases[i].text), ST_INVALID, "case %zu", i);
        cr_assert(strncmp(err.text, cases[i].start, strlen(cases[i].start)) == 0,
                  "case %zu: '%s' does not begin with '%s'", i, err.text, cases[i].start);
    }
    cr_assert_eq(parse("runs:\n  - limit: 1\n"), ST_INVALID);
    cr_assert(strstr(err.text, "desbench sweep"), "%s", err.text);
}
