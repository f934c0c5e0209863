/* The results file: what is put in comes out, and what may not be in stays out. */
#include "tests/results/fixture.h"

static struct scratch x;

static void open_scratch(void)
{
    scratch_open(&x);
}

static void close_scratch(void)
{
    scratch_close(&x);
}

TestSuite(store, .init = open_scratch, .fini = close_scratch);

/* What a callback saw: the last sample, checked in place as its memory is gone afterwards. */
struct seen {
    int n;
    const struct sample_row *want;
    struct store *s; /* to call back into, or NULL */
    enum status stop;
    char task_ids[256];
};

static bool is_same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

#define SAME_STR(a, b) cr_expect(is_same(a, b), "%s is not %s", a, b)

static enum status check_sample(void *arg, const struct stored_sample *got, struct error *err)
{
    struct seen *seen = arg;
    const struct sample_row *want = seen->want;

    seen->n++;
    snprintf(seen->task_ids + strlen(seen->task_ids),
             sizeof(seen->task_ids) - strlen(seen->task_ids), "%s ", got->task_id);
    if (want) {
        SAME_STR(got->run_id, want->run_id);
        SAME_STR(got->cell_key, want->cell_key);
        SAME_STR(got->task, "humaneval");
        SAME_STR(got->item.dataset_sha256, want->item.dataset_sha256);
        SAME_STR(got->item.item_sha256, want->item.item_sha256);
        SAME_STR(got->item.reference_sha256, want->item.reference_sha256);
        SAME_STR(got->item.subject, want->item.subject);
        cr_expect_eq(got->item.level, want->item.level);
        SAME_STR(got->prompt, want->prompt);
        SAME_STR(got->prompt_sha256, want->prompt_sha256);
        cr_expect_eq(got->raw_output_len, want->raw_output_len);
        cr_expect_eq(memcmp(got->raw_output, want->raw_output, want->raw_output_len), 0);
        cr_expect_eq(got->raw_output[got->raw_output_len], '\0');
        SAME_STR(got->extracted, want->extracted);
        SAME_STR(got->extraction_method, want->extraction_method);
        SAME_STR(got->stop_reason, want->stop_reason);
        SAME_STR(got->selector, "vanilla");
        SAME_STR(got->decoder, "threshold:threshold=0.95");
        SAME_STR(got->cache, "dual");
        SAME_STR(got->model, "mini");
        SAME_STR(got->backend, "ref");
        SAME_STR(got->load_format, "safetensors");
        SAME_STR(got->tokens_sha256, want->tokens_sha256);
        cr_expect_eq(got->sample_idx, want->sample_idx);
        cr_expect_eq(got->seed, want->seed);
        cr_expect_eq(got->n_prompt, want->n_prompt);
        cr_expect_eq(got->n_gen_positions, want->n_gen_positions);
        cr_expect_eq(got->n_tokens_before_eos, want->n_tokens_before_eos);
        cr_expect_eq(got->n_tokens_after_stop, want->n_tokens_after_stop);
        cr_expect_eq(got->n_forwards, want->n_forwards);
        cr_expect_eq(got->n_forwards_cache, want->n_forwards_cache);
        cr_expect_eq(got->queue_ns, want->queue_ns);
        cr_expect_eq(got->first_block_ns, want->first_block_ns);
        cr_expect_eq(got->total_ns, want->total_ns);
        cr_expect_eq(got->n_exp, 8);
        cr_expect_eq(got->n_tokens_blob, want->n_tokens_blob);
        cr_expect_eq(memcmp(got->tokens, want->tokens, 4 * (size_t)want->n_tokens_blob), 0);
        cr_expect(is_same_telemetry(&got->telemetry, &want->telemetry));
        SAME_STR(got->verdict.checker_version, want->verdict.checker_version);
        SAME_STR(got->verdict.verdict, want->verdict.verdict);
        cr_expect_null(got->verdict.first_verdict);
        cr_expect(got->verdict.is_passed);
        cr_expect_not(got->verdict.is_near_limit);
        cr_expect_eq(got->verdict.attempts, 1);
        cr_expect_eq(got->verdict.signal, 0);
        SAME_STR(got->verdict.judge_mode, want->verdict.judge_mode);
        SAME_STR(got->verdict.sandbox_level, want->verdict.sandbox_level);
        SAME_STR(got->verdict.details, "");
        SAME_STR(got->verdict.stdout_tail, want->verdict.stdout_tail);
        cr_expect_null(got->verdict.stderr_tail);
        SAME_STR(got->verdict.also_json, want->verdict.also_json);
        cr_expect_eq(got->verdict.cpu_ns, want->verdict.cpu_ns);
        cr_expect_eq(got->verdict.wall_ns, want->verdict.wall_ns);
        cr_expect_eq(got->verdict.max_rss_bytes, want->verdict.max_rss_bytes);
    }
    if (seen->s) { /* the store may be used from within */
        struct seen inner = { 0 };
        bool has = false;
        cr_expect_eq(store_has_sample(seen->s, got->run_id, got->cell_key, &got->item,
                                      got->sample_idx, &has, err),
                     ST_OK);
        cr_expect(has);
        cr_expect_eq(
            store_each_sample(seen->s, got->run_id, NULL, got->task_id, check_sample, &inner, err),
            ST_OK);
        cr_expect_eq(inner.n, 1);
    }
    if (seen->stop)
        return error_set(err, seen->stop, "enough");
    return ST_OK;
}

