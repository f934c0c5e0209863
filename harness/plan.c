/* Plan: tasks and items first, then decoding, which needs the model. */
#include "harness/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "harness/paths.h"
#include "harness/ranges.h"

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

/* Options that are numbers of decoders or caches. */
static const struct decode_number {
    enum option_id id;
    const char *name; /* in struct decode_options */
    size_t at;
} numbers[] = {
#define NUMBER(id, field)                                                                          \
    {                                                                                              \
        id, #field, offsetof(struct decode_options, field)                                         \
    }
    NUMBER(OPT_STEPS, steps),
    NUMBER(OPT_THRESHOLD, threshold),
    NUMBER(OPT_LOW_THRESHOLD, low_threshold),
    NUMBER(OPT_FACTOR, factor),
    NUMBER(OPT_EDIT_THRESHOLD, edit_threshold),
    NUMBER(OPT_MAX_POST_STEPS, max_post_steps),
    NUMBER(OPT_CREDIT_ALPHA, credit_alpha),
    NUMBER(OPT_CREDIT_DECAY, credit_decay),
    NUMBER(OPT_CREDIT_BOOST, credit_boost),
    NUMBER(OPT_TOP_K, top_k),
    NUMBER(OPT_TOP_P, top_p),
    NUMBER(OPT_SMOOTHING, smoothing),
    NUMBER(OPT_SMOOTHING_INIT, smoothing_init),
    NUMBER(OPT_SMOOTHING_GROWTH, smoothing_growth),
    NUMBER(OPT_SMOOTHING_DECAY, smoothing_decay),
    NUMBER(OPT_PREFIX_LOOK, prefix_look),
    NUMBER(OPT_AFTER_LOOK, after_look),
    NUMBER(OPT_CACHE_WARMUP, cache_warmup),
#undef NUMBER
};
enum { N_NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

/* An option that nothing would ever read is a mistake, not a wish. */
enum status plan_check_read(const struct options *c, const struct decode_options *d,
                            struct error *err)
{
    struct decode_options warm = *d;

    warm.temperature = 1;
    for (int i = 0; i < N_NUMBERS; i++)
        if (options_has(c, numbers[i].id) && !engine_decode_reads(d, numbers[i].name))
            return error_set(err, ST_INVALID,
                             "option '--%s' is read neither by decoder '%s' nor by cache '%s'%s",
                             option_table[numbers[i].id].name, d->decoder, d->cache,
                             engine_decode_reads(&warm, numbers[i].name) ? " at temperature 0"
                                                                         : "");
    return ST_OK;
}

void plan_lay_decode(const struct options *c, struct decode_options *ret)
{
    if (options_has(c, OPT_DECODER))
        ret->decoder = options_text(c, OPT_DECODER);
    if (options_has(c, OPT_CACHE))
        ret->cache = options_text(c, OPT_CACHE);
    for (int i = 0; i < N_NUMBERS; i++) {
        void *at = (char *)ret + numbers[i].at;

        if (!options_has(c, numbers[i].id))
            continue;
        if (option_table[numbers[i].id].kind == OPTION_INT)
            *(int *)at = (int)options_int(c, numbers[i].id);
        else
            *(double *)at = options_real(c, numbers[i].id);
    }
    if (options_has(c, OPT_BLOCK_LENGTH))
        ret->block_length = (int)options_int(c, OPT_BLOCK_LENGTH);
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
    *ret = d;
    st = engine_check_decode(e, ret, 0, err);
    if (st)
        return st;
    ret->steps = engine_decode_steps(&d);
    return plan_check_read(c, &d, err);
}

/* Has the answer room behind the task's longest prompt, its k-th, in each of its cells? */
static enum status check_room(const struct engine *e, struct plan *p, const struct plan_task *t,
                              size_t k, struct error *err)
{
    size_t n_ids = t->inputs[k].n_ids;
    struct task_item facts;
    enum status st = ST_OK;

    for (size_t c = 0; c < p->n_cells && !st; c++) {
        const struct decode_options *d = &p->cells[c].decode;
        int n;

        if (p->cells[c].task != t)
            continue;
        st = engine_check_decode(e, d, n_ids, err);
        if (st)
            break;
        n = (int)engine_canvas(e, d, n_ids).n_positions; /* no more than the model sees */
        if (n > p->max_canvas)
            p->max_canvas = n;
    }
    if (st) {
        task_get_item(t->task, t->items[k], &facts);
        error_prefix(err, st, "task '%s' item '%s'", t->def->name, facts.id);
    }
    return st;
}

static enum status tokenize(const struct engine *e, const struct plan_task *t, size_t item,
                            struct arena *a, struct plan_input *ret, struct error *err)
{
    struct task_item facts;
    int32_t *ids = NULL;
    enum status st = plan_prompt(e, t, item, a, &ret->text, &ret->len, err);

