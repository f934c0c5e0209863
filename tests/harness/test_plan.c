/* Plan: which items, which cells, how much room, all before anything is computed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/paths.h"
#include "harness/plan.h"

static struct options c;
static struct plan plan;
static struct engine *engine;
static struct error err;

static void release(void)
{
    plan_release(&plan);
    engine_close(engine);
    options_release(&c);
}

TestSuite(plan, .fini = release);

/* Tasks and items; with_decode also the cells, by the tokenizer of a bundled shape. */
static enum status make(const char *const *argv, bool with_decode)
{
    struct engine_options o = { .load_format = "dummy", .is_text_only = true };
    struct arena a = { 0 };
    int argc = 0;
    enum status st;

    while (argv[argc])
        argc++;
    release();
    engine = NULL;
    cr_assert_eq(options_parse(VERB_RUN, argc, (char *const *)argv, &c, &err), ST_OK, "%s",
                 err.text);
    st = plan_tasks(&c, "sample_gsm8k", &plan, &err);
    if (st || !with_decode)
        return st;
    cr_assert_eq(path_model("tiny-llada-moe", &a, &o.model_dir, &err), ST_OK, "%s", err.text);
    cr_assert_eq(engine_open(&o, &engine, &err), ST_OK, "%s", err.text);
    arena_release(&a);
    return plan_decode(&c, engine, &plan, &err);
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

Test(plan, without_options_every_item_of_the_default_tasks_is_taken)
{
    cr_assert_eq(make((const char *const[]){ NULL }, false), ST_OK, "%s", err.text);
    cr_assert_eq(plan.n_tasks, 1);
    cr_assert_eq(plan.tasks[0].n_items, task_n_items(plan.tasks[0].task));
}

Test(plan, items_keep_the_order_of_the_data_and_limit_counts_among_samples)
{
    cr_assert_eq(make(ARGV("-E", "3,1,2,1"), false), ST_OK, "%s", err.text);
    cr_assert_eq(plan.tasks[0].n_items, 3);
    cr_assert_eq(plan.tasks[0].items[0], 1);
    cr_assert_eq(plan.tasks[0].items[2], 3);
    cr_assert_eq(make(ARGV("-E", "3,1,2", "-L", "2"), false), ST_OK, "%s", err.text);
    cr_assert_eq(plan.tasks[0].n_items, 2);
    cr_assert_eq(plan.tasks[0].items[1], 2);
    cr_assert_eq(make(ARGV("-L", "1000000000"), false), ST_OK, "%s", err.text);
    cr_assert_eq(plan.tasks[0].n_items, task_n_items(plan.tasks[0].task));
}

Test(plan, an_id_that_no_task_has_is_named_even_where_others_are_found_twice)
{
    /* "0" is an item of both tasks */
    cr_assert_eq(make(ARGV("-t", "sample_gsm8k,sample_humaneval_pro", "-E", "0,nope"), false),
                 ST_INVALID);
    cr_assert(strstr(err.text, "--samples") && strstr(err.text, "'nope'"), "%s", err.text);
    cr_assert_eq(make(ARGV("-t", "sample_gsm8k,sample_humaneval_pro", "-E", "0"), false), ST_OK,
                 "%s", err.text);
    cr_assert_eq(plan.n_tasks, 2);
}

Test(plan, a_task_left_without_items_is_dropped)
{
    cr_assert_eq(make(ARGV("-t", "sample_gsm8k,sample_humaneval", "-E", "Sample/1"), false), ST_OK,
                 "%s", err.text);
    cr_assert_eq(plan.n_tasks, 1);
    cr_assert_str_eq(plan.tasks[0].def->name, "sample_humaneval");
    cr_assert_eq(plan.tasks[0].n_items, 1);
}

Test(plan, lists_are_refused_by_what_is_wrong_with_them)
{
    static const char *const cases[][5] = {
        { "-t", "sample_gsm8k,", "--tasks", "empty entry" },
        { "-t", ",sample_gsm8k", "--tasks", "empty entry" },
        { "-t", "sample_gsm8k,sample_gsm8k", "'sample_gsm8k'", "twice" },
        { "-t", "gsm9k", "'gsm9k'", "ls tasks" },
        { "-E", "1,,2", "--samples", "empty entry" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(make(ARGV(cases[i][0], cases[i][1]), false), ST_INVALID, "case %zu", i);
        cr_assert(strstr(err.text, cases[i][2]) && strstr(err.text, cases[i][3]), "%s", err.text);
    }
}

Test(plan, an_option_of_another_decoder_is_refused)
{
    cr_assert_eq(make(ARGV("--decoder", "threshold", "--steps", "16"), true), ST_INVALID);
    cr_assert(strstr(err.text, "'--steps'") && strstr(err.text, "'threshold'"), "%s", err.text);
    cr_assert_eq(make(ARGV("--decoder", "low-confidence", "--threshold", "0.5"), true), ST_INVALID);
    cr_assert(strstr(err.text, "'--threshold'") && strstr(err.text, "'low-confidence'"), "%s",
              err.text);
    cr_assert_eq(make(ARGV("-L1", "--decoder", "low-confidence", "--steps", "256"), true), ST_OK,
                 "%s", err.text);
}

Test(plan, an_option_of_another_cache_is_refused)
{
    static const char *const names[] = { "--prefix-look", "--after-look", "--cache-warmup" };

    for (int i = 0; i < 3; i++) {
        cr_assert_eq(make(ARGV("-L1", "--cache", "dual", names[i], "2"), true), ST_INVALID);
        cr_assert(strstr(err.text, names[i]) && strstr(err.text, "cache 'dual'"), "%s", err.text);
    }
    cr_assert_eq(make(ARGV("-L1", "--cache", "vicinity", "--prefix-look", "1", "--after-look", "0",
                           "--cache-warmup", "2"),
                      true),
                 ST_OK, "%s", err.text);
    cr_assert(plan.cells[0].decode.prefix_look == 1 && plan.cells[0].decode.after_look == 0 &&
              plan.cells[0].decode.cache_warmup == 2);
}

Test(plan, cells_are_tasks_times_selectors_with_room_for_each_prompt_and_answer)
{
    cr_assert_eq(
        make(ARGV("-t", "sample_gsm8k,sample_humaneval", "-L", "2", "-n", "3", "--gen-length", "64",
                  "--block-length", "32", "--selector", "vanilla", "--selector", "topk:k=01"),
             true),
        ST_OK, "%s", err.text);
    cr_assert_eq(plan.n_cells, 4);
    cr_assert_eq(plan.cells[1].task, &plan.tasks[0]);
    cr_assert_str_eq(plan.cells[1].decode.selector, "topk:k=1");
    cr_assert_eq(plan.cells[2].task, &plan.tasks[1]);
    cr_assert_eq(plan.n_work, 4 * 2 * 3);
    cr_assert_eq(plan.n_positions, 4 * 2 * 3 * 64);
    cr_assert_eq(plan.max_block, 32);
    cr_assert_gt(plan.max_prompt, 0);
    cr_assert_eq(plan.max_canvas, (int)plan.max_prompt + 64);
}

Test(plan, a_tasks_own_answer_length_is_rounded_up_to_whole_blocks)
{
    cr_assert_eq(make(ARGV("-L", "1", "--block-length", "48"), true), ST_OK, "%s", err.text);
    cr_assert_eq(plan.cells[0].decode.gen_length % 48, 0);
    cr_assert_geq(plan.cells[0].decode.gen_length, plan.tasks[0].def->gen_length);
    cr_assert_lt(plan.cells[0].decode.gen_length, plan.tasks[0].def->gen_length + 48);
}

Test(plan, a_selector_given_twice_is_refused_however_it_is_spelt)
{
    cr_assert_eq(make(ARGV("--selector", "topk:k=1", "--selector", "topk:k=01"), true), ST_INVALID);
    cr_assert(strstr(err.text, "'topk:k=1'") && strstr(err.text, "twice"), "%s", err.text);
}

Test(plan, a_prompt_that_leaves_no_room_for_the_answer_is_named)
{
    /* the shape sees 8192 positions */
    cr_assert_eq(make(ARGV("-E", "2", "--gen-length", "8192"), true), ST_INVALID);
    cr_assert(strstr(err.text, "task 'sample_gsm8k' item '2'") && strstr(err.text, "8192"), "%s",
              err.text);
}

Test(plan, cells_are_all_combinations_and_share_prompts)
{
    cr_assert_eq(make(ARGV("--block-length", "8-32*2", "--threshold", "0.8,0.9", "--selector",
                           "vanilla", "--selector", "topk:k=1,2", "--gen-length", "32"),
                      true),
                 ST_OK, "%s", err.text);
    cr_assert_eq(plan.n_cells, 3 * 2 * 3);
    cr_assert_eq(plan.cells[0].decode.block_length, 8);
    cr_assert_str_eq(plan.cells[1].decode.selector, "topk:k=1");
    cr_assert_float_eq(plan.cells[3].decode.threshold, 0.9, 1e-12);
    cr_assert_eq(plan.cells[17].decode.block_length, 32);
    cr_assert_eq(plan.max_block, 32);
    cr_assert_eq(plan.n_work, 18 * plan.tasks[0].n_items);
    for (size_t i = 0; i < plan.tasks[0].n_items; i++)
        cr_assert(plan.tasks[0].inputs[i].n_ids > 0 &&
                  plan.tasks[0].inputs[i].n_ids <= plan.max_prompt);
    cr_assert_eq(make(ARGV("--threshold", "0.9,0.90"), true), ST_INVALID);
    cr_assert(strstr(err.text, "'0.9' and '0.90'"), "%s", err.text);
}

Test(plan, shares_of_the_cells_are_disjoint_and_leave_none_out)
{
    size_t n_all = 0;
    char text[8];

    for (int nth = 1; nth <= 4; nth++) {
        snprintf(text, sizeof(text), "%d/4", nth);
        cr_assert_eq(make(ARGV("--block-length", "8-64*2", "--selector", "topk:k=1,2",
                               "--gen-length", "64", "--cells", text),
                          true),
                     ST_OK, "%s", err.text);
        cr_assert_eq(plan.n_cells, 2);
        cr_assert_eq(plan.n_work, 2 * plan.tasks[0].n_items);
        n_all += plan.n_cells;
    }
    cr_assert_eq(n_all, 8);
    for (size_t i = 0; i < 5; i++) {
        static const char *const wrong[] = { "0/4", "5/4", "1", "1/0", "a/b" };

        cr_assert_eq(make(ARGV("--cells", wrong[i]), true), ST_INVALID, "'%s'", wrong[i]);
        cr_assert(strstr(err.text, "--cells"), "%s", err.text);
    }
}
