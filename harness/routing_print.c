/* Printing a record of routing facts. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "harness/routing.h"
#include "harness/routing_facts.h"
#include "harness/verb.h"

/*
 * Unique experts that others measured with vanilla routing, to put beside ours; each by block
 * length.
 *
 * LLaDA-MoE-7B-A1B-Instruct: 59 at block length 32, arXiv:2602.00879v1, Table 1 (up to 64 tokens
 * may have been in its forwards: the caches hold 16 more on either side of the block).
 * LLaDA2.0-mini: arXiv:2605.30876v2, means of its MATH500, GSM8K, ARC-C and MMLU values.
 */
static const struct published {
    const char *title;
    int n_exp, top_k;
    struct {
        int n_tok;
        double n_unique;
    } values[4];
} published[] = {
    { "LLaDA-MoE-7B", 64, 8, { { 32, 59 } } },
    { "LLaDA2.0-mini", 256, 8, { { 8, 31.8 }, { 16, 48.8 }, { 24, 60.6 }, { 32, 69.5 } } },
};
enum { N_PUBLISHED = sizeof(published) / sizeof(published[0]) };

static const char published_note[] =
    "LLaDA-MoE-7B: arXiv:2602.00879, Table 1; LLaDA2.0-mini: arXiv:2605.30876, mean of four tasks; "
    "both with vanilla routing.";

/* NaN: not published. */
static double published_ratio(const struct published *p, int64_t n_tok)
{
    for (size_t i = 0; i < sizeof(p->values) / sizeof(p->values[0]); i++)
        if (p->values[i].n_tok == n_tok)
            return p->values[i].n_unique / routing_uniform((int)n_tok, p->n_exp, p->top_k);
    return NAN;
}

/* Reading members, the first failure of which ends it all. */
struct reader {
    const char *name; /* of the record, for messages */
    struct error *err;
    enum status st;
};

static int64_t get_int(struct reader *r, const json_t *obj, const char *key)
{
    int64_t v = 0;

    if (!r->st)
        r->st = json_get_int(obj, r->name, key, 0, INT64_C(1) << 53, &v, r->err);
    return v;
}

/* null: NaN */
static double get_real(struct reader *r, const json_t *obj, const char *key)
{
    double v = NAN;

    if (!r->st && !json_is_null(json_object_get(obj, key)))
        r->st = json_get_num(obj, r->name, key, &v, r->err);
    return v;
}

static const char *get_text(struct reader *r, const json_t *obj, const char *key)
{
    const char *v = "";

    if (!r->st)
        r->st = json_get_str(obj, r->name, key, &v, NULL, r->err);
    return v;
}

static const json_t *get_list(struct reader *r, const json_t *obj, const char *key)
{
    json_t *v = NULL;

    if (!r->st)
        r->st = json_get_array(obj, r->name, key, &v, r->err);
    return v;
}

static void put_real_cell(struct table *t, double v, int decimals)
{
    if (isfinite(v))
        table_cell(t, "%.*f", decimals, v);
    else
        table_cell(t, "-");
}

static void put_range(struct table *t, double low, double high)
{
    if (isfinite(low) && isfinite(high))
        table_cell(t, "%.1f-%.1f", low, high);
    else
        table_cell(t, "-");
}

/* Append the table, release it. */
static void end_table(struct reader *r, struct table *t, enum print_form form, struct buf *b)
{
    if (!(form == PRINT_MARKDOWN ? table_put_markdown(t, b) : table_put(t, b)) && !r->st)
        r->st = error_set(r->err, ST_NOMEM, "out of memory printing");
    table_release(t);
}

static void put_blocks(struct reader *r, const json_t *record, enum print_form form, struct buf *b)
{
    const json_t *list = get_list(r, record, "blocks"), *x;
    struct buf titles = { 0 };
    struct table t;
    size_t i;

    buf_puts(&titles, ">tokens|>unique experts|>sd|>layers|>uniform|>of uniform");
    for (int k = 0; k < N_PUBLISHED; k++)
        buf_printf(&titles, "|>%s", published[k].title);
    table_init(&t, buf_str(&titles));
    t.is_failed |= !buf_ok(&titles);
    json_array_foreach(list, i, x)
    {
        int64_t n = get_int(r, x, "block_length");

        table_row(&t);
        table_cell(&t, "%d", (int)n);
        put_real_cell(&t, get_real(r, x, "mean_unique"), 1);
        put_real_cell(&t, get_real(r, x, "sd_unique"), 1);
        put_range(&t, get_real(r, x, "least_layer"), get_real(r, x, "most_layer"));
        put_real_cell(&t, get_real(r, x, "uniform"), 1);
        put_real_cell(&t, get_real(r, x, "ratio"), 3);
        for (int k = 0; k < N_PUBLISHED; k++)
            put_real_cell(&t, published_ratio(&published[k], n), 3);
    }
    end_table(r, &t, form, b);
    buf_release(&titles);
}

static void put_layer_row(struct reader *r, struct table *t, const json_t *x)
{
    put_real_cell(t, get_real(r, x, "mean_unique"), 1);
    put_real_cell(t, get_real(r, x, "top1_mass"), 3);
    put_real_cell(t, get_real(r, x, "topk_mass"), 3);
    put_real_cell(t, get_real(r, x, "load_max_over_mean"), 2);
    table_cell(t, "%d", (int)get_int(r, x, "dead"));
    put_real_cell(t, get_real(r, x, "overlap"), 3);
}

static void put_layers(struct reader *r, const json_t *record, int64_t top_k, enum print_form form,
                       struct buf *b)
{
    const json_t *list = get_list(r, record, "layers"), *x;
    struct buf titles = { 0 };
    struct table t;
    json_t *all = NULL;
    size_t i;

