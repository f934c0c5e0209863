/* Reading rows. */
#include <math.h>
#include <string.h>

#include "results/store_db.h"

/* ---- samples by key --------------------------------------------------------------------- */

enum status store_has_sample(struct store *s, const char *run_id, const char *cell_key,
                             const struct item_row *item, int sample_idx, bool *ret,
                             struct error *err)
{
    struct binder b = { 0 };
    enum status st =
        store_stmt(s, SQL_HAS_SAMPLE,
                   "SELECT i.item_sha256 = ?5 AND i.reference_sha256 = ?6,"
                   " v.verdict <> 'internal' FROM item i"
                   " JOIN sample s ON s.run_id = ?1 AND s.cell_key = ?2"
                   "  AND s.item_id = i.item_id AND s.sample_idx = ?7"
                   " JOIN verdict v ON v.sample_id = s.sample_id"
                   " WHERE i.dataset_sha256 = ?3 AND i.task_id = ?4 ORDER BY 1 LIMIT 1",
                   &b.stmt, err);
    bool is_same = true, has = false;
    int rc;

    if (st)
        return st;
    bind_text(&b, run_id);
    bind_text(&b, cell_key);
    bind_text(&b, item->dataset_sha256);
    bind_text(&b, item->task_id);
    bind_text(&b, item->item_sha256);
    bind_text(&b, item->reference_sha256);
    bind_int(&b, sample_idx);
    rc = b.rc ? b.rc : sqlite3_step(b.stmt);
    if (rc == SQLITE_ROW) {
        is_same = sqlite3_column_int(b.stmt, 0);
        has = sqlite3_column_int(b.stmt, 1);
    }
    sqlite3_reset(b.stmt);
    sqlite3_clear_bindings(b.stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return store_fail(s, rc, err, "look up item '%s' in", item->task_id);
    if (!is_same)
        return error_set(err, ST_MISMATCH,
                         "run '%s' in '%s' has a sample of item '%s' as it read otherwise", run_id,
                         s->path, item->task_id);
    *ret = has;
    return ST_OK;
}

/* ---- runs ------------------------------------------------------------------------------- */

/* Newest first: by start, and within one second by arrival, as ids end in a random part. */
#define NEWEST_FIRST " ORDER BY started DESC, run_no DESC"
#define SUMMARY_COLUMNS                                                                            \
    "run_id, started, finished, status, validity, command, tasks, model, selector, n_samples,"     \
    " n_passed, n_internal"

static void read_summary(struct columns *c, struct run_summary *ret)
{
    ret->run_id = column_text(c);
    ret->started = column_text(c);
    ret->finished = column_text(c);
    ret->status = column_text(c);
    ret->validity = column_text(c);
    ret->command = column_text(c);
    ret->tasks = column_text(c);
    ret->model = column_text(c);
    ret->selector = column_text(c);
    ret->n_samples = column_int(c);
    ret->n_passed = column_int(c);
    ret->n_internal = column_int(c);
}

enum status store_list_runs(struct store *s, struct arena *arena, struct run_summary **ret,
                            size_t *ret_n, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    void *list = NULL;
    size_t n = 0, cap = 0;
    bool has;
    enum status st = store_query(s, "SELECT " SUMMARY_COLUMNS " FROM run_summary" NEWEST_FIRST,
                                 (const char *const[]){ NULL }, &stmt, err);

    if (st)
        return st;
    while (!(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };
        struct run_summary *row = store_grow(arena, &list, n, &cap, sizeof(*row));

        if (row)
            read_summary(&c, row);
        else
            c.st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
        st = c.st;
        if (st)
            break;
        n++;
    }
    sqlite3_finalize(stmt);
    if (st)
        return st;
    *ret = list;
    *ret_n = n;
    return ST_OK;
}

enum status store_find_run(struct store *s, const char *prefix, struct arena *arena,
                           const char **ret_run_id, struct error *err)
{
    bool is_last = strcmp(prefix, "last") == 0;
    sqlite3_stmt *stmt = NULL;
    const char *found[2] = { NULL, NULL };
    bool has = true;
    enum status st;

    /* a whole id comes before the longer ones it is a prefix of */
    st = store_query(s,
                     is_last ? "SELECT run_id FROM run" NEWEST_FIRST " LIMIT 1"
                             : "SELECT run_id, run_id = ?1 FROM run"
                               " WHERE substr(run_id, 1, length(?1)) = ?1"
                               " ORDER BY run_id <> ?1, run_id LIMIT 2",
                     (const char *const[]){ is_last ? NULL : prefix, NULL }, &stmt, err);
    for (int i = 0; i < 2 && !st && has; i++) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };

        st = store_next_row(s, stmt, &has, err);
        if (st || !has)
            break;
        found[i] = column_text(&c);
        st = c.st;
        if (!is_last && column_int(&c))
            break;
    }
    sqlite3_finalize(stmt);
    if (st)
        return st;
    if (!found[0])
        return is_last ? error_set(err, ST_NOT_FOUND, "no runs in '%s'", s->path)
                       : error_set(err, ST_NOT_FOUND, "no run '%s' in '%s'", prefix, s->path);
    if (found[1])
        return error_set(err, ST_INVALID, "run '%s' is ambiguous in '%s': '%s' or '%s'", prefix,
                         s->path, found[0], found[1]);
    *ret_run_id = found[0];
    return ST_OK;
}

enum status store_get_run(struct store *s, const char *run_id, struct arena *arena,
                          struct run_row *ret, struct run_summary *ret_summary, struct error *err)
{
    struct columns c = { .s = s, .arena = arena, .err = err };
    struct run_row r = { 0 };
    struct run_summary summary = { 0 };
    bool has = false;
    enum status st =
        store_query(s,
                    "SELECT r.run_id, r.parent_run, r.started, r.command, r.config_json,"
                    " r.config_sha256, r.version, r.git_commit, r.git_dirty, r.build_flags,"
                    " r.compiler, r.env_json, r.sandbox_level, r.judge_mode,"
                    " r.python_version FROM run r WHERE r.run_id = ?",
                    (const char *const[]){ run_id, NULL }, &c.stmt, err);

    if (!st)
        st = store_next_row(s, c.stmt, &has, err);
    if (!st && !has)
        st = error_set(err, ST_NOT_FOUND, "no run '%s' in '%s'", run_id, s->path);
    if (!st) {
        r.run_id = column_text(&c);
        r.parent_run = column_text(&c);
        r.started = column_text(&c);
        r.command = column_text(&c);
        r.config_json = column_text(&c);
        r.config_sha256 = column_text(&c);
        r.version = column_text(&c);
        r.git_commit = column_text(&c);
        r.git_dirty = column_int(&c) != 0;
        r.build_flags = column_text(&c);
        r.compiler = column_text(&c);
        r.env_json = column_text(&c);
        r.sandbox_level = column_text(&c);
        r.judge_mode = column_text(&c);
        r.python_version = column_text(&c);
        st = c.st;
    }
    sqlite3_finalize(c.stmt);
    if (!st && ret_summary) {
        c = (struct columns){ .s = s, .arena = arena, .err = err };
        st = store_query(s, "SELECT " SUMMARY_COLUMNS " FROM run_summary WHERE run_id = ?",
                         (const char *const[]){ run_id, NULL }, &c.stmt, err);
        if (!st)
            st = store_next_row(s, c.stmt, &has, err);
        if (!st && has) {
            read_summary(&c, &summary);
            st = c.st;
        }
        sqlite3_finalize(c.stmt);
    }
    if (st)
        return st;
    if (ret)
        *ret = r;
    if (ret_summary)
        *ret_summary = summary;
    return ST_OK;
}

