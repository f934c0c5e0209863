/*
 * `desbench bench`: how fast the engine runs here, against what the machine can do.
 *
 * The floor of what is timed is the larger of its bytes over the rate at which this machine reads
 * and its floating-point operations over the rate at which it computes, both measured first by the
 * same program (kernels/limits.h). Bytes are weights only, each that takes part once: caches and
 * activations stay in the processor's caches. Operations are the model's, not what an instruction
 * set makes of them.
 */
#include "harness/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "harness/paths.h"
#include "harness/plan.h"
#include "harness/ranges.h"
#include "harness/verb.h"

enum { MAX_BATCH = 256 };

struct job {
    struct engine *engine;
    const struct model_info *info;
    struct decode_options decode;
    int32_t *prompt;
    size_t n_prompt;
    int n_seqs;
    struct sequence *seqs[MAX_BATCH];
    int n_unique; /* experts a layer that tokens go to; 0: as the router chooses */
};

/* ---- what a forward has to do --------------------------------------------------------------- */

struct work {
    double bytes, flops;
    double n_experts; /* distinct ones, summed over layers */
};

/* Distinct experts of forward f, summed over layers; sequences run it together. */
static double count_experts(const struct job *j, size_t f)
{
    size_t n_layer = (size_t)j->info->n_moe_layer, n_exp = (size_t)j->info->n_exp, n = 0;

    for (size_t i = f * n_layer * n_exp; i < (f + 1) * n_layer * n_exp; i++) {
        bool is_used = false;

        for (int s = 0; s < j->n_seqs; s++) {
            const struct generation *g = sequence_result(j->seqs[s]);

            is_used |= f < g->n_forwards && g->tokens_per_expert[i] > 0;
        }
        n += is_used;
    }
    return (double)n;
}

/* Work of forward f of all sequences. */
static struct work forward_work(const struct job *j, size_t f)
{
    const struct model_info *m = j->info;
    double d = m->d_model, heads = (double)m->n_head * m->d_head;
    double kv = (double)m->n_kv_head * m->d_head, embed = (double)m->n_vocab * d;
    double per_param = (double)m->weight_bytes / (double)m->n_params;
    double all_experts = (double)m->n_moe_layer * m->n_exp * (double)m->expert_bytes;
    double per_tok =
        m->n_layer * 2 * d * (2 * heads + 2 * kv) +
        m->n_moe_layer * (2 * d * m->n_exp + 6 * d * m->d_ff * (m->top_k + m->n_shared)) +
        (m->n_layer - m->n_moe_layer) * 6 * d * m->d_ff_dense;
    struct work w = { .n_experts = count_experts(j, f) };

    w.bytes = (double)m->weight_bytes - all_experts - per_param * embed +
              w.n_experts * (double)m->expert_bytes;
    for (int s = 0; s < j->n_seqs; s++) {
        const struct generation *g = sequence_result(j->seqs[s]);
        double n_tok, n_keys = (double)(g->n_prompt + g->n_positions);

        if (f >= g->n_forwards)
            continue;
        if (m->mask_block)
            n_keys = (double)g->first_block +
                     (g->forwards[f].block + 1) * (double)j->decode.block_length;
        n_tok = g->forwards[f].n_tok;
        w.flops += n_tok * (per_tok + m->n_layer * 4 * heads * n_keys) +
                   g->forwards[f].n_masked_before * 2 * embed;
    }
    return w;
}

/* ---- samples -------------------------------------------------------------------------------- */

static void end_sequences(struct job *j)
{
    for (int i = 0; i < j->n_seqs; i++) {
        sequence_free(j->seqs[i]);
        j->seqs[i] = NULL;
    }
}

static enum status start_sequences(void *arg, int n, struct error *err)
{
    struct job *j = arg;
    enum status st = ST_OK;

    end_sequences(j);
    for (int i = 0; i < j->n_seqs && !st; i++) {
        j->decode.seed = (uint64_t)(n * j->n_seqs + i);
        st = sequence_start(j->engine, &j->decode, j->prompt, j->n_prompt, &j->seqs[i], err);
    }
    return st;
}

