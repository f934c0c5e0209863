/* Reading answers for comparisons: verdicts and hashes without texts; tokens and steps of one. */
#include <math.h>
#include <string.h>

#include "results/compare_impl.h"
#include "results/store_db.h"

struct keyed_row {
    struct answer_row row;
    const char *cell_key;
};

static void read_answer(struct columns *c, void *element)
{
    struct keyed_row *k = element;
    struct answer_row *r = &k->row;

    r->sample_id = column_int(c);
    k->cell_key = column_text(c);
    r->task = column_text(c);
    r->task_id = column_text(c);
    r->sample_idx = column_i32(c);
    r->item_sha256 = column_text(c);
    r->reference_sha256 = column_text(c);
    r->prompt_sha256 = column_text(c);
    r->tokens_sha256 = column_text(c);
    r->verdict = column_text(c);
    r->checker_version = column_text(c);
    r->judge_mode = column_text(c);
    r->is_passed = column_int(c) != 0;
    r->n_tokens_before_eos = column_int(c);
    r->n_forwards = column_int(c);
    r->n_layer_forwards = column_int(c);
    r->sum_unique = column_int(c);
    r->sum_expert_bytes = column_int(c);
    r->total_ns = column_int(c);
}

/* All that tells one setting of a run from another: a cell without its task. */
static bool is_same_setting(const struct cell_row *a, const struct cell_row *b)
{
    const char *const x[][2] = {
        { a->model, b->model },
        { a->load_format, b->load_format },
        { a->weights_sha256, b->weights_sha256 },
        { a->selector, b->selector },
        { a->decoder, b->decoder },
        { a->cache, b->cache },
        { a->backend, b->backend },
        { a->numeric_mode, b->numeric_mode },
    };

    for (size_t i = 0; i < sizeof(x) / sizeof(x[0]); i++)
        if (strcmp(x[i][0], x[i][1]) != 0)
            return false;
    return a->block_length == b->block_length &&
           (a->temperature == b->temperature || (isnan(a->temperature) && isnan(b->temperature)));
}

bool answer_sets_match(const struct answer_set *a, const struct answer_set *b)
{
    const struct cell_row *x = &a->cells[0], *y = &b->cells[0];

    return strcmp(x->selector, y->selector) == 0 && strcmp(x->decoder, y->decoder) == 0 &&
           strcmp(x->cache, y->cache) == 0 && x->block_length == y->block_length &&
           (x->temperature == y->temperature || (isnan(x->temperature) && isnan(y->temperature)));
}

const char *answer_set_label(const struct answer_set *const *sets, size_t n, size_t at,
                             struct arena *arena)
{
    const struct cell_row *c = &sets[at]->cells[0];
    struct {
        const char *name, *value;
        bool is_told;
    } parts[] = { { "decoder", c->decoder, false },
                  { "cache", c->cache, false },
                  { "backend", c->backend, false },
                  { "numeric mode", c->numeric_mode, false },
                  { "model", c->model, false } };
    struct buf b = { 0 };
    bool has_other_blocks = false, has_other_lengths = false;
    const char *label;

    for (size_t i = 0; i < n; i++) {
        const struct cell_row *o = &sets[i]->cells[0];

        parts[0].is_told |= strcmp(o->decoder, c->decoder) != 0;
        parts[1].is_told |= strcmp(o->cache, c->cache) != 0;
        parts[2].is_told |= strcmp(o->backend, c->backend) != 0;
        parts[3].is_told |= strcmp(o->numeric_mode, c->numeric_mode) != 0;
        parts[4].is_told |= strcmp(o->model, c->model) != 0;
        has_other_blocks |= o->block_length != c->block_length;
        has_other_lengths |= strcmp(o->task, c->task) == 0 && o->gen_length != c->gen_length;
    }
    buf_puts(&b, *c->selector ? c->selector : c->model);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].is_told)
            buf_printf(&b, ", %s %s", parts[i].name, parts[i].value);
    if (has_other_blocks)
        buf_printf(&b, ", block %d", c->block_length);
    if (has_other_lengths)
        buf_printf(&b, ", length %d", c->gen_length);
    label = buf_ok(&b) ? arena_strdup(arena, buf_str(&b), b.len) : NULL;
    buf_release(&b);
    return label;
}

