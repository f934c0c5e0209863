-- The results file, schema 1. store.c runs this text on an empty file, in one transaction.
--
--   dataset 1--n item 1--n sample n--1 run        A sample is one answer: the item it answers,
--                           |  n--1 cell          the cell (settings) it was made under, the run
--                           1                     (invocation) that made it. Its verdict is a
--                        verdict                  row of its own, as it has another author.
--
-- A sample and its verdict are committed together, so a file cut off at any moment holds whole
-- samples only. Rates are not stored: views and reports derive them from counts and durations.
--
-- Conventions: *_ns nanoseconds; *_bytes bytes; *_sha256 64 lower-case hex digits; times of day
-- are UTC, ISO 8601; booleans are 0 or 1. Columns that hold outside text (prompts, model output)
-- are of type ANY: TEXT when the bytes are UTF-8 without NUL, else a BLOB of the same bytes.
--
-- The views step, expert and expert_load call telemetry_*(), table-valued functions that
-- desbench itself registers (store_vtab.c). All others work in any SQLite from 3.38 on.

PRAGMA application_id = 1684370274; -- 0x64657362, "desb": what file(1) and store_open() look at
PRAGMA user_version = 1;            -- schema number; a newer one is refused

-- One invocation of the program.
CREATE TABLE run (
    run_no         INTEGER PRIMARY KEY,  -- order of arrival in this file
    run_id         TEXT NOT NULL UNIQUE, -- 20261122-065119-3f9a
    parent_run     TEXT,                 -- run resumed or scored anew; may lie in another file
    started        TEXT NOT NULL,
    finished       TEXT,                 -- NULL: running, or killed
    status         TEXT NOT NULL DEFAULT 'running', -- running, done, interrupted, failed
    validity       TEXT NOT NULL DEFAULT 'VALID',   -- VALID, or INVALID: reason
    command        TEXT NOT NULL,        -- the command line, shell-quoted
    config_json    TEXT NOT NULL CHECK (json_valid(config_json)), -- options, values, origins
    config_sha256  TEXT NOT NULL,        -- of config_json
    version        TEXT NOT NULL,        -- of the program
    git_commit     TEXT,                 -- it was built from; NULL: unknown
    git_dirty      INTEGER NOT NULL CHECK (git_dirty IN (0, 1)),
    build_flags    TEXT NOT NULL,
    compiler       TEXT NOT NULL,
    env_json       TEXT NOT NULL CHECK (json_valid(env_json)), -- host facts, env_capture_json()
    sandbox_level  TEXT,                 -- none, user, full; NULL: nothing was judged
    judge_mode     TEXT,                 -- two-process, as a rule; NULL likewise
    python_version TEXT                  -- of the interpreter under test; NULL likewise
) STRICT;

-- A data set file, identified by its bytes.
CREATE TABLE dataset (
    sha256  TEXT NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL,
    n_items INTEGER NOT NULL CHECK (n_items >= 0), -- all of the file, whatever --limit took
    licence TEXT,
    source  TEXT                                   -- where it is published
) STRICT, WITHOUT ROWID;

-- A problem of a data set. The same task_id with another item_sha256 is another item: a reader
-- that understands a record differently must not mix its results with the old ones.
CREATE TABLE item (
    item_id          INTEGER PRIMARY KEY,
    dataset_sha256   TEXT NOT NULL REFERENCES dataset (sha256),
    task_id          TEXT NOT NULL, -- the data set's own name of it: HumanEval/0, 17, ...
    item_sha256      TEXT NOT NULL, -- of the record
    reference_sha256 TEXT NOT NULL, -- of its reference solution or gold answer
    subject          TEXT,          -- a class to report by (MATH500); NULL: none
    level            INTEGER NOT NULL DEFAULT 0, -- difficulty (MATH500: 1 .. 5); 0: none
    UNIQUE (dataset_sha256, task_id, item_sha256, reference_sha256)
) STRICT;

