/* Writing rows. Every function commits before it returns ST_OK, and leaves no trace otherwise. */
#include <limits.h>
#include <string.h>

#include "results/store_db.h"

/* A statement outside any transaction is one of its own. */
static enum status finish(struct store *s, struct binder *b, struct error *err, const char *what,
                          const char *name)
{
    int rc = store_run_stmt(b);

    return rc == SQLITE_DONE ? ST_OK
                             : store_fail(s, rc, err, "store %s '%s' in", what, name ? name : "");
}

enum status store_begin_run(struct store *s, const struct run_row *row, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_PUT_RUN,
                                "INSERT INTO run (run_id, parent_run, started, command,"
                                " config_json, config_sha256, version, git_commit, git_dirty,"
                                " build_flags, compiler, env_json, sandbox_level, judge_mode,"
                                " python_version)"
                                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->parent_run);
    bind_text(&b, row->started);
    bind_text(&b, row->command);
    bind_text(&b, row->config_json);
    bind_text(&b, row->config_sha256);
    bind_text(&b, row->version);
    bind_text(&b, row->git_commit);
    bind_int(&b, row->git_dirty);
    bind_text(&b, row->build_flags);
    bind_text(&b, row->compiler);
    bind_text(&b, row->env_json);
    bind_text(&b, row->sandbox_level);
    bind_text(&b, row->judge_mode);
    bind_text(&b, row->python_version);
    return finish(s, &b, err, "run", row->run_id);
}

enum status store_finish_run(struct store *s, const char *run_id, const char *status,
                             const char *validity, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_FINISH_RUN,
                                "UPDATE run SET status = ?, validity = ?,"
                                " finished = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"
                                " WHERE run_id = ?",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, status);
    bind_text(&b, validity);
    bind_text(&b, run_id);
    st = finish(s, &b, err, "the end of run", run_id);
    if (!st && sqlite3_changes(s->db) == 0)
        st = error_set(err, ST_NOT_FOUND, "no run '%s' in '%s'", run_id, s->path);
    return st;
}

/* Within a transaction. */
static enum status reopen_run(struct store *s, const char *run_id, const char *resumed_json,
                              struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_REOPEN_RUN,
                                "UPDATE run SET status = 'running', validity = 'VALID',"
                                " finished = NULL, env_json = json_insert(json_insert(env_json,"
                                " '$.resumed', json('[]')), '$.resumed[#]', json(?))"
                                " WHERE run_id = ?",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, resumed_json);
    bind_text(&b, run_id);
    st = finish(s, &b, err, "the resumption of run", run_id);
    if (!st && sqlite3_changes(s->db) == 0)
        st = error_set(err, ST_NOT_FOUND, "no run '%s' in '%s'", run_id, s->path);
    if (st)
        return st;
    b = (struct binder){ 0 };
    st = store_stmt(s, SQL_DROP_METRICS, "DELETE FROM metric WHERE run_id = ?", &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, run_id);
    return finish(s, &b, err, "the resumption of run", run_id);
}

enum status store_reopen_run(struct store *s, const char *run_id, const char *resumed_json,
                             struct error *err)
{
    enum status st = store_begin(s, err);

    if (st)
        return st;
    st = reopen_run(s, run_id, resumed_json, err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}

enum status store_put_dataset(struct store *s, const struct dataset_row *row, struct error *err)
{
    struct binder b = { 0 };
    /* Descriptions follow the newest program; the same bytes cannot have another item count. */
    enum status st = store_stmt(s, SQL_PUT_DATASET,
                                "INSERT INTO dataset (sha256, name, n_items, licence, source)"
                                " VALUES (?,?,?,?,?)"
                                " ON CONFLICT (sha256) DO UPDATE SET name = excluded.name,"
                                " licence = excluded.licence, source = excluded.source"
                                " WHERE n_items = excluded.n_items",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->sha256);
    bind_text(&b, row->name);
    bind_int(&b, row->n_items);
    bind_text(&b, row->licence);
    bind_text(&b, row->source);
    st = finish(s, &b, err, "data set", row->name);
    if (!st && sqlite3_changes(s->db) == 0)
        st = error_set(err, ST_MISMATCH,
                       "data set '%s' (SHA-256 %s) has %lld items here, another number in '%s'",
                       row->name, row->sha256, (long long)row->n_items, s->path);
    return st;
}

enum status store_put_cell(struct store *s, const struct cell_row *row, char ret_key[65],
                           struct error *err)
{
    struct binder b = { 0 };
    char key[65];
    enum status st;