    buf_printf(&titles,
               "layer|>unique experts|>top-1 mass|>top-%d mass|>load max/mean|>dead|>overlap",
               (int)top_k);
    table_init(&t, buf_str(&titles));
    t.is_failed |= !buf_ok(&titles);
    json_array_foreach(list, i, x)
    {
        table_row(&t);
        table_cell(&t, "%d", (int)get_int(r, x, "layer"));
        put_layer_row(r, &t, x);
    }
    if (!r->st)
        r->st = json_get_object(record, r->name, "all", &all, r->err);
    table_row(&t);
    table_cell(&t, "all");
    put_layer_row(r, &t, all);
    end_table(r, &t, form, b);
    buf_release(&titles);
}

static void put_votes(struct reader *r, const json_t *record, enum print_form form, struct buf *b)
{
    const json_t *list = get_list(r, record, "votes"), *x;
    struct table t;
    size_t i;

    table_init(&t, ">coreset|>elections|>differs|>mass lost");
    json_array_foreach(list, i, x)
    {
        table_row(&t);
        table_cell(&t, "%d", (int)get_int(r, x, "n_core"));
        table_cell(&t, "%lld", (long long)get_int(r, x, "n_samples"));
        put_real_cell(&t, get_real(r, x, "differs"), 3);
        put_real_cell(&t, get_real(r, x, "mass_lost"), 4);
    }
    end_table(r, &t, form, b);
}

/* A text of the record's, which may be from outside. */
static void put_visible(struct buf *b, const char *s)
{
    size_t at = b->len;

    buf_puts(b, s);
    if (buf_ok(b) && b->len > at)
        utf8_make_visible(b->data + at);
}

static void put_head(struct reader *r, const json_t *record, struct buf *b)
{
    const json_t *tasks = get_list(r, record, "tasks"), *x;
    double threshold = get_real(r, record, "threshold");
    const char *decoder = get_text(r, record, "decoder");
    size_t i;

    put_visible(b, get_text(r, record, "model"));
    buf_printf(b, " (%d experts, top-%d, %d layers", (int)get_int(r, record, "n_experts"),
               (int)get_int(r, record, "top_k"), (int)get_int(r, record, "n_moe_layers"));
    buf_printf(b, "%s), ",
               strcmp(get_text(r, record, "load_format"), "dummy") == 0
                   ? ", DUMMY WEIGHTS: these facts mean nothing"
                   : "");
    buf_printf(b, "%d prompts of ", (int)get_int(r, record, "n_prompts"));
    json_array_foreach(tasks, i, x)
    {
        if (!r->st && !json_is_string(x))
            r->st = error_set(r->err, ST_INVALID, "%s: field 'tasks' must hold strings", r->name);
        buf_puts(b, i ? ", " : "");
        put_visible(b, json_is_string(x) ? json_string_value(x) : "");
    }
    buf_puts(b, "; decoder ");
    put_visible(b, decoder);
    if (strcmp(decoder, "threshold") == 0)
        buf_printf(b, " %g", threshold);
    buf_puts(b, ", cache ");
    put_visible(b, get_text(r, record, "cache"));
    buf_puts(b, ", backend ");
    put_visible(b, get_text(r, record, "backend"));
    buf_puts(b, ", weights ");
    put_visible(b, get_text(r, record, "weights_sha256"));
    buf_puts(b, "\n\n");
}

static void put_all(struct reader *r, const json_t *record, enum print_form form, struct buf *b)
{
    int block = (int)get_int(r, record, "block_length");

    put_head(r, record, b);
    buf_puts(b, "Unique experts that the tokens of a block use in a layer, mean over forwards and "
                "layers, decoding in\nblocks of so many; of uniform: over what uniform routing "
                "would use.\n\n");
    put_blocks(r, record, form, b);
    buf_printf(b, "\n%s\n\n", published_note);
    buf_printf(b,
               "By layer, blocks of %d. Mass: share of the router's scores, mean over tokens. "
               "Load: tokens of the\nbusiest expert over the mean. Dead: experts never chosen. "
               "Overlap: experts used by consecutive\nforwards of a block, those in both over "
               "those in either.\n\n",
               block);
    put_layers(r, record, get_int(r, record, "top_k"), form, b);
    buf_printf(b,
               "\nCoresets elected by router weight (DES-Vote) and by count, blocks of %d, where "
               "more experts have\nvotes than the coreset holds. Differs: share of the coreset "
               "by weight that the count does not\nelect. Mass lost: share of its weight that "
               "the other one does not get.\n\n",
               block);
    put_votes(r, record, form, b);
}

enum status routing_print(const json_t *record, const char *name, enum print_form form,
                          struct error *err)
{
    struct buf b = { 0 }, where = { 0 };
    struct reader r = { .err = err };
    const char *format;

    buf_printf(&where, "'%s'", name);
    r.name = buf_str(&where);
    if (!json_is_object(record)) {
        r.st = error_set(err, ST_INVALID, "%s: not an object", r.name);
    } else {
        format = get_text(&r, record, "format");
        if (!r.st && strcmp(format, ROUTING_FORMAT) != 0)
            r.st = error_set(err, ST_INVALID, "%s: format '%.64s' is not '%s'", r.name, format,
                             ROUTING_FORMAT);
    }
    if (!r.st && form == PRINT_JSON) {
        json_put_value(&b, record, JSON_INDENT(1));
        buf_putc(&b, '\n');
    } else if (!r.st) {
        put_all(&r, record, form, &b);
    }
    if (!r.st)
        r.st = verb_print(&b, err);
    buf_release(&where);
    buf_release(&b);
    return r.st;
}
