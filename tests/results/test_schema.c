/* The schema itself: every view runs, every column has its type, every table is commented. */
#include <ctype.h>

#include "results/store_db.h"
#include "tests/results/fixture.h"

static struct scratch x;
static struct store *s;
static sqlite3 *db; /* another program's view of the same file */

static void fill(void)
{
    struct error err = { 0 };
    char key[65], key2[65];
    struct cell_row cell = a_cell("topk:k=1");

    scratch_open(&x);
    s = store_with_run(x.path, "run-1", key);
    cr_assert_eq(store_put_cell(s, &cell, key2, &err), ST_OK, "%s", err.text);
    for (int i = 0; i < 4; i++) {
        struct sample_row row = a_sample("run-1", i < 3 ? key : key2, "1", i);
        row.total_ns = 1000 * (i + 1); /* 3 tokens before EOS each */
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    }
    cr_assert_eq(sqlite3_open(x.path, &db), SQLITE_OK);
}

static void tear_down(void)
{
    sqlite3_close(db);
    store_close(s);
    scratch_close(&x);
}

TestSuite(schema, .init = fill, .fini = tear_down);

/* The rows of a query as text, or its error. */
static const char *rows(const char *sql)
{
    static char out[1 << 16];
    sqlite3_stmt *stmt = NULL;

    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return sqlite3_errmsg(db);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const char *v = (const char *)sqlite3_column_text(stmt, i);
            snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", v ? v : "NULL",
                     i + 1 < sqlite3_column_count(stmt) ? "," : "\n");
        }
    return sqlite3_finalize(stmt) == SQLITE_OK ? out : sqlite3_errmsg(db);
}

Test(schema, every_view_runs_on_a_plain_connection_but_those_of_telemetry)
{
    static const char *const plain[] = { "sample_flat", "task_summary", "run_cell", "run_summary",
                                         "rates",       "llama_bench",  "energy" };
    static const char *const ours[] = { "step", "expert", "expert_load", "position" };
    char sql[200], want[200] = "";

    for (int i = 0; i < 7; i++) {
        sqlite3_stmt *stmt = NULL;
        snprintf(sql, sizeof(sql), "SELECT * FROM %s", plain[i]);
        cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK, "%s: %s", plain[i],
                     sqlite3_errmsg(db));
        cr_expect_eq(sqlite3_step(stmt), i < 6 ? SQLITE_ROW : SQLITE_DONE, "%s", plain[i]);
        sqlite3_finalize(stmt);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", ours[i]);
        cr_expect(strstr(rows(sql), "telemetry_"), "%s", rows(sql));
    }
    cr_assert_eq(store_register_telemetry(db), SQLITE_OK);
    cr_expect_str_eq(rows("SELECT (SELECT count(*) FROM step), (SELECT count(*) FROM expert),"
                          " (SELECT count(*) FROM expert_load), (SELECT count(*) FROM position)"),
                     "8,16,40,20\n");
    cr_expect_str_eq(rows("SELECT layer, avg(n_unique) FROM expert WHERE sample_id = 1"
                          " GROUP BY layer"),
                     "0,3.0\n1,2.0\n");
    snprintf(want, sizeof(want), "%d\n", 7 + 4);
    cr_expect_str_eq(rows("SELECT count(*) FROM sqlite_schema WHERE type = 'view'"), want,
                     "a new view is tried here too");
}

Test(schema, rates_are_what_their_names_say)
{
    cr_expect_str_eq(rows("SELECT selector, n_samples, before_eos_tok_per_s, positions_per_s,"
                          " forwards_per_s, before_eos_tok_per_forward FROM rates ORDER BY 2"),
                     "topk:k=1,1,750000.0,1250000.0,500000.0,1.5\n"
                     "vanilla,3,1500000.0,2500000.0,1000000.0,1.5\n");
    cr_expect_str_eq(rows("SELECT mean_unique, mean_expert_bytes, subject, passed FROM sample_flat"
                          " LIMIT 1"),
                     "2.5,7680.0,Algebra,1\n");
}

Test(schema, llama_bench_has_its_column_names_and_right_moments)
{
    /* rates of 3e6, 1.5e6 and 1e6 tokens a second; 1, 2 and 3 microseconds */
    cr_expect_str_eq(rows("SELECT build_commit, cpu_info, gpu_info, backends, model_filename,"
                          " model_type, model_size, n_prompt, n_gen, test_time, avg_ns, stddev_ns,"
                          " round(avg_ts), round(stddev_ts) FROM llama_bench ORDER BY n_samples"),
                     "412fe1d,C,G,ref,mini,LLaDAMoEModelLM humaneval topk:k=1 "
                     "threshold:threshold=0.95 cache dual block 32,123456,9,256,"
                     "2026-11-22T06:51:19Z,4000,0,750000.0,0.0\n"
                     "412fe1d,C,G,ref,mini,LLaDAMoEModelLM humaneval vanilla "
                     "threshold:threshold=0.95 cache dual block 32,123456,9,256,"
                     "2026-11-22T06:51:19Z,2000,1000,1833333.0,1040833.0\n");
    /* the order of llama-bench's own SQL output */
    cr_expect_str_eq(rows("SELECT group_concat(name, ' ') FROM (SELECT name FROM"
                          " pragma_table_info('llama_bench') LIMIT 35)"),
                     "build_commit build_number cpu_info gpu_info backends model_filename"
                     " model_type model_size model_n_params n_batch n_ubatch n_threads cpu_mask"
                     " cpu_strict poll type_k type_v n_gpu_layers split_mode main_gpu"
                     " no_kv_offload flash_attn tensor_split tensor_buft_overrides use_mmap"
                     " embeddings no_op_offload n_prompt n_gen n_depth test_time avg_ns stddev_ns"
                     " avg_ts stddev_ts\n");
}