    cell_key(row, key);
    if (!key[0])
        return error_set(err, ST_NOMEM, "out of memory hashing a cell");
    st = store_stmt(
        s, SQL_PUT_CELL,
        "INSERT INTO cell (cell_key, task, dataset_sha256, prompt_form, prompt_sha256, model,"
        " architecture, load_format, weights_sha256, config_sha256, tokenizer_sha256,"
        " template_sha256, selector, budget, decoder, cache, backend, numeric_mode,"
        " answers_sha256, gen_length, block_length, engine_results_version, temperature, n_layer,"
        " n_moe_layer, n_exp, top_k, expert_bytes, weight_bytes)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (cell_key) DO NOTHING",
        &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, key);
    bind_text(&b, row->task);
    bind_text(&b, row->dataset_sha256);
    bind_text(&b, row->prompt_form);
    bind_text(&b, row->prompt_sha256);
    bind_text(&b, row->model);
    bind_text(&b, row->architecture);
    bind_text(&b, row->load_format);
    bind_text(&b, row->weights_sha256);
    bind_text(&b, row->config_sha256);
    bind_text(&b, row->tokenizer_sha256);
    bind_text(&b, row->template_sha256);
    bind_text(&b, row->selector);
    bind_text(&b, row->budget);
    bind_text(&b, row->decoder);
    bind_text(&b, row->cache);
    bind_text(&b, row->backend);
    bind_text(&b, row->numeric_mode);
    bind_text(&b, row->answers_sha256 ? row->answers_sha256 : "");
    bind_int(&b, row->gen_length);
    bind_int(&b, row->block_length);
    bind_int(&b, row->engine_results_version);
    bind_real(&b, row->temperature);
    bind_int(&b, row->n_layer);
    bind_int(&b, row->n_moe_layer);
    bind_int(&b, row->n_exp);
    bind_int(&b, row->top_k);
    bind_int(&b, row->expert_bytes);
    bind_int(&b, row->weight_bytes);
    st = finish(s, &b, err, "cell of task", row->task);
    if (!st)
        memcpy(ret_key, key, sizeof(key));
    return st;
}

/* ---- samples ---------------------------------------------------------------------------- */

/* The id of the item's row, which is made when it is new. Within a transaction. */
static enum status put_item(struct store *s, const struct item_row *row, int64_t *ret_id,
                            struct error *err)
{
    struct binder b = { 0 };
    enum status st;
    int rc;

    st = store_stmt(s, SQL_FIND_ITEM,
                    "SELECT item_id FROM item WHERE dataset_sha256 = ? AND task_id = ?"
                    " AND item_sha256 = ? AND reference_sha256 = ?",
                    &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, row->dataset_sha256);
    bind_text(&b, row->task_id);
    bind_text(&b, row->item_sha256);
    bind_text(&b, row->reference_sha256);
    rc = b.rc ? b.rc : sqlite3_step(b.stmt);
    if (rc == SQLITE_ROW)
        *ret_id = sqlite3_column_int64(b.stmt, 0);
    sqlite3_reset(b.stmt);
    sqlite3_clear_bindings(b.stmt);
    if (rc == SQLITE_ROW)
        return ST_OK;
    if (rc != SQLITE_DONE)
        return store_fail(s, rc, err, "find item '%s' in", row->task_id);

