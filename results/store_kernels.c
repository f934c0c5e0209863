/* Times of kernels, and energy: the tables kernel and power, and the view energy. */
#include <math.h>

#include "results/report_impl.h"
#include "results/store_db.h"

static enum status finish(struct store *s, struct binder *b, const char *what, struct error *err)
{
    int rc = store_run_stmt(b);

    return rc == SQLITE_DONE ? ST_OK : store_fail(s, rc, err, "store %s in", what);
}

/* ---- kernel ------------------------------------------------------------------------------ */

/* Columns after the key, from the current one on. */
static void read_counts(struct columns *c, struct kernel_row *ret)
{
    int64_t n = column_int(c), sum, min, max;
    const char *text;
    size_t len = 0;

    ret->sum_tok = column_int(c);
    ret->sum_unique = column_int(c);
    sum = column_int(c);
    min = column_int(c);
    max = column_int(c);
    text = column_bytes(c, &len);
    if (!c->st)
        c->st = histogram_read_json(text ? text : "", len, &ret->ns, c->err);
    if (!c->st && ret->ns.n != n)
        c->st = error_set(c->err, ST_INVALID, "a histogram of '%s' has %lld times, not %lld",
                          ret->name, (long long)ret->ns.n, (long long)n);
    ret->ns.sum = sum;
    ret->ns.min = min;
    ret->ns.max = max;
}

/* Add to *row what is stored of its key. */
static enum status add_stored(struct store *s, struct kernel_row *row, struct error *err)
{
    struct binder b = { 0 };
    struct arena arena = { 0 };
    bool has = false;
    enum status st = store_stmt(s, SQL_FIND_KERNEL,
                                "SELECT calls, sum_tok, coalesce(sum_unique, -1), sum_ns, min_ns,"
                                " max_ns, histogram FROM kernel WHERE run_id = ? AND cell_key = ?"
                                " AND name = ? AND layer = ? AND max_tok = ?",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->cell_key);
    bind_text(&b, row->name);
    bind_int(&b, row->layer);
    bind_int(&b, row->max_tok);
    st = store_next_row(s, b.stmt, &has, err);
    if (!st && has) {
        struct columns c = { .s = s, .stmt = b.stmt, .arena = &arena, .err = err };
        struct kernel_row old = { .name = row->name };

        read_counts(&c, &old);
        st = c.st;
        histogram_merge(&row->ns, &old.ns);
        row->sum_tok += old.sum_tok;
        row->sum_unique += row->sum_unique < 0 ? 0 : old.sum_unique;
    }
    sqlite3_reset(b.stmt);
    arena_release(&arena);
    return st;
}

static enum status put_kernel(struct store *s, const struct kernel_row *row, struct error *err)
{
    struct kernel_row x = *row;
    struct buf text = { 0 };
    struct binder b = { 0 };
    enum status st = add_stored(s, &x, err);

    if (!st)
        st = store_stmt(s, SQL_PUT_KERNEL,
                        "INSERT OR REPLACE INTO kernel (run_id, cell_key, name, layer, max_tok,"
                        " calls, sum_tok, sum_unique, sum_ns, min_ns, p50_ns, p90_ns, p99_ns,"
                        " max_ns, histogram) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                        &b.stmt, err);
    if (st)
        return st;
    histogram_put_json(&x.ns, &text);
    if (!buf_ok(&text)) {
        buf_release(&text);
        return error_set(err, ST_NOMEM, "out of memory storing times of '%s'", row->name);
    }
    bind_text(&b, x.run_id);
    bind_text(&b, x.cell_key);
    bind_text(&b, x.name);
    bind_int(&b, x.layer);
    bind_int(&b, x.max_tok);
    bind_int(&b, x.ns.n);
    bind_int(&b, x.sum_tok);
    if (x.sum_unique < 0)
        bind_null(&b);
    else
        bind_int(&b, x.sum_unique);
    bind_int(&b, x.ns.sum);
    bind_int(&b, x.ns.min);
    bind_int(&b, histogram_quantile(&x.ns, 0.5));
    bind_int(&b, histogram_quantile(&x.ns, 0.9));
    bind_int(&b, histogram_quantile(&x.ns, 0.99));
    bind_int(&b, x.ns.max);
    bind_text(&b, buf_str(&text));
    st = finish(s, &b, "times of kernels", err);
    buf_release(&text);
    return st;
}

enum status store_put_kernels(struct store *s, const struct kernel_row *rows, size_t n,
                              struct error *err)
{
    enum status st = store_begin(s, err);