Test(store, a_sample_comes_back_as_it_was_stored)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct sample_row row = a_sample("run-1", key, "HumanEval/0", 0);
    struct seen seen = { .want = &row };

    cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    store_close(s);
    cr_assert_eq(store_open(x.path, STORE_READ, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_each_sample(s, "run-1", NULL, NULL, check_sample, &seen, &err), ST_OK, "%s",
                 err.text);
    cr_expect_eq(seen.n, 1);
    store_close(s);
}

Test(store, outputs_may_hold_nul_and_bytes_that_are_not_utf8)
{
    static const char *const outputs[] = { "a\0b", "\xff\xfe", "", "caf\xc3\xa9", "\xc3" };
    static const size_t lens[] = { 3, 2, 0, 5, 1 };
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);

    for (int i = 0; i < 5; i++) {
        struct sample_row row = a_sample("run-1", key, "HumanEval/0", i);
        char id[8];
        struct seen seen = { .want = &row };

        snprintf(id, sizeof(id), "%d", i);
        row.item.task_id = id;
        row.raw_output = outputs[i];
        row.raw_output_len = lens[i];
        row.extracted = row.verdict.stdout_tail = "\x80 not UTF-8";
        row.prompt = "\xf0\x9f";
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
        cr_assert_eq(store_each_sample(s, "run-1", NULL, id, check_sample, &seen, &err), ST_OK);
        cr_expect_eq(seen.n, 1);
    }
    store_close(s);
}

Test(store, a_sample_without_tokens_and_telemetry_is_fine)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct sample_row row = a_sample("run-1", key, "1", 0);
    struct seen seen = { .want = &row };

    row.tokens = NULL;
    row.n_tokens_blob = 0;
    row.telemetry = (struct telemetry){ 0 };
    cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    row.tokens = (const int32_t[]){ 0 };
    cr_assert_eq(store_each_sample(s, "run-1", NULL, NULL, check_sample, &seen, &err), ST_OK, "%s",
                 err.text);
    cr_expect_eq(seen.n, 1);
    store_close(s);
}

Test(store, the_same_sample_twice_is_refused_and_leaves_one)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct sample_row row = a_sample("run-1", key, "HumanEval/0", 0);
    struct run_row run2 = a_run("run-2");
    struct seen seen = { 0 };

    cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    cr_expect_eq(store_put_sample(s, &row, &err), ST_INVALID);
    cr_expect(strstr(err.text, "HumanEval/0") && strstr(err.text, x.path) &&
                  strstr(err.text, "already"),
              "%s", err.text);
    cr_expect_eq(store_each_sample(s, "run-1", NULL, NULL, check_sample, &seen, &err), ST_OK);
    cr_expect_eq(seen.n, 1);
    /* another run may hold the same cell, item and index */
    cr_assert_eq(store_begin_run(s, &run2, &err), ST_OK, "%s", err.text);
    row.run_id = "run-2";
    cr_expect_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    store_close(s);
}

