/* Samples in groups: sums that tables are made of. */
#include <math.h>
#include <string.h>

#include "results/relative.h"
#include "results/store_db.h"

/* What a class is called, of item i and sample s; NULL: it is in none. */
static const char *const strata[] = {
    [STRATUM_LEVEL] = "nullif(i.level, 0)",
    [STRATUM_SUBJECT] = "i.subject",
    [STRATUM_STOP_REASON] = "s.stop_reason",
    [STRATUM_EXTRACTION_METHOD] = "s.extraction_method",
};

/* Per item of a group: what SUMS then adds up. FROM needs sample s and verdict v. */
#define ITEM_SUMS                                                                                  \
    " count(*) AS n, sum(v.passed) AS n_passed, sum(s.n_tokens_before_eos) AS tokens,"             \
    " sum(s.n_forwards) AS forwards, sum(s.sum_unique) AS uniques,"                                \
    " sum(s.n_layer_forwards) AS layers, sum(s.sum_unique_cache) AS cache_uniques,"                \
    " sum(s.n_layer_forwards * s.n_forwards_cache / max(s.n_forwards, 1)) AS cache_layers,"        \
    " sum(s.sum_expert_bytes) AS bytes, min(s.sample_id) AS first"
#define SUMS                                                                                       \
    " count(*), max(x.n), sum(x.n), sum(x.n_passed), sum(1.0 * x.n_passed / x.n), sum(x.tokens),"  \
    " sum(x.forwards), sum(x.uniques), sum(x.layers), sum(x.cache_uniques),"                       \
    " sum(x.cache_layers), sum(x.bytes)"

static void read_sums(struct columns *c, struct score_sums *ret)
{
    ret->n_items = column_int(c);
    ret->max_per_item = column_int(c);
    ret->n_samples = column_int(c);
    ret->n_passed = column_int(c);
    ret->sum_score = column_real(c);
    ret->n_tokens_before_eos = column_int(c);
    ret->n_forwards = column_int(c);
    ret->sum_unique = column_int(c);
    ret->n_layer_forwards = column_int(c);
    ret->sum_unique_cache = column_int(c);
    ret->n_layer_forwards_cache = column_int(c);
    ret->sum_expert_bytes = column_int(c);
}

void score_sums_add(struct score_sums *to, const struct score_sums *from)
{
    to->n_items += from->n_items;
    to->max_per_item =
        from->max_per_item > to->max_per_item ? from->max_per_item : to->max_per_item;
    to->n_samples += from->n_samples;
    to->n_passed += from->n_passed;
    to->sum_score += from->sum_score;
    to->n_tokens_before_eos += from->n_tokens_before_eos;
    to->n_forwards += from->n_forwards;
    to->sum_unique += from->sum_unique;
    to->n_layer_forwards += from->n_layer_forwards;
    to->sum_unique_cache += from->sum_unique_cache;
    to->n_layer_forwards_cache += from->n_layer_forwards_cache;
    to->sum_expert_bytes += from->sum_expert_bytes;
}

double score_sums_unique(const struct score_sums *x)
{
    return (double)x->sum_unique / (double)x->n_layer_forwards;
}

double score_sums_unique_block(const struct score_sums *x)
{
    return (double)(x->sum_unique - x->sum_unique_cache) /
           (double)(x->n_layer_forwards - x->n_layer_forwards_cache);
}

void score_sums_interval(const struct score_sums *x, double *ret_low, double *ret_high)
{
    *ret_low = *ret_high = NAN;
    if (x->max_per_item == 1)
        stats_wilson(x->n_passed, x->n_samples, 0.05, ret_low, ret_high);
}

static void read_stratum(struct columns *c, void *element)
{
    struct stratum_summary *x = element;

    x->task = column_text(c);
    x->cell_key = column_text(c);
    x->selector = column_text(c);
    x->value = column_text(c);
    read_sums(c, &x->sums);
}

enum status store_summarise_by(struct store *s, const char *run_id, enum stratum_by by,
                               struct arena *arena, struct stratum_summary **ret, size_t *ret_n,
                               struct error *err)
{
    struct store_list list = { 0 };
    struct buf sql = { 0 };
    enum status st;

