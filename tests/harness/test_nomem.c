/* Options and plans with each allocation failing once. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/options.h"
#include "harness/plan.h"
#include "tests/base/fail_malloc.h"

/* The tiny shape's configuration and tokenizer. */
static struct engine *open_engine(void)
{
    char dir[4096];
    struct engine_options o = { .model_dir = dir, .is_text_only = true };
    struct engine *e = NULL;
    struct error err = { 0 };

    snprintf(dir, sizeof(dir), "%s/models/shapes/tiny-llada-moe", getenv("DESBENCH_SOURCE"));
    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    return e;
}

static enum status try_plan(void *engine, struct error *err)
{
    static char *const argv[] = { "--tasks",        "sample_gsm8k,sample_humaneval",
                                  "--limit=2",      "--selector=vanilla",
                                  "--selector",     "topk:k=2",
                                  "--gen-length=32" };
    struct options c = { 0 };
    struct plan p = { 0 };
    enum status st = options_parse(VERB_RUN, sizeof(argv) / sizeof(argv[0]), argv, &c, err);

    if (!st)
        st = plan_tasks(&c, "sample_mbpp", &p, err);
    if (!st)
        st = plan_decode(&c, engine, &p, err);
    if (!st)
        cr_expect(p.n_tasks == 2 && p.n_cells == 4 && p.n_work == 8 && p.max_prompt > 10);
    plan_release(&p);
    options_release(&c);
    return st;
}

Test(nomem, options_and_plan)
{
    struct engine *e = open_engine();
    struct fail_sweep s = { .what = "plan", .f = try_plan, .arg = e };

    cr_expect_gt(fail_malloc_sweep(&s), 100);
    engine_close(e);
}