enum status store_get_cell(struct store *s, const char *key, struct arena *arena,
                           struct cell_row *ret, struct error *err)
{
    struct columns c = { .s = s, .arena = arena, .err = err };
    struct cell_row r = { 0 };
    bool has = false;
    enum status st = store_query(
        s,
        "SELECT task, dataset_sha256, prompt_form, prompt_sha256, model, architecture,"
        " load_format, weights_sha256, config_sha256, tokenizer_sha256, template_sha256,"
        " selector, budget, decoder, cache, backend, numeric_mode, answers_sha256,"
        " gen_length, block_length, engine_results_version, temperature, n_layer,"
        " n_moe_layer, n_exp, top_k, expert_bytes, weight_bytes FROM cell"
        " WHERE cell_key = ?",
        (const char *const[]){ key, NULL }, &c.stmt, err);

    if (!st)
        st = store_next_row(s, c.stmt, &has, err);
    if (!st && !has)
        st = error_set(err, ST_NOT_FOUND, "no cell '%s' in '%s'", key, s->path);
    if (!st) {
        r.task = column_text(&c);
        r.dataset_sha256 = column_text(&c);
        r.prompt_form = column_text(&c);
        r.prompt_sha256 = column_text(&c);
        r.model = column_text(&c);
        r.architecture = column_text(&c);
        r.load_format = column_text(&c);
        r.weights_sha256 = column_text(&c);
        r.config_sha256 = column_text(&c);
        r.tokenizer_sha256 = column_text(&c);
        r.template_sha256 = column_text(&c);
        r.selector = column_text(&c);
        r.budget = column_text(&c);
        r.decoder = column_text(&c);
        r.cache = column_text(&c);
        r.backend = column_text(&c);
        r.numeric_mode = column_text(&c);
        r.answers_sha256 = column_text(&c);
        r.gen_length = column_i32(&c);
        r.block_length = column_i32(&c);
        r.engine_results_version = column_i32(&c);
        r.temperature = sqlite3_column_type(c.stmt, c.n) == SQLITE_NULL
                            ? (double)NAN
                            : sqlite3_column_double(c.stmt, c.n);
        c.n++;
        r.n_layer = column_int(&c);
        r.n_moe_layer = column_int(&c);
        r.n_exp = column_int(&c);
        r.top_k = column_int(&c);
        r.expert_bytes = column_int(&c);
        r.weight_bytes = column_int(&c);
        st = c.st;
    }
    sqlite3_finalize(c.stmt);
    if (!st)
        *ret = r;
    return st;
}

enum status store_each_bench_row(struct store *s, const char *run_id, store_bench_fn cb, void *arg,
                                 struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    struct arena arena = { 0 };
    bool has;
    enum status st = store_query(s, "SELECT * FROM llama_bench WHERE run_id = ? ORDER BY cell_key",
                                 (const char *const[]){ run_id, NULL }, &stmt, err);

    if (st)
        return st;
    while (!(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = &arena, .err = err };
        size_t n = (size_t)sqlite3_column_count(stmt);
        const char **names, **values;
        bool *is_text;

        arena_clear(&arena);
        names = arena_array(&arena, n, sizeof(*names));
        values = arena_array(&arena, n, sizeof(*values));
        is_text = arena_array(&arena, n, sizeof(*is_text));
        if (!names || !values || !is_text) {
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
            break;
        }
        for (size_t i = 0; i < n; i++) {
            int type = sqlite3_column_type(stmt, (int)i);

            names[i] = sqlite3_column_name(stmt, (int)i);
            is_text[i] = type != SQLITE_INTEGER && type != SQLITE_FLOAT;
            values[i] = column_text(&c);
        }
        st = c.st ? c.st : cb(arg, n, names, values, is_text, err);
        if (st)
            break;
    }
    sqlite3_finalize(stmt);
    arena_release(&arena);
    return st;
}

/* Answers of a cell with a verdict. `internal` ones are nobody's. */
#define JUDGED                                                                                     \
    " FROM sample s JOIN verdict v USING (sample_id)"                                              \
    " WHERE s.run_id = ?1 AND s.cell_key = ?2 AND v.verdict <> 'internal'"