    b = (struct binder){ 0 };
    st = store_stmt(s, SQL_PUT_ITEM,
                    "INSERT INTO item (dataset_sha256, task_id, item_sha256, reference_sha256,"
                    " subject, level) VALUES (?,?,?,?,?,?)",
                    &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, row->dataset_sha256);
    bind_text(&b, row->task_id);
    bind_text(&b, row->item_sha256);
    bind_text(&b, row->reference_sha256);
    bind_text(&b, row->subject);
    bind_int(&b, row->level);
    st = finish(s, &b, err, "item", row->task_id);
    if (!st)
        *ret_id = sqlite3_last_insert_rowid(s->db);
    return st;
}

/* Make room for another try at a sample that ended in a fault of ours. Within a transaction. */
static enum status drop_internal(struct store *s, const struct sample_row *row, int64_t item_id,
                                 struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_DROP_INTERNAL,
                                "DELETE FROM sample WHERE run_id = ? AND cell_key = ?"
                                " AND item_id = ? AND sample_idx = ? AND sample_id IN"
                                " (SELECT sample_id FROM verdict WHERE verdict = 'internal'"
                                " AND verdict.sample_id = sample.sample_id)",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->cell_key);
    bind_int(&b, item_id);
    bind_int(&b, row->sample_idx);
    return finish(s, &b, err, "item", row->item.task_id);
}

static void bind_outside_str(struct binder *b, const char *s)
{
    bind_outside(b, s, s ? strlen(s) : 0);
}

static enum status put_verdict(struct store *s, int64_t sample_id, const char *task_id,
                               const struct verdict_row *row, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_PUT_VERDICT,
                                "INSERT INTO verdict (sample_id, checker_version, verdict,"
                                " first_verdict, passed, near_limit, attempts, signal, judge_mode,"
                                " sandbox_level, details, stdout_tail, stderr_tail, also_json,"
                                " cpu_ns, wall_ns, max_rss_bytes)"
                                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                                &b.stmt, err);

    if (st)
        return st;
    bind_int(&b, sample_id);
    bind_text(&b, row->checker_version);
    bind_text(&b, row->verdict);
    bind_text(&b, row->first_verdict);
    bind_int(&b, row->is_passed);
    bind_int(&b, row->is_near_limit);
    bind_int(&b, row->attempts);
    bind_int(&b, row->signal);
    bind_text(&b, row->judge_mode);
    bind_text(&b, row->sandbox_level);
    bind_outside_str(&b, row->details);
    bind_outside_str(&b, row->stdout_tail);
    bind_outside_str(&b, row->stderr_tail);
    bind_text(&b, row->also_json);
    bind_int(&b, row->cpu_ns);
    bind_int(&b, row->wall_ns);
    bind_int(&b, row->max_rss_bytes);
    return finish(s, &b, err, "verdict of", task_id);
}

/* Token ids as little-endian bytes in s->tokens. */
static enum status pack_tokens(struct store *s, const struct sample_row *row, struct error *err)
{
    char *p;

    buf_clear(&s->tokens);
    if (row->n_tokens_blob < 0 || row->n_tokens_blob > INT_MAX / 4)
        return error_set(err, ST_INVALID, "%lld tokens in one sample",
                         (long long)row->n_tokens_blob);
    p = buf_reserve(&s->tokens, (size_t)row->n_tokens_blob * 4);
    if (!p)
        return error_set(err, ST_NOMEM, "out of memory for %lld tokens",
                         (long long)row->n_tokens_blob);
    for (int64_t i = 0; i < row->n_tokens_blob; i++) {
        uint32_t v = (uint32_t)row->tokens[i];
        for (int k = 0; k < 4; k++)
            *p++ = (char)(unsigned char)(v >> (8 * k));
    }
    s->tokens.len = (size_t)row->n_tokens_blob * 4;
    return ST_OK;
}

