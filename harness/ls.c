/* `desbench ls`: what there is: tasks, models, selectors, decoders, caches, backends, runs. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/engine.h"
#include "harness/listing.h"
#include "harness/paths.h"
#include "harness/policies.h"
#include "harness/relative.h"
#include "harness/verb.h"
#include "kernels/kernels.h"
#include "results/results.h"
#include "tasks/task.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory listing");
}

static enum status ls_tasks(const struct options *c, struct error *err)
{
    struct listing l;
    struct arena a = { 0 };

    listing_start(&l, c, "task|title|metric|default form|>forms|>gen length|file|data");
    for (const struct task_def *const *d = task_table(); *d; d++) {
        const char *dir, *path = NULL;
        size_t n_forms = 0;

        while (task_form_get(*d, n_forms))
            n_forms++;
        if (path_task_dir(c, *d, &a, &dir, NULL) == ST_OK)
            path = arena_printf(&a, "%s/%s", dir, (*d)->file);
        listing_row(&l);
        listing_cell(&l, (*d)->name);
        listing_cell(&l, (*d)->title);
        listing_cell(&l, (*d)->metric);
        listing_cell(&l, (*d)->prompt_form);
        listing_number(&l, (int64_t)n_forms);
        listing_number(&l, (*d)->gen_length);
        listing_cell(&l, (*d)->file);
        listing_cell(&l, (*d)->is_bundled ? "bundled" : path && file_exists(path) ? "there" : "-");
    }
    arena_release(&a);
    return listing_end(&l, ST_OK, err);
}

/* The prompt forms of one task, or of all. */
static enum status ls_forms(const struct options *c, const char *task, struct error *err)
{
    const struct task_form *f;
    struct listing l;
    struct arena a = { 0 };

    if (task && !task_find(task))
        return error_set(err, ST_INVALID, "unknown task '%s'; `desbench ls tasks` lists them",
                         task);
    listing_start(&l, c, "task|form|kind|>shots|needs|data|source");
    for (const struct task_def *const *d = task_table(); *d; d++) {
        if (task && strcmp((*d)->name, task) != 0)
            continue;
        for (size_t i = 0; (f = task_form_get(*d, i)) != NULL; i++) {
            const char *dir, *path = NULL;

            if (f->needs && path_task_dir(c, *d, &a, &dir, NULL) == ST_OK)
                path = arena_printf(&a, "%s/%s", dir, f->needs);
            listing_row(&l);
            listing_cell(&l, (*d)->name);
            listing_cell(&l, f->name);
            listing_cell(&l, f->is_chat ? "chat" : "text");
            listing_number(&l, f->n_shots);
            listing_cell(&l, f->needs);
            listing_cell(&l, !f->needs ? NULL : path && file_exists(path) ? "there" : "-");
            listing_cell(&l, f->source);
        }
    }
    arena_release(&a);
    return listing_end(&l, ST_OK, err);
}

static enum status model_row(struct listing *l, const char *dir, const char *name, struct arena *a,
                             struct error *err)
{
    struct engine_options o = { .model_dir = dir, .load_format = "dummy", .is_text_only = true };
    const char *config = arena_printf(a, "%s/config.json", dir);
    const char *single = arena_printf(a, "%s/model.safetensors", dir);
    const char *index = arena_printf(a, "%s/model.safetensors.index.json", dir);
    struct engine *e = NULL;
    const struct model_info *m;
    char text[64];
    bool has_weights;
    enum status st;

    if (!config || !single || !index)
        return error_set(err, ST_NOMEM, "out of memory listing models");
    if (!file_exists(config))
        return ST_OK;
    st = engine_open(&o, &e, err);
    if (st)
        return error_prefix(err, st, "model '%s'", dir);
    m = engine_info(e);
    has_weights = file_exists(single) || file_exists(index);
    listing_row(l);
    listing_cell(l, name);
    listing_cell(l, m->architecture);
    snprintf(text, sizeof(text), "%.4f", (double)m->n_params * 1e-9);
    listing_cell(l, text);
    listing_number(l, m->n_layer);
    listing_number(l, m->d_model);
    listing_number(l, m->n_exp);
    listing_number(l, m->top_k);
    listing_cell(l, has_weights ? "safetensors" : "shape only");
    engine_close(e);
    return ST_OK;
}