    if (!st)
        st = engine_tokenize(e, ret->text, ret->len, a, &ids, &ret->n_ids, err);
    if (!st)
        st = sha256_hex(ret->text, ret->len, ret->sha256, err);
    ret->ids = ids;
    if (st) {
        task_get_item(t->task, item, &facts);
        error_prefix(err, st, "task '%s' item '%s'", t->def->name, facts.id);
    }
    return st;
}

/* Render and tokenize every prompt, once for all cells of its task. */
static enum status tokenize_prompts(const struct engine *e, struct plan *p, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < p->n_tasks && !st; i++) {
        struct plan_task *t = &p->tasks[i];
        size_t longest = 0;

        t->inputs = arena_array(&p->arena, t->n_items, sizeof(*t->inputs));
        if (!t->inputs)
            return no_memory(err);
        for (size_t k = 0; k < t->n_items && !st; k++) {
            st = tokenize(e, t, t->items[k], &p->arena, &t->inputs[k], err);
            if (!st && t->inputs[k].n_ids > t->inputs[longest].n_ids)
                longest = k;
        }
        if (!st)
            st = check_room(e, p, t, longest, err);
        if (!st && t->inputs[longest].n_ids > p->max_prompt)
            p->max_prompt = t->inputs[longest].n_ids;
    }
    return st;
}

/* ---- combinations ----------------------------------------------------------------------- */

/* Options whose lists make cells; the last runs fastest. */
static const enum option_id axes[] = { OPT_DECODER,        OPT_CACHE,     OPT_GEN_LENGTH,
                                       OPT_BLOCK_LENGTH,   OPT_STEPS,     OPT_THRESHOLD,
                                       OPT_LOW_THRESHOLD,  OPT_FACTOR,    OPT_EDIT_THRESHOLD,
                                       OPT_MAX_POST_STEPS, OPT_SMOOTHING, OPT_TEMPERATURE };
enum { N_AXES = sizeof(axes) / sizeof(axes[0]), MAX_CELLS = 100000 };

struct combinations {
    const char *const *values[N_AXES]; /* (n) texts; NULL: the option is not set */
    size_t n[N_AXES];
    size_t n_all;
    const char **selectors; /* (n_selectors) canonical */
    size_t n_selectors;
};

static enum status read_axis(const struct options *c, enum option_id id, struct arena *a,
                             const char *const **ret, size_t *ret_n, struct error *err)
{
    const char *name = option_table[id].name;
    enum status st = ranges_expand(options_text(c, id), a, ret, ret_n, err);

    if (st)
        return error_prefix(err, st, "option '--%s'", name);
    for (size_t i = 0; i < *ret_n && option_table[id].kind != OPTION_TEXT; i++)
        for (size_t k = 0; k < i; k++)
            if (strtod((*ret)[k], NULL) == strtod((*ret)[i], NULL))
                return error_set(err, ST_INVALID, "option '--%s': '%s' and '%s' are the same", name,
                                 (*ret)[k], (*ret)[i]);
    return ST_OK;
}

static enum status read_selectors(const struct options *c, struct arena *a,
                                  struct combinations *ret, struct error *err)
{
    static const char *own_routing = "vanilla"; /* of a verb without the option */
    const struct option_value *v = &c->values[OPT_SELECTOR];
    const char *const *given = v->n ? v->texts : &own_routing;
    size_t n = 0, n_given = v->n ? v->n : 1, cap = n_given * RANGES_MAX_VALUES;
    enum status st = ST_OK;

    ret->selectors = arena_array(a, cap, sizeof(*ret->selectors));
    if (!ret->selectors)
        return no_memory(err);
    for (size_t i = 0; i < n_given && !st; i++) {
        const char *const *texts;
        size_t n_texts = 0;

        st = ranges_expand_selector(given[i], a, &texts, &n_texts, err);
        for (size_t k = 0; k < n_texts && !st; k++) {
            st = canonical_selector(a, texts[k], &ret->selectors[n], err);
            for (size_t m = 0; m < n && !st; m++)
                if (strcmp(ret->selectors[m], ret->selectors[n]) == 0)
                    return error_set(err, ST_INVALID, "selector '%s' is named twice",
                                     ret->selectors[n]);
            n++;
        }
    }
    ret->n_selectors = n;
    return st;
}

static enum status read_combinations(const struct options *c, size_t n_tasks, struct arena *a,
                                     struct combinations *ret, struct error *err)
{
    enum status st = read_selectors(c, a, ret, err);
    size_t n;