-- A cell of a sweep: all that decides the tokens of a sample but the item and the seed.
CREATE TABLE cell (
    cell_key               TEXT NOT NULL PRIMARY KEY, -- SHA-256 of the columns marked *, cell.c
    task                   TEXT NOT NULL, -- *
    dataset_sha256         TEXT NOT NULL REFERENCES dataset (sha256), -- *
    prompt_form            TEXT NOT NULL, -- * name of the prompt template
    prompt_sha256          TEXT NOT NULL, -- * of the first item's prompt: the template's text
    model                  TEXT NOT NULL, -- its folder's name; (*) of external answers
    architecture           TEXT NOT NULL, -- as config.json has it
    load_format            TEXT NOT NULL, -- * safetensors, dummy; external: not made by desbench,
                                          -- what is not known of it is '', 0 or NULL
    weights_sha256         TEXT NOT NULL, -- *
    config_sha256          TEXT NOT NULL, -- *
    tokenizer_sha256       TEXT NOT NULL, -- *
    template_sha256        TEXT NOT NULL, -- * of the chat template
    selector               TEXT NOT NULL, -- * expert selection with all its settings
    budget                 TEXT NOT NULL, -- its budget alone (part of selector); '': none
    decoder                TEXT NOT NULL, -- * with all its settings
    cache                  TEXT NOT NULL, -- * KV cache with all its settings: none, dual, ...
    backend                TEXT NOT NULL, -- * ref, cpu, cuda
    numeric_mode           TEXT NOT NULL, -- * invariant, with its instruction set for cpu: invariant:avx2;
                                          -- batch-of-N, with the rest behind a colon: answers depend
                                          -- on the batch, a little (fast, of cuda) or on all of it
                                          -- (scope=batch)
    answers_sha256         TEXT NOT NULL, -- * of the file that external answers are from; else ''
    gen_length             INTEGER NOT NULL, -- * positions to denoise
    block_length           INTEGER NOT NULL, -- * positions of one block
    engine_results_version INTEGER NOT NULL, -- * raised when the engine's results may change
    temperature            REAL,             -- * 0: greedy; NULL: not known
    n_layer                INTEGER NOT NULL, -- all layers
    n_moe_layer            INTEGER NOT NULL, -- those with routed experts
    n_exp                  INTEGER NOT NULL, -- routed experts of a layer
    top_k                  INTEGER NOT NULL, -- experts of a token
    expert_bytes           INTEGER NOT NULL, -- weights of one routed expert
    weight_bytes           INTEGER NOT NULL  -- weights of the model
) STRICT, WITHOUT ROWID;

