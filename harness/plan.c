/* Plan: tasks and items first, then decoding, which needs the model. */
#include "harness/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "harness/paths.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory planning");
}

/* The words of a comma-separated list, in the arena; empty ones are errors. */
static enum status split_words(const char *list, const char *option, struct arena *a,
                               const char ***ret, size_t *ret_n, struct error *err)
{
    const char **words;
    size_t n = 1;

    for (const char *p = list; *p; p++)
        n += *p == ',';
    words = arena_array(a, n, sizeof(*words));
    if (!words)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(list, ",");

        if (!len)
            return error_set(err, ST_INVALID, "option '--%s' has an empty entry", option);
        words[i] = arena_strdup(a, list, len);
        if (!words[i])
            return no_memory(err);
        list += len + 1;
    }
    *ret = words;
    *ret_n = n;
    return ST_OK;
}

static enum status add_task(const struct options *c, const char *name, struct plan *p,
                            struct error *err)
{
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
    st = path_task_dir(c, def, &p->arena, &dir, err);
    if (st)
        return st;
    st = task_open(def, dir, !options_flag(c, OPT_NO_DATA_CHECK), &t->task, err);
    if (st)
        return st;
    t->def = def;
    p->n_tasks++;
    return ST_OK;
}

/* What --samples asks for; the whole of every task without it. */
struct choice {
    const char **ids;
    bool *is_found; /* (n_ids) in some task */
    size_t n_ids;
};

/* --samples first, --limit on what is left, in the order of the data set. */
static enum status choose_items(const struct choice *choice, size_t limit, struct arena *a,
                                struct plan_task *t, struct error *err)
{
    size_t n = task_n_items(t->task), at;
    bool *is_chosen = arena_array(a, n, sizeof(*is_chosen));

    t->items = arena_array(a, n, sizeof(*t->items));
    if (!is_chosen || !t->items)
        return no_memory(err);
    for (size_t i = 0; i < choice->n_ids; i++) {
        if (task_find_item(t->task, choice->ids[i], &at)) {
            is_chosen[at] = true;
            choice->is_found[i] = true;
        }
    }
    for (size_t i = 0; i < n && t->n_items < limit; i++)
        if (!choice->n_ids || is_chosen[i])
            t->items[t->n_items++] = i;
    return ST_OK;
}

/* Every id must be in some task. A task with nothing to do leaves the plan, with a word. */
static enum status check_choice(const struct choice *choice, struct plan *p, struct error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < choice->n_ids; i++)
        if (!choice->is_found[i])
            return error_set(err, ST_INVALID,
                             "option '--samples': no item '%s' in the %zu task%s chosen",
                             choice->ids[i], p->n_tasks, p->n_tasks == 1 ? "" : "s");
    for (size_t i = 0; i < p->n_tasks; i++) {
        struct plan_task *t = &p->tasks[i];

        if (t->n_items) {
            p->tasks[n++] = *t;
            continue;
        }
        log_info("task '%s' is left out: %s", t->def->name,
                 choice->n_ids ? "it has none of the items of --samples" : "it has no items");
        task_close(t->task);
    }
    p->n_tasks = n;
    return n ? ST_OK : error_set(err, ST_INVALID, "the tasks chosen have no items");
}

enum status plan_tasks(const struct options *c, const char *deflt, struct plan *p,
                       struct error *err)
{
    const char *list = options_is_given(c, OPT_TASKS) ? options_text(c, OPT_TASKS) : deflt;
    const char *samples = options_text(c, OPT_SAMPLES), **names;
    size_t limit = options_has(c, OPT_LIMIT) ? (size_t)options_int(c, OPT_LIMIT) : SIZE_MAX;
    struct choice choice = { 0 };
    size_t n_names;
    enum status st;

    *p = (struct plan){ .n_samples = 1 };
    st = split_words(list, "tasks", &p->arena, &names, &n_names, err);
    if (!st && samples)
        st = split_words(samples, "samples", &p->arena, &choice.ids, &choice.n_ids, err);
    if (st)
        return st;
    choice.is_found = arena_array(&p->arena, choice.n_ids, sizeof(*choice.is_found));
    p->tasks = arena_array(&p->arena, n_names, sizeof(*p->tasks));
    if (!choice.is_found || !p->tasks)
        return no_memory(err);
    for (size_t i = 0; i < n_names && !st; i++)
        st = add_task(c, names[i], p, err);
    for (size_t i = 0; i < p->n_tasks && !st; i++)
        st = choose_items(&choice, limit, &p->arena, &p->tasks[i], err);
    return st ? st : check_choice(&choice, p, err);
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

/* An option that nothing would ever read is a mistake, not a wish. */
enum status plan_check_read(const struct options *c, const struct decode_options *d,
                            struct error *err)
{
    static const struct {
        enum option_id id;
        bool is_cache;
        const char *of;
    } readers[] = {
        { OPT_STEPS, false, "low-confidence" }, { OPT_THRESHOLD, false, "threshold" },
        { OPT_PREFIX_LOOK, true, "vicinity" },  { OPT_AFTER_LOOK, true, "vicinity" },
        { OPT_CACHE_WARMUP, true, "vicinity" },
    };

    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        const char *what = readers[i].is_cache ? "cache" : "decoder";
        const char *found = readers[i].is_cache ? d->cache : d->decoder;