enum status store_get_dataset(struct store *s, const char *sha256, struct arena *arena,
                              struct dataset_row *ret, struct error *err)
{
    struct columns c = { .s = s, .arena = arena, .err = err };
    struct dataset_row r = { 0 };
    bool has = false;
    enum status st = store_query(
        s, "SELECT name, sha256, n_items, licence, source FROM dataset WHERE sha256 = ?",
        (const char *const[]){ sha256, NULL }, &c.stmt, err);

    if (!st)
        st = store_next_row(s, c.stmt, &has, err);
    if (!st && !has)
        st = error_set(err, ST_NOT_FOUND, "no data set '%s' in '%s'", sha256, s->path);
    if (!st) {
        r.name = column_text(&c);
        r.sha256 = column_text(&c);
        r.n_items = column_int(&c);
        r.licence = column_text(&c);
        r.source = column_text(&c);
        st = c.st;
    }
    sqlite3_finalize(c.stmt);
    if (!st)
        *ret = r;
    return st;
}

/* Which cells of which runs are read, as a table `chosen (run_id, cell_key)`; ?1 is a run's id. */
#define CHOSEN_OF_RUN                                                                              \
    "WITH chosen AS MATERIALIZED (SELECT run_id, cell_key FROM run_cell WHERE run_id = ?1)"
#define CHOSEN_NEWEST                                                                              \
    "WITH newest AS (SELECT k.cell_key, max(r.run_no) AS run_no FROM run_cell k"                   \
    " JOIN run r USING (run_id) WHERE r.validity = 'VALID' AND r.status = 'done'"                  \
    " GROUP BY k.cell_key), chosen AS MATERIALIZED (SELECT r.run_id, n.cell_key FROM newest n"     \
    " JOIN run r USING (run_no))"
#define CHOSEN_CELLS                                                                               \
    " SELECT s.cell_key, s.run_id FROM chosen k JOIN sample s ON s.run_id = k.run_id"              \
    " AND s.cell_key = k.cell_key GROUP BY s.cell_key ORDER BY min(s.sample_id)"
#define CHOSEN_ANSWERS                                                                             \
    " SELECT s.sample_id, s.cell_key, c.task, i.task_id, s.sample_idx, i.item_sha256,"             \
    " i.reference_sha256, s.prompt_sha256, s.tokens_sha256, v.verdict, v.checker_version,"         \
    " v.judge_mode, v.passed, s.n_tokens_before_eos, s.n_forwards, s.n_layer_forwards,"            \
    " s.sum_unique, s.sum_expert_bytes, s.total_ns FROM chosen k"                                  \
    " JOIN sample s ON s.run_id = k.run_id AND s.cell_key = k.cell_key"                            \
    " JOIN cell c ON c.cell_key = s.cell_key JOIN item i USING (item_id)"                          \
    " JOIN verdict v USING (sample_id) ORDER BY s.sample_id"

struct cells {
    struct chosen_cell {
        const char *key, *run_id;
    } * ids; /* (n) */
    struct cell_row *rows;
    size_t *set;   /* which setting it belongs to */
    size_t *index; /* and which of its cells it is */
    size_t n;
};

/* Has the setting a cell of the task among the first n? */
static bool has_task(const struct cells *c, size_t n, size_t set, const char *task)
{
    for (size_t i = 0; i < n; i++)
        if (c->set[i] == set && strcmp(c->rows[i].task, task) == 0)
            return true;
    return false;
}

static void read_chosen(struct columns *c, void *element)
{
    struct chosen_cell *x = element;

    x->key = column_text(c);
    x->run_id = column_text(c);
}

/* Cells in the order of first samples, sorted into settings. run_id NULL: the newest of all. */
static enum status read_cells(struct store *s, const char *run_id, struct arena *arena,
                              struct cells *ret, size_t *ret_n_sets, struct error *err)
{
    struct store_list list = { 0 };
    enum status st =
        store_read_list(s, run_id ? CHOSEN_OF_RUN CHOSEN_CELLS : CHOSEN_NEWEST CHOSEN_CELLS,
                        (const char *const[]){ run_id, NULL }, arena, sizeof(struct chosen_cell),
                        read_chosen, &list, err);