-- One answer of the model to one item.
CREATE TABLE sample (
    sample_id          INTEGER PRIMARY KEY, -- order of arrival in this file
    run_id             TEXT NOT NULL REFERENCES run (run_id),
    cell_key           TEXT NOT NULL REFERENCES cell (cell_key),
    item_id            INTEGER NOT NULL REFERENCES item (item_id),
    sample_idx         INTEGER NOT NULL CHECK (sample_idx >= 0), -- 0 .. samples an item - 1
    seed               INTEGER NOT NULL, -- of this sample; the bits of an unsigned 64-bit number
    prompt             ANY NOT NULL CHECK (typeof(prompt) IN ('text', 'blob')), -- as tokenized;
                                            -- '': not known, of external answers
    prompt_sha256      TEXT NOT NULL,
    raw_output         ANY NOT NULL CHECK (typeof(raw_output) IN ('text', 'blob')), -- to 1st EOS
    extracted          ANY CHECK (typeof(extracted) IN ('text', 'blob', 'null')), -- NULL: none
    extraction_method  TEXT,             -- the rule that applied: fence, boxed, ...; completion,
                                         -- solution: code that was run as it is
    stop_reason        TEXT NOT NULL,    -- eos, length; unknown
    tokens             BLOB NOT NULL,    -- generated ids with EOS fill, i32 little-endian
    tokens_sha256      TEXT NOT NULL,    -- of those ids; of raw_output where they are not known
    n_prompt           INTEGER NOT NULL, -- prompt tokens
    n_gen_positions    INTEGER NOT NULL, -- positions of the answer that were denoised
    n_committed        INTEGER NOT NULL, -- those and, of a last block that reaches beyond the answer,
                                         -- what is behind it
    n_tokens_before_eos INTEGER NOT NULL, -- tokens before the first EOS: what the reader gets
    n_tokens_after_stop INTEGER NOT NULL, -- positions denoised behind the stop: wasted
    n_forwards         INTEGER NOT NULL, -- forward passes (NFE)
    n_forwards_cache   INTEGER NOT NULL, -- those of them that filled the cache
    queue_ns           INTEGER NOT NULL, -- waited for a place in the batch
    first_block_ns     INTEGER NOT NULL, -- start to the first finished block
    total_ns           INTEGER NOT NULL, -- start to the end
    telemetry          BLOB,             -- per forward and layer, telemetry.c; NULL: none
    n_layer_forwards   INTEGER NOT NULL, -- forwards times MoE layers in telemetry
    sum_unique         INTEGER NOT NULL, -- unique experts, summed over n_layer_forwards
    sum_unique_cache   INTEGER NOT NULL, -- those of forwards that filled the cache
    sum_natural        INTEGER NOT NULL, -- as sum_unique, by the model's own routing of the scores
    sum_expert_bytes   INTEGER NOT NULL, -- expert bytes read, summed likewise
    UNIQUE (run_id, cell_key, item_id, sample_idx)
) STRICT;
CREATE INDEX sample_by_cell ON sample (cell_key, item_id, sample_idx); -- store_has_sample()
CREATE INDEX sample_by_run ON sample (run_id, sample_id);              -- store_each_sample()

-- How an answer was graded.
CREATE TABLE verdict (
    sample_id       INTEGER PRIMARY KEY REFERENCES sample (sample_id) ON DELETE CASCADE,
    checker_version TEXT NOT NULL,    -- of the grading rule or judge
    verdict         TEXT NOT NULL,    -- pass, fail, timeout_cpu, no_code, internal, ...
    first_verdict   TEXT,             -- of attempt 1 where there were two
    passed          INTEGER NOT NULL CHECK (passed IN (0, 1)),
    near_limit      INTEGER NOT NULL CHECK (near_limit IN (0, 1)), -- within 20 % of a time limit
    attempts        INTEGER NOT NULL,
    signal          INTEGER NOT NULL, -- number that killed the program; 0: none
    judge_mode      TEXT,             -- where tests ran: two-process (in a checker of their own) or
                                        -- one-process (with the answer, as they need its types);
                                      -- NULL: graded without running anything
    sandbox_level   TEXT,             -- NULL likewise
    details         ANY CHECK (typeof(details) IN ('text', 'blob', 'null')), -- last line of it
    stdout_tail     ANY CHECK (typeof(stdout_tail) IN ('text', 'blob', 'null')),
    stderr_tail     ANY CHECK (typeof(stderr_tail) IN ('text', 'blob', 'null')),
    also_json       TEXT -- results of rival rules; NULL: none (json_valid(NULL) is 0 before 3.45)
        CHECK (also_json IS NULL OR json_valid(also_json)),
    cpu_ns          INTEGER NOT NULL, -- user and system, whole process tree
    wall_ns         INTEGER NOT NULL,
    max_rss_bytes   INTEGER NOT NULL
) STRICT;

