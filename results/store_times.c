/* Times of stored cells, to tell how long others will take. */
#include "results/store_db.h"

static void read_time(struct columns *c, void *element)
{
    struct cell_time *x = element;

    x->task = column_text(c);
    x->model = column_text(c);
    x->selector = column_text(c);
    x->gen_length = column_i32(c);
    x->block_length = column_i32(c);
    x->sample_ns = column_real(c);
}

enum status store_cell_times(struct store *s, struct arena *arena, struct cell_time **ret,
                             size_t *ret_n, struct error *err)
{
    struct store_list list = { 0 };
    enum status st = store_read_list(
        s,
        "SELECT c.task, c.model, c.selector, c.gen_length, c.block_length,"
        "  avg(1.0 * s.total_ns) / coalesce(json_extract(r.config_json, '$.\"batch-size\".value'), "
        "1)"
        " FROM sample s JOIN run r USING (run_id) JOIN cell c USING (cell_key)"
        " WHERE s.total_ns > 0 AND c.gen_length > 0 GROUP BY s.run_id, s.cell_key ORDER BY "
        "r.run_no",
        (const char *const[]){ NULL }, arena, sizeof(struct cell_time), read_time, &list, err);

    if (st)
        return st;
    *ret = list.items;
    *ret_n = list.n;
    return ST_OK;
}