Test(store, a_sample_of_an_unknown_run_or_cell_is_refused)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct sample_row row = a_sample("run-9", key, "HumanEval/0", 0);
    struct seen seen = { 0 };

    cr_expect_eq(store_put_sample(s, &row, &err), ST_INVALID);
    cr_expect(strstr(err.text, "'run-9'"), "%s", err.text);
    row = a_sample("run-1", HEX64("0"), "HumanEval/0", 0);
    cr_expect_eq(store_put_sample(s, &row, &err), ST_INVALID);
    cr_expect(strstr(err.text, "0000"), "%s", err.text);
    row = a_sample("run-1", key, "HumanEval/0", 0);
    row.verdict.verdict = NULL; /* the last of the three rows fails: none may stay */
    cr_expect_eq(store_put_sample(s, &row, &err), ST_INVALID);
    cr_expect(strstr(err.text, "verdict.verdict"), "%s", err.text);
    cr_expect_eq(store_each_sample(s, "run-1", NULL, NULL, check_sample, &seen, &err), ST_OK);
    cr_expect_eq(seen.n, 0);
    row = a_sample("run-1", key, "HumanEval/0", 0);
    cr_expect_eq(store_put_sample(s, &row, &err), ST_OK, "the store is usable: %s", err.text);
    store_close(s);
}

static struct store *store; /* of the test that uses has() */

static bool has(const char *run_id, const char *key, const char *task_id, int idx)
{
    struct sample_row row = a_sample(run_id, key, task_id, idx);
    struct error err = { 0 };
    bool ret = false;

    cr_assert_eq(store_has_sample(store, run_id, key, &row.item, idx, &ret, &err), ST_OK, "%s",
                 err.text);
    return ret;
}

