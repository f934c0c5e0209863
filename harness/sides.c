/* The sides of a comparison. */
#include "harness/sides.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "harness/paths.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory comparing runs");
}

static const char *copy(struct arena *arena, const char *s, size_t len)
{
    return arena_strdup(arena, s, len);
}

/* The results file that a path names. */
static const char *results_of(struct arena *arena, const char *path)
{
    return file_is_dir(path) ? arena_printf(arena, "%s/results.sqlite", path) : path;
}

/* The labels of all settings, for messages. */
static void put_labels(struct buf *b, const struct answer_set *sets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s'%s'", i ? ", " : "", sets[i].label);
}

static enum status choose_setting(struct side *s, const char *setting, struct error *err)
{
    struct buf labels = { 0 };
    size_t n = 0, len = strlen(setting);
    bool is_key = len >= 8 && strspn(setting, "0123456789abcdef") == len;
    enum status st = ST_OK;

    put_labels(&labels, s->sets, s->n_sets);
    for (size_t i = 0; i < s->n_sets; i++) {
        const struct answer_set *x = &s->sets[i];
        bool is_it = strcmp(x->label, setting) == 0 || strcmp(x->cells[0].selector, setting) == 0;

        for (size_t k = 0; k < x->n_cells && is_key && !is_it; k++)
            is_it = strncmp(x->cell_keys[k], setting, len) == 0;
        if (is_it)
            s->sets[n++] = *x;
    }
    if (!n)
        st = error_set(err, ST_INVALID, "run '%s' has no setting '%s', only %s", s->sets[0].run_id,
                       setting, buf_str(&labels));
    s->n_sets = n;
    buf_release(&labels);
    return st;
}

/* The parts of "[RESULTS:]RUN[@SETTING]"; NULL: left out. A selector may hold ':' and a folder '@':
 * what follows the first '@' behind the last '/' is the setting. *ret_run keeps its value where
 * RESULTS stands alone. */
static enum status split(const char *spec, struct arena *arena, const char **ret_results,
                         const char **ret_run, const char **ret_setting, struct error *err)
{
    const char *slash = strrchr(spec, '/'), *at = strchr(slash ? slash : spec, '@'), *colon;
    const char *head = at ? copy(arena, spec, (size_t)(at - spec)) : spec;

    *ret_results = NULL;
    *ret_setting = at ? at + 1 : NULL;
    if (!head)
        return no_memory(err);
    if (!*head || (*ret_setting && !**ret_setting))
        return error_set(err, ST_INVALID, "'%s' names no run: write [RESULTS:]RUN[@SETTING]", spec);
    colon = strrchr(head, ':');
    if (file_exists(head) || file_is_dir(head)) {
        *ret_results = head;
    } else if (colon && colon != head) {
        *ret_results = copy(arena, head, (size_t)(colon - head));
        *ret_run = colon + 1;
        if (!*ret_results)
            return no_memory(err);
    } else if (strpbrk(head, "/.")) { /* no run is called so */
        return error_set(err, ST_NOT_FOUND, "no file '%s'", head);
    } else {
        *ret_run = head;
    }
    return ST_OK;
}

/* Keep the answers to --tasks; with is_any, leave out settings that have none of them. */
static enum status keep_tasks(const struct options *c, struct side *s, bool is_any,
                              struct error *err)
{
    size_t n = 0;
    enum status st = ST_OK;

    if (!options_has(c, OPT_TASKS))
        return ST_OK;
    for (size_t i = 0; i < s->n_sets; i++) {
        st = answer_set_keep_tasks(&s->sets[i], options_text(c, OPT_TASKS), err);
        if (st && (st != ST_INVALID || !is_any))
            return st;
        if (!st)
            s->sets[n++] = s->sets[i];
    }
    s->n_sets = n;
    return n ? ST_OK : st;
}

/* run: what RESULTS alone means; NULL: of each cell the newest run. */
static enum status open_run(const struct options *c, const char *spec, const char *run,
                            struct arena *arena, struct side *ret, struct error *err)
{
    const char *results = NULL, *setting = NULL, *run_id = NULL;
    enum status st = spec ? split(spec, arena, &results, &run, &setting, err) : ST_OK;