-- Times of the parts of a forward (run --kernel-times), of the forwards of a cell that were timed.
CREATE TABLE kernel (
    run_id     TEXT NOT NULL REFERENCES run (run_id),
    cell_key   TEXT NOT NULL REFERENCES cell (cell_key),
    name       TEXT NOT NULL,    -- of the part: qkv, attention, route, moe, ...; forward: all of them
    layer      INTEGER NOT NULL, -- -1: summed over the layers of a forward, or of none
    max_tok    INTEGER NOT NULL, -- forwards of more than half as many tokens, and at most as many
    calls      INTEGER NOT NULL, -- forwards timed
    sum_tok    INTEGER NOT NULL, -- their tokens
    sum_unique INTEGER,          -- unique experts, summed over them (and layers); NULL: not of moe
    sum_ns     INTEGER NOT NULL,
    min_ns     INTEGER NOT NULL,
    p50_ns     INTEGER NOT NULL, -- quantiles from the histogram: within 5 %
    p90_ns     INTEGER NOT NULL,
    p99_ns     INTEGER NOT NULL,
    max_ns     INTEGER NOT NULL,
    histogram  TEXT NOT NULL CHECK (json_valid(histogram)), -- [[b, n], ...]: n of them took
                                 -- 2^(b/8) ns or more, and less than 2^((b+1)/8)
    PRIMARY KEY (run_id, cell_key, name, layer, max_tok)
) STRICT, WITHOUT ROWID;

-- What a device drew while it generated answers of one cell: windows of a second or more.
CREATE TABLE power (
    run_id        TEXT NOT NULL REFERENCES run (run_id),
    cell_key      TEXT NOT NULL REFERENCES cell (cell_key),
    device        TEXT NOT NULL,    -- UUID of the GPU
    t_ns          INTEGER NOT NULL, -- when the window ended, since 1970
    wall_ns       INTEGER NOT NULL, -- its length
    n_committed   INTEGER NOT NULL, -- positions committed in it
    energy_mj     INTEGER,          -- by the device's counter; NULL: it has none
    sm_clock_mhz  INTEGER,          -- at its end, as what follows; NULL: not told
    mem_clock_mhz INTEGER,
    temp_c        INTEGER,
    throttle_bits INTEGER,          -- NVML's clocks event reasons; 0: none, 1: idle
    PRIMARY KEY (run_id, cell_key, device, t_ns)
) STRICT, WITHOUT ROWID;

-- A score, as computed when the run ended.
CREATE TABLE metric (
    run_id    TEXT NOT NULL REFERENCES run (run_id),
    task      TEXT NOT NULL,
    cell_key  TEXT REFERENCES cell (cell_key), -- NULL: over all cells of the task
    metric    TEXT NOT NULL,    -- pass@1, accuracy, ...
    value     REAL NOT NULL,    -- scores are fractions, 0 .. 1
    n         INTEGER NOT NULL, -- items
    ci_low    REAL,             -- NULL: no interval
    ci_high   REAL,
    ci_method TEXT              -- wilson-95, bootstrap-95, ...
) STRICT;
CREATE UNIQUE INDEX metric_key ON metric (run_id, task, metric, coalesce(cell_key, ''));

-- Two runs on the same items, paired: a both right, b only base, c only cand, d both wrong.
CREATE TABLE comparison (
    comparison_id INTEGER PRIMARY KEY,
    made          TEXT NOT NULL, -- when
    base_run      TEXT NOT NULL, -- no foreign keys: either may lie in another file
    base_cell     TEXT NOT NULL, -- '': pooled over tasks
    cand_run      TEXT NOT NULL,
    cand_cell     TEXT NOT NULL,
    task          TEXT NOT NULL, -- 'all': pooled over tasks
    a             INTEGER NOT NULL,
    b             INTEGER NOT NULL,
    c             INTEGER NOT NULL,
    d             INTEGER NOT NULL,
    p_mcnemar     REAL,          -- exact, one-sided: loss; NULL: no item changed
    delta         REAL NOT NULL, -- (c - b) / n, a fraction
    loss_low      REAL,          -- Tango bounds of the paired loss (b - c) / n: one-sided 99 %
    loss_high     REAL,          -- one-sided 95 %
    margin        REAL NOT NULL, -- loss that is tolerated, a fraction
    outcome       TEXT NOT NULL, -- identical, pass, fail, undecided
    rel_accuracy  REAL,          -- mean over tasks of cand / base; NULL: not pooled, or undefined
    rel_low       REAL,          -- its bootstrap interval, 95 %; NULL: none
    rel_high      REAL,
    seed          INTEGER NOT NULL, -- of the bootstrap; the bits of an unsigned 64-bit number
    n_draws       INTEGER NOT NULL  -- 0: no bootstrap
) STRICT;

