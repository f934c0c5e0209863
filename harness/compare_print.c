/* What `compare` and `gate` print. */
#include "harness/compare_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "harness/listing.h"
#include "harness/verb.h"

static double points(double fraction)
{
    return 100 * fraction;
}

/* A text from outside, for a terminal. */
static void put_visible(struct buf *b, const char *s)
{
    size_t at = b->len;

    buf_puts(b, s ? s : "unknown");
    if (buf_ok(b) && b->len > at)
        utf8_make_visible(b->data + at);
}

/* ---- tables ----------------------------------------------------------------------------- */

static bool put_table(const struct table *t, bool is_markdown, struct buf *b)
{
    bool is_ok;

    buf_putc(b, '\n');
    is_ok = is_markdown ? table_put_markdown(t, b) : table_put(t, b);
    return is_ok;
}

static void real_cell(struct table *t, double v, const char *unit, int decimals)
{
    if (isnan(v))
        table_cell(t, "-");
    else
        table_cell(t, "%.*f%s", decimals, v, unit);
}

/* What a task's own numbers say, beside the pooled decision. */
static const char *guard(const struct compare_task *t, double margin)
{
    if (t->n_same == t->n)
        return "identical";
    if (t->p_worse_holm < STATS_GATE_FAIL)
        return "LOSS";
    return t->gate.high < margin ? "within margin" : "open";
}

static void task_row(struct table *t, const struct compare_task *x, const struct comparison *c,
                     bool is_gate, bool is_fixed)
{
    double n = (double)x->n;

    table_row(t);
    table_cell(t, "%s", x->task);
    table_cell(t, "%" PRId64, x->n);
    table_cell(t, "%.1f", points((double)(x->a + x->b) / n));
    table_cell(t, "%.1f", points((double)(x->a + x->c) / n));
    table_cell(t, "%" PRId64, x->b);
    table_cell(t, "%" PRId64, x->c);
    table_cell(t, "%.1f", points((double)x->n_same / n));
    if (is_fixed) {
        table_cell(t, "%+.2f", points(x->gate.loss));
    } else if (is_gate) {
        table_cell(t, "%+.2f", points(x->gate.loss));
        table_cell(t, "%+.2f", points(x->gate.low));
        table_cell(t, "%+.2f", points(x->gate.high));
        table_cell(t, "%s", x == &c->all ? "" : guard(x, c->margin));
    } else {
        table_cell(t, "%+.2f", points((double)(x->c - x->b) / n));
        table_cell(t, "%+.2f to %+.2f", points(x->delta_low), points(x->delta_high));
        table_cell(t, "%.3g", x->mcnemar.p_two_sided);
        table_cell(t, "%.3g", x->mcnemar.midp_two_sided);
    }
}

static bool put_tasks(const struct telling *x, const struct comparison *c, bool is_markdown,
                      struct buf *b)
{
    struct table t;
    bool is_ok;

    table_init(&t, x->is_fixed_suite
                       ? "task|>items|>base %|>now %|>lost|>gained|>same tokens %|>loss pt"
                   : x->is_gate ? "task|>items|>base %|>now %|>lost|>gained|>same tokens %|>loss "
                                  "pt|>at least (99 %)|>at most (95 %)|task by itself"
                                : "task|>items|>base %|>now %|>lost|>gained|>same tokens %|>change "
                                  "pt|>95 %|>p exact|>p mid");
    for (size_t i = 0; i < c->n_tasks; i++)
        task_row(&t, &c->tasks[i], c, x->is_gate, x->is_fixed_suite);
    if (c->n_tasks > 1)
        task_row(&t, &c->all, c, x->is_gate, x->is_fixed_suite);
    is_ok = put_table(&t, is_markdown, b);
    table_release(&t);
    return is_ok;
}