    *ret = (struct cells){ .ids = list.items, .n = list.n };
    *ret_n_sets = 0;
    if (st)
        return st;
    ret->rows = arena_array(arena, list.n, sizeof(*ret->rows));
    ret->set = arena_array(arena, list.n, sizeof(*ret->set));
    ret->index = arena_array(arena, list.n, sizeof(*ret->index));
    if (!ret->rows || !ret->set || !ret->index)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
    for (size_t i = 0; i < list.n; i++) {
        size_t k = 0;

        st = store_get_cell(s, ret->ids[i].key, arena, &ret->rows[i], err);
        if (st)
            return st;
        while (k < i && (!is_same_setting(&ret->rows[k], &ret->rows[i]) ||
                         has_task(ret, i, ret->set[k], ret->rows[i].task)))
            k++;
        ret->set[i] = k < i ? ret->set[k] : (*ret_n_sets)++;
        for (k = 0; k < i; k++)
            ret->index[i] += ret->set[k] == ret->set[i];
    }
    return ST_OK;
}

/* Room for the cells and answers of each setting, and the cells put there. */
static bool lay_out(const struct cells *cells, const struct keyed_row *rows, size_t n_rows,
                    const size_t *cell_of, struct answer_set *sets, size_t n_sets,
                    struct arena *arena)
{
    for (size_t i = 0; i < cells->n; i++)
        sets[cells->set[i]].n_cells++;
    for (size_t i = 0; i < n_rows; i++)
        sets[cells->set[cell_of[i]]].n_rows++;
    for (size_t i = 0; i < n_sets; i++) {
        sets[i].cells = arena_array(arena, sets[i].n_cells, sizeof(*sets[i].cells));
        sets[i].cell_keys = arena_array(arena, sets[i].n_cells, sizeof(*sets[i].cell_keys));
        sets[i].run_ids = arena_array(arena, sets[i].n_cells, sizeof(*sets[i].run_ids));
        sets[i].seconds = arena_array(arena, sets[i].n_cells, sizeof(*sets[i].seconds));
        sets[i].rows = arena_array(arena, sets[i].n_rows, sizeof(*sets[i].rows));
        if (!sets[i].cells || !sets[i].cell_keys || !sets[i].run_ids || !sets[i].seconds ||
            !sets[i].rows)
            return false;
        sets[i].n_rows = 0;
    }
    for (size_t i = 0; i < cells->n; i++) {
        sets[cells->set[i]].cells[cells->index[i]] = cells->rows[i];
        sets[cells->set[i]].cell_keys[cells->index[i]] = cells->ids[i].key;
        sets[cells->set[i]].run_ids[cells->index[i]] = cells->ids[i].run_id;
    }
    for (size_t i = 0; i < n_rows; i++) {
        struct answer_set *set = &sets[cells->set[cell_of[i]]];
        struct answer_row *r = &set->rows[set->n_rows++];

        *r = rows[i].row;
        r->cell = cells->index[cell_of[i]];
        r->judge_mode = r->judge_mode ? r->judge_mode : "";
        set->seconds[r->cell] += (double)r->total_ns * 1e-9;
    }
    return true;
}

/* How many sequences shared a batch: the time of an answer is shared by so many. */
static double batch_size(struct store *s, const char *run_id)
{
    sqlite3_stmt *stmt = NULL;
    struct error err;
    double size = 1;
    bool has = false;

    if (store_query(s,
                    "SELECT json_extract(config_json, '$.\"batch-size\".value') FROM run"
                    " WHERE run_id = ?1",
                    (const char *const[]){ run_id, NULL }, &stmt, &err) == ST_OK &&
        store_next_row(s, stmt, &has, &err) == ST_OK && has)
        size = sqlite3_column_double(stmt, 0);
    sqlite3_finalize(stmt);
    return size >= 1 ? size : 1;
}

/* What its runs say of a setting. */
static enum status describe(struct store *s, struct answer_set *set, struct arena *arena,
                            struct error *err)
{
    struct run_row run;
    struct run_summary summary;
    enum status st;

    set->run_id = set->run_ids[0];
    st = store_get_run(s, set->run_id, arena, &run, &summary, err);
    if (st)
        return st;
    set->started = run.started;
    set->status = summary.status;
    set->validity = summary.validity;
    set->version = run.version;
    set->git_commit = run.git_commit;
    for (size_t k = 0; k < set->n_cells; k++)
        set->seconds[k] /= batch_size(s, set->run_ids[k]);
    return ST_OK;
}

/* run_id NULL: of each cell the newest. */
static enum status read_sets(struct store *s, const char *source, const char *run_id,
                             struct arena *arena, struct answer_set **ret, size_t *ret_n,
                             struct error *err)
{
    struct store_list list = { 0 };
    const struct keyed_row *rows;
    struct cells cells;
    struct answer_set *sets;
    const struct answer_set **all;
    size_t n_sets, *cell_of;
    enum status st = read_cells(s, run_id, arena, &cells, &n_sets, err);