static int is_shown(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static enum status ls_models(const struct options *c, struct error *err)
{
    static const char *const places[] = { "models", "models/shapes" };
    struct listing l;
    struct arena a = { 0 };
    const char *share;
    enum status st = path_share(&a, &share, err);

    listing_start(&l, c,
                  "model|architecture|>params (10^9)|>layers|>width|>experts|>top-k|weights");
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !st; i++) {
        const char *place = arena_printf(&a, "%s/%s", share, places[i]);
        struct dirent **names = NULL;
        int n;

        if (!place) {
            st = error_set(err, ST_NOMEM, "out of memory listing models");
            break;
        }
        n = scandir(place, &names, is_shown, alphasort);
        if (n < 0 && errno != ENOENT)
            st = error_set(err, ST_IO, "cannot list '%s': %s", place, strerror(errno));
        for (int k = 0; k < n; k++) {
            const char *name = arena_strdup(&a, names[k]->d_name, strlen(names[k]->d_name));
            const char *dir = arena_printf(&a, "%s/%s", place, names[k]->d_name);

            if (!st && (!name || !dir))
                st = error_set(err, ST_NOMEM, "out of memory listing models");
            if (!st)
                st = model_row(&l, dir, name, &a, err);
            free(names[k]);
        }
        free(names);
    }
    st = listing_end(&l, st, err);
    arena_release(&a);
    return st;
}

static enum status ls_choices(const struct options *c, const char *what,
                              const struct engine_choice *choices, struct error *err)
{
    struct listing l;
    char columns[64];

    snprintf(columns, sizeof(columns), "%s|what it does|source", what);
    listing_start(&l, c, columns);
    for (; choices->name; choices++) {
        listing_row(&l);
        listing_cell(&l, choices->name);
        listing_cell(&l, choices->help);
        listing_cell(&l, choices->source);
    }
    return listing_end(&l, ST_OK, err);
}

/* A paragraph a policy, as its parts are whole sentences. */
static enum status print_selectors(struct error *err)
{
    struct engine_selector s;
    struct buf settings = { 0 }, text = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; engine_selector_get(i, &s, &settings); i++, buf_clear(&settings)) {
        if (!buf_ok(&settings))
            st = no_memory(err);
        buf_printf(&text, "%s\n", s.name);
        if (s.alias_of)
            buf_printf(&text, "  another name of %s\n\n", s.alias_of);
        else
            buf_printf(&text, "  %s\n  settings  %s\n  source    %s\n  settled   %s\n\n", s.help,
                       buf_str(&settings), s.source, s.open);
    }
    buf_puts(&text, "NAME:FIELD=VALUE,... overrides any of these; `desbench ls fields` explains "
                    "them.\n");
    if (!st)
        st = verb_print(&text, err);
    buf_release(&text);
    buf_release(&settings);
    return st;
}

static enum status ls_selectors(const struct options *c, struct error *err)
{
    struct listing l;
    struct engine_selector s;
    struct buf settings = { 0 };
    enum status st = ST_OK;

    if (print_form_of(c) == PRINT_TEXT)
        return print_selectors(err);
    listing_start(&l, c, "selector|alias_of|help=what it does|settings|source|settled");
    for (size_t i = 0; engine_selector_get(i, &s, &settings); i++, buf_clear(&settings)) {
        if (!buf_ok(&settings))
            st = no_memory(err);
        listing_row(&l);
        listing_cell(&l, s.name);
        listing_cell(&l, s.alias_of);
        listing_cell(&l, s.help);
        listing_cell(&l, s.alias_of ? NULL : buf_str(&settings));
        listing_cell(&l, s.source);
        listing_cell(&l, s.open);
    }
    buf_release(&settings);
    return listing_end(&l, st, err);
}

static enum status ls_fields(const struct options *c, struct error *err)
{
    struct listing l;
    struct engine_selector_field f;
    struct buf values = { 0 };
    enum status st = ST_OK;

    listing_start(&l, c, "field|values|read_with=read with|help=what it sets");
    for (size_t i = 0; engine_selector_field_get(i, &f, &values); i++, buf_clear(&values)) {
        if (!buf_ok(&values))
            st = no_memory(err);
        listing_row(&l);
        listing_cell(&l, f.name);
        listing_cell(&l, buf_str(&values));
        listing_cell(&l, *f.read_with ? f.read_with : NULL);
        listing_cell(&l, f.help);
    }
    buf_release(&values);
    return listing_end(&l, st, err);
}

static enum status ls_backends(const struct options *c, struct error *err)
{
    const struct kernel_ops *best = kernel_backend_best();
    struct listing l;

    listing_start(&l, c, "backend|what it is|numeric modes|here");
    for (const struct kernel_ops *const *ops = kernel_backends; *ops; ops++) {
        struct kernel_params params = { 0 };
        struct kernels *k = NULL;
        struct error why = { 0 };
        enum status st = (*ops)->open(&params, &k, &why);
        char text[sizeof(why.text) + 16];

        snprintf(text, sizeof(text), "%s%s", st ? why.text : (*ops)->describe(k),
                 *ops == best ? " (default)" : "");
        listing_row(&l);
        listing_cell(&l, (*ops)->name);
        listing_cell(&l, (*ops)->help);
        listing_cell(&l, (*ops)->has_fast ? "invariant, fast" : "invariant");
        listing_cell(&l, text);
        (*ops)->close(k);
    }
    return listing_end(&l, ST_OK, err);
}