static bool put_rates(const struct comparison *c, bool is_markdown, struct buf *b)
{
    struct table t;
    bool is_ok = true, has_any = !isnan(c->rel);

    table_init(&t, "cost and use|>base|>now|>ratio|>95 %");
    if (has_any) {
        table_row(&t);
        table_cell(&t, "relative accuracy");
        table_cell(&t, "1");
        real_cell(&t, c->rel, "", 4);
        real_cell(&t, c->rel, "", 4);
        if (isnan(c->rel_low))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.4f to %.4f", c->rel_low, c->rel_high);
    }
    for (int i = 0; i < N_RATES; i++) {
        const struct compare_rate *r = &c->rates[i];

        if (isnan(r->base) && isnan(r->cand))
            continue;
        has_any = true;
        table_row(&t);
        table_cell(&t, "%s", r->name);
        if (isnan(r->base))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.6g", r->base);
        if (isnan(r->cand))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.6g", r->cand);
        real_cell(&t, r->ratio, "", 4);
        if (isnan(r->low))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.4f to %.4f", r->low, r->high);
    }
    if (has_any)
        is_ok = put_table(&t, is_markdown, b);
    table_release(&t);
    return is_ok;
}

static void token_cell(struct table *t, int32_t token)
{
    if (token < 0)
        table_cell(t, "mask");
    else
        table_cell(t, "%d", token);
}

static bool put_flips(const struct telling *x, const struct told *told, bool is_markdown,
                      struct buf *b)
{
    size_t most = (size_t)options_int(x->options, OPT_FLIPS), n = told->n_flips;
    bool has_answers = false, has_partings = false, is_ok;
    struct table t;

    if (!n || !most)
        return true;
    for (size_t i = 0; i < n; i++) {
        has_answers |= told->flips[i].pair->base->sample_idx > 0;
        has_partings |= told->flips[i].parting.is_known;
    }
    /* where two answers part is known of our own, with tokens and steps */
    table_init(&t, !has_partings
                       ? "changed|task|item|was|is"
                       : "changed|task|item|was|is|>forward|>block|>step|>position|>token "
                         "was|>token is");
    for (size_t i = 0; i < n && i < most; i++) {
        const struct compare_pair *p = told->flips[i].pair;
        const struct compare_parting *q = &told->flips[i].parting;

        table_row(&t);
        table_cell(&t, p->base->is_passed ? "lost" : "gained");
        table_cell(&t, "%s", p->base->task);
        if (has_answers)
            table_cell(&t, "%s, answer %d", p->base->task_id, p->base->sample_idx);
        else
            table_cell(&t, "%s", p->base->task_id);
        table_cell(&t, "%s", p->base->verdict);
        table_cell(&t, "%s", p->cand->verdict);
        if (!q->is_known)
            continue;
        table_cell(&t, "%d", q->forward);
        table_cell(&t, "%d", q->block);
        table_cell(&t, "%d", q->step);
        table_cell(&t, "%d", q->position);
        token_cell(&t, q->base_token);
        token_cell(&t, q->cand_token);
    }
    is_ok = put_table(&t, is_markdown, b);
    table_release(&t);
    if (n > most)
        buf_printf(b, "\n%zu more; --flips %zu lists all\n", n - most, n);
    return is_ok;
}

/* ---- sentences -------------------------------------------------------------------------- */

static void put_side(struct buf *b, const char *name, const struct answer_set *s)
{
    buf_printf(b, "%s run %s, ", name, s->run_id);
    put_visible(b, s->label);
    buf_puts(b, " (");
    put_visible(b, s->source);
    buf_puts(b, ")");
}