Test(schema, every_table_is_strict_and_refuses_wrong_types)
{
    cr_expect_str_eq(rows("SELECT group_concat(name) FROM pragma_table_list WHERE type = 'table'"
                          " AND NOT strict AND name NOT LIKE 'sqlite_%'"),
                     "NULL\n");
    cr_expect(strstr(rows("UPDATE run SET git_dirty = 'no'"), "cannot store TEXT value"));
    cr_expect(strstr(rows("UPDATE run SET git_dirty = 2"), "CHECK"));
    cr_expect(strstr(rows("UPDATE run SET env_json = 'x'"), "CHECK"));
    cr_expect(strstr(rows("UPDATE sample SET seed = 1.5"), "cannot store REAL value"));
    cr_expect(strstr(rows("UPDATE sample SET prompt = 7"), "CHECK"));
    cr_expect(strstr(rows("UPDATE sample SET raw_output = NULL"), "NOT NULL"));
    cr_expect(strstr(rows("UPDATE sample SET tokens = 'text'"), "cannot store TEXT value"));
    cr_expect(strstr(rows("UPDATE verdict SET passed = 2"), "CHECK"));
    cr_expect(strstr(rows("UPDATE verdict SET also_json = '{'"), "CHECK"));
    cr_expect(strstr(rows("UPDATE cell SET temperature = 'hot'"), "cannot store TEXT value"));
}

Test(schema, rows_that_others_point_at_cannot_go)
{
    cr_assert_eq(sqlite3_exec(db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL), SQLITE_OK);
    cr_expect(strstr(rows("DELETE FROM run"), "FOREIGN KEY"));
    cr_expect(strstr(rows("DELETE FROM cell"), "FOREIGN KEY"));
    cr_expect(strstr(rows("DELETE FROM item"), "FOREIGN KEY"));
    cr_expect(strstr(rows("DELETE FROM dataset"), "FOREIGN KEY"));
    cr_expect_str_eq(rows("DELETE FROM sample WHERE sample_idx = 0"), "");
    cr_expect_str_eq(rows("SELECT count(*) FROM verdict"), "3\n", "verdicts go with their samples");
}

/* store_has_sample() and store_each_sample() are asked thousands of times: no scans, no sorts */
Test(schema, frequent_questions_are_answered_by_indexes)
{
    const char *plan = rows("EXPLAIN QUERY PLAN SELECT v.verdict FROM item i"
                            " JOIN sample s ON s.run_id = ? AND s.cell_key = ?"
                            " AND s.item_id = i.item_id AND s.sample_idx = ?"
                            " JOIN verdict v ON v.sample_id = s.sample_id"
                            " WHERE i.dataset_sha256 = ? AND i.task_id = ?");

    cr_expect(!strstr(plan, "SCAN"), "%s", plan);
    plan = rows("EXPLAIN QUERY PLAN DELETE FROM sample WHERE run_id = ? AND cell_key = ?"
                " AND item_id = ? AND sample_idx = ? AND sample_id IN (SELECT sample_id FROM"
                " verdict WHERE verdict = 'internal' AND verdict.sample_id = sample.sample_id)");
    cr_expect(!strstr(plan, "SCAN sample"), "%s", plan);
    plan = rows("EXPLAIN QUERY PLAN SELECT s.prompt FROM sample s INDEXED BY sample_by_run"
                " JOIN cell c USING (cell_key) JOIN item i USING (item_id)"
                " JOIN verdict v USING (sample_id) WHERE s.run_id = ? ORDER BY s.sample_id");
    cr_expect(!strstr(plan, "SCAN") && !strstr(plan, "B-TREE"), "%s", plan);
}

Test(schema, every_table_and_view_has_a_comment)
{
    struct buf sql = { 0 };
    struct error err = { 0 };
    char path[4096];
    int n = 0;

    snprintf(path, sizeof(path), "%s/results/schema.sql", getenv("DESBENCH_SOURCE"));
    cr_assert_eq(file_read(path, 1 << 20, &sql, &err), ST_OK, "%s", err.text);
    for (const char *p = sql.data, *before = ""; *p; before = p, p = strchrnul(p, '\n') + 1) {
        if (strncmp(p, "CREATE TABLE ", 13) != 0 && strncmp(p, "CREATE VIEW ", 12) != 0)
            continue;
        n++;
        cr_expect(strncmp(before, "-- ", 3) == 0, "%.30s", p);
    }
    cr_expect_eq(n, 9 + 1 + 11, "%d", n);
    buf_release(&sql);
}