    if (!st)
        st =
            store_read_list(s, run_id ? CHOSEN_OF_RUN CHOSEN_ANSWERS : CHOSEN_NEWEST CHOSEN_ANSWERS,
                            (const char *const[]){ run_id, NULL }, arena, sizeof(struct keyed_row),
                            read_answer, &list, err);
    if (st)
        return st;
    rows = list.items;
    sets = arena_array(arena, n_sets, sizeof(*sets));
    all = arena_array(arena, n_sets, sizeof(struct answer_set *));
    cell_of = arena_array(arena, list.n, sizeof(*cell_of));
    if (!sets || !all || !cell_of)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
    for (size_t i = 0; i < list.n; i++)
        while (cell_of[i] < cells.n && strcmp(cells.ids[cell_of[i]].key, rows[i].cell_key) != 0)
            cell_of[i]++;
    if (!lay_out(&cells, rows, list.n, cell_of, sets, n_sets, arena))
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
    for (size_t i = 0; i < n_sets; i++)
        all[i] = &sets[i];
    for (size_t i = 0; i < n_sets && !st; i++) {
        sets[i].source = source;
        sets[i].label = answer_set_label(all, n_sets, i, arena);
        st = sets[i].label ? describe(s, &sets[i], arena, err)
                           : error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
        answer_set_sort(&sets[i]);
    }
    if (st)
        return st;
    *ret = sets;
    *ret_n = n_sets;
    return ST_OK;
}

enum status store_answer_sets(struct store *s, const char *source, const char *run_id,
                              struct arena *arena, struct answer_set **ret, size_t *ret_n,
                              struct error *err)
{
    struct run_row run;
    enum status st = store_get_run(s, run_id, arena, &run, NULL, err);

    return st ? st : read_sets(s, source, run.run_id, arena, ret, ret_n, err);
}

enum status store_newest_sets(struct store *s, const char *source, struct arena *arena,
                              struct answer_set **ret, size_t *ret_n, struct error *err)
{
    size_t n = 0;
    enum status st = read_sets(s, source, NULL, arena, ret, &n, err);

    if (!st && !n)
        st = error_set(err, ST_NOT_FOUND,
                       "no run in '%s' is done and valid; name one: %s:last, or as `desbench ls "
                       "runs` has it",
                       s->path, s->path);
    if (!st)
        *ret_n = n;
    return st;
}

/* ---- where two answers part ------------------------------------------------------------- */

/* Tokens and the step that committed each. */
struct trace {
    const unsigned char *tokens; /* little-endian i32 */
    size_t n_tokens;
    struct telemetry steps;
};

static enum status read_trace(struct store *s, int64_t sample_id, struct arena *arena,
                              struct trace *ret, struct error *err)
{
    struct binder b = { 0 };
    struct columns c = { .s = s, .arena = arena, .err = err };
    const char *blob;
    size_t len;
    bool has;
    enum status st =
        store_prepare(s, "SELECT tokens, telemetry FROM sample WHERE sample_id = ?1", &b.stmt, err);

    if (st)
        return st;
    bind_int(&b, sample_id);
    st = b.rc ? store_fail(s, b.rc, err, "read") : store_next_row(s, b.stmt, &has, err);
    c.stmt = b.stmt;
    if (!st && has) {
        ret->tokens = (const unsigned char *)column_bytes(&c, &len);
        ret->n_tokens = len / 4;
        blob = column_bytes(&c, &len);
        st = c.st;
        if (!st && blob)
            st = telemetry_decode(blob, len, arena, &ret->steps, err);
    }
    sqlite3_finalize(b.stmt);
    return st;
}

static int32_t token_at(const struct trace *t, int32_t i)
{
    const unsigned char *p = t->tokens + 4 * (size_t)i;

    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                     (uint32_t)p[3] << 24);
}

/* Positions of the trace whose token and step are both known. */
static int32_t n_traced(const struct trace *t)
{
    return t->n_tokens < (size_t)t->steps.n_positions ? (int32_t)t->n_tokens : t->steps.n_positions;
}

/* The forward after which the position holds its token; never: INT32_MAX. */
static int32_t commit_of(const struct trace *t, int32_t i)
{
    return i < n_traced(t) && t->steps.commit_step[i] >= 0 ? t->steps.commit_step[i] : INT32_MAX;
}

