/* Plan: tasks and items first, then decoding, which needs the model. */
#include "harness/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "harness/paths.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory planning");
}

/* Call each for every comma-separated word; empty words are errors. */
static enum status each_word(const char *list, const char *option, struct arena *a,
                             enum status (*each)(void *arg, const char *word, struct error *err),
                             void *arg, struct error *err)
{
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        const char *word = arena_strdup(a, p, len);
        enum status st;

        if (!word)
            return no_memory(err);
        if (!len)
            return error_set(err, ST_INVALID, "option '--%s' has an empty entry: '%s'", option,
                             list);
        st = each(arg, word, err);
        if (st)
            return st;
        p += len;
        if (!*p)
            return ST_OK;
    }
}

struct adding {
    const struct options *c;
    struct plan *p;
    struct plan_task *t;
    bool *is_chosen;
    size_t n_found;
};

static enum status add_task(void *arg, const char *name, struct error *err)
{
    struct adding *add = arg;
    struct plan *p = add->p;
    const struct task_def *def = task_find(name);
    struct plan_task *t = &p->tasks[p->n_tasks];
    const char *dir;
    enum status st;

    if (!def)
        return error_set(err, ST_INVALID, "unknown task '%s'; `desbench ls tasks` lists them",
                         name);
    for (size_t i = 0; i < p->n_tasks; i++)
        if (p->tasks[i].def == def)
            return error_set(err, ST_INVALID, "task '%s' is named twice", name);
    st = path_task_dir(add->c, def, &p->arena, &dir, err);
    if (st)
        return st;
    st = task_open(def, dir, !options_flag(add->c, OPT_NO_DATA_CHECK), &t->task, err);
    if (st)
        return st;
    t->def = def;
    p->n_tasks++;
    return ST_OK;
}

static enum status choose_sample(void *arg, const char *id, struct error *err)
{
    struct adding *add = arg;
    size_t at;

    (void)err;
    if (task_find_item(add->t->task, id, &at)) {
        add->is_chosen[at] = true;
        add->n_found++;
    }
    return ST_OK;
}

/* --samples first, --limit on what is left; every id must be in some task. */
static enum status choose_items(const struct options *c, struct plan *p, struct error *err)
{
    const char *samples = options_text(c, OPT_SAMPLES);
    size_t limit = options_has(c, OPT_LIMIT) ? (size_t)options_int(c, OPT_LIMIT) : SIZE_MAX;
    size_t n_words = 1, n_found = 0;

    for (size_t i = 0; i < p->n_tasks; i++) {
        struct plan_task *t = &p->tasks[i];
        size_t n = task_n_items(t->task);
        struct adding add = { .t = t };
        enum status st;

        add.is_chosen = arena_array(&p->arena, n + 1, sizeof(bool));
        t->items = arena_array(&p->arena, n + 1, sizeof(*t->items));
        if (!add.is_chosen || !t->items)
            return no_memory(err);
        if (samples) {
            st = each_word(samples, "samples", &p->arena, choose_sample, &add, err);
            if (st)
                return st;
        }
        n_found += add.n_found;
        for (size_t k = 0; k < n && t->n_items < limit; k++)
            if (!samples || add.is_chosen[k])
                t->items[t->n_items++] = k;
    }
    if (samples) {
        for (const char *s = samples; *s; s++)
            n_words += *s == ',';
        if (n_found < n_words)
            return error_set(err, ST_INVALID,
                             "option '--samples': only %zu of %zu ids in '%s' are in the tasks "
                             "chosen",
                             n_found, n_words, samples);
    }
    return ST_OK;
}

enum status plan_tasks(const struct options *c, const char *deflt, struct plan *p,
                       struct error *err)
{
    const char *list = options_is_given(c, OPT_TASKS) ? options_text(c, OPT_TASKS) : deflt;
    struct adding add = { .c = c, .p = p };
    size_t n = 1;
    enum status st;

    *p = (struct plan){ .n_samples = 1 };
    for (const char *s = list; *s; s++)
        n += *s == ',';
    p->tasks = arena_array(&p->arena, n, sizeof(*p->tasks));
    if (!p->tasks)
        return no_memory(err);
    st = each_word(list, "tasks", &p->arena, add_task, &add, err);
    if (st)
        return st;
    return choose_items(c, p, err);
}

void plan_release(struct plan *p)
{
    for (size_t i = 0; i < p->n_tasks; i++)
        task_close(p->tasks[i].task);
    arena_release(&p->arena);
    *p = (struct plan){ 0 };
}

enum status plan_prompt(const struct engine *e, const struct plan_task *t, size_t item,
                        struct arena *a, const char **ret, size_t *ret_len, struct error *err)
{
    struct task_prompt prompt;
    struct engine_message *msgs;
    struct buf text = { 0 };
    enum status st;

    st = task_make_prompt(t->task, item, t->form, a, &prompt, err);
    if (st)
        return st;
    if (!prompt.is_chat) {
        *ret = prompt.msgs[0].text;
        *ret_len = prompt.msgs[0].len;
        return ST_OK;
    }
    msgs = arena_array(a, prompt.n_msgs, sizeof(*msgs));
    if (!msgs)
        return no_memory(err);
    for (size_t i = 0; i < prompt.n_msgs; i++)
        msgs[i] = (struct engine_message){ .role = prompt.msgs[i].role,
                                           .text = prompt.msgs[i].text,
                                           .text_len = prompt.msgs[i].len };
    st = engine_chat(e, msgs, prompt.n_msgs, &text, err);
    if (!st) {
        *ret = arena_strdup(a, buf_str(&text), text.len);
        *ret_len = text.len;
        if (!*ret)
            st = no_memory(err);
    }
    buf_release(&text);
    return st;
}