        if (options_has(c, readers[i].id) && strcmp(found, readers[i].of) != 0)
            return error_set(err, ST_INVALID, "option '--%s' is of %s '%s', the %s is '%s'",
                             option_table[readers[i].id].name, what, readers[i].of, what, found);
    }
    return ST_OK;
}

void plan_lay_decode(const struct options *c, struct decode_options *ret)
{
    if (options_has(c, OPT_DECODER))
        ret->decoder = options_text(c, OPT_DECODER);
    if (options_has(c, OPT_CACHE))
        ret->cache = options_text(c, OPT_CACHE);
    if (options_has(c, OPT_PREFIX_LOOK))
        ret->prefix_look = (int)options_int(c, OPT_PREFIX_LOOK);
    if (options_has(c, OPT_AFTER_LOOK))
        ret->after_look = (int)options_int(c, OPT_AFTER_LOOK);
    if (options_has(c, OPT_CACHE_WARMUP))
        ret->cache_warmup = (int)options_int(c, OPT_CACHE_WARMUP);
    if (options_has(c, OPT_BLOCK_LENGTH))
        ret->block_length = (int)options_int(c, OPT_BLOCK_LENGTH);
    if (options_has(c, OPT_THRESHOLD))
        ret->threshold = options_real(c, OPT_THRESHOLD);
    if (options_has(c, OPT_TEMPERATURE))
        ret->temperature = options_real(c, OPT_TEMPERATURE);
}

/* Options laid over the model's defaults. */
static enum status resolve(const struct options *c, const struct engine *e,
                           const struct plan_task *t, const char *selector,
                           struct decode_options *ret, struct error *err)
{
    struct decode_options d;
    enum status st;
    int block;

    engine_decode_defaults(e, &d);
    d.selector = selector;
    plan_lay_decode(c, &d);
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
    st = engine_check_decode(e, ret, 0, err);
    return st ? st : plan_check_read(c, &d, err);
}

/* Tokens of every prompt, which must leave room for the answer in each of the task's cells. */
static enum status measure_prompts(const struct engine *e, struct plan *p, struct error *err)
{
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < p->n_tasks && !st; i++) {
        const struct plan_task *t = &p->tasks[i];

        for (size_t k = 0; k < t->n_items && !st; k++) {
            struct task_item facts;
            const char *text;
            size_t len, n_ids = 0;
            int32_t *ids;

            st = plan_prompt(e, t, t->items[k], &a, &text, &len, err);
            if (!st)
                st = engine_tokenize(e, text, len, &a, &ids, &n_ids, err);
            for (size_t c = 0; c < p->n_cells && !st; c++) {
                const struct decode_options *d = &p->cells[c].decode;

                if (p->cells[c].task != t)
                    continue;
                st = engine_check_decode(e, d, n_ids, err);
                if (!st && (int)n_ids + d->gen_length > p->max_canvas)
                    p->max_canvas = (int)n_ids + d->gen_length;
            }
            if (st) {
                task_get_item(t->task, t->items[k], &facts);
                error_prefix(err, st, "task '%s' item '%s'", t->def->name, facts.id);
            }
            if (n_ids > p->max_prompt)
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
    static const char *own_routing = "vanilla"; /* of a verb without the option */
    const struct option_value *given = &c->values[OPT_SELECTOR];
    const char *const *selectors = given->n ? given->texts : &own_routing;
    size_t n_selectors = given->n ? given->n : 1;
    const char *form = options_text(c, OPT_PROMPT_FORM);
    enum status st;

    for (size_t i = 0; i < p->n_tasks; i++) {
        const struct task_def *def = p->tasks[i].def;
        const struct task_form *found = task_form_find(def, form ? form : def->prompt_form);

        if (!found)
            return error_set(err, ST_INVALID,
                             "task '%s' has no prompt form '%s' (--prompt-form); `desbench ls "
                             "forms %s` lists its forms",
                             def->name, form, def->name);
        p->tasks[i].form = found->name;
    }
    p->n_samples = options_has(c, OPT_N_SAMPLES) ? (int)options_int(c, OPT_N_SAMPLES) : 1;
    p->cells = arena_array(&p->arena, p->n_tasks * n_selectors, sizeof(*p->cells));
    if (!p->cells)
        return no_memory(err);
    for (size_t i = 0; i < p->n_tasks; i++) {
        for (size_t k = 0; k < n_selectors; k++) {
            struct plan_cell *cell = &p->cells[p->n_cells];
            const char *selector;
            size_t n;

            cell->task = &p->tasks[i];
            st = canonical_selector(&p->arena, selectors[k], &selector, err);
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
            p->n_positions += (double)n * cell->decode.gen_length;
            p->n_cells++;
        }
    }
    return measure_prompts(e, p, err);
}