/* "selector vanilla, now topk:k=4; ...": what differs between the settings themselves. */
static void put_differences(struct buf *b, const struct comparison *c)
{
    const struct cell_row *x = &c->base->cells[0], *y = &c->cand->cells[0];
    const char *const texts[][3] = { { "model", x->model, y->model },
                                     { "selector", x->selector, y->selector },
                                     { "decoder", x->decoder, y->decoder },
                                     { "cache", x->cache, y->cache },
                                     { "backend", x->backend, y->backend },
                                     { "numeric mode", x->numeric_mode, y->numeric_mode },
                                     { "prompt form", x->prompt_form, y->prompt_form },
                                     { "program", c->base->version, c->cand->version },
                                     { "commit", c->base->git_commit, c->cand->git_commit } };
    size_t n = 0;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *was = texts[i][1] ? texts[i][1] : "", *is = texts[i][2] ? texts[i][2] : "";

        if (strcmp(was, is) == 0)
            continue;
        buf_printf(b, "%s%s ", n++ ? "; " : "", texts[i][0]);
        put_visible(b, was);
        buf_puts(b, ", now ");
        put_visible(b, is);
    }
    if (strcmp(x->weights_sha256, y->weights_sha256) != 0)
        buf_printf(b, "%sweights %.12s, now %.12s", n++ ? "; " : "", x->weights_sha256,
                   y->weights_sha256);
    if (x->block_length != y->block_length)
        buf_printf(b, "%sblock length %d, now %d", n++ ? "; " : "", x->block_length,
                   y->block_length);
    if (x->gen_length != y->gen_length)
        buf_printf(b, "%sanswer length %d, now %d", n++ ? "; " : "", x->gen_length, y->gen_length);
    if (!n)
        buf_puts(b, "nothing in the settings");
}

/* The gate's answer in a sentence. */
static void put_outcome(struct buf *b, const struct telling *x, const struct comparison *c)
{
    const struct compare_task *t = &c->all;
    double margin = points(c->margin);

    if (c->outcome == STATS_IDENTICAL) {
        buf_printf(b, "identical: all %" PRId64 " answers are the same, token by token", t->n);
    } else if (x->is_fixed_suite) {
        buf_printf(b,
                   "%s: %+.2f points lost on these %" PRId64
                   " items, %.2f are allowed; nothing is said of other items",
                   stats_outcome_name(c->outcome), points(t->gate.loss), t->n, margin);
    } else if (c->outcome == STATS_PASS) {
        buf_printf(b, "pass: a loss of %.2f points is excluded (at most %+.2f, 95 %%)", margin,
                   points(t->gate.high));
        if (t->gate.low > 0)
            buf_printf(b, "; there is a loss, a tolerable one: at least %.2f (99 %%)",
                       points(t->gate.low));
    } else if (c->outcome == STATS_FAIL) {
        buf_printf(b,
                   "fail: worse by %.2f points, at least %.2f (99 %%), and %.2f are not excluded",
                   points(t->gate.loss), points(t->gate.low), margin);
    } else {
        buf_printf(b,
                   "undecided: neither a loss shown (at least %+.2f, 99 %%) nor %.2f points "
                   "excluded (at most %+.2f, 95 %%)",
                   points(t->gate.low), margin, points(t->gate.high));
        if (c->is_too_few)
            buf_puts(b, "; too few changes to judge");
    }
    if (x->n_told > 1 && c->outcome != STATS_IDENTICAL && !x->is_fixed_suite)
        buf_printf(b,
                   "; by p-values corrected for %zu comparisons (Holm): worse %.3g, not "
                   "within margin %.3g",
                   x->n_told, c->p_worse_holm, c->p_not_inferior_holm);
    buf_putc(b, '\n');
}

static void put_noise(struct buf *b, const struct noise *n, const struct comparison *c)
{
    double churn = (double)(c->all.b + c->all.c) / (double)c->all.n;

    if (!n->n_runs)
        return;
    buf_printf(
        b,
        "\nnoise: %" PRId64 " neutral run%s changed %.2f %% of verdicts (%.2f to %.2f) and "
        "%.1f %% of answers; the candidate %.2f %%%s\n",
        n->n_runs, n->n_runs == 1 ? "" : "s", 100 * (double)n->n_changed / (double)n->n,
        100 * n->low, 100 * n->high, 100 * (double)n->n_other_tokens / (double)n->n, 100 * churn,
        churn <= n->high ? ": no more than noise does (the direction is the test's matter)" : "");
}