    if (!st && results) {
        ret->path = results_of(arena, results);
        st = ret->path ? ST_OK : no_memory(err);
    } else if (!st) {
        st = path_results(c, false, arena, &ret->path, err);
    }
    if (!st)
        st = store_open(ret->path, STORE_READ, &ret->store, err);
    if (!st && run)
        st = store_find_run(ret->store, run, arena, &run_id, err);
    if (!st)
        st = run ? store_answer_sets(ret->store, ret->path, run_id, arena, &ret->sets, &ret->n_sets,
                                     err)
                 : store_newest_sets(ret->store, ret->path, arena, &ret->sets, &ret->n_sets, err);
    if (!st && !ret->n_sets)
        st = error_set(err, ST_NOT_FOUND, "run '%s' in '%s' has no answers", run_id, ret->path);
    if (!st && setting)
        st = choose_setting(ret, setting, err);
    return st ? st : keep_tasks(c, ret, !run, err);
}

enum status side_open(const struct options *c, const char *spec, struct arena *arena,
                      struct side *ret, struct error *err)
{
    enum status st;

    *ret = (struct side){ 0 };
    if (file_is_dir(spec) || !file_exists(spec) || !baseline_is_file(spec))
        return open_run(c, spec, "last", arena, ret, err);
    ret->path = spec;
    ret->n_sets = 1;
    ret->sets = arena_array(arena, 1, sizeof(*ret->sets));
    st = ret->sets ? baseline_read(spec, arena, ret->sets, err) : no_memory(err);
    return st ? st : keep_tasks(c, ret, false, err);
}

enum status side_open_newest(const struct options *c, const char *spec, struct arena *arena,
                             struct side *ret, struct error *err)
{
    *ret = (struct side){ 0 };
    if (spec && !file_is_dir(spec) && file_exists(spec) && baseline_is_file(spec))
        return error_set(err, ST_INVALID,
                         "'%s' is a baseline file, which has verdicts alone: name a run", spec);
    return open_run(c, spec, NULL, arena, ret, err);
}

void side_close(struct side *s)
{
    store_close(s->store);
    *s = (struct side){ 0 };
}

enum status sides_match(const struct side *base, const struct side *cand, struct arena *arena,
                        struct matchup **ret, size_t *ret_n, struct error *err)
{
    struct matchup *m = arena_array(arena, cand->n_sets, sizeof(*m));
    struct buf labels = { 0 };
    size_t n = 0;
    enum status st = m ? ST_OK : no_memory(err);

    put_labels(&labels, base->sets, base->n_sets);
    for (size_t i = 0; i < cand->n_sets && !st; i++) {
        const struct answer_set *x = &cand->sets[i], *like = base->n_sets == 1 ? base->sets : NULL;
        size_t n_like = like ? 1 : 0;

        for (size_t k = 0; k < base->n_sets && base->n_sets > 1; k++)
            if (answer_sets_match(&base->sets[k], x)) {
                like = &base->sets[k];
                n_like++;
            }
        if (n_like != 1)
            st = error_set(err, ST_INVALID,
                           "baseline '%s' has %s setting like '%s' of run '%s': name one of %s, "
                           "RUN@SETTING",
                           base->sets[0].run_id, n_like ? "more than one" : "no", x->label,
                           x->run_id, buf_str(&labels));
        else if (cand->n_sets == 1 || strcmp(like->run_id, x->run_id) != 0 ||
                 strcmp(like->label, x->label) != 0)
            m[n++] = (struct matchup){ like, x };
    }
    if (!st && !n)
        st = error_set(err, ST_INVALID, "run '%s' would be compared with itself",
                       base->sets[0].run_id);
    buf_release(&labels);
    if (st)
        return st;
    *ret = m;
    *ret_n = n;
    return ST_OK;
}

enum status side_check(const struct answer_set *s, enum exit_code *ret_exit, struct error *err)
{
    size_t n_internal = 0;

    for (size_t i = 0; i < s->n_rows; i++)
        n_internal += strcmp(s->rows[i].verdict, "internal") == 0;
    if (n_internal)
        return error_set(err, ST_INTERNAL,
                         "%zu answers of run '%s' have no verdict, as the judge failed; `desbench "
                         "resume` judges them again",
                         n_internal, s->run_id);
    if (strcmp(s->status, "done") != 0) {
        log_error("run '%s' is %s, not done; `desbench resume %s` goes on with it", s->run_id,
                  s->status, s->run_id);
        *ret_exit = EXIT_INCOMPLETE;
        return ST_OK;
    }
    if (s->validity && strncmp(s->validity, "INVALID", 7) == 0)
        return error_set(err, ST_MISMATCH, "run '%s' is %s", s->run_id, s->validity);
    return ST_OK;
}