Test(store, has_sample_asks_by_run_cell_item_and_index)
{
    struct error err = { 0 };
    char key[65], other[65];
    struct cell_row cell = a_cell("topk:k=1");
    struct run_row second = a_run("run-2");
    struct sample_row row;
    bool found;

    store = store_with_run(x.path, "run-1", key);
    row = a_sample("run-1", key, "HumanEval/0", 2);
    cr_assert_eq(store_put_cell(store, &cell, other, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_begin_run(store, &second, &err), ST_OK, "%s", err.text);
    cr_expect_not(has("run-1", key, "HumanEval/0", 2));
    cr_assert_eq(store_put_sample(store, &row, &err), ST_OK, "%s", err.text);
    cr_expect(has("run-1", key, "HumanEval/0", 2));
    cr_expect_not(has("run-2", key, "HumanEval/0", 2));
    cr_expect_not(has("run-1", key, "HumanEval/0", 1));
    cr_expect_not(has("run-1", key, "HumanEval/00", 2));
    cr_expect_not(has("run-1", other, "HumanEval/0", 2));
    row.item.item_sha256 = HEX64("9"); /* a reader that understands the record otherwise */
    cr_expect_eq(store_has_sample(store, "run-1", key, &row.item, 2, &found, &err), ST_MISMATCH);
    cr_expect(strstr(err.text, "'HumanEval/0'"), "%s", err.text);
    store_close(store);
}

Test(store, a_sample_with_an_internal_verdict_is_tried_again_and_replaced)
{
    struct error err = { 0 };
    char key[65];
    struct sample_row row;
    struct run_summary summary;
    struct arena arena = { 0 };

    store = store_with_run(x.path, "run-1", key);
    row = a_sample("run-1", key, "HumanEval/1", 0);
    row.verdict.verdict = "internal";
    row.verdict.is_passed = false;
    cr_assert_eq(store_put_sample(store, &row, &err), ST_OK, "%s", err.text);
    cr_expect_not(has("run-1", key, "HumanEval/1", 0));
    row.verdict.verdict = "fail";
    cr_assert_eq(store_put_sample(store, &row, &err), ST_OK, "%s", err.text);
    cr_expect(has("run-1", key, "HumanEval/1", 0));
    cr_assert_eq(store_get_run(store, "run-1", &arena, NULL, &summary, &err), ST_OK);
    cr_expect_eq(summary.n_samples, 1);
    cr_expect_eq(summary.n_internal, 0);
    cr_expect_eq(store_put_sample(store, &row, &err), ST_INVALID, "any other verdict stands");
    arena_release(&arena);
    store_close(store);
}

Test(store, a_run_reopened_is_running_without_scores_and_keeps_who_resumed_it)
{
    struct error err = { 0 };
    char key[65];
    struct run_row row;
    struct run_summary summary;
    struct arena arena = { 0 };
    struct metric_row metric = { .run_id = "run-1",
                                 .task = "humaneval",
                                 .metric = "pass@2",
                                 .value = 1,
                                 .ci_low = NAN,
                                 .ci_high = NAN,
                                 .n = 1 };
    struct task_summary *tasks;
    struct sample_row sample;
    size_t n;

    store = store_with_run(x.path, "run-1", key);
    sample = a_sample("run-1", key, "HumanEval/1", 0);
    cr_assert_eq(store_put_sample(store, &sample, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_put_metric(store, &metric, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_finish_run(store, "run-1", "interrupted", "INVALID: interrupted", &err),
                 ST_OK);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(store_reopen_run(store, "run-1", i ? "{\"n\":2}" : "{\"n\":1}", &err), ST_OK,
                     "%s", err.text);
    cr_assert_eq(store_get_run(store, "run-1", &arena, &row, &summary, &err), ST_OK);
    cr_expect_str_eq(summary.status, "running");
    cr_expect_str_eq(summary.validity, "VALID");
    cr_expect_null(summary.finished);
    cr_expect(strstr(row.env_json, "\"resumed\":[{\"n\":1},{\"n\":2}]"), "%s", row.env_json);
    cr_assert_eq(store_summarise(store, "run-1", &arena, &tasks, &n, &err), ST_OK);
    cr_expect_eq(n, 1);
    cr_expect_null(tasks[0].metric_name);
    cr_expect_eq(store_reopen_run(store, "run-9", "{}", &err), ST_NOT_FOUND);
    cr_expect_eq(store_reopen_run(store, "run-1", "{", &err), ST_INVALID);
    arena_release(&arena);
    store_close(store);
}

Test(store, the_cells_of_a_run_come_back_as_they_were_stored)
{
    struct error err = { 0 };
    char key[65], other[65], again[65];
    struct cell_row cell = a_cell("topk:k=1"), *cells;
    struct sample_row row;
    struct arena arena = { 0 };
    const char *checkers;
    size_t n;

    store = store_with_run(x.path, "run-1", key);
    cr_assert_eq(store_put_cell(store, &cell, other, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_run_cells(store, "run-1", &arena, &cells, &n, &checkers, &err), ST_OK);
    cr_expect_eq(n, 0, "a cell without samples is not the run's");
    cr_expect_str_eq(checkers, "");
    row = a_sample("run-1", other, "HumanEval/1", 0);
    cr_assert_eq(store_put_sample(store, &row, &err), ST_OK, "%s", err.text);
    row = a_sample("run-1", key, "HumanEval/1", 0);
    row.verdict.checker_version = "checks-0";
    cr_assert_eq(store_put_sample(store, &row, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_run_cells(store, "run-1", &arena, &cells, &n, &checkers, &err), ST_OK);
    cr_assert_eq(n, 2);
    cell_key(&cells[0], again);
    cr_expect_str_eq(again, other, "whatever decides a cell is read back");
    cell_key(&cells[1], again);
    cr_expect_str_eq(again, key);
    cr_expect_eq(cells[0].weight_bytes, cell.weight_bytes);
    cr_expect(strncmp(checkers, "checks-0,", 9) == 0, "%s", checkers);
    arena_release(&arena);
    store_close(store);
}

Test(store, samples_come_in_order_filtered_and_until_the_callback_stops)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    const char *const ids[] = { "HumanEval/9", "HumanEval/10", "HumanEval/2" };
    struct seen all = { .s = s }, one = { 0 }, none = { 0 }, stopped = { .stop = ST_INTERRUPTED };

    for (int i = 0; i < 3; i++) {
        struct sample_row row = a_sample("run-1", key, ids[i], 0);
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    }
    cr_expect_eq(store_each_sample(s, "run-1", "humaneval", NULL, check_sample, &all, &err), ST_OK);
    cr_expect_str_eq(all.task_ids, "HumanEval/9 HumanEval/10 HumanEval/2 ");
    cr_expect_eq(store_each_sample(s, "run-1", NULL, "HumanEval/2", check_sample, &one, &err),
                 ST_OK);
    cr_expect_str_eq(one.task_ids, "HumanEval/2 ");
    cr_expect_eq(store_each_sample(s, "run-1", "mbpp", NULL, check_sample, &none, &err), ST_OK);
    cr_expect_eq(store_each_sample(s, "run-2", NULL, NULL, check_sample, &none, &err), ST_OK);
    cr_expect_eq(none.n, 0);
    cr_expect_eq(store_each_sample(s, "run-1", NULL, NULL, check_sample, &stopped, &err),
                 ST_INTERRUPTED);
    cr_expect_eq(stopped.n, 1);
    cr_expect_str_eq(err.text, "enough");
    store_close(s);
}

/* ---- runs ------------------------------------------------------------------------------- */

Test(store, a_run_comes_back_as_it_was_begun_and_ended)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct run_row want = a_run("run-1"), got, bare = a_run("run-2");
    struct run_summary sum;

    cr_assert_eq(store_get_run(s, "run-1", &arena, &got, &sum, &err), ST_OK, "%s", err.text);
    SAME_STR(got.run_id, want.run_id);
    cr_expect_null(got.parent_run);
    SAME_STR(got.started, want.started);
    SAME_STR(got.command, want.command);
    SAME_STR(got.config_json, want.config_json);
    SAME_STR(got.config_sha256, want.config_sha256);
    SAME_STR(got.version, want.version);
    SAME_STR(got.git_commit, want.git_commit);
    cr_expect(got.git_dirty);
    SAME_STR(got.build_flags, want.build_flags);
    SAME_STR(got.compiler, want.compiler);
    SAME_STR(got.env_json, want.env_json);
    SAME_STR(got.sandbox_level, want.sandbox_level);
    SAME_STR(got.judge_mode, want.judge_mode);
    SAME_STR(got.python_version, want.python_version);
    SAME_STR(sum.status, "running");
    SAME_STR(sum.validity, "VALID");
    cr_expect_null(sum.finished);
    cr_expect_null(sum.tasks);
    cr_expect_eq(sum.n_samples, 0);

    cr_assert_eq(store_finish_run(s, "run-1", "interrupted", "INVALID: throttled", &err), ST_OK);
    cr_assert_eq(store_get_run(s, "run-1", &arena, NULL, &sum, &err), ST_OK, "%s", err.text);
    SAME_STR(sum.status, "interrupted");
    SAME_STR(sum.validity, "INVALID: throttled");
    cr_assert_not_null(sum.finished);
    cr_expect_eq(strlen(sum.finished), strlen("2026-11-22T06:51:19Z"));
    cr_expect_eq(store_finish_run(s, "nope", "done", "VALID", &err), ST_NOT_FOUND);

    bare.parent_run = "run-1";
    bare.git_commit = bare.sandbox_level = bare.judge_mode = bare.python_version = NULL;
    bare.git_dirty = false;
    cr_assert_eq(store_begin_run(s, &bare, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_get_run(s, "run-2", &arena, &got, NULL, &err), ST_OK, "%s", err.text);
    SAME_STR(got.parent_run, "run-1");
    cr_expect(!got.git_commit && !got.sandbox_level && !got.judge_mode && !got.python_version);
    cr_expect_not(got.git_dirty);
    cr_expect_eq(store_get_run(s, "run-3", &arena, &got, &sum, &err), ST_NOT_FOUND);
    cr_expect_eq(store_begin_run(s, &bare, &err), ST_INVALID, "an id is used once");
    bare.run_id = "run-4";
    bare.env_json = "{";
    cr_expect_eq(store_begin_run(s, &bare, &err), ST_INVALID, "env_json must be JSON");
    cr_expect(strstr(err.text, "env_json"), "%s", err.text);
    arena_release(&arena);
    store_close(s);
}

Test(store, runs_are_listed_newest_first_and_found_by_prefix_and_as_last)
{
    struct error err = { 0 };
    struct arena arena = { 0 };
    char key[65];
    struct store *s = NULL;
    struct run_summary *list = NULL;
    size_t n = 9;
    const char *id = NULL;
    /* by start; the last two in one second, in which the later one has the smaller id */
    const char *const ids[] = { "20261122-1-aa", "20261122-2-ff", "20261122-2-ab" };

    cr_assert_eq(store_open(x.path, STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
    cr_expect_eq(store_find_run(s, "last", &arena, &id, &err), ST_NOT_FOUND);
    cr_assert_eq(store_list_runs(s, &arena, &list, &n, &err), ST_OK);
    cr_expect_eq(n, 0);
    store_close(s);
    s = store_with_run(x.path, ids[0], key);
    for (int i = 1; i < 3; i++) {
        struct run_row run = a_run(ids[i]);
        run.started = "2026-11-22T06:51:20Z";
        cr_assert_eq(store_begin_run(s, &run, &err), ST_OK, "%s", err.text);
    }
    for (int i = 0; i < 3; i++) {
        struct sample_row row = a_sample(ids[0], key, "1", i);
        if (i) {
            row.verdict.is_passed = false;
            row.verdict.verdict = i == 1 ? "fail" : "internal";
        }
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
    }
    cr_assert_eq(store_list_runs(s, &arena, &list, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 3);
    SAME_STR(list[0].run_id, ids[2]);
    SAME_STR(list[1].run_id, ids[1]);
    SAME_STR(list[2].run_id, ids[0]);
    SAME_STR(list[2].tasks, "humaneval");
    SAME_STR(list[2].model, "mini");
    SAME_STR(list[2].selector, "vanilla");
    cr_expect_eq(list[2].n_samples, 3);
    cr_expect_eq(list[2].n_passed, 1);
    cr_expect_eq(list[2].n_internal, 1);

    cr_assert_eq(store_find_run(s, "last", &arena, &id, &err), ST_OK);
    SAME_STR(id, ids[2]);
    cr_assert_eq(store_find_run(s, "20261122-1", &arena, &id, &err), ST_OK);
    SAME_STR(id, ids[0]);
    cr_assert_eq(store_find_run(s, ids[1], &arena, &id, &err), ST_OK);
    SAME_STR(id, ids[1]);
    cr_expect_eq(store_find_run(s, "20261122-2", &arena, &id, &err), ST_INVALID);
    cr_expect(strstr(err.text, ids[1]) && strstr(err.text, ids[2]), "%s", err.text);
    cr_expect_eq(store_find_run(s, "2027", &arena, &id, &err), ST_NOT_FOUND);
    cr_expect_eq(store_find_run(s, "%", &arena, &id, &err), ST_NOT_FOUND, "no wildcards");
    arena_release(&arena);
    store_close(s);
}

Test(store, a_summary_counts_each_cell_apart)
{
    static const char *const verdicts[] = { "pass", "timeout_cpu", "timeout_wall", "no_code",
                                            "internal" };
    struct error err = { 0 };
    struct arena arena = { 0 };
    char key[65], key2[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct cell_row cell = a_cell("des-vote:beta=0.4,vote=prob");
    struct metric_row metric = { .run_id = "run-1",
                                 .task = "humaneval",
                                 .metric = "pass@1",
                                 .value = 0.2,
                                 .ci_low = NAN,
                                 .ci_high = NAN,
                                 .n = 5 };
    struct task_summary *t = NULL;
    size_t n = 0;

    cr_assert_eq(store_put_cell(s, &cell, key2, &err), ST_OK, "%s", err.text);
    cr_expect_str_neq(key, key2);
    for (int i = 0; i < 5; i++) {
        struct sample_row row = a_sample("run-1", key, "1", i);
        row.verdict.verdict = verdicts[i];
        row.verdict.is_passed = i == 0;
        if (i == 3)
            row.extracted = NULL;
        cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
        if (i < 2) {
            row.cell_key = key2;
            cr_assert_eq(store_put_sample(s, &row, &err), ST_OK, "%s", err.text);
        }
    }
    cr_assert_eq(store_put_metric(s, &metric, &err), ST_OK, "%s", err.text);
    metric.value = 0.25;
    metric.ci_low = 0.1;
    metric.ci_high = 0.5;
    metric.ci_method = "wilson-95";
    cr_assert_eq(store_put_metric(s, &metric, &err), ST_OK, "%s", err.text);
    metric.metric = "also";
    cr_assert_eq(store_put_metric(s, &metric, &err), ST_OK, "%s", err.text);

    cr_assert_eq(store_summarise(s, "run-1", &arena, &t, &n, &err), ST_OK, "%s", err.text);
    cr_assert_eq(n, 2);
    SAME_STR(t[0].cell_key, key);
    SAME_STR(t[0].task, "humaneval");
    SAME_STR(t[0].selector, "vanilla");
    SAME_STR(t[0].decoder, "threshold:threshold=0.95");
    SAME_STR(t[0].metric_name, "pass@1");
    cr_expect_eq(t[0].n_samples, 5);
    cr_expect_eq(t[0].n_passed, 1);
    cr_expect_eq(t[0].n_timeouts, 2);
    cr_expect_eq(t[0].n_not_data, 0);
    cr_expect_eq(t[0].n_no_answer, 1);
    cr_expect_eq(t[0].n_internal, 1);
    cr_expect_eq(t[0].n_prompt, 45);
    cr_expect_eq(t[0].n_gen_positions, 25);
    cr_expect_eq(t[0].n_tokens_before_eos, 15);
    cr_expect_eq(t[0].n_forwards, 10);
    cr_expect_eq(t[0].n_forwards_cache, 5);
    cr_expect_eq(t[0].gen_ns, 10000);
    cr_expect_eq(t[0].n_exp, 8);
    cr_expect_eq(t[0].mean_unique, 2.5);            /* (4 + 3 + 2 + 1) / 4 */
    cr_expect_eq(t[0].mean_expert_bytes, 5 * 1536); /* 10 experts in 2 forwards */
    SAME_STR(t[1].selector, "des-vote:beta=0.4,vote=prob");
    cr_expect_eq(t[1].n_samples, 2);
    cr_assert_eq(store_summarise(s, "run-2", &arena, &t, &n, &err), ST_OK);
    cr_expect_eq(n, 0);
    arena_release(&arena);
    store_close(s);
}

Test(store, a_data_set_with_the_same_bytes_cannot_have_other_items)
{
    struct error err = { 0 };
    char key[65];
    struct store *s = store_with_run(x.path, "run-1", key);
    struct dataset_row d = a_dataset();

    d.licence = "other words";
    cr_expect_eq(store_put_dataset(s, &d, &err), ST_OK, "%s", err.text);
    d.n_items = 163;
    cr_expect_eq(store_put_dataset(s, &d, &err), ST_MISMATCH);
    cr_expect(strstr(err.text, "humaneval") && strstr(err.text, "163"), "%s", err.text);
    store_close(s);
}
