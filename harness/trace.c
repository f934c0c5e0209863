/* `desbench trace`: record what a model's routers say, look at it, replay it. */
#include "harness/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "harness/listing.h"
#include "harness/trace_file.h"
#include "harness/verb.h"

/* ---- show ------------------------------------------------------------------------------- */

/* Counts of a trace's records. */
struct trace_counts {
    int64_t n_sequences, n_forwards, n_refresh, n_tokens;
};

static enum status count_records(struct trace_reader *r, struct trace_counts *ret,
                                 struct error *err)
{
    struct trace_counts n = { 0 };
    enum trace_record kind = TRACE_SEQUENCE;
    enum status st = ST_OK;

    while (!st && kind != TRACE_END) {
        struct trace_sequence s;
        struct trace_forward f;
        struct trace_layer l;

        st = trace_next(r, &kind, &s, &f, err);
        if (st || kind == TRACE_END)
            break;
        if (kind == TRACE_SEQUENCE) {
            n.n_sequences++;
            continue;
        }
        n.n_forwards++;
        n.n_refresh += f.is_cache_refresh;
        n.n_tokens += f.n_tok;
        for (int i = 0; i < trace_get_header(r)->n_layer && !st; i++)
            st = trace_read_layer(r, i, &l, err);
    }
    *ret = n;
    return st;
}

/* One row for programs; for people a row a field. */
struct fields {
    struct listing l;
    bool is_tall;
};

static void put_text(struct fields *f, const char *name, const char *value)
{
    if (f->is_tall) {
        if (!value)
            return;
        listing_row(&f->l);
        listing_cell(&f->l, name);
    }
    listing_cell(&f->l, value);
}

static void put_number(struct fields *f, const char *name, int64_t v)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, v);
    put_text(f, name, text);
}

static void put_real(struct fields *f, const char *name, double v)
{
    char text[32];

    snprintf(text, sizeof(text), "%.9g", v);
    put_text(f, name, text);
}

static enum status print_header(const struct options *c, const struct trace_header *h,
                                const struct trace_counts *n, struct error *err)
{
    enum print_form form = print_form_of(c);
    struct fields f = { .is_tall = form == PRINT_TEXT || form == PRINT_MARKDOWN };

    listing_start(&f.l, c,
                  f.is_tall ? "field|value"
                            : "model|weights_sha256|writer|backend|selector|decoder|cache|task"
                              "|>n_layer|>n_exp|>top_k|score|renorm|>scale|>n_group|>topk_group"
                              "|selection_bias|>mask_id|>n_top|importance|executed|>n_sequences"
                              "|>n_forwards|>n_refresh|>n_tokens");
    if (!f.is_tall)
        listing_row(&f.l);
    put_text(&f, "model", h->about.model);
    put_text(&f, "weights_sha256", h->about.weights_sha256);
    put_text(&f, "writer", h->about.writer);
    put_text(&f, "backend", h->about.backend);
    put_text(&f, "selector", h->about.selector);
    put_text(&f, "decoder", h->about.decoder);
    put_text(&f, "cache", h->about.cache);
    put_text(&f, "task", h->about.task);
    put_number(&f, "layers with routed experts", h->n_layer);
    put_number(&f, "experts of a layer", h->n_exp);
    put_number(&f, "experts of a token", h->top_k);
    put_text(&f, "scores", h->is_sigmoid ? "sigmoid" : "softmax");
    put_text(&f, "weights divided by their sum", h->is_renormed ? "yes" : "no");
    put_real(&f, "weights multiplied by", (double)h->scale);
    put_number(&f, "groups of experts", h->n_group);
    put_number(&f, "of them kept by a token", h->topk_group);
    put_text(&f, "selection bias", h->bias ? "yes" : "no");
    put_number(&f, "mask token", h->mask_id);
    put_number(&f, "scores kept of a token", h->n_top);
    put_text(&f, "importance of tokens", h->has_importance ? "yes" : "no");
    put_text(&f, "experts that ran", h->has_executed ? "yes" : "no");
    put_number(&f, "sequences", n->n_sequences);
    put_number(&f, "forwards", n->n_forwards);
    put_number(&f, "of them filling a cache", n->n_refresh);
    put_number(&f, "tokens through the model", n->n_tokens);
    return listing_end(&f.l, ST_OK, err);
}