static void put_notes(struct buf *b, const struct comparison *c)
{
    if (c->mismatches.len) {
        buf_puts(b, "\nwarning: what was compared is not the same:\n");
        for (const char *p = buf_str(&c->mismatches); *p; p += *p == '\n') {
            size_t len = strcspn(p, "\n");

            buf_puts(b, "  ");
            buf_append(b, p, len);
            buf_putc(b, '\n');
            p += len;
        }
    }
    if (c->all.n_noise)
        buf_printf(b,
                   "\n%" PRId64 " equal answers were judged differently: the judge's own noise\n",
                   c->all.n_noise);
    if (c->all.deff > 1)
        buf_printf(b,
                   "\nanswers that share a parent or an item count as dependent: %.0f of %" PRId64
                   " pairs' worth (design effect %.2f)\n",
                   (double)c->all.n / c->all.deff, c->all.n, c->all.deff);
}

static bool put_one(const struct telling *x, const struct told *told, bool is_markdown,
                    struct buf *b)
{
    const struct comparison *c = &told->c;
    const char *end = is_markdown ? "  \n" : "\n";
    bool is_ok;

    if (is_markdown) {
        buf_puts(b, "### ");
        if (x->is_gate)
            put_outcome(b, x, c);
        else
            buf_puts(b, "Comparison\n");
        buf_putc(b, '\n');
    }
    put_side(b, "baseline ", c->base);
    buf_puts(b, end);
    put_side(b, "candidate", c->cand);
    buf_puts(b, end);
    buf_puts(b, "differs in: ");
    put_differences(b, c);
    buf_puts(b, end);
    is_ok = put_tasks(x, c, is_markdown, b) && put_rates(c, is_markdown, b) &&
            put_flips(x, told, is_markdown, b);
    put_notes(b, c);
    put_noise(b, &x->noise, c);
    if (!is_markdown && x->is_gate) {
        buf_putc(b, '\n');
        put_outcome(b, x, c);
    }
    return is_ok;
}

static enum status put_all(const struct telling *x, bool is_markdown, struct buf *b,
                           struct error *err)
{
    bool is_ok = true;

    for (size_t i = 0; i < x->n_told && is_ok; i++) {
        if (i)
            buf_putc(b, '\n');
        is_ok = put_one(x, &x->told[i], is_markdown, b);
    }
    return is_ok && buf_ok(b) ? ST_OK : error_set(err, ST_NOMEM, "out of memory printing");
}

enum status compare_put_markdown(const struct telling *t, struct buf *ret, struct error *err)
{
    return put_all(t, true, ret, err);
}

/* ---- CSV -------------------------------------------------------------------------------- */

static void csv_row(struct listing *l, const struct comparison *c, const struct compare_task *t,
                    bool is_gate)
{
    listing_row(l);
    listing_cell(l, c->base->run_id);
    listing_cell(l, c->base->label);
    listing_cell(l, c->cand->run_id);
    listing_cell(l, c->cand->label);
    listing_cell(l, t->task);
    listing_number(l, t->n);
    listing_number(l, t->a);
    listing_number(l, t->b);
    listing_number(l, t->c);
    listing_number(l, t->d);
    listing_number(l, t->n_same);
    listing_real(l, t->deff, 3);
    listing_real(l, t->gate.loss, 6);
    listing_real(l, t->gate.low, 6);
    listing_real(l, t->gate.high, 6);
    listing_real(l, t->mcnemar.p_worse, 6);
    listing_real(l, t->mcnemar.midp_two_sided, 6);
    listing_real(l, c->margin, 6);
    listing_cell(l, is_gate && t == &c->all ? stats_outcome_name(c->outcome) : NULL);
}

static enum status print_csv(const struct telling *x, struct error *err)
{
    struct listing l;