static enum status insert_sample(struct store *s, const struct sample_row *row, int64_t item_id,
                                 struct error *err)
{
    struct binder b = { 0 };
    const struct telemetry *t = &row->telemetry;
    int64_t n_rows = (int64_t)t->n_forwards * t->n_layer, sum_unique = 0, sum_bytes = 0;
    int64_t sum_unique_cache = 0, sum_natural = 0, n_committed = row->n_gen_positions;
    bool has_telemetry = t->n_forwards > 0 || t->n_positions > 0;
    enum status st;
    int rc;

    if (has_telemetry && (st = telemetry_encode(t, &s->telemetry, err)) != ST_OK)
        return st;
    if (has_telemetry)
        n_committed = 0;
    for (int32_t i = 0; has_telemetry && i < t->n_forwards; i++)
        n_committed += t->forwards[i].n_committed;
    for (int64_t i = 0; has_telemetry && i < n_rows; i++) {
        sum_unique += t->layers[i].n_unique;
        sum_natural += t->layers[i].n_natural;
        if (t->forwards[i / t->n_layer].is_cache_refresh)
            sum_unique_cache += t->layers[i].n_unique;
        if (__builtin_add_overflow(sum_bytes, t->layers[i].expert_bytes, &sum_bytes))
            return error_set(err, ST_INVALID, "telemetry: expert bytes overflow 64 bits");
    }
    st = pack_tokens(s, row, err);
    if (st)
        return st;
    st = store_stmt(
        s, SQL_PUT_SAMPLE,
        "INSERT INTO sample (run_id, cell_key, item_id, sample_idx, seed, prompt,"
        " prompt_sha256, raw_output, extracted, extraction_method, stop_reason,"
        " tokens, tokens_sha256, n_prompt, n_gen_positions, n_committed, n_tokens_before_eos,"
        " n_tokens_after_stop, n_forwards, n_forwards_cache, queue_ns,"
        " first_block_ns, total_ns, telemetry, n_layer_forwards, sum_unique,"
        " sum_unique_cache, sum_natural, sum_expert_bytes)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        &b.stmt, err);
    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->cell_key);
    bind_int(&b, item_id);
    bind_int(&b, row->sample_idx);
    bind_int(&b, row->seed);
    bind_outside_str(&b, row->prompt);
    bind_text(&b, row->prompt_sha256);
    bind_outside(&b, row->raw_output, row->raw_output_len);
    bind_outside_str(&b, row->extracted);
    bind_text(&b, row->extraction_method);
    bind_text(&b, row->stop_reason);
    bind_blob(&b, s->tokens.data, s->tokens.len);
    bind_text(&b, row->tokens_sha256);
    bind_int(&b, row->n_prompt);
    bind_int(&b, row->n_gen_positions);
    bind_int(&b, n_committed);
    bind_int(&b, row->n_tokens_before_eos);
    bind_int(&b, row->n_tokens_after_stop);
    bind_int(&b, row->n_forwards);
    bind_int(&b, row->n_forwards_cache);
    bind_int(&b, row->queue_ns);
    bind_int(&b, row->first_block_ns);
    bind_int(&b, row->total_ns);
    if (has_telemetry)
        bind_blob(&b, s->telemetry.data, s->telemetry.len);
    else
        bind_null(&b);
    bind_int(&b, has_telemetry ? n_rows : 0);
    bind_int(&b, sum_unique);
    bind_int(&b, sum_unique_cache);
    bind_int(&b, sum_natural);
    bind_int(&b, sum_bytes);
    rc = store_run_stmt(&b);
    if (rc == SQLITE_CONSTRAINT_FOREIGNKEY)
        return error_set(err, ST_INVALID,
                         "cannot store item '%s' sample %d in '%s': run '%s' or cell '%s' is not "
                         "there",
                         row->item.task_id, row->sample_idx, s->path, row->run_id, row->cell_key);
    if (rc != SQLITE_DONE)
        return store_fail(s, rc, err, "store item '%s' sample %d in", row->item.task_id,
                          row->sample_idx);
    return ST_OK;
}