static enum status one_step(void *arg, int n, struct error *err)
{
    struct job *j = arg;

    (void)n;
    return engine_step(j->engine, j->seqs, (size_t)j->n_seqs, err);
}

static enum status all_steps(void *arg, int n, struct error *err)
{
    struct job *j = arg;
    enum status st = ST_OK;
    bool is_done = false;

    (void)n;
    while (!is_done && !st) {
        st = engine_step(j->engine, j->seqs, (size_t)j->n_seqs, err);
        is_done = true;
        for (int i = 0; i < j->n_seqs; i++)
            is_done &= sequence_is_done(j->seqs[i]);
    }
    return st;
}

/* Start, and commit half of the canvas, drawn at random: where all tokens are masks, they go to the
 * same experts. What is timed proposes the likeliest, as decoding does unless it is told to draw.
 */
static enum status start_half_done(void *arg, int n, struct error *err)
{
    enum status st = start_sequences(arg, n, err);
    struct job *j = arg;

    if (!st)
        st = one_step(arg, n, err);
    for (int i = 0; i < j->n_seqs && !st; i++)
        sequence_set_temperature(j->seqs[i], 0);
    return st;
}

static const char *dealt_text(struct bench *b, const struct job *j)
{
    const char *text = "";

    if (j->n_unique)
        text = arena_printf(&b->arena, ", %d experts dealt", j->n_unique);
    return text ? text : "";
}

/* The second of two denoising steps: every token through every layer (with --prefix: but for the
 * prompt's, which the first step left in the cache), the head for those between the first and the
 * last that is still masked. */
static enum status time_forward(struct bench *b, struct job *j, struct error *err)
{
    struct bench_result *r = NULL;
    const char *shape =
        arena_printf(&b->arena, "%d x %d tokens after %zu, %s%s", j->n_seqs, j->decode.gen_length,
                     j->n_prompt, j->decode.selector, dealt_text(b, j));
    struct work w;
    enum status st;

    if (!shape)
        return error_set(err, ST_NOMEM, "out of memory");
    st = bench_time(b, "forward", shape, start_half_done, one_step, j, &r, err);
    if (st)
        return st;
    w = forward_work(j, 1);
    r->bytes = w.bytes;
    r->flops = w.flops;
    r->n_unique = w.n_experts / j->info->n_moe_layer;
    return ST_OK;
}

static enum status time_decode(struct bench *b, struct job *j, struct error *err)
{
    struct bench_result *r = NULL;
    struct buf shape = { 0 };
    size_t n_forwards = 0;
    enum status st;

