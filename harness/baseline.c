/* `desbench baseline`: the few facts of a run that a gate needs, as a file for a repository. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "harness/paths.h"
#include "harness/sides.h"

static enum status export_baseline(const struct options *c, enum exit_code *ret_exit,
                                   struct error *err)
{
    const char *path = options_text(c, OPT_BASELINE_OUTPUT);
    struct arena arena = { 0 };
    struct side side = { 0 };
    struct buf b = { 0 };
    enum status st = side_open(c, c->args[1], &arena, &side, err);

    if (!st && !side.store)
        st = error_set(err, ST_INVALID, "'%s' is a baseline file already", side.path);
    if (!st && side.n_sets > 1)
        st = error_set(err, ST_INVALID,
                       "run '%s' has %zu settings, a baseline is one: name it, RUN@SETTING ('%s')",
                       side.sets[0].run_id, side.n_sets, side.sets[0].label);
    if (!st)
        st = side_check(&side.sets[0], ret_exit, err);
    if (!st && !*ret_exit) {
        st = baseline_write(side.store, &side.sets[0], &b, err);
        if (!st && strcmp(path, "-") == 0)
            st = verb_print(&b, err);
        else if (!st && file_exists(path) && !options_flag(c, OPT_FORCE))
            st = error_set(err, ST_INVALID,
                           "'%s' is there already: a baseline is replaced on purpose, with --force",
                           path);
        else if (!st)
            st = file_write_atomic(path, buf_str(&b), b.len, err);
    }
    buf_release(&b);
    side_close(&side);
    arena_release(&arena);
    return st;
}

static enum status import_baseline(const struct options *c, struct error *err)
{
    struct arena arena = { 0 };
    struct store *s = NULL;
    struct answer_set set;
    struct buf b = { 0 };
    const char *path;
    /* read first: a file that cannot be used makes no results file */
    enum status st = baseline_read(c->args[1], &arena, &set, err);

    if (!st)
        st = path_results(c, true, &arena, &path, err);
    if (!st)
        st = store_open(path, STORE_WRITE, &s, err);
    if (!st)
        st = baseline_store(s, c->args[1], &set, &arena, err);
    if (!st) {
        buf_printf(&b, "run %s, %zu answers, in %s\n", set.run_id, set.n_rows, path);
        st = verb_print(&b, err);
    }
    buf_release(&b);
    store_close(s);
    arena_release(&arena);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    if (strcmp(c->args[0], "export") == 0)
        return export_baseline(c, ret_exit, err);
    if (strcmp(c->args[0], "import") == 0)
        return import_baseline(c, err);
    return error_set(err, ST_INVALID, "`baseline` can export or import, found '%s'", c->args[0]);
}

const struct verb verb_baseline = {
    .name = "baseline",
    .bit = VERB_BASELINE,
    .args = "export RUN | import FILE",
    .min_args = 2,
    .max_args = 2,
    .summary = "a run's verdicts and hashes as a file that `gate` takes, for a repository",
    .help =
        "`export` writes what a gate needs of one setting of a run: its cells, and for each answer "
        "the item's\n"
        "id, the verdict and the SHA-256 of item, reference, prompt and tokens; no prompts and no "
        "answers, so\n"
        "about 300 bytes an item. Keep the file in your repository: an anchored baseline, which "
        "changes only\n"
        "when somebody decides so, does not let small losses add up as the last accepted run "
        "would.\n"
        "`import` stores such a file as a run, for `compare` and `show`; `gate --baseline FILE` "
        "does not need it.\n\n"
        "  desbench baseline export last -o baseline.json\n"
        "  desbench baseline export last@vanilla -t gsm8k > baseline.json\n"
        "  desbench gate --baseline baseline.json\n"
        "  desbench baseline import baseline.json --results runs\n\n"
        "RUN is [RESULTS:]RUN[@SETTING], as for `desbench gate`.\n",
    .run = run,
};