    listing_start(&l, x->options,
                  "baseline|baseline_setting|candidate|setting|task|>n|>both|>lost|>gained|"
                  ">neither|>same_tokens|>design_effect|>loss|>loss_low_99|>loss_high_95|"
                  ">p_worse|>midp_two_sided|>margin|outcome");
    for (size_t i = 0; i < x->n_told; i++) {
        const struct comparison *c = &x->told[i].c;

        for (size_t k = 0; k < c->n_tasks; k++)
            csv_row(&l, c, &c->tasks[k], x->is_gate);
        csv_row(&l, c, &c->all, x->is_gate);
    }
    return listing_end(&l, ST_OK, err);
}

/* ---- JSON ------------------------------------------------------------------------------- */

static void put_text(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, "\"%s\": ", name);
    if (s)
        json_put_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_number(struct buf *b, const char *name, double v)
{
    buf_printf(b, ", \"%s\": ", name);
    json_put_num(b, v);
}

static void put_side_json(struct buf *b, const char *name, const struct answer_set *s)
{
    buf_printf(b, "\"%s\": {", name);
    put_text(b, "run_id", s->run_id);
    buf_puts(b, ", ");
    put_text(b, "source", s->source);
    buf_puts(b, ", ");
    put_text(b, "setting", s->label);
    buf_puts(b, ", ");
    put_text(b, "started", s->started);
    buf_puts(b, ", ");
    put_text(b, "program", s->version);
    buf_puts(b, ", ");
    put_text(b, "commit", s->git_commit);
    buf_puts(b, "}");
}

static void put_task_json(struct buf *b, const struct compare_task *t)
{
    buf_puts(b, "{");
    put_text(b, "task", t->task);
    buf_printf(b,
               ", \"n\": %" PRId64 ", \"both\": %" PRId64 ", \"lost\": %" PRId64
               ", \"gained\": %" PRId64 ", \"neither\": %" PRId64 ", \"same_tokens\": %" PRId64
               ", \"judge_noise\": %" PRId64,
               t->n, t->a, t->b, t->c, t->d, t->n_same, t->n_noise);
    put_number(b, "design_effect", t->deff);
    put_number(b, "loss", t->gate.loss);
    put_number(b, "loss_low_99", t->gate.low);
    put_number(b, "loss_high_95", t->gate.high);
    put_number(b, "change_low_95", t->delta_low);
    put_number(b, "change_high_95", t->delta_high);
    put_number(b, "p_worse_score", t->gate.p_worse);
    put_number(b, "p_worse_score_holm", t->p_worse_holm);
    put_number(b, "p_not_inferior", t->gate.p_not_inferior);
    put_number(b, "p_worse", t->mcnemar.p_worse);
    put_number(b, "p_two_sided", t->mcnemar.p_two_sided);
    put_number(b, "midp_two_sided", t->mcnemar.midp_two_sided);
    buf_puts(b, "}");
}

static void put_flip_json(struct buf *b, const struct flip *f)
{
    const struct compare_pair *p = f->pair;
    const struct compare_parting *q = &f->parting;

    buf_puts(b, "{");
    put_text(b, "task", p->base->task);
    buf_puts(b, ", ");
    put_text(b, "task_id", p->base->task_id);
    buf_printf(b, ", \"sample_idx\": %d, ", p->base->sample_idx);
    put_text(b, "was", p->base->verdict);
    buf_puts(b, ", ");
    put_text(b, "is", p->cand->verdict);
    if (q->is_known)
        buf_printf(b,
                   ", \"forward\": %d, \"block\": %d, \"step\": %d, \"position\": %d"
                   ", \"token_was\": %d, \"token_is\": %d",
                   q->forward, q->block, q->step, q->position, q->base_token, q->cand_token);
    buf_puts(b, "}");
}