static void read_rival(struct columns *c, void *element)
{
    struct also_score *a = element;

    a->name = column_text(c);
    a->n_passed = column_int(c);
    a->n = column_int(c);
    a->value = (double)a->n_passed / (double)a->n; /* a group has a row at least */
}

/* Answers to an item, and the right ones among them. */
struct item_count {
    int64_t n, n_right;
};

static void read_count(struct columns *c, void *element)
{
    struct item_count *x = element;

    x->n = column_int(c);
    x->n_right = column_int(c);
}

/* pass@k over the items that have k answers. *ret_n_passed is -1 where some have more. */
static double pass_at_k(const struct item_count *items, size_t n_items, int64_t k,
                        int64_t *ret_n_passed, int64_t *ret_n)
{
    int64_t n = 0, n_passed = 0;
    bool is_exact = true;
    double sum = 0;

    for (size_t i = 0; i < n_items; i++) {
        if (items[i].n < k)
            continue;
        n++;
        sum += stats_pass_at_k(items[i].n, items[i].n_right, k);
        n_passed += items[i].n_right > 0;
        is_exact &= items[i].n == k;
    }
    *ret_n = n;
    *ret_n_passed = is_exact ? n_passed : -1;
    return n ? (is_exact ? (double)n_passed : sum) / (double)n : NAN;
}

/* The scores of a cell: the default one and those beside it. */
static enum status read_scores(struct store *s, const char *run_id, struct arena *arena,
                               struct task_summary *t, struct error *err)
{
    const char *params[] = { run_id, t->cell_key, NULL };
    struct store_list also = { 0 }, counts = { 0 };
    int64_t ks[] = { 10, 100, 0 };
    double sum = 0;
    enum status st;

    st = store_read_list(s,
                         "SELECT e.key, sum(e.value), count(*) FROM (SELECT v.also_json" JUDGED
                         ") x, json_each(x.also_json) e WHERE e.type IN ('true', 'false')"
                         " GROUP BY e.key ORDER BY e.key",
                         params, arena, sizeof(struct also_score), read_rival, &also, err);
    if (!st)
        st = store_read_list(s, "SELECT count(*), sum(v.passed)" JUDGED " GROUP BY s.item_id",
                             params, arena, sizeof(struct item_count), read_count, &counts, err);
    if (st)
        return st;
    for (size_t i = 0; i < counts.n; i++) {
        const struct item_count *x = (struct item_count *)counts.items + i;

        sum += (double)x->n_right / (double)x->n;
        t->max_per_item = x->n > t->max_per_item ? x->n : t->max_per_item;
    }
    t->n_items = (int64_t)counts.n;
    t->score = counts.n ? sum / (double)counts.n : NAN;
    ks[2] = t->max_per_item;
    for (size_t i = 0; i < sizeof(ks) / sizeof(ks[0]); i++) {
        struct also_score *a;

        if (ks[i] > ks[2] || ks[i] < 2 || (i < 2 && ks[i] == ks[2]))
            continue;
        a = store_grow(arena, &also.items, also.n, &also.cap, sizeof(*a));
        if (!a)
            return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
        a->name = arena_printf(arena, "pass@%lld", (long long)ks[i]);
        if (!a->name)
            return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
        a->value = pass_at_k(counts.items, counts.n, ks[i], &a->n_passed, &a->n);
        also.n++;
    }
    t->also = also.items;
    t->n_also = also.n;
    return ST_OK;
}