/* "topk:k=04" and "topk:k=4" are one cell. */
static enum status canonical_selector(struct arena *a, const char *text, const char **ret,
                                      struct error *err)
{
    struct buf b = { 0 };
    enum status st = engine_selector_text(text, &b, err);

    if (!st) {
        *ret = arena_strdup(a, buf_str(&b), b.len);
        if (!buf_ok(&b) || !*ret)
            st = no_memory(err);
    }
    buf_release(&b);
    return st;
}

/* Options laid over the model's defaults. */
static enum status resolve(const struct options *c, const struct engine *e,
                           const struct plan_task *t, const char *selector,
                           struct decode_options *ret, struct error *err)
{
    struct decode_options d;
    int block;

    engine_decode_defaults(e, &d);
    d.selector = selector;
    if (options_has(c, OPT_DECODER))
        d.decoder = options_text(c, OPT_DECODER);
    if (options_has(c, OPT_CACHE))
        d.cache = options_text(c, OPT_CACHE);
    if (options_has(c, OPT_BLOCK_LENGTH))
        d.block_length = (int)options_int(c, OPT_BLOCK_LENGTH);
    if (options_has(c, OPT_THRESHOLD))
        d.threshold = options_real(c, OPT_THRESHOLD);
    if (options_has(c, OPT_TEMPERATURE))
        d.temperature = options_real(c, OPT_TEMPERATURE);
    block = d.block_length > 0 ? d.block_length : 1;
    if (options_has(c, OPT_GEN_LENGTH))
        d.gen_length = (int)options_int(c, OPT_GEN_LENGTH);
    else
        d.gen_length = (t->def->gen_length + block - 1) / block * block;
    if (options_has(c, OPT_STEPS))
        d.steps = (int)options_int(c, OPT_STEPS);
    if (!d.steps)
        d.steps = d.gen_length;
    *ret = d;
    return engine_check_decode(e, ret, 0, err);
}

static enum status measure_prompts(const struct engine *e, struct plan *p, struct error *err)
{
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < p->n_tasks && !st; i++) {
        for (size_t k = 0; k < p->tasks[i].n_items && !st; k++) {
            const char *text;
            size_t len, n_ids;
            int32_t *ids;

            st = plan_prompt(e, &p->tasks[i], p->tasks[i].items[k], &a, &text, &len, err);
            if (!st)
                st = engine_tokenize(e, text, len, &a, &ids, &n_ids, err);
            if (!st && n_ids > p->max_prompt)
                p->max_prompt = n_ids;
            arena_clear(&a);
        }
    }
    arena_release(&a);
    return st;
}

enum status plan_decode(const struct options *c, const struct engine *e, struct plan *p,
                        struct error *err)
{
    const struct option_value *selectors = &c->values[OPT_SELECTOR];
    const char *form = options_text(c, OPT_PROMPT_FORM);
    enum status st;

    for (size_t i = 0; i < p->n_tasks; i++) {
        const char *const *forms = task_prompt_forms(p->tasks[i].def);

        for (; form && *forms && strcmp(*forms, form) != 0; forms++)
            ;
        if (!*forms)
            return error_set(err, ST_INVALID,
                             "task '%s' has no prompt form '%s' (--prompt-form); `desbench ls "
                             "tasks` names its forms",
                             p->tasks[i].def->name, form);
        p->tasks[i].form = *forms;
    }
    p->n_samples = (int)options_int(c, OPT_N_SAMPLES);
    p->cells = arena_array(&p->arena, p->n_tasks * selectors->n, sizeof(*p->cells));
    if (!p->cells)
        return no_memory(err);
    for (size_t i = 0; i < p->n_tasks; i++) {
        for (size_t k = 0; k < selectors->n; k++) {
            struct plan_cell *cell = &p->cells[p->n_cells];
            const char *selector;
            size_t n;

            cell->task = &p->tasks[i];
            st = canonical_selector(&p->arena, selectors->texts[k], &selector, err);
            if (st)
                return st;
            st = resolve(c, e, cell->task, selector, &cell->decode, err);
            if (st)
                return error_prefix(err, st, "task '%s'", cell->task->def->name);
            for (size_t m = 0; m < k; m++)
                if (strcmp(p->cells[p->n_cells - 1 - m].decode.selector, selector) == 0)
                    return error_set(err, ST_INVALID, "selector '%s' is named twice", selector);
            if (cell->decode.block_length > p->max_block)
                p->max_block = cell->decode.block_length;
            if (!size_mul(cell->task->n_items, (size_t)p->n_samples, &n) ||
                !size_add(p->n_work, n, &p->n_work))
                return error_set(err, ST_INVALID, "the plan holds too many samples");
            if (cell->decode.gen_length > p->max_gen)
                p->max_gen = cell->decode.gen_length;
            p->n_cells++;
        }
    }
    return measure_prompts(e, p, err);
}