-- Samples with what they point at: one flat row each.
CREATE VIEW sample_flat AS
SELECT s.sample_id, s.run_id, s.cell_key, c.task, i.task_id, i.subject, i.level, s.sample_idx,
       s.seed, c.model, c.architecture, c.load_format, c.selector, c.budget, c.decoder, c.cache,
       c.backend, c.numeric_mode, c.prompt_form, c.gen_length, c.block_length, c.temperature,
       c.n_exp, c.top_k, v.verdict, v.passed, v.first_verdict, v.attempts, v.near_limit,
       v.sandbox_level, v.judge_mode, v.details, v.cpu_ns AS judge_cpu_ns,
       v.wall_ns AS judge_wall_ns, s.extracted, s.extraction_method, s.stop_reason,
       s.prompt_sha256, s.tokens_sha256, i.item_sha256, s.n_prompt, s.n_gen_positions,
       s.n_tokens_before_eos, s.n_tokens_after_stop, s.n_forwards, s.n_forwards_cache,
       s.queue_ns, s.first_block_ns, s.total_ns,
       1.0 * s.sum_unique / nullif(s.n_layer_forwards, 0) AS mean_unique, -- per layer, forward
       1.0 * s.sum_natural / nullif(s.n_layer_forwards, 0) AS mean_natural,
       1.0 * (s.sum_unique - s.sum_unique_cache) -- of forwards that filled no cache
           / nullif(s.n_layer_forwards - s.n_layer_forwards * s.n_forwards_cache
                    / nullif(s.n_forwards, 0), 0) AS mean_unique_block,
       1.0 * s.sum_expert_bytes / nullif(s.n_forwards, 0) AS mean_expert_bytes -- per forward
FROM sample s JOIN cell c USING (cell_key) JOIN item i USING (item_id)
     JOIN verdict v USING (sample_id);

-- Per run, task and cell: what the table of `run` shows.
CREATE VIEW task_summary AS
SELECT s.run_id, c.task, s.cell_key, c.model, c.selector, c.budget, c.decoder, c.cache, c.backend,
       (SELECT m.metric FROM metric m
        WHERE m.run_id = s.run_id AND m.task = c.task
              AND (m.cell_key = s.cell_key OR m.cell_key IS NULL)
        ORDER BY m.rowid LIMIT 1) AS metric_name, -- the first one stored is the task's own
       count(*) AS n_samples,
       sum(v.passed) AS n_passed,
       sum(v.verdict = 'internal') AS n_internal,
       sum(s.extracted IS NULL) AS n_no_answer,
       sum(v.verdict IN ('timeout_cpu', 'timeout_wall')) AS n_timeouts,
       sum(v.details IS NOT NULL AND v.verdict = 'fail' AND v.details GLOB 'not_data:*')
           AS n_not_data, -- programs that returned values that do not cross to the checker
       sum(s.n_prompt) AS n_prompt,
       sum(s.n_gen_positions) AS n_gen_positions,
       sum(s.n_committed) AS n_committed,
       sum(s.n_tokens_before_eos) AS n_tokens_before_eos,
       sum(s.n_forwards) AS n_forwards,
       sum(s.n_forwards_cache) AS n_forwards_cache,
       sum(s.total_ns) AS gen_ns,
       1.0 * sum(s.sum_unique) / nullif(sum(s.n_layer_forwards), 0) AS mean_unique,
       1.0 * sum(s.sum_natural) / nullif(sum(s.n_layer_forwards), 0) AS mean_natural,
       1.0 * sum(s.sum_expert_bytes) / nullif(sum(s.n_forwards), 0) AS mean_expert_bytes,
       c.n_exp,
       min(s.sample_id) AS first_sample_id
FROM sample s JOIN cell c USING (cell_key) JOIN verdict v USING (sample_id)
GROUP BY s.run_id, s.cell_key;

-- The cells that a run has samples of.
CREATE VIEW run_cell AS
SELECT DISTINCT run_id, cell_key FROM sample;