enum status store_summarise(struct store *s, const char *run_id, struct arena *arena,
                            struct task_summary **ret, size_t *ret_n, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    void *list = NULL;
    size_t n = 0, cap = 0;
    bool has;
    enum status st = store_query(
        s,
        "SELECT t.task, cell_key, t.selector, t.decoder, t.cache, c.block_length,"
        " c.gen_length, c.temperature, t.metric_name, t.n_samples, t.n_passed,"
        " t.n_internal, t.n_no_answer, t.n_timeouts, t.n_not_data, t.n_prompt,"
        " t.n_gen_positions, t.n_tokens_before_eos, t.n_forwards, t.n_forwards_cache, t.gen_ns,"
        " t.mean_unique, t.mean_natural, t.mean_expert_bytes, t.n_exp"
        " FROM task_summary t JOIN cell c USING (cell_key)"
        " WHERE t.run_id = ? ORDER BY t.first_sample_id",
        (const char *const[]){ run_id, NULL }, &stmt, err);

    if (st)
        return st;
    while (!(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };
        struct task_summary *t = store_grow(arena, &list, n, &cap, sizeof(*t));

        if (!t) {
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
            break;
        }
        t->task = column_text(&c);
        t->cell_key = column_text(&c);
        t->selector = column_text(&c);
        t->decoder = column_text(&c);
        t->cache = column_text(&c);
        t->block_length = column_i32(&c);
        t->gen_length = column_i32(&c);
        t->temperature = column_real(&c);
        t->metric_name = column_text(&c);
        t->n_samples = column_int(&c);
        t->n_passed = column_int(&c);
        t->n_internal = column_int(&c);
        t->n_no_answer = column_int(&c);
        t->n_timeouts = column_int(&c);
        t->n_not_data = column_int(&c);
        t->n_prompt = column_int(&c);
        t->n_gen_positions = column_int(&c);
        t->n_tokens_before_eos = column_int(&c);
        t->n_forwards = column_int(&c);
        t->n_forwards_cache = column_int(&c);
        t->gen_ns = column_int(&c);
        t->mean_unique = column_real(&c);
        t->mean_natural = column_real(&c);
        t->mean_expert_bytes = column_real(&c);
        t->n_exp = column_int(&c);
        st = c.st;
        if (st)
            break;
        n++;
    }
    sqlite3_finalize(stmt);
    for (size_t i = 0; i < n && !st; i++)
        st = read_scores(s, run_id, arena, (struct task_summary *)list + i, err);
    if (st)
        return st;
    *ret = list;
    *ret_n = n;
    return ST_OK;
}

/* ---- cells ------------------------------------------------------------------------------ */

static void read_cell(struct columns *c, struct cell_row *ret)
{
    ret->task = column_text(c);
    ret->dataset_sha256 = column_text(c);
    ret->prompt_form = column_text(c);
    ret->prompt_sha256 = column_text(c);
    ret->model = column_text(c);
    ret->architecture = column_text(c);
    ret->load_format = column_text(c);
    ret->weights_sha256 = column_text(c);
    ret->config_sha256 = column_text(c);
    ret->tokenizer_sha256 = column_text(c);
    ret->template_sha256 = column_text(c);
    ret->selector = column_text(c);
    ret->budget = column_text(c);
    ret->decoder = column_text(c);
    ret->cache = column_text(c);
    ret->backend = column_text(c);
    ret->numeric_mode = column_text(c);
    ret->gen_length = column_i32(c);
    ret->block_length = column_i32(c);
    ret->engine_results_version = column_i32(c);
    ret->temperature = column_real(c);
    ret->n_layer = column_int(c);
    ret->n_moe_layer = column_int(c);
    ret->n_exp = column_int(c);
    ret->top_k = column_int(c);
    ret->expert_bytes = column_int(c);
    ret->weight_bytes = column_int(c);
}

static enum status read_checkers(struct store *s, const char *run_id, struct arena *arena,
                                 const char **ret, struct error *err)
{
    struct columns c = { .s = s, .arena = arena, .err = err };
    bool has;
    enum status st =
        store_query(s,
                    "SELECT coalesce(group_concat(x, ','), '') FROM (SELECT DISTINCT"
                    " v.checker_version AS x FROM sample s JOIN verdict v USING (sample_id)"
                    " WHERE s.run_id = ? ORDER BY x)",
                    (const char *const[]){ run_id, NULL }, &c.stmt, err);

    if (!st)
        st = store_next_row(s, c.stmt, &has, err);
    if (!st) {
        *ret = column_text(&c);
        st = c.st;
    }
    sqlite3_finalize(c.stmt);
    return st;
}