enum status store_put_sample(struct store *s, const struct sample_row *row, struct error *err)
{
    int64_t item_id = 0;
    enum status st = store_begin(s, err);

    if (st)
        return st;
    st = put_item(s, &row->item, &item_id, err);
    if (!st)
        st = drop_internal(s, row, item_id, err);
    if (!st)
        st = insert_sample(s, row, item_id, err);
    if (!st)
        st =
            put_verdict(s, sqlite3_last_insert_rowid(s->db), row->item.task_id, &row->verdict, err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}

enum status store_put_rescored(struct store *s, int64_t sample_id, const char *run_id,
                               const char *extracted, const char *extraction_method,
                               const struct verdict_row *verdict, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_begin(s, err);
    int rc;

    if (st)
        return st;
    st = store_stmt(
        s, SQL_PUT_RESCORED,
        "INSERT INTO sample (run_id, extracted, extraction_method, cell_key, item_id,"
        " sample_idx, seed, prompt, prompt_sha256, raw_output, stop_reason, tokens,"
        " tokens_sha256, n_prompt, n_gen_positions, n_committed, n_tokens_before_eos,"
        " n_tokens_after_stop, n_forwards, n_forwards_cache, queue_ns, first_block_ns,"
        " total_ns, telemetry, n_layer_forwards, sum_unique, sum_unique_cache,"
        " sum_natural, sum_expert_bytes)"
        " SELECT ?, ?, ?, cell_key, item_id, sample_idx, seed, prompt, prompt_sha256,"
        " raw_output, stop_reason, tokens, tokens_sha256, n_prompt, n_gen_positions,"
        " n_committed,"
        " n_tokens_before_eos, n_tokens_after_stop, n_forwards, n_forwards_cache,"
        " queue_ns, first_block_ns, total_ns, telemetry, n_layer_forwards, sum_unique,"
        " sum_unique_cache, sum_natural, sum_expert_bytes FROM sample WHERE sample_id = ?",
        &b.stmt, err);
    if (!st) {
        bind_text(&b, run_id);
        bind_outside_str(&b, extracted);
        bind_text(&b, extraction_method);
        bind_int(&b, sample_id);
        rc = store_run_stmt(&b);
        if (rc != SQLITE_DONE)
            st = store_fail(s, rc, err, "store sample %lld anew in", (long long)sample_id);
        else if (sqlite3_changes(s->db) == 0)
            st = error_set(err, ST_NOT_FOUND, "no sample %lld in '%s'", (long long)sample_id,
                           s->path);
    }
    if (!st)
        st = put_verdict(s, sqlite3_last_insert_rowid(s->db), run_id, verdict, err);
    if (!st)
        st = store_commit(s, err);
    if (st)
        store_rollback(s);
    return st;
}

enum status store_put_metric(struct store *s, const struct metric_row *row, struct error *err)
{
    struct binder b = { 0 };
    enum status st = store_stmt(s, SQL_PUT_METRIC,
                                "INSERT INTO metric (run_id, task, cell_key, metric, value, n,"
                                " ci_low, ci_high, ci_method) VALUES (?,?,?,?,?,?,?,?,?)"
                                " ON CONFLICT (run_id, task, metric, coalesce(cell_key, ''))"
                                " DO UPDATE SET value = excluded.value, n = excluded.n,"
                                " ci_low = excluded.ci_low, ci_high = excluded.ci_high,"
                                " ci_method = excluded.ci_method",
                                &b.stmt, err);

    if (st)
        return st;
    bind_text(&b, row->run_id);
    bind_text(&b, row->task);
    bind_text(&b, row->cell_key);
    bind_text(&b, row->metric);
    bind_real(&b, row->value);
    bind_int(&b, row->n);
    bind_real(&b, row->ci_low);
    bind_real(&b, row->ci_high);
    bind_text(&b, row->ci_method);
    return finish(s, &b, err, "metric", row->metric);
}
