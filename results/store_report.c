/* What a report reads beside the answers themselves. */
#include "results/report_impl.h"
#include "results/store_db.h"

static enum status read_list(struct store *s, const char *sql, const char *run_id,
                             struct arena *arena, size_t size,
                             void (*fn)(struct columns *c, void *element), void **ret,
                             size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st =
        store_read_list(s, sql, (const char *const[]){ run_id, NULL }, arena, size, fn, &list, err);

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

enum status store_sample_facts(struct store *s, const char *run_id, struct arena *arena,
                               struct sample_facts **ret, size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st = read_list(
        s,
        "SELECT s.sample_id, iif(v.judge_mode IS NULL, 0, v.wall_ns), i.level FROM sample s"
        " JOIN verdict v USING (sample_id) JOIN item i USING (item_id)"
        " WHERE s.run_id = ? AND v.verdict <> 'internal' ORDER BY s.sample_id",
        run_id, arena, sizeof(**ret), read_facts, &items, ret_n, err);

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

enum status store_layer_uses(struct store *s, const char *run_id, struct arena *arena,
                             struct layer_use **ret, size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st = read_list(
        s,
        "SELECT s.cell_key, t.layer, count(*), sum(t.n_unique), sum(t.n_rerouted),"
        " sum(t.n_lost_top1), avg(t.kept_mass) FROM sample s JOIN verdict v USING (sample_id),"
        " telemetry_layer(s.telemetry) t WHERE s.run_id = ? AND v.verdict <> 'internal'"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        run_id, arena, sizeof(**ret), read_layer, &items, ret_n, err);

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

enum status store_commit_counts(struct store *s, const char *run_id, struct arena *arena,
                                struct commit_count **ret, size_t *ret_n, struct error *err)
{
    void *items = NULL;
    enum status st = read_list(
        s,
        "SELECT s.cell_key, t.n_committed, count(*) FROM sample s JOIN verdict v USING (sample_id),"
        " telemetry_forward(s.telemetry) t WHERE s.run_id = ? AND v.verdict <> 'internal'"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        run_id, arena, sizeof(**ret), read_commits, &items, ret_n, err);

    if (!st)
        *ret = items;
    return st;
}