enum status store_run_cells(struct store *s, const char *run_id, struct arena *arena,
                            struct cell_row **ret, size_t *ret_n, const char **ret_checkers,
                            struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    void *list = NULL;
    size_t n = 0, cap = 0;
    const char *checkers = NULL;
    bool has;
    enum status st =
        store_query(s,
                    "SELECT c.task, c.dataset_sha256, c.prompt_form, c.prompt_sha256,"
                    " c.model, c.architecture, c.load_format, c.weights_sha256,"
                    " c.config_sha256, c.tokenizer_sha256, c.template_sha256, c.selector,"
                    " c.budget, c.decoder, c.cache, c.backend, c.numeric_mode,"
                    " c.gen_length, c.block_length, c.engine_results_version,"
                    " c.temperature, c.n_layer, c.n_moe_layer, c.n_exp, c.top_k,"
                    " c.expert_bytes, c.weight_bytes FROM cell c JOIN"
                    " (SELECT cell_key, min(sample_id) AS first FROM sample"
                    " WHERE run_id = ? GROUP BY cell_key) USING (cell_key) ORDER BY first",
                    (const char *const[]){ run_id, NULL }, &stmt, err);

    if (st)
        return st;
    while (!(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = stmt, .arena = arena, .err = err };
        struct cell_row *row = store_grow(arena, &list, n, &cap, sizeof(*row));

        if (row)
            read_cell(&c, row);
        else
            c.st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
        st = c.st;
        if (st)
            break;
        n++;
    }
    sqlite3_finalize(stmt);
    if (!st)
        st = read_checkers(s, run_id, arena, &checkers, err);
    if (st)
        return st;
    *ret = list;
    *ret_n = n;
    *ret_checkers = checkers;
    return ST_OK;
}

/* ---- samples ---------------------------------------------------------------------------- */

/* The ids of a tokens blob. */
static const int32_t *unpack_tokens(struct columns *c, int64_t *ret_n)
{
    size_t len;
    const unsigned char *p = (const unsigned char *)column_bytes(c, &len);
    int32_t *tokens;

    if (c->st)
        return NULL;
    if (len % 4) {
        c->st = error_set(c->err, ST_INVALID, "'%s': tokens of %zu bytes", c->s->path, len);
        return NULL;
    }
    tokens = arena_array(c->arena, len / 4, sizeof(*tokens));
    if (!tokens) {
        c->st = error_set(c->err, ST_NOMEM, "out of memory for %zu tokens", len / 4);
        return NULL;
    }
    for (size_t i = 0; i < len / 4; i++, p += 4)
        tokens[i] = (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);
    *ret_n = (int64_t)(len / 4);
    return tokens;
}

static const char sample_query[] =
    "SELECT s.run_id, s.cell_key, c.task, i.task_id, i.dataset_sha256, i.item_sha256,"
    " i.reference_sha256, i.subject, i.level, s.prompt, s.prompt_sha256, s.raw_output,"
    " s.extracted, s.extraction_method, s.stop_reason, c.selector, c.decoder, c.cache, c.model,"
    " c.backend, c.load_format, s.tokens_sha256, s.sample_idx, s.seed, s.n_prompt,"
    " s.n_gen_positions, s.n_tokens_before_eos, s.n_tokens_after_stop, s.n_forwards,"
    " s.n_forwards_cache, s.queue_ns, s.first_block_ns, s.total_ns, c.n_exp, s.tokens,"
    " s.telemetry, v.checker_version, v.verdict, v.first_verdict, v.passed, v.near_limit,"
    " v.attempts, v.signal, v.judge_mode, v.sandbox_level, v.details, v.stdout_tail,"
    " v.stderr_tail, v.also_json, v.cpu_ns, v.wall_ns, v.max_rss_bytes, s.sample_id, c.prompt_form"
    " FROM sample s INDEXED BY sample_by_run JOIN cell c USING (cell_key)"
    " JOIN item i USING (item_id) JOIN verdict v USING (sample_id)"
    " WHERE s.run_id = ?1 AND (?2 IS NULL OR c.task = ?2) AND (?3 IS NULL OR i.task_id = ?3)"
    " ORDER BY s.sample_id";