    ret->n_all = 1;
    for (size_t i = 0; i < N_AXES && !st; i++) {
        ret->n[i] = 1;
        if (options_has(c, axes[i]))
            st = read_axis(c, axes[i], a, &ret->values[i], &ret->n[i], err);
        if (!st && (!size_mul(ret->n_all, ret->n[i], &ret->n_all) || ret->n_all > MAX_CELLS))
            st = error_set(err, ST_INVALID, "the plan has more than %d cells", MAX_CELLS);
    }
    if (!st &&
        (!size_mul(ret->n_all, ret->n_selectors, &n) || !size_mul(n, n_tasks, &n) || n > MAX_CELLS))
        st = error_set(err, ST_INVALID, "the plan has more than %d cells", MAX_CELLS);
    return st;
}

/* Options with the values of one combination; borrows from c and x. */
static struct options combination(const struct options *c, struct combinations *x, size_t at)
{
    struct options one = *c;

    for (size_t i = N_AXES; i-- > 0; at /= x->n[i]) {
        if (!x->values[i])
            continue;
        one.values[axes[i]].texts = (const char **)&x->values[i][at % x->n[i]];
        one.values[axes[i]].n = 1;
    }
    return one;
}

static enum status add_cell(const struct options *c, const struct engine *e,
                            const struct plan_task *t, const char *selector, struct plan *p,
                            struct error *err)
{
    struct plan_cell *cell = &p->cells[p->n_cells];
    enum status st;

    cell->task = t;
    st = resolve(c, e, t, selector, &cell->decode, err);
    if (st)
        return error_prefix(err, st, "task '%s'", t->def->name);
    if (cell->decode.block_length > p->max_block)
        p->max_block = cell->decode.block_length;
    p->n_cells++;
    return ST_OK;
}

/* Samples and positions over the cells. */
static enum status count_work(struct plan *p, struct error *err)
{
    p->n_work = 0;
    p->n_positions = 0;
    for (size_t i = 0; i < p->n_cells; i++) {
        size_t n;

        if (!size_mul(p->cells[i].task->n_items, (size_t)p->n_samples, &n) ||
            !size_add(p->n_work, n, &p->n_work))
            return error_set(err, ST_INVALID, "the plan holds too many samples");
        p->n_positions += (double)n * p->cells[i].decode.gen_length;
    }
    return ST_OK;
}

void plan_drop_cells(struct plan *p, const bool *is_dropped)
{
    size_t n = 0;
    enum status st;

    for (size_t i = 0; i < p->n_cells; i++)
        if (!is_dropped[i])
            p->cells[n++] = p->cells[i];
    p->n_cells = n;
    st = count_work(p, NULL); /* less than what was counted before */
    assert(!st);
    (void)st;
}

/* "N/M" of --cells. */
static enum status read_share(const char *text, size_t *ret_nth, size_t *ret_of, struct error *err)
{
    char *end = NULL, *end_of = NULL;
    unsigned long nth = 0, of = 0;

    if (*text >= '0' && *text <= '9')
        nth = strtoul(text, &end, 10);
    if (end && *end == '/' && end[1] >= '0' && end[1] <= '9')
        of = strtoul(end + 1, &end_of, 10);
    if (!end_of || *end_of || nth < 1 || nth > of || of > MAX_CELLS)
        return error_set(err, ST_INVALID,
                         "option '--cells' needs a share N/M with 1 <= N <= M <= %d, found '%s'",
                         MAX_CELLS, text);
    *ret_nth = nth - 1;
    *ret_of = of;
    return ST_OK;
}

static enum status keep_share(const struct options *c, struct plan *p, struct error *err)
{
    bool *is_dropped = arena_array(&p->arena, p->n_cells, sizeof(*is_dropped));
    size_t nth = 0, of = 1;
    enum status st =
        is_dropped ? read_share(options_text(c, OPT_CELLS), &nth, &of, err) : no_memory(err);

    if (st)
        return st;
    for (size_t i = 0; i < p->n_cells; i++)
        is_dropped[i] = i % of != nth;
    plan_drop_cells(p, is_dropped);
    return ST_OK;
}

enum status plan_decode(const struct options *c, const struct engine *e, struct plan *p,
                        struct error *err)
{
    const char *form = options_text(c, OPT_PROMPT_FORM);
    struct combinations x = { 0 };
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
    st = read_combinations(c, p->n_tasks, &p->arena, &x, err);
    if (st)
        return st;
    p->cells = arena_array(&p->arena, p->n_tasks * x.n_all * x.n_selectors, sizeof(*p->cells));
    if (!p->cells)
        return no_memory(err);
    for (size_t i = 0; i < p->n_tasks && !st; i++) {
        for (size_t k = 0; k < x.n_all && !st; k++) {
            struct options one = combination(c, &x, k);

            for (size_t m = 0; m < x.n_selectors && !st; m++)
                st = add_cell(&one, e, &p->tasks[i], x.selectors[m], p, err);
        }
    }
    if (!st)
        st = count_work(p, err);
    if (!st)
        st = tokenize_prompts(e, p, err);
    if (!st && options_has(c, OPT_CELLS))
        st = keep_share(c, p, err);
    return st;
}