    if (st)
        return st;
    for (size_t i = 0; i < n && !st; i++)
        st = put_kernel(s, &rows[i], err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}

static void read_kernel(struct columns *c, void *element)
{
    struct kernel_row *x = element;

    x->run_id = column_text(c);
    x->cell_key = column_text(c);
    x->name = column_text(c);
    x->layer = column_i32(c);
    x->max_tok = column_i32(c);
    read_counts(c, x);
}

enum status store_list_kernels(struct store *s, const char *run_id, struct arena *arena,
                               struct kernel_row **ret, size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st = store_read_list(
        s,
        "SELECT run_id, cell_key, name, layer, max_tok, calls, sum_tok, coalesce(sum_unique, -1),"
        " sum_ns, min_ns, max_ns, histogram FROM kernel WHERE run_id = ?"
        " ORDER BY cell_key, name, max_tok, layer",
        (const char *const[]){ run_id, NULL }, arena, sizeof(**ret), read_kernel, &list, err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

/* ---- power ------------------------------------------------------------------------------- */

static void bind_told(struct binder *b, int64_t v)
{
    if (v < 0)
        bind_null(b);
    else
        bind_int(b, v);
}

enum status store_put_power(struct store *s, const struct power_row *row, struct error *err)
{
    struct binder b = { 0 };
    enum status st =
        store_stmt(s, SQL_PUT_POWER,
                   "INSERT OR REPLACE INTO power (run_id, cell_key, device, t_ns, wall_ns,"
                   " n_committed, energy_mj, sm_clock_mhz, mem_clock_mhz, temp_c,"
                   " throttle_bits) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                   &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->cell_key);
    bind_text(&b, row->device);
    bind_int(&b, row->t_ns);
    bind_int(&b, row->wall_ns);
    bind_int(&b, row->n_committed);
    bind_told(&b, row->energy_mj);
    bind_told(&b, row->sm_clock_mhz);
    bind_told(&b, row->mem_clock_mhz);
    bind_told(&b, row->temp_c);
    bind_told(&b, row->throttle_bits);
    return finish(s, &b, "a window of power", err);
}

static double real_or_nan(struct columns *c)
{
    bool is_null = sqlite3_column_type(c->stmt, c->n) == SQLITE_NULL;
    double v = column_real(c);

    return is_null ? (double)NAN : v;
}

static void read_energy(struct columns *c, void *element)
{
    struct energy_row *x = element;

    x->cell_key = column_text(c);
    x->task = column_text(c);
    x->selector = column_text(c);
    x->n_windows = column_int(c);
    x->wall_ns = column_int(c);
    x->n_committed = column_int(c);
    x->joules = real_or_nan(c);
    x->watts = real_or_nan(c);
    x->joules_per_committed = real_or_nan(c);
    x->joules_per_right = real_or_nan(c);
    x->sm_clock_mhz = real_or_nan(c);
    x->temp_c = real_or_nan(c);
    x->throttle_bits = column_int(c);
}

/* SQLite has no aggregate that ORs: bits are taken one by one. */
enum status store_list_energy(struct store *s, const char *run_id, struct arena *arena,
                              struct energy_row **ret, size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st = store_read_list(
        s,
        "WITH RECURSIVE bit (b) AS (SELECT 1 UNION ALL SELECT b * 2 FROM bit WHERE b < 65536)"
        " SELECT p.cell_key, c.task, c.selector, count(*), sum(p.wall_ns), sum(p.n_committed),"
        " e.joules, e.watts, e.joules_per_committed, e.joules_per_right, avg(p.sm_clock_mhz),"
        " avg(p.temp_c), iif(count(p.throttle_bits), (SELECT coalesce(sum(b), 0) FROM bit WHERE"
        "  EXISTS (SELECT 1 FROM power q WHERE q.run_id = p.run_id AND q.cell_key = p.cell_key"
        "  AND q.throttle_bits & b)), -1)"
        " FROM power p JOIN cell c USING (cell_key)"
        " LEFT JOIN energy e ON e.run_id = p.run_id AND e.cell_key = p.cell_key"
        " WHERE p.run_id = ? GROUP BY p.cell_key ORDER BY min(p.t_ns)",
        (const char *const[]){ run_id, NULL }, arena, sizeof(**ret), read_energy, &list, err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}

/* ---- of a report ------------------------------------------------------------------------- */

static void read_part(struct columns *c, void *element)
{
    struct part_sum *x = element;

    x->cell_key = column_text(c);
    x->name = column_text(c);
    x->max_tok = column_i32(c);
    x->n_forwards = column_int(c);
    x->n_tok = column_int(c);
    x->n_unique = column_int(c);
    x->ns = column_int(c);
}

static void read_energy_sum(struct columns *c, void *element)
{
    struct energy_sum *x = element;

    x->cell_key = column_text(c);
    x->n_committed = column_int(c);
    x->joules = column_real(c);
}

enum status store_measured_facts(struct store *s, struct arena *arena, struct measured_facts *ret,
                                 struct error *err)
{
    struct store_list parts = { 0 }, energies = { 0 };
    enum status st = store_read_list(
        s,
        "SELECT cell_key, name, max_tok, calls, sum_tok, coalesce(sum_unique, 0), sum_ns"
        " FROM temp.covered JOIN kernel USING (run_id, cell_key) WHERE layer = -1"
        " ORDER BY cell_key, max_tok, name",
        (const char *const[]){ NULL }, arena, sizeof(struct part_sum), read_part, &parts, err);

    if (!st)
        st = store_read_list(s,
                             "SELECT cell_key, n_committed, joules FROM temp.covered"
                             " JOIN energy USING (run_id, cell_key) WHERE n_committed > 0"
                             " ORDER BY cell_key",
                             (const char *const[]){ NULL }, arena, sizeof(struct energy_sum),
                             read_energy_sum, &energies, err);
    if (st)
        return st;
    *ret = (struct measured_facts){ parts.items, energies.items, parts.n, energies.n };
    return ST_OK;
}
