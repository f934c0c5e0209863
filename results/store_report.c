/* What a report reads beside the answers themselves, and which of them it covers. */
#include "results/report_impl.h"
#include "results/store_db.h"

/* ---- what is covered -------------------------------------------------------------------- */

/*
 * temp.answer is what claims are asked of (docs/report.md): a row for each covered answer that was
 * judged and made by real weights. The view paired adds what the model's own routing answered to
 * the same item, decoded alike, as v_*.
 */
static const char *const coverage[] = {
    "DROP VIEW IF EXISTS temp.paired",
    "DROP TABLE IF EXISTS temp.answer",
    "DROP TABLE IF EXISTS temp.covered",
    "CREATE TEMP TABLE covered (run_id TEXT, cell_key TEXT, PRIMARY KEY (run_id, cell_key))"
    " WITHOUT ROWID",
    NULL,
    "CREATE TEMP TABLE answer AS SELECT s.sample_id, s.run_id, s.cell_key, c.model,"
    " c.weights_sha256, c.task, i.item_id, i.task_id, s.sample_idx, c.selector,"
    " iif(instr(c.selector, ':'), substr(c.selector, 1, instr(c.selector, ':') - 1), c.selector)"
    " AS policy, c.decoder, c.cache, c.block_length, c.backend, c.numeric_mode, c.n_exp, c.top_k,"
    " c.expert_bytes, v.passed, s.n_tokens_before_eos AS n_tokens, s.n_forwards,"
    " s.n_layer_forwards, s.sum_unique, s.sum_expert_bytes, s.total_ns,"
    " s.sum_unique - s.sum_unique_cache AS sum_unique_block, s.n_layer_forwards"
    " - s.n_layer_forwards * s.n_forwards_cache / max(s.n_forwards, 1) AS n_layer_forwards_block"
    " FROM temp.covered k JOIN sample s ON s.run_id = k.run_id AND s.cell_key = k.cell_key"
    " JOIN cell c ON c.cell_key = s.cell_key JOIN item i USING (item_id)"
    " JOIN verdict v USING (sample_id)"
    " WHERE v.verdict <> 'internal' AND c.load_format <> 'dummy' ORDER BY s.sample_id",
    "CREATE INDEX temp.answer_by_item ON answer (item_id, sample_idx, selector)",
    "CREATE TEMP VIEW paired AS SELECT a.*, v.passed AS v_passed, v.n_tokens AS v_tokens,"
    " v.n_forwards AS v_forwards, v.n_layer_forwards AS v_layer_forwards,"
    " v.sum_unique AS v_unique, v.sum_expert_bytes AS v_expert_bytes, v.total_ns AS v_total_ns"
    " FROM answer a JOIN answer v ON v.item_id = a.item_id AND v.sample_idx = a.sample_idx"
    " AND v.selector = 'vanilla' AND v.model = a.model AND v.weights_sha256 = a.weights_sha256"
    " AND v.task = a.task AND v.decoder = a.decoder AND v.cache = a.cache"
    " AND v.block_length = a.block_length AND v.backend = a.backend"
    " AND v.numeric_mode = a.numeric_mode"
    " WHERE a.selector <> 'vanilla'",
};

static enum status run_sql(struct store *s, const char *sql, const char *a, const char *b,
                           struct error *err)
{
    struct binder x = { 0 };
    enum status st = store_prepare(s, sql, &x.stmt, err);
    int rc;

    if (st)
        return st;
    if (a) {
        bind_text(&x, a);
        bind_text(&x, b);
    }
    rc = store_run_stmt(&x);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        st = store_fail(s, rc, err, "read");
    sqlite3_finalize(x.stmt);
    return st;
}

static enum status fill_covered(struct store *s, const struct answer_set *sets, size_t n,
                                struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i].n_cells && !st; k++) {
            bool has_rows = false; /* after --tasks a cell may have none */

            for (size_t j = 0; j < sets[i].n_rows && !has_rows; j++)
                has_rows = sets[i].rows[j].cell == k;
            if (has_rows)
                st = run_sql(s, "INSERT OR IGNORE INTO temp.covered VALUES (?1, ?2)",
                             sets[i].run_ids[k], sets[i].cell_keys[k], err);
        }
    return st;
}