enum status compare_part(struct store *base, struct store *cand, const struct compare_pair *p,
                         struct arena *arena, struct compare_parting *ret, struct error *err)
{
    struct trace x = { 0 }, y = { 0 };
    enum status st = ST_OK;
    int32_t n;

    *ret = (struct compare_parting){ .forward = INT32_MAX };
    if (!base || !cand || !p->base->sample_id || !p->cand->sample_id)
        return ST_OK;
    st = read_trace(base, p->base->sample_id, arena, &x, err);
    if (!st)
        st = read_trace(cand, p->cand->sample_id, arena, &y, err);
    if (st || !n_traced(&x) || !n_traced(&y))
        return st;
    n = n_traced(&x) > n_traced(&y) ? n_traced(&x) : n_traced(&y);
    for (int32_t i = 0; i < n; i++) {
        int32_t at_x = commit_of(&x, i), at_y = commit_of(&y, i);
        int32_t first = at_x < at_y ? at_x : at_y;

        if (first == INT32_MAX || first >= ret->forward ||
            (at_x == at_y && token_at(&x, i) == token_at(&y, i)))
            continue;
        ret->forward = first;
        ret->position = i;
        ret->base_token = at_x == first ? token_at(&x, i) : -1;
        ret->cand_token = at_y == first ? token_at(&y, i) : -1;
        ret->is_known = true;
    }
    if (ret->is_known) {
        const struct telemetry *t = ret->base_token >= 0 ? &x.steps : &y.steps;

        if (ret->forward < t->n_forwards) {
            ret->block = t->forwards[ret->forward].block;
            ret->step = t->forwards[ret->forward].step;
        }
    }
    return ST_OK;
}

/* ---- keeping comparisons ---------------------------------------------------------------- */

static enum status put_row(struct store *s, const struct comparison *c,
                           const struct compare_task *t, const char *made, struct error *err)
{
    bool is_all = t == &c->all;
    struct binder b = { 0 };
    enum status st = store_stmt(
        s, SQL_PUT_COMPARISON,
        "INSERT INTO comparison (made, base_run, base_cell, cand_run, cand_cell, task, a, b, c, d,"
        " p_mcnemar, delta, loss_low, loss_high, margin, outcome, rel_accuracy, rel_low, rel_high,"
        " seed, n_draws) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        &b.stmt, err);
    const char *base_cell = "", *cand_cell = "";
    int rc;

    if (st)
        return st;
    for (size_t i = 0; i < c->n_pairs && !is_all; i++)
        if (&c->tasks[c->pairs[i].task] == t) {
            base_cell = c->base->cell_keys[c->pairs[i].base->cell];
            cand_cell = c->cand->cell_keys[c->pairs[i].cand->cell];
            break;
        }
    bind_text(&b, made);
    bind_text(&b, c->base->run_id);
    bind_text(&b, base_cell);
    bind_text(&b, c->cand->run_id);
    bind_text(&b, cand_cell);
    bind_text(&b, t->task);
    bind_int(&b, t->a);
    bind_int(&b, t->b);
    bind_int(&b, t->c);
    bind_int(&b, t->d);
    bind_real(&b, t->b + t->c ? t->mcnemar.p_worse : (double)NAN);
    bind_real(&b, -t->gate.loss);
    bind_real(&b, t->gate.low);
    bind_real(&b, t->gate.high);
    bind_real(&b, c->margin);
    bind_text(&b, stats_outcome_name(is_all              ? c->outcome
                                     : t->n_same == t->n ? STATS_IDENTICAL
                                                         : t->gate.outcome));
    bind_real(&b, is_all ? c->rel : (double)NAN);
    bind_real(&b, is_all ? c->rel_low : (double)NAN);
    bind_real(&b, is_all ? c->rel_high : (double)NAN);
    bind_int(&b, (int64_t)c->seed);
    bind_int(&b, c->n_draws);
    rc = store_run_stmt(&b);
    return rc == SQLITE_DONE ? ST_OK : store_fail(s, rc, err, "store a comparison in");
}

enum status store_put_comparison(struct store *s, const struct comparison *c, const char *made,
                                 struct error *err)
{
    enum status st = store_begin(s, err);

    if (st)
        return st;
    for (size_t i = 0; i < c->n_tasks && !st; i++)
        st = put_row(s, c, &c->tasks[i], made, err);
    if (!st)
        st = put_row(s, c, &c->all, made, err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}
