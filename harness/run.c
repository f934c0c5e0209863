/* `desbench run`: begin a run and carry it out. */
#include <string.h>

#include "base/log.h"
#include "harness/record.h"
#include "harness/session.h"
#include "harness/stored.h"

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct session s = { .c = c };
    struct buf text = { 0 };
    enum status st;

    if (options_flag(c, OPT_SHOW_CONFIG)) {
        if (verb_wants_json(c)) {
            options_put_json(c, &text);
            buf_putc(&text, '\n');
        } else {
            options_put_text(c, &text);
        }
        st = verb_print(&text, err);
        buf_release(&text);
        return st;
    }
    if (strpbrk(options_text(c, OPT_SEED), ",-"))
        return error_set(
            err, ST_INVALID,
            "option '--seed': a run has one seed, found '%s'; `desbench sweep` makes a "
            "run of each",
            options_text(c, OPT_SEED));
    st = session_plan(&s, err);
    if (!st && !s.plan.n_cells)
        st = error_set(err, ST_INVALID, "share '%s' (--cells) has no cell of the plan",
                       options_text(c, OPT_CELLS));
    if (!st && options_flag(c, OPT_DRY_RUN)) {
        st = session_plan_memory(&s, err);
        if (!st) {
            struct run_facts facts = session_facts(&s);

            st = run_print_plan(&facts, err);
        }
        if (!st && s.has_memory)
            st = engine_check_memory(&s.memory, s.engine_options.model_dir, err);
    } else if (!st) {
        st = session_open(&s, NULL, err);
        if (!st && options_flag(c, OPT_SKIP_STORED))
            st = stored_skip(&s, err);
        if (!st && !s.plan.n_cells) {
            log_info("nothing to do: finished runs hold every cell");
        } else {
            if (!st)
                st = record_begin(s.store, c, s.run_id, NULL, s.judge, err);
            if (!st)
                st = session_execute(&s, ret_exit, err);
        }
    }
    session_close(&s);
    return st;
}

const struct verb verb_run = {
    .name = "run",
    .bit = VERB_RUN,
    .args = "[PLAN]",
    .max_args = 1,
    .takes_plan = true,
    .summary = "ask a model, judge its answers, store everything, print a table",
    .help =
        "Drives the prompts of one or more tasks through a model, judges what it answers and "
        "stores every\n"
        "sample with its denoising steps, expert counts and verdict in an SQLite file. Then it "
        "prints a\n"
        "table, or with --json one object: `tasks` holds an entry a task and selector, `value` the "
        "score as\n"
        "a fraction, `also` other scores, and tokens, forwards and experts.\n\n"
        "  desbench run                                   the bundled model on the mini suites\n"
        "  desbench run -m DIR -t humaneval,gsm8k -L 20   a checkpoint on 20 items of each\n"
        "  desbench run -m DIR -t gsm8k -E 0,7            two items by id (first item: 0)\n"
        "  desbench run -m DIR --selector vanilla --selector topk:k=4   two policies side by side\n"
        "  desbench run -m DIR -t mbpp -n 10 --temperature 0.7          pass@1 and pass@10\n"
        "  desbench run -m DIR -t math500 --dry-run       what it would do, with tokens counted\n"
        "  desbench run quick -m DIR                      settings of a plan file, and one more\n\n"
        "The real data sets are looked for in --data-dir; the mini- and sample_ tasks come with "
        "the\nprogram. How a model decodes unless told otherwise is in its generation_config.json "
        "(docs/plans.md).\n"
        "`desbench show last` shows what was stored. Ctrl-C stops after what is being judged, "
        "twice at\n"
        "once; every finished sample is kept (exit code 130) and `desbench resume` goes on. Exit "
        "code 7:\n"
        "the judge failed on some sample, which then counts for nobody; `resume` tries it "
        "again.\n\n"
        "PLAN is a YAML file with lines of `option: value`, or the name of one that comes with the "
        "program.\n"
        "Every option can be set in the environment too: DESBENCH_TASKS, DESBENCH_BATCH_SIZE, ... "
        "The\n"
        "command line wins over the environment and that over the plan; --show-config says what "
        "came\n"
        "from where.\n",
    .run = run,
};
