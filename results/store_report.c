/* What a report reads beside the answers themselves, and which of them it covers. */
#include <stdlib.h>
#include <string.h>

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
    "CREATE TEMP TABLE covered (cell_key TEXT PRIMARY KEY, run_id TEXT) WITHOUT ROWID",
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
                             sets[i].cell_keys[k], sets[i].run_ids[k], err);
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

/* ---- samples ---------------------------------------------------------------------------- */

/* FROM temp.covered, samples and their verdicts. */
#define COVERED                                                                                    \
    " FROM temp.covered k JOIN sample s ON s.run_id = k.run_id AND s.cell_key = k.cell_key"        \
    " JOIN verdict v ON v.sample_id = s.sample_id AND v.verdict <> 'internal'"

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
    struct store_list list = { 0 };
    enum status st = store_read_list(
        s,
        "SELECT s.sample_id, iif(v.judge_mode IS NULL, 0, v.wall_ns), i.level" COVERED
        " JOIN item i ON i.item_id = s.item_id ORDER BY s.sample_id",
        (const char *const[]){ NULL }, arena, sizeof(**ret), read_facts, &list, err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

/* ---- forwards --------------------------------------------------------------------------- */

enum { MAX_STREAMED = 64, MAX_BATCH = 16 };

/* The cell whose answers are being read, and the lists that it goes to at its end. */
struct cell_sum {
    struct arena arena; /* of this cell */
    const char *key;
    int64_t n_answers;
    struct layer_use *layers;
    size_t n_layer, n_exp;
    struct store_list commits; /* of struct commit_count */
    /* Executed experts, n_words of bits for each layer of each forward of a block, answer by
     * answer; answer i begins at forward starts[i]. */
    struct store_list bits;
    size_t starts[MAX_STREAMED + 1], n_streamed, n_words;
};

struct forward_lists {
    struct arena *arena;
    struct store_list layers, commits, unions;
};

static bool count_commit(struct cell_sum *c, int64_t n_committed)
{
    struct commit_count *x = c->commits.items;

    for (size_t i = 0; i < c->commits.n; i++)
        if (x[i].n_committed == n_committed) {
            x[i].n_forwards++;
            return true;
        }
    x = store_grow(&c->arena, &c->commits.items, c->commits.n, &c->commits.cap, sizeof(*x));
    if (!x)
        return false;
    *x = (struct commit_count){ c->key, n_committed, 1 };
    c->commits.n++;
    return true;
}

/* The experts that a forward ran, as bits of its layers. */
static bool add_bits(struct cell_sum *c, const struct telemetry *t, int32_t forward)
{
    for (size_t l = 0; l < c->n_layer; l++) {
        const uint16_t *loads =
            t->tokens_per_expert + ((size_t)forward * c->n_layer + l) * c->n_exp;

        for (size_t w = 0; w < c->n_words; w++) {
            uint64_t *bits =
                store_grow(&c->arena, &c->bits.items, c->bits.n, &c->bits.cap, sizeof(*bits));

            if (!bits)
                return false;
            *bits = 0;
            for (size_t e = 64 * w; e < c->n_exp && e < 64 * (w + 1); e++)
                *bits |= (uint64_t)(loads[e] > 0) << (e % 64);
            c->bits.n++;
        }
    }
    return true;
}

static bool add_answer(struct cell_sum *c, const struct telemetry *t)
{
    bool is_streamed = c->n_streamed < MAX_STREAMED, is_ok = true;
    size_t n_layer = (size_t)t->n_layer;

    if (!c->n_answers++) {
        c->n_layer = n_layer;
        c->n_exp = (size_t)t->n_exp;
        c->n_words = (c->n_exp + 63) / 64;
        c->layers = arena_array(&c->arena, n_layer, sizeof(*c->layers));
        is_ok = c->layers != NULL;
    }
    if (n_layer != c->n_layer || (size_t)t->n_exp != c->n_exp)
        return true; /* of another model: a cell has one, so the file was made by hand */
    for (int32_t f = 0; f < t->n_forwards && is_ok; f++) {
        is_ok = count_commit(c, t->forwards[f].n_committed);
        for (size_t l = 0; l < n_layer; l++) {
            const struct telemetry_layer *x = &t->layers[(size_t)f * n_layer + l];
            struct layer_use *to = &c->layers[l];

            to->n_forwards++;
            to->n_unique += x->n_unique;
            to->n_rerouted += x->n_rerouted;
            to->n_lost_top1 += x->n_lost_top1;
            to->kept_mass += (double)x->kept_mass;
        }
        if (is_ok && is_streamed && !t->forwards[f].is_cache_refresh)
            is_ok = add_bits(c, t, f);
    }
    if (is_ok && is_streamed && c->n_layer)
        c->starts[++c->n_streamed] = c->bits.n / (c->n_layer * c->n_words);
    return is_ok;
}

/* The answer and its forward that a place of a batch is at, at time t. False: it has no more. */
static bool at_time(const struct cell_sum *c, size_t place, size_t batch, size_t t, size_t *ret)
{
    for (size_t i = place; i < c->n_streamed; i += batch) {
        size_t n = c->starts[i + 1] - c->starts[i];

        if (t < n) {
            *ret = c->starts[i] + t;
            return true;
        }
        t -= n;
    }
    return false;
}

static bool add_union(struct cell_sum *c, size_t batch, struct forward_lists *to)
{
    const uint64_t *bits = c->bits.items;
    size_t row = c->n_layer * c->n_words, at[MAX_BATCH];
    struct batch_union *u;
    int64_t n = 0, sum = 0;

    for (size_t t = 0;; t++) {
        bool is_full = true;

        for (size_t k = 0; k < batch && is_full; k++)
            is_full = at_time(c, k, batch, t, &at[k]);
        if (!is_full)
            break;
        for (size_t w = 0; w < row; w++) {
            uint64_t all = 0;

            for (size_t k = 0; k < batch; k++)
                all |= bits[at[k] * row + w];
            sum += __builtin_popcountll(all);
        }
        n += (int64_t)c->n_layer;
    }
    if (!n)
        return true;
    u = store_grow(to->arena, &to->unions.items, to->unions.n, &to->unions.cap, sizeof(*u));
    if (!u)
        return false;
    *u = (struct batch_union){ c->key, (int)batch, n, sum };
    to->unions.n++;
    return true;
}

static int by_committed(const void *a, const void *b)
{
    int64_t x = ((const struct commit_count *)a)->n_committed,
            y = ((const struct commit_count *)b)->n_committed;

    return (x > y) - (x < y);
}

/* The sums of a cell go to the lists. False: out of memory. */
static bool end_cell(struct cell_sum *c, struct forward_lists *to)
{
    for (size_t l = 0; l < c->n_layer; l++) {
        struct layer_use *x =
            store_grow(to->arena, &to->layers.items, to->layers.n, &to->layers.cap, sizeof(*x));

        if (!x)
            return false;
        *x = c->layers[l];
        x->cell_key = c->key;
        x->layer = (int)l;
        x->kept_mass /= x->n_forwards ? (double)x->n_forwards : 1;
        to->layers.n += x->n_forwards > 0;
    }
    if (c->commits.n)
        qsort(c->commits.items, c->commits.n, sizeof(struct commit_count), by_committed);
    for (size_t i = 0; i < c->commits.n; i++) {
        struct commit_count *x =
            store_grow(to->arena, &to->commits.items, to->commits.n, &to->commits.cap, sizeof(*x));

        if (!x)
            return false;
        *x = ((struct commit_count *)c->commits.items)[i];
        to->commits.n++;
    }
    for (size_t batch = 1; batch <= MAX_BATCH && batch <= c->n_streamed; batch *= 2)
        if (!add_union(c, batch, to))
            return false;
    return true;
}

static enum status read_forwards(struct store *s, sqlite3_stmt *stmt, struct forward_lists *to,
                                 struct error *err)
{
    struct cell_sum c = { 0 };
    struct arena scratch = { 0 };
    bool has, is_ok = true;
    enum status st;

    while (is_ok && !(st = store_next_row(s, stmt, &has, err)) && has) {
        struct columns row = { .s = s, .stmt = stmt, .arena = &scratch, .err = err };
        struct telemetry t;
        const char *key, *blob;
        size_t len;

        arena_clear(&scratch);
        key = column_text(&row);
        blob = column_bytes(&row, &len);
        st = row.st ? row.st : telemetry_decode(blob, len, &scratch, &t, err);
        if (st)
            break;
        if (!c.key || strcmp(c.key, key) != 0) {
            is_ok = !c.key || end_cell(&c, to);
            arena_release(&c.arena);
            c = (struct cell_sum){ .key = arena_strdup(to->arena, key, strlen(key)) };
            is_ok = is_ok && c.key;
        }
        is_ok = is_ok && add_answer(&c, &t);
    }
    is_ok = is_ok && (st || !c.key || end_cell(&c, to));
    arena_release(&c.arena);
    arena_release(&scratch);
    return !is_ok ? error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path) : st;
}

enum status store_forward_facts(struct store *s, struct arena *arena, struct forward_facts *ret,
                                struct error *err)
{
    struct forward_lists lists = { .arena = arena };
    sqlite3_stmt *stmt = NULL;
    enum status st = store_query(s,
                                 /* an order that indexes have: blobs are not sorted */
                                 "SELECT k.cell_key, s.telemetry FROM temp.covered k"
                                 " CROSS JOIN sample s ON s.cell_key = k.cell_key"
                                 " AND s.run_id = k.run_id CROSS JOIN verdict v"
                                 " ON v.sample_id = s.sample_id AND v.verdict <> 'internal'"
                                 " WHERE s.telemetry IS NOT NULL"
                                 " ORDER BY k.cell_key, s.item_id, s.sample_idx",
                                 (const char *const[]){ NULL }, &stmt, err);

    if (!st)
        st = read_forwards(s, stmt, &lists, err);
    sqlite3_finalize(stmt);
    if (st)
        return st;
    *ret = (struct forward_facts){ lists.layers.items, lists.commits.items, lists.unions.items,
                                   lists.layers.n,     lists.commits.n,     lists.unions.n };
    return ST_OK;
}