enum status store_cover(struct store *s, const struct answer_set *sets, size_t n, struct error *err)
{
    /* the file itself is only read: temp tables lie in memory, and are ours alone */
    enum status st = run_sql(s, "PRAGMA temp_store = MEMORY", NULL, NULL, err), st_end;

    if (!st)
        st = run_sql(s, "PRAGMA query_only = OFF", NULL, NULL, err);
    for (size_t i = 0; i < sizeof(coverage) / sizeof(coverage[0]) && !st; i++)
        st = coverage[i] ? run_sql(s, coverage[i], NULL, NULL, err) : fill_covered(s, sets, n, err);
    st_end = run_sql(s, "PRAGMA query_only = ON", NULL, NULL, st ? NULL : err);
    return st ? st : st_end;
}

/* ---- lists ------------------------------------------------------------------------------ */

/* FROM temp.covered, samples and their verdicts. */
#define COVERED                                                                                    \
    " FROM temp.covered k JOIN sample s ON s.run_id = k.run_id AND s.cell_key = k.cell_key"        \
    " JOIN verdict v ON v.sample_id = s.sample_id AND v.verdict <> 'internal'"

static enum status read_list(struct store *s, const char *sql, struct arena *arena, size_t size,
                             void (*fn)(struct columns *c, void *element), void **ret,
                             size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st =
        store_read_list(s, sql, (const char *const[]){ NULL }, arena, size, fn, &list, err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

static void read_facts(struct columns *c, void *element)
{
    struct sample_facts *x = element;

    x->sample_id = column_int(c);
    x->judge_ns = column_int(c);
    x->level = column_i32(c);
}

enum status store_sample_facts(struct store *s, struct arena *arena, struct sample_facts **ret,
                               size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st =
        read_list(s,
                  "SELECT s.sample_id, iif(v.judge_mode IS NULL, 0, v.wall_ns), i.level" COVERED
                  " JOIN item i ON i.item_id = s.item_id ORDER BY s.sample_id",
                  arena, sizeof(**ret), read_facts, &items, ret_n, err);

    if (!st)
        *ret = items;
    return st;
}

static void read_layer(struct columns *c, void *element)
{
    struct layer_use *x = element;

    x->cell_key = column_text(c);
    x->layer = column_i32(c);
    x->n_forwards = column_int(c);
    x->n_unique = column_int(c);
    x->n_rerouted = column_int(c);
    x->n_lost_top1 = column_int(c);
    x->kept_mass = column_real(c);
}

enum status store_layer_uses(struct store *s, struct arena *arena, struct layer_use **ret,
                             size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st =
        read_list(s,
                  "SELECT s.cell_key, t.layer, count(*), sum(t.n_unique), sum(t.n_rerouted),"
                  " sum(t.n_lost_top1), avg(t.kept_mass)" COVERED
                  " CROSS JOIN telemetry_layer(s.telemetry) t GROUP BY 1, 2 ORDER BY 1, 2",
                  arena, sizeof(**ret), read_layer, &items, ret_n, err);

    if (!st)
        *ret = items;
    return st;
}

static void read_commits(struct columns *c, void *element)
{
    struct commit_count *x = element;

    x->cell_key = column_text(c);
    x->n_committed = column_int(c);
    x->n_forwards = column_int(c);
}

enum status store_commit_counts(struct store *s, struct arena *arena, struct commit_count **ret,
                                size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st =
        read_list(s,
                  "SELECT s.cell_key, t.n_committed, count(*)" COVERED
                  " CROSS JOIN telemetry_forward(s.telemetry) t GROUP BY 1, 2 ORDER BY 1, 2",
                  arena, sizeof(**ret), read_commits, &items, ret_n, err);

    if (!st)
        *ret = items;
    return st;
}