-- Runs with what they did. Names are sorted and comma-joined.
CREATE VIEW run_summary AS
SELECT r.run_no, r.run_id, r.parent_run, r.started, r.finished, r.status, r.validity, r.command,
       r.version, r.git_commit, json_extract(r.env_json, '$.host') AS host,
       json_extract(r.env_json, '$.cpu_model') AS cpu_model,
       json_extract(r.env_json, '$.gpus[0].name') AS gpu_name,
       (SELECT group_concat(x, ',') FROM (SELECT DISTINCT c.task AS x FROM run_cell k
        JOIN cell c USING (cell_key) WHERE k.run_id = r.run_id ORDER BY x)) AS tasks,
       (SELECT group_concat(x, ',') FROM (SELECT DISTINCT c.model AS x FROM run_cell k
        JOIN cell c USING (cell_key) WHERE k.run_id = r.run_id ORDER BY x)) AS model,
       (SELECT group_concat(x, ',') FROM (SELECT DISTINCT c.selector AS x FROM run_cell k
        JOIN cell c USING (cell_key) WHERE k.run_id = r.run_id ORDER BY x)) AS selector,
       (SELECT count(*) FROM sample s WHERE s.run_id = r.run_id) AS n_samples,
       (SELECT count(*) FROM sample s JOIN verdict v USING (sample_id)
        WHERE s.run_id = r.run_id AND v.passed) AS n_passed,
       (SELECT count(*) FROM sample s JOIN verdict v USING (sample_id)
        WHERE s.run_id = r.run_id AND v.verdict = 'internal') AS n_internal
FROM run r;

-- Token rates, each named after what it counts; all over the sum of total_ns, the time from a
-- sample's start to its end. With several samples in a batch these are rates of one sequence.
CREATE VIEW rates AS
SELECT run_id, task, cell_key, selector, decoder, n_samples,
       n_tokens_before_eos * 1e9 / nullif(gen_ns, 0) AS before_eos_tok_per_s,
       n_gen_positions * 1e9 / nullif(gen_ns, 0) AS positions_per_s,
       n_forwards * 1e9 / nullif(gen_ns, 0) AS forwards_per_s,
       1.0 * n_tokens_before_eos / nullif(n_forwards, 0) AS before_eos_tok_per_forward
FROM task_summary;

-- Energy of a run's cell, of the windows that have it. What an answer costs is what its committed
-- positions cost; right: of the cell's right answers each, wrong ones priced in.
CREATE VIEW energy AS
WITH x AS (
    SELECT run_id, cell_key, count(*) AS n_windows, sum(wall_ns) AS wall_ns,
           sum(n_committed) AS n_committed, sum(energy_mj) * 1e-3 AS joules
    FROM power WHERE energy_mj IS NOT NULL GROUP BY run_id, cell_key
)
SELECT x.*, joules * 1e9 / wall_ns AS watts, joules / nullif(x.n_committed, 0) AS joules_per_committed,
       joules / nullif(x.n_committed, 0) * t.n_committed / nullif(t.n_passed, 0)
           AS joules_per_right
FROM x LEFT JOIN task_summary t USING (run_id, cell_key);