/* Reads all of it: what it shows can be replayed. */
static enum status show(const struct options *c, struct error *err)
{
    struct trace_reader *r = NULL;
    struct trace_counts n;
    enum status st = trace_open(c->args[1], &r, err);

    if (!st)
        st = count_records(r, &n, err);
    if (!st)
        st = print_header(c, trace_get_header(r), &n, err);
    trace_close(r);
    return st;
}

/* ---- the verb --------------------------------------------------------------------------- */

enum { DOES_RECORD = 1, DOES_SHOW = 2, DOES_REPLAY = 4 };
enum { DOES_ALL = DOES_RECORD | DOES_SHOW | DOES_REPLAY };

/* An option that what is done would never read is a mistake, not a wish. */
static enum status check_read(const struct options *c, unsigned does, struct error *err)
{
    static const struct {
        enum option_id id;
        unsigned of;
    } readers[] = {
        { OPT_TABLE_FORMAT, DOES_ALL },
        { OPT_JSON, DOES_ALL },
        { OPT_QUIET, DOES_ALL },
        { OPT_VERBOSE, DOES_ALL },
        { OPT_SELECTOR, DOES_RECORD | DOES_REPLAY },
    };

    for (int i = 0; i < N_OPTIONS; i++) {
        unsigned of = DOES_RECORD;

        for (size_t k = 0; k < sizeof(readers) / sizeof(readers[0]); k++)
            if ((int)readers[k].id == i)
                of = readers[k].of;
        if (!(of & does) && c->values[i].source == SOURCE_COMMAND_LINE)
            return error_set(err, ST_INVALID, "`trace %s` does not read option '--%s'", c->args[0],
                             option_table[i].name);
    }
    return ST_OK;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    static const struct {
        const char *name;
        unsigned does;
        enum status (*run)(const struct options *c, struct error *err);
    } whats[] = { { "record", DOES_RECORD, trace_record },
                  { "replay", DOES_REPLAY, trace_replay },
                  { "show", DOES_SHOW, show } };
    size_t i = 0, n = sizeof(whats) / sizeof(whats[0]);
    enum status st;

    (void)ret_exit;
    while (i < n && strcmp(c->args[0], whats[i].name) != 0)
        i++;
    if (i == n)
        return error_set(err, ST_INVALID, "`trace` knows record, replay and show, not '%s'",
                         c->args[0]);
    if (whats[i].does == DOES_RECORD && c->n_args > 1)
        return error_set(err, ST_INVALID,
                         "`trace record` does not know what to do with '%s'; --output names the "
                         "file",
                         c->args[1]);
    if (whats[i].does != DOES_RECORD && c->n_args < 2)
        return error_set(err, ST_INVALID, "`trace %s` needs the name of a trace", c->args[0]);
    st = check_read(c, whats[i].does, err);
    return st ? st : whats[i].run(c, err);
}

const struct verb verb_trace = {
    .name = "trace",
    .bit = VERB_TRACE,
    .args = "record|replay FILE|show FILE",
    .min_args = 1,
    .max_args = 2,
    .summary = "record what a model's routers say, and try selectors on it",
    .help =
        "`record` drives items through a model and writes the router's scores of every step, layer "
        "and\n"
        "token to a file (docs/traces.md says how it is laid out). `replay` puts such a file "
        "through "
        "any\n"
        "selectors, without the model: unique experts, kept mass, rerouted slots, tokens that lose "
        "their\n"
        "first expert, by layer and over all; without --selector, the one it was recorded under. "
        "`show`\n"
        "reads it to its end and says what is in it.\n\n"
        "  desbench trace record -m DIR -t gsm8k -L 4 -o gsm8k.trace          every score\n"
        "  desbench trace record -m DIR -t gsm8k -L 4 --top 16 -o top.trace   the 16 largest\n"
        "  desbench trace show gsm8k.trace\n"
        "  desbench trace replay gsm8k.trace\n"
        "  desbench trace replay gsm8k.trace --selector des-vote:beta=0.4 --selector "
        "des-seq:k0=3\n",
    .run = run,
};