    buf_printf(&shape, "%d x %d positions, ", j->n_seqs, j->decode.gen_length);
    engine_decoder_text(&j->decode, &shape);
    buf_puts(&shape, ", ");
    engine_cache_text(&j->decode, &shape);
    buf_printf(&shape, ", %s%s", j->decode.selector, dealt_text(b, j));
    st = buf_ok(&shape)
             ? bench_time(b, "decode", buf_str(&shape), start_sequences, all_steps, j, &r, err)
             : error_set(err, ST_NOMEM, "out of memory");
    buf_release(&shape);
    if (st)
        return st;
    for (int i = 0; i < j->n_seqs; i++) {
        const struct generation *g = sequence_result(j->seqs[i]);

        r->n_tokens += (int64_t)g->n_positions;
        n_forwards = g->n_forwards > n_forwards ? g->n_forwards : n_forwards;
    }
    for (size_t f = 0; f < n_forwards; f++) {
        struct work w = forward_work(j, f);

        r->bytes += w.bytes;
        r->flops += w.flops;
        r->n_unique += w.n_experts / (j->info->n_moe_layer * (double)n_forwards);
    }
    return ST_OK;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static enum status fill_options(struct bench *b, struct engine_options *o, struct error *err)
{
    const struct options *c = b->c;
    const char *name = options_text(c, OPT_MODEL);

    o->load_format = name && options_is_given(c, OPT_LOAD_FORMAT) ? options_text(c, OPT_LOAD_FORMAT)
                     : name                                       ? "safetensors"
                                                                  : "dummy";
    o->dummy_seed = (uint64_t)options_int(c, OPT_DUMMY_SEED);
    o->backend = options_text(c, OPT_BACKEND);
    o->isa = options_text(c, OPT_ISA);
    o->is_fast = strcmp(options_text(c, OPT_NUMERIC), "fast") == 0;
    o->n_threads = options_has(c, OPT_THREADS) ? (int)options_int(c, OPT_THREADS) : 0;
    o->is_unpinned = options_flag(c, OPT_UNPINNED);
    o->max_batch = (int)options_int(c, OPT_BATCH_SIZE);
    o->overrides = c->values[OPT_OVERRIDE].texts;
    o->n_overrides = c->values[OPT_OVERRIDE].n;
    return path_model(name ? name : "tiny-llada-moe", &b->arena, &o->model_dir, err);
}

/* Decoding as the options say; forward: one block of --tokens behind a prompt of --prefix in two
 * steps, the tokens of the first drawn at random. */
static void fill_decode(const struct bench *b, const struct engine *e, struct decode_options *d)
{
    const struct options *c = b->c;
    int n = (int)options_int(c, OPT_BENCH_TOKENS);

    engine_decode_defaults(e, d);
    d->selector = options_text(c, OPT_SELECTOR);
    d->is_eos_early_stop = false; /* noise ends anywhere */
    if (strcmp(b->what, "forward") == 0) {
        d->decoder = "low-confidence";
        d->cache = options_int(c, OPT_BENCH_PREFIX) ? "dual" : "none";
        d->gen_length = d->block_length = n;
        d->steps = 2;
        d->temperature = 1;
        return;
    }
    plan_lay_decode(c, d);
    d->gen_length =
        options_has(c, OPT_GEN_LENGTH) ? (int)options_int(c, OPT_GEN_LENGTH) : d->block_length;
    d->steps = options_has(c, OPT_STEPS) ? (int)options_int(c, OPT_STEPS) : 0;
}

/* An option that what is timed would never read is a mistake, not a wish. */
static enum status check_read(const struct bench *b, struct error *err)
{
    static const enum option_id of_decode[] = {
        OPT_DECODER,        OPT_CACHE,          OPT_PREFIX_LOOK,      OPT_AFTER_LOOK,
        OPT_CACHE_WARMUP,   OPT_GEN_LENGTH,     OPT_BLOCK_LENGTH,     OPT_STEPS,
        OPT_THRESHOLD,      OPT_FACTOR,         OPT_LOW_THRESHOLD,    OPT_EDIT_THRESHOLD,
        OPT_MAX_POST_STEPS, OPT_CREDIT_ALPHA,   OPT_CREDIT_DECAY,     OPT_CREDIT_BOOST,
        OPT_SMOOTHING,      OPT_SMOOTHING_INIT, OPT_SMOOTHING_GROWTH, OPT_SMOOTHING_DECAY
    };
    static const enum option_id of_model[] = { OPT_SELECTOR, OPT_BATCH_SIZE };
    static const enum option_id of_trace[] = { OPT_BENCH_TRACE, OPT_LIMIT };
    static const enum option_id made_up[] = { OPT_BENCH_TOKENS, OPT_BENCH_UNIQUE, OPT_BATCH_SIZE };
    static const enum option_id of_cpu[] = { OPT_ISA, OPT_THREADS, OPT_UNPINNED };
    bool is_forward = strcmp(b->what, "forward") == 0;
    bool is_decode = strcmp(b->what, "decode") == 0;
    bool is_replayed = strcmp(b->what, "moe") == 0 && options_is_given(b->c, OPT_BENCH_TRACE);
    bool is_layer = !is_replayed && (!strcmp(b->what, "moe") || !strcmp(b->what, "route"));
    bool is_ops = strcmp(b->what, "ops") == 0 || is_layer;
    const char *name = NULL;