static enum status ls_runs(const struct options *c, struct error *err)
{
    struct listing l;
    struct arena a = { 0 };
    struct store *store = NULL;
    struct run_summary *runs = NULL;
    const char *path;
    size_t n = 0;
    enum status st;

    listing_start(&l, c,
                  "run|started|status|validity|model|tasks|selector|>samples|>passed|>internal");
    st = path_results(c, false, &a, &path, err);
    if (!st)
        st = store_open(path, STORE_READ, &store, err);
    if (!st)
        st = store_list_runs(store, &a, &runs, &n, err);
    for (size_t i = 0; i < n && !st; i++) {
        listing_row(&l);
        listing_cell(&l, runs[i].run_id);
        listing_cell(&l, runs[i].started);
        listing_cell(&l, runs[i].status);
        listing_cell(&l, runs[i].validity);
        listing_cell(&l, runs[i].model);
        listing_cell(&l, runs[i].tasks);
        listing_cell(&l, runs[i].selector);
        listing_number(&l, runs[i].n_samples);
        listing_number(&l, runs[i].n_passed);
        listing_number(&l, runs[i].n_internal);
    }
    st = listing_end(&l, st, err);
    store_close(store);
    arena_release(&a);
    return st;
}

/* An option that nothing would read is a mistake. */
static enum status check_read(const struct options *c, const char *what, struct error *err)
{
    static const enum option_id ids[] = { OPT_AGAINST, OPT_LS_SELECTOR, OPT_KEEP, OPT_SAVE };
    bool is_policies = strcmp(what, "policies") == 0;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const char *name = option_table[ids[i]].name;

        if (c->values[ids[i]].source == SOURCE_DEFAULT)
            continue;
        if (!is_policies)
            return error_set(err, ST_INVALID, "`ls %s` does not read option '--%s'", what, name);
        if (!options_has(c, OPT_AGAINST))
            return error_set(err, ST_INVALID, "option '--%s' needs '--against'", name);
    }
    return ST_OK;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    const char *what = c->args[0];
    enum status st;

    (void)ret_exit;
    st = check_read(c, what, err);
    if (st)
        return st;
    if (strcmp(what, "forms") == 0)
        return ls_forms(c, c->n_args > 1 ? c->args[1] : NULL, err);
    if (c->n_args > 1)
        return error_set(err, ST_INVALID, "`ls %s` takes no argument, found '%s'", what,
                         c->args[1]);
    if (strcmp(what, "tasks") == 0)
        return ls_tasks(c, err);
    if (strcmp(what, "models") == 0)
        return ls_models(c, err);
    if (strcmp(what, "selectors") == 0)
        return ls_selectors(c, err);
    if (strcmp(what, "fields") == 0)
        return ls_fields(c, err);
    if (strcmp(what, "decoders") == 0)
        return ls_choices(c, "decoder", engine_decoders(), err);
    if (strcmp(what, "caches") == 0)
        return ls_choices(c, "cache", engine_caches(), err);
    if (strcmp(what, "backends") == 0)
        return ls_backends(c, err);
    if (strcmp(what, "runs") == 0)
        return ls_runs(c, err);
    if (strcmp(what, "policies") == 0)
        return options_has(c, OPT_AGAINST) ? relative_print(c, err) : policies_print(c, err);
    return error_set(
        err, ST_INVALID,
        "`ls` knows tasks, forms, models, selectors, fields, decoders, caches, backends, runs and "
        "policies, not '%s'",
        what);
}

const struct verb verb_ls = {
    .name = "ls",
    .bit = VERB_LS,
    .args = "tasks|forms [TASK]|models|selectors|fields|decoders|caches|backends|runs|policies",
    .min_args = 1,
    .max_args = 2,
    .summary =
        "list tasks, prompt forms, models, selectors and their fields, decoders, caches, backends, "
        "or what is stored",
    .help =
        "Lists what there is to choose from, or the runs in a results file.\n\n"
        "  desbench ls tasks --data-dir DIR\n"
        "  desbench ls forms humaneval              how it can be asked, and who asks so\n"
        "  desbench ls runs -o runs --json\n"
        "  desbench ls policies -o runs --format markdown   accuracy against experts, all tasks\n"
        "                                                   of a model and policy together\n"
        "  desbench ls policies -o runs --against vanilla   what each keeps of its accuracy, and "
        "how\n"
        "                                                   many fewer experts it reads\n",
    .run = run,
};