-- A row for each run and cell under the column names of llama-bench's SQL output, in its order and
-- with none missing, for scripts that read those. A repetition is a sample; avg_ts counts tokens
-- before EOS. model_type says all that sets a cell apart, as those scripts show and pair rows by
-- it. What desbench has no such setting of is 0 or '', never NULL, which pairs with nothing.
CREATE VIEW llama_bench AS
WITH x AS (
    SELECT s.run_id, s.cell_key, count(*) AS n, avg(s.n_prompt) AS n_prompt,
           avg(s.total_ns) AS avg_ns, avg(1.0 * s.total_ns * s.total_ns) AS avg_ns2,
           avg(s.n_tokens_before_eos * 1e9 / s.total_ns) AS avg_ts,
           avg((s.n_tokens_before_eos * 1e9 / s.total_ns) * (s.n_tokens_before_eos * 1e9
               / s.total_ns)) AS avg_ts2
    FROM sample s WHERE s.total_ns > 0 GROUP BY s.run_id, s.cell_key
)
SELECT coalesce(r.git_commit, 'unknown') AS build_commit, 0 AS build_number,
       coalesce(json_extract(r.env_json, '$.cpu_model'), '') AS cpu_info,
       coalesce(json_extract(r.env_json, '$.gpus[0].name'), '') AS gpu_info,
       c.backend AS backends, c.model AS model_filename,
       c.architecture || ' ' || c.task || ' ' || c.selector || ' ' || c.decoder || ' cache '
           || c.cache || ' block ' || c.block_length AS model_type,
       c.weight_bytes AS model_size, 0 AS model_n_params,
       coalesce(json_extract(r.config_json, '$."batch-size".value'), 1) AS n_batch,
       c.block_length AS n_ubatch,
       coalesce(json_extract(r.config_json, '$.threads.value'),
                json_extract(r.env_json, '$.cores_allowed'), 0) AS n_threads,
       '' AS cpu_mask, 0 AS cpu_strict, 0 AS poll, '' AS type_k, '' AS type_v,
       CASE c.backend WHEN 'cuda' THEN 99 ELSE 0 END AS n_gpu_layers, -- 99: llama-bench's "all"
       '' AS split_mode, 0 AS main_gpu, 0 AS no_kv_offload, 0 AS flash_attn, '' AS tensor_split,
       '' AS tensor_buft_overrides, 1 AS use_mmap, 0 AS embeddings, 0 AS no_op_offload,
       CAST(round(x.n_prompt) AS INTEGER) AS n_prompt, c.gen_length AS n_gen, 0 AS n_depth,
       r.started AS test_time, CAST(round(x.avg_ns) AS INTEGER) AS avg_ns,
       CASE WHEN x.n > 1 THEN CAST(round(sqrt(max(x.avg_ns2 - x.avg_ns * x.avg_ns, 0) * x.n
            / (x.n - 1))) AS INTEGER) ELSE 0 END AS stddev_ns,
       x.avg_ts,
       CASE WHEN x.n > 1 THEN sqrt(max(x.avg_ts2 - x.avg_ts * x.avg_ts, 0) * x.n / (x.n - 1))
            ELSE 0.0 END AS stddev_ts,
       c.task, c.selector, c.decoder, c.cache, x.n AS n_samples, x.run_id, x.cell_key
FROM x JOIN run r USING (run_id) JOIN cell c USING (cell_key);

-- Telemetry, expanded. A row for each forward pass of a sample ...
CREATE VIEW step AS
SELECT s.sample_id, t.forward, t.block, t.step, t.n_tok, t.n_masked_before, t.n_committed,
       t.is_cache_refresh, t.wall_ns,
       t.n_edited -- tokens that gave way to others (decoder edit)
FROM sample s, telemetry_forward(s.telemetry) t;

-- ... for each MoE layer of a forward pass ...
CREATE VIEW expert AS
SELECT s.sample_id, t.forward, t.block, t.step, t.layer, t.n_tok, t.n_unique, t.n_rerouted,
       t.n_lost_top1, t.kept_mass, t.expert_bytes, t.bitmap,
       t.n_natural,   -- unique experts that the model's own routing would have read
       t.n_core,      -- experts of the coreset; 0: none
       t.output_error -- relative error of the layer's output; NULL: not measured (--diagnose)
FROM sample s, telemetry_layer(s.telemetry) t;

-- ... for each expert that a layer executed ...
CREATE VIEW expert_load AS
SELECT s.sample_id, t.forward, t.layer, t.expert, t.n_tok
FROM sample s, telemetry_expert(s.telemetry) t;

-- ... and for each generated position: the forward that committed it, or edited it last; NULL where
-- none did.
CREATE VIEW position AS
SELECT s.sample_id, t.position, t.forward, t.token
FROM sample s, telemetry_position(s.telemetry, s.tokens) t;