    for (size_t i = 0; !is_decode && i < sizeof(of_decode) / sizeof(of_decode[0]); i++)
        if (options_has(b->c, of_decode[i]))
            name = option_table[of_decode[i]].name;
    for (size_t i = 0; is_ops && i < sizeof(of_model) / sizeof(of_model[0]); i++)
        if (options_is_given(b->c, of_model[i]))
            name = option_table[of_model[i]].name;
    for (size_t i = 0; is_layer && i < sizeof(of_cpu) / sizeof(of_cpu[0]); i++)
        if (options_is_given(b->c, of_cpu[i]))
            name = option_table[of_cpu[i]].name;
    for (size_t i = 0; !is_replayed && i < sizeof(of_trace) / sizeof(of_trace[0]); i++)
        if (options_is_given(b->c, of_trace[i]))
            name = option_table[of_trace[i]].name;
    for (size_t i = 0; is_replayed && i < sizeof(made_up) / sizeof(made_up[0]); i++)
        if (options_is_given(b->c, made_up[i]))
            name = option_table[made_up[i]].name;
    if (is_ops && strcmp(b->what, "moe") != 0 && options_is_given(b->c, OPT_BENCH_UNIQUE))
        name = option_table[OPT_BENCH_UNIQUE].name;
    if (!is_forward && options_is_given(b->c, OPT_BENCH_PREFIX))
        name = option_table[OPT_BENCH_PREFIX].name;
    return name
               ? error_set(err, ST_INVALID, "`bench %s` does not read option '--%s'", b->what, name)
               : ST_OK;
}

/* Nothing is timed: only how the tables look is read. */
static enum status check_show(const struct options *c, struct error *err)
{
    static const enum option_id read[] = { OPT_TABLE_FORMAT, OPT_JSON, OPT_QUIET, OPT_VERBOSE };

    for (int i = 0; i < N_OPTIONS; i++) {
        bool is_read = c->values[i].source != SOURCE_COMMAND_LINE;

        for (size_t k = 0; k < sizeof(read) / sizeof(read[0]); k++)
            is_read |= i == (int)read[k];
        if (!is_read)
            return error_set(err, ST_INVALID, "`bench show` does not read option '--%s'",
                             option_table[i].name);
    }
    return ST_OK;
}

/* What is to be timed, for each number of experts that was asked for. */
static enum status time_each(struct bench *b, struct job *j, struct error *err)
{
    static const char *const own_choice = "0";
    const char *text = options_text(b->c, OPT_BENCH_UNIQUE);
    const char *const *numbers = &own_choice;
    bool is_forward = strcmp(b->what, "forward") == 0;
    int n_tok = is_forward ? j->decode.gen_length : j->decode.block_length;
    size_t n = 1;
    enum status st = text ? ranges_expand(text, &b->arena, &numbers, &n, err) : ST_OK;

    for (size_t i = 0; i < n && !st; i++) {
        j->n_unique = (int)strtol(numbers[i], NULL, 10); /* options_parse() has checked them */
        st = engine_deal_experts(j->engine, j->n_unique, n_tok, err);
        if (!st)
            st = is_forward ? time_forward(b, j, err) : time_decode(b, j, err);
    }
    return st;
}

static enum status time_model(struct bench *b, struct engine_options *o, struct error *err)
{
    bool is_forward = strcmp(b->what, "forward") == 0;
    struct job j = { .n_seqs = o->max_batch };
    struct engine_options text_only = *o;
    struct engine *e = NULL;
    int n_canvas = 0;
    enum status st;