static void put_comparison_json(struct buf *b, const struct telling *x, const struct told *told)
{
    const struct comparison *c = &told->c;
    const char *sep = "";

    buf_puts(b, "  {");
    put_side_json(b, "baseline", c->base);
    buf_puts(b, ",\n   ");
    put_side_json(b, "candidate", c->cand);
    if (x->is_gate) {
        buf_puts(b, ",\n   ");
        put_text(b, "outcome", stats_outcome_name(c->outcome));
        put_number(b, "margin", c->margin);
        put_number(b, "p_worse_holm", c->p_worse_holm);
        put_number(b, "p_not_inferior_holm", c->p_not_inferior_holm);
    }
    buf_printf(b, ",\n   \"identical\": %s,\n   \"all\": ", c->is_identical ? "true" : "false");
    put_task_json(b, &c->all);
    buf_puts(b, ",\n   \"tasks\": [");
    for (size_t i = 0; i < c->n_tasks; i++) {
        buf_puts(b, i ? ",\n    " : "\n    ");
        put_task_json(b, &c->tasks[i]);
    }
    buf_puts(b, "],\n   \"relative_accuracy\": {\"value\": ");
    json_put_num(b, c->rel);
    put_number(b, "low_95", c->rel_low);
    put_number(b, "high_95", c->rel_high);
    buf_puts(b, "},\n   \"rates\": [");
    for (int i = 0; i < N_RATES; i++) {
        const struct compare_rate *r = &c->rates[i];

        if (isnan(r->base) && isnan(r->cand))
            continue;
        buf_printf(b, "%s\n    {", sep);
        put_text(b, "name", r->name);
        put_number(b, "baseline", r->base);
        put_number(b, "candidate", r->cand);
        put_number(b, "ratio", r->ratio);
        put_number(b, "low_95", r->low);
        put_number(b, "high_95", r->high);
        buf_puts(b, "}");
        sep = ",";
    }
    buf_printf(b, "],\n   \"bootstrap\": {\"draws\": %" PRId64 ", \"seed\": %" PRIu64 "}",
               c->n_draws, c->seed);
    buf_puts(b, ",\n   \"mismatches\": [");
    sep = "";
    for (const char *p = buf_str(&c->mismatches); *p; p += strcspn(p, "\n"), p += *p == '\n') {
        buf_puts(b, sep);
        json_put_str(b, p, strcspn(p, "\n"));
        sep = ", ";
    }
    buf_puts(b, "],\n   \"flips\": [");
    for (size_t i = 0; i < told->n_flips; i++) {
        buf_puts(b, i ? ",\n    " : "\n    ");
        put_flip_json(b, &told->flips[i]);
    }
    buf_puts(b, "]}");
}

static enum status print_json(const struct telling *x, struct error *err)
{
    struct buf b = { 0 };
    enum status st;

    buf_puts(&b, "{");
    if (x->is_gate) {
        buf_printf(&b, "\"exit_code\": %d, ", x->exit_code);
        put_text(&b, "undecided", x->undecided);
        buf_printf(&b, ", \"fixed_suite\": %s, ", x->is_fixed_suite ? "true" : "false");
    }
    if (x->noise.n_runs) {
        buf_printf(&b,
                   "\"noise\": {\"runs\": %" PRId64 ", \"n\": %" PRId64 ", \"changed\": %" PRId64
                   ", \"other_tokens\": %" PRId64,
                   x->noise.n_runs, x->noise.n, x->noise.n_changed, x->noise.n_other_tokens);
        put_number(&b, "low_95", x->noise.low);
        put_number(&b, "high_95", x->noise.high);
        buf_puts(&b, "}, ");
    }
    buf_puts(&b, "\"comparisons\": [\n");
    for (size_t i = 0; i < x->n_told; i++) {
        if (i)
            buf_puts(&b, ",\n");
        put_comparison_json(&b, x, &x->told[i]);
    }
    buf_puts(&b, "\n]}\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

enum status compare_print(const struct telling *t, struct error *err)
{
    enum print_form form = print_form_of(t->options);
    struct buf b = { 0 };
    enum status st;

    if (form == PRINT_JSON)
        return print_json(t, err);
    if (form == PRINT_CSV)
        return print_csv(t, err);
    st = put_all(t, form == PRINT_MARKDOWN, &b, err);
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}