static enum status read_sample(struct columns *c, struct stored_sample *ret)
{
    struct verdict_row *v = &ret->verdict;
    const char *blob;
    size_t len;

    ret->run_id = column_text(c);
    ret->cell_key = column_text(c);
    ret->task = column_text(c);
    ret->task_id = ret->item.task_id = column_text(c);
    ret->item.dataset_sha256 = column_text(c);
    ret->item.item_sha256 = column_text(c);
    ret->item.reference_sha256 = column_text(c);
    ret->item.subject = column_text(c);
    ret->item.level = column_i32(c);
    ret->prompt = column_text(c);
    ret->prompt_sha256 = column_text(c);
    ret->raw_output = column_bytes(c, &ret->raw_output_len);
    ret->extracted = column_text(c);
    ret->extraction_method = column_text(c);
    ret->stop_reason = column_text(c);
    ret->selector = column_text(c);
    ret->decoder = column_text(c);
    ret->cache = column_text(c);
    ret->model = column_text(c);
    ret->backend = column_text(c);
    ret->load_format = column_text(c);
    ret->tokens_sha256 = column_text(c);
    ret->sample_idx = column_i32(c);
    ret->seed = column_int(c);
    ret->n_prompt = column_int(c);
    ret->n_gen_positions = column_int(c);
    ret->n_tokens_before_eos = column_int(c);
    ret->n_tokens_after_stop = column_int(c);
    ret->n_forwards = column_int(c);
    ret->n_forwards_cache = column_int(c);
    ret->queue_ns = column_int(c);
    ret->first_block_ns = column_int(c);
    ret->total_ns = column_int(c);
    ret->n_exp = column_int(c);
    ret->tokens = unpack_tokens(c, &ret->n_tokens_blob);
    blob = column_bytes(c, &len);
    if (!c->st && blob)
        c->st = telemetry_decode(blob, len, c->arena, &ret->telemetry, c->err);
    v->checker_version = column_text(c);
    v->verdict = column_text(c);
    v->first_verdict = column_text(c);
    v->is_passed = column_int(c) != 0;
    v->is_near_limit = column_int(c) != 0;
    v->attempts = column_i32(c);
    v->signal = column_i32(c);
    v->judge_mode = column_text(c);
    v->sandbox_level = column_text(c);
    v->details = column_text(c);
    v->stdout_tail = column_text(c);
    v->stderr_tail = column_text(c);
    v->also_json = column_text(c);
    v->cpu_ns = column_int(c);
    v->wall_ns = column_int(c);
    v->max_rss_bytes = column_int(c);
    ret->sample_id = column_int(c);
    ret->prompt_form = column_text(c);
    if (c->st)
        return error_prefix(c->err, c->st, "'%s' sample %lld", c->s->path,
                            (long long)ret->sample_id);
    return ST_OK;
}

enum status store_each_sample(struct store *s, const char *run_id, const char *task,
                              const char *task_id, store_sample_fn cb, void *arg, struct error *err)
{
    struct binder b = { 0 };
    struct arena arena = { 0 };
    bool has = false;
    enum status st;

    /* not a cached statement: cb may call this again */
    st = store_prepare(s, sample_query, &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, run_id);
    bind_text(&b, task);
    bind_text(&b, task_id);
    if (b.rc)
        st = store_fail(s, b.rc, err, "read");
    while (!st && !(st = store_next_row(s, b.stmt, &has, err)) && has) {
        struct columns c = { .s = s, .stmt = b.stmt, .arena = &arena, .err = err };
        struct stored_sample row = { 0 };

        arena_clear(&arena);
        st = read_sample(&c, &row);
        if (!st)
            st = cb(arg, &row, err);
    }
    sqlite3_finalize(b.stmt);
    arena_release(&arena);
    return st;
}