    text_only.is_text_only = true;
    st = engine_open(&text_only, &e, err);
    if (st)
        return st;
    fill_decode(b, e, &j.decode);
    j.n_prompt = (size_t)options_int(b->c, is_forward ? OPT_BENCH_PREFIX : OPT_BENCH_TOKENS);
    st = engine_check_decode(e, &j.decode, j.n_prompt, err);
    if (!st && !is_forward)
        st = plan_check_read(b->c, &j.decode, err);
    if (!st && is_forward && j.decode.gen_length < 2)
        st = error_set(err, ST_INVALID,
                       "--tokens %d: `bench forward` times the second of two steps, after the "
                       "first one committed half of the tokens",
                       j.decode.gen_length);
    if (!st)
        n_canvas = (int)engine_canvas(e, &j.decode, j.n_prompt).n_positions;
    engine_close(e);
    if (st)
        return st;
    o->max_canvas = n_canvas;
    o->max_block = j.decode.block_length;
    log_info("loading %s (%s weights)", o->model_dir, o->load_format);
    st = engine_open(o, &j.engine, err);
    if (st)
        return st;
    b->info = j.info = engine_info(j.engine);
    b->backend = b->info->backend;
    b->details = b->info->backend_details;
    fill_decode(b, j.engine, &j.decode); /* its strings live as long as the engine */
    j.prompt = arena_array(&b->arena, j.n_prompt + 1, sizeof(*j.prompt));
    if (!j.prompt)
        st = error_set(err, ST_NOMEM, "out of memory for a prompt of %zu tokens", j.n_prompt);
    for (size_t i = 0; i < j.n_prompt && !st; i++)
        j.prompt[i] = (int32_t)(i * 7919 % 256);
    if (!st)
        st = bench_limits(b, err);
    if (!st)
        st = time_each(b, &j, err);
    end_sequences(&j);
    if (!st)
        st = bench_print(b, err);
    engine_close(j.engine);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct bench b = { .c = c, .what = c->args[0] };
    struct engine_options o = { 0 };
    bool is_layer = strcmp(b.what, "moe") == 0 || strcmp(b.what, "route") == 0;
    enum status st = ST_OK;

    (void)ret_exit;
    if (strcmp(b.what, "show") == 0) {
        st = check_show(c, err);
        return st ? st : bench_show(c, err);
    }
    if (c->n_args > 1)
        return error_set(err, ST_INVALID, "unexpected argument '%s'", c->args[1]);
    if (getloadavg(&b.load_before, 1) != 1)
        b.load_before = -1;
    if (strcmp(b.what, "forward") != 0 && strcmp(b.what, "decode") != 0 &&
        strcmp(b.what, "ops") != 0 && !is_layer)
        return error_set(err, ST_INVALID,
                         "`bench` knows forward, decode, ops, moe, route and show, not '%s'",
                         b.what);
    st = check_read(&b, err);
    if (!st)
        st = fill_options(&b, &o, err);
    if (!st)
        st = strcmp(b.what, "ops") == 0         ? bench_ops(&b, &o, err)
             : options_text(c, OPT_BENCH_TRACE) ? bench_trace(&b, &o, err)
             : is_layer                         ? bench_experts(&b, &o, err)
                                                : time_model(&b, &o, err);
    arena_release(&b.arena);
    return st;
}

const struct verb verb_bench = {
    .name = "bench",
    .bit = VERB_BENCH,
    .args = "forward|decode|ops|moe|route|show [RECORD ...]",
    .min_args = 1,
    .max_args = -1,
    .summary = "how fast the engine runs here, against what the machine can do",
    .help =
        "Measures how fast this machine reads and computes, then times one forward pass, a whole\n"
        "generation, each operation by itself at the model's widths, or on a GPU a layer of\n"
        "experts by how many of them are used, or its router alone, and prints the share of the\n"
        "floor that is reached. With --trace, moe takes the routing that a trace recorded, on any\n"
        "backend. --json keeps every sample: such a file is a record, and show prints the tables "
        "of\n"
        "records.\n"
        "\n"
        "  desbench bench ops -m llada-moe-7b-a1b\n"
        "  desbench bench forward -m llada-moe-7b-a1b --load-format dummy \\\n"
        "      --override num_hidden_layers=2 --override 'moe_layer_freq=[1,1]' --tokens 32\n"
        "  desbench bench forward -m llada-moe-7b-a1b --load-format dummy --backend cuda \\\n"
        "      --prefix 256 --unique 64,38,25\n"
        "  desbench bench moe -m llada-moe-7b-a1b --tokens 32 --json\n"
        "  desbench bench moe -m llada-moe-7b-a1b --trace gsm8k.trace\n"
        "  desbench bench route -m llada-moe-7b-a1b\n"
        "  desbench bench show docs/measurements/h100/moe-*.json --format markdown\n"
        "  desbench bench decode -m DIR --gen-length 128 -b 4 --selector topk:k=4 --json",
    .run = run,
};