    buf_printf(&sql,
               "WITH x AS (SELECT s.cell_key, s.item_id, %s AS value," ITEM_SUMS
               " FROM sample s JOIN item i USING (item_id) JOIN verdict v USING (sample_id)"
               " WHERE s.run_id = ? AND v.verdict <> 'internal' GROUP BY 1, 2, 3),"
               " f AS (SELECT cell_key, min(first) AS first FROM x GROUP BY cell_key)"
               " SELECT c.task, x.cell_key, c.selector, x.value," SUMS
               " FROM x JOIN cell c USING (cell_key) JOIN f USING (cell_key)"
               " WHERE x.value IS NOT NULL GROUP BY x.cell_key, x.value ORDER BY f.first, x.value",
               strata[by]);
    if (!buf_ok(&sql))
        st = error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
    else
        st = store_read_list(s, buf_str(&sql), (const char *const[]){ run_id, NULL }, arena,
                             sizeof(struct stratum_summary), read_stratum, &list, err);
    buf_release(&sql);
    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

static void read_cell_summary(struct columns *c, void *element)
{
    struct cell_summary *x = element;

    x->cell_key = column_text(c);
    x->task = column_text(c);
    x->model = column_text(c);
    x->load_format = column_text(c);
    x->weights_sha256 = column_text(c);
    x->selector = column_text(c);
    x->decoder = column_text(c);
    x->cache = column_text(c);
    x->backend = column_text(c);
    x->numeric_mode = column_text(c);
    x->run_id = column_text(c);
    x->git_commit = column_text(c);
    x->block_length = column_i32(c);
    x->n_exp = column_int(c);
    read_sums(c, &x->sums);
}

enum status store_summarise_cells(struct store *s, struct arena *arena, struct cell_summary **ret,
                                  size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st = store_read_list(
        s,
        "WITH newest AS (SELECT k.cell_key, max(r.run_no) AS run_no FROM run_cell k"
        "  JOIN run r USING (run_id) WHERE r.validity = 'VALID' AND r.status = 'done'"
        "  GROUP BY k.cell_key),"
        " x AS (SELECT s.cell_key, s.item_id," ITEM_SUMS " FROM newest w JOIN run r USING (run_no)"
        "  JOIN sample s ON s.run_id = r.run_id AND s.cell_key = w.cell_key"
        "  JOIN verdict v USING (sample_id) WHERE v.verdict <> 'internal' GROUP BY 1, 2)"
        " SELECT x.cell_key, c.task, c.model, c.load_format, c.weights_sha256, c.selector, "
        "c.decoder, c.cache,"
        "  c.backend, c.numeric_mode, r.run_id, r.git_commit, c.block_length, c.n_exp," SUMS
        " FROM x JOIN cell c USING (cell_key) JOIN newest w USING (cell_key)"
        "  JOIN run r USING (run_no) GROUP BY x.cell_key ORDER BY min(x.first)",
        (const char *const[]){ NULL }, arena, sizeof(struct cell_summary), read_cell_summary, &list,
        err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

struct scored_item {
    const char *run_id;
    int64_t item;
    double score;
};

static void read_scored_item(struct columns *c, void *element)
{
    struct scored_item *x = element;

    x->run_id = column_text(c);
    x->item = column_int(c);
    x->score = column_real(c);
}

enum status store_cell_scores(struct store *s, const char *cell_key, struct arena *arena,
                              struct cell_scores **ret, size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    const struct scored_item *rows;
    struct cell_scores *runs;
    int64_t *items;
    double *scores;
    size_t n = 0;
    enum status st = store_read_list(
        s,
        "SELECT r.run_id, s.item_id, avg(1.0 * v.passed) FROM sample s JOIN run r USING (run_id)"
        "  JOIN verdict v USING (sample_id)"
        " WHERE s.cell_key = ?1 AND r.validity = 'VALID' AND r.status = 'done'"
        "  AND v.verdict <> 'internal' GROUP BY r.run_no, s.item_id"
        " ORDER BY r.run_no DESC, s.item_id",
        (const char *const[]){ cell_key, NULL }, arena, sizeof(struct scored_item),
        read_scored_item, &list, err);

    if (st)
        return st;
    rows = list.items;
    runs = arena_array(arena, list.n, sizeof(*runs)); /* one a row at most */
    items = arena_array(arena, list.n, sizeof(*items));
    scores = arena_array(arena, list.n, sizeof(*scores));
    if (!runs || !items || !scores)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", s->path);
    for (size_t i = 0; i < list.n; i++) {
        if (!i || strcmp(rows[i].run_id, rows[i - 1].run_id) != 0)
            runs[n++] = (struct cell_scores){ rows[i].run_id, &items[i], &scores[i], 0 };
        items[i] = rows[i].item;
        scores[i] = rows[i].score;
        runs[n - 1].n++;
    }
    *ret = runs;
    *ret_n = n;
    return ST_OK;
}

/* ---- pairs of cells --------------------------------------------------------------------- */

static void read_cost(struct columns *c, struct relative_cost *ret)
{
    double cache_unique, cache_layers;

    ret->unique = column_real(c);
    ret->layers = column_real(c);
    cache_unique = column_real(c);
    cache_layers = column_real(c);
    ret->block_unique = ret->unique - cache_unique;
    ret->block_layers = ret->layers - cache_layers;
}

static void read_pair(struct columns *c, void *element)
{
    struct relative_answer *x = element;

    x->task = column_text(c);
    x->task_id = column_text(c);
    x->is_base_right = column_int(c) != 0;
    x->is_cand_right = column_int(c) != 0;
    x->cand_run = column_text(c);
    read_cost(c, &x->base);
    read_cost(c, &x->cand);
}

enum status store_cell_pairs(struct store *s, const char *base_key, const char *cand_key,
                             size_t model, struct arena *arena, struct relative_list *list,
                             struct error *err)
{
    struct store_list x = { list->answers, list->n, list->cap };
    enum status st = store_read_list(
        s,
        "WITH f AS (SELECT s.cell_key, s.run_id, row_number() OVER (PARTITION BY s.cell_key"
        "  ORDER BY count(DISTINCT s.item_id) DESC, r.run_no DESC) AS place"
        "  FROM sample s JOIN run r USING (run_id) JOIN verdict v USING (sample_id)"
        "  WHERE s.cell_key IN (?1, ?2) AND r.validity = 'VALID' AND r.status = 'done'"
        "   AND v.verdict <> 'internal' GROUP BY s.cell_key, r.run_no),"
        " x AS (SELECT s.run_id, s.cell_key, s.item_id, s.sample_idx, v.passed, v.checker_version,"
        "  v.judge_mode, s.sum_unique, s.n_layer_forwards AS layers, s.sum_unique_cache,"
        "  s.n_layer_forwards * s.n_forwards_cache / max(s.n_forwards, 1) AS cache_layers"
        "  FROM f JOIN sample s USING (cell_key, run_id) JOIN verdict v USING (sample_id)"
        "  WHERE f.place = 1 AND v.verdict <> 'internal')"
        " SELECT k.task, i.task_id, b.passed, c.passed, c.run_id,"
        "  b.sum_unique, b.layers, b.sum_unique_cache, b.cache_layers,"
        "  c.sum_unique, c.layers, c.sum_unique_cache, c.cache_layers"
        " FROM x b JOIN x c USING (item_id, sample_idx) JOIN item i USING (item_id)"
        "  JOIN cell k ON k.cell_key = b.cell_key"
        " WHERE b.cell_key = ?1 AND c.cell_key = ?2 AND b.checker_version = c.checker_version"
        "  AND b.judge_mode IS c.judge_mode ORDER BY i.item_id, b.sample_idx",
        (const char *const[]){ base_key, cand_key, NULL }, arena, sizeof(*list->answers), read_pair,
        &x, err);

    if (st)
        return st;
    list->answers = x.items;
    for (; list->n < x.n; list->n++)
        list->answers[list->n].model = model;
    list->cap = x.cap;
    return ST_OK;
}
