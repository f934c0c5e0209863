/*
 * The page of a report: what ran and whether it holds, the table of cells, the figures. One HTML
 * file that asks nothing of a network; its script only sorts tables.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results/report_impl.h"
#include "results/svg.h"
#include "results/xml.h"

static const char page_style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1e;--m:#62626a;--l:#e3e3e8;--w:#fff4d6;"
    "--a:#0067ad;--y:#00785a;--n:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--bg:#161618;--fg:#ececf0;--m:#a2a2aa;--l:#303036;"
    "--w:#3a3010;--a:#56a8ec;--y:#3cc79d;--n:#ff8a80}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 "
    "system-ui,sans-serif}main{max-width:1360px;margin:0 auto;padding:16px}h1{font-size:24px;"
    "margin:8px 0}h2{font-size:18px;margin:28px 0 8px}h3{font-size:16px;margin:0 0 8px}"
    "p{max-width:72ch}.m,figcaption{color:var(--m);font-size:13px}.warn{background:var(--w);"
    "padding:8px 12px;border-radius:6px}.scroll{overflow-x:auto}table{border-collapse:collapse;"
    "font-size:13px;font-variant-numeric:tabular-nums}th,td{padding:4px 10px 4px 0;"
    "text-align:left;border-bottom:1px solid var(--l);white-space:nowrap}td.r,th.r{text-align:"
    "right}th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:"
    "0;cursor:pointer;text-align:inherit}th[aria-sort=ascending] button::after{content:' \\2191'}"
    "th[aria-sort=descending] button::after{content:' \\2193'}.figures{columns:3 400px;"
    "column-gap:28px}figure{margin:0 0 28px;break-inside:avoid;min-width:0}figure "
    "svg{width:100%;max-width:600px;height:auto;display:block}a{color:var(--a)}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:0;font-size:14px}"
    "dt{color:var(--m)}dd{margin:0;overflow-wrap:anywhere}.run{margin:8px 0}.run dl{margin:8px 0 "
    "16px}"
    ".claim{border-top:1px solid var(--l);padding:8px 0}.claim dl{margin:8px 0}summary{cursor:"
    "pointer}pre{overflow-x:auto;font-size:12px;margin:8px "
    "0}.yes{color:var(--y)}.no{color:var(--n)}"
    ".open{color:var(--m)}";

static const char script[] =
    "document.querySelectorAll('table.sort').forEach(function(t){\n"
    "  var heads=t.tHead.rows[0].cells,body=t.tBodies[0];\n"
    "  Array.prototype.forEach.call(heads,function(h,i){\n"
    "    h.querySelector('button').addEventListener('click',function(){\n"
    "      var up=h.getAttribute('aria-sort')!=='ascending';\n"
    "      Array.prototype.forEach.call(heads,function(o){o.removeAttribute('aria-sort')});\n"
    "      h.setAttribute('aria-sort',up?'ascending':'descending');\n"
    "      Array.prototype.slice.call(body.rows).sort(function(a,b){\n"
    "        var x=a.cells[i].dataset.v,y=b.cells[i].dataset.v,n;\n"
    "        if(x===''||y==='')return (x==='')-(y==='');\n"
    "        n=h.className==='r'?x-y:x.localeCompare(y);\n"
    "        return up?n:-n;\n"
    "      }).forEach(function(r){body.appendChild(r)});\n"
    "    });\n"
    "  });\n"
    "});\n";

/* ---- the table of cells ----------------------------------------------------------------- */

/* A column; of texts where text is not NULL. */
struct column {
    const char *key, *head;
    int decimals;
    double scale; /* of the page's numbers; CSV has them as they are */
    const char *(*text)(const struct report *r, const struct report_cell *c);
    double (*number)(const struct report *r, const struct report_cell *c);
};

#define TEXT(name, expression)                                                                     \
    static const char *name(const struct report *r, const struct report_cell *c)                   \
    {                                                                                              \
        return expression;                                                                         \
    }
#define NUMBER(name, expression)                                                                   \
    static double name(const struct report *r, const struct report_cell *c)                        \
    {                                                                                              \
        (void)r;                                                                                   \
        return expression;                                                                         \
    }
TEXT(policy_of, r->policies[c->policy].name)
TEXT(task_of, report_cell_row(r, c)->task)
TEXT(model_of, report_cell_row(r, c)->model)
TEXT(decoder_of, report_cell_row(r, c)->decoder)
TEXT(cache_of, report_cell_row(r, c)->cache)
TEXT(backend_of, report_cell_row(r, c)->backend)
TEXT(run_of, r->policies[c->policy].set->run_ids[c->cell])
TEXT(key_of, r->policies[c->policy].set->cell_keys[c->cell])
TEXT(method_of, ((void)r, c->t.score.method))
NUMBER(score_of, c->t.score.value)
NUMBER(low_of, c->t.score.low)
NUMBER(high_of, c->t.score.high)
NUMBER(items_of, (double)c->t.n_items)
NUMBER(samples_of, (double)c->t.n_samples)
NUMBER(passed_of, (double)c->t.n_passed)
NUMBER(internal_of, (double)c->t.n_internal)
NUMBER(unique_of, report_unique(&c->t))
NUMBER(share_of, report_unique(&c->t) / (double)report_cell_row(r, c)->n_exp)
NUMBER(tok_per_s_of, report_tok_per_s(&c->t))
NUMBER(tok_per_forward_of, report_tok_per_forward(&c->t))
NUMBER(forwards_of, report_forwards(&c->t))
NUMBER(bytes_of, report_bytes_per_commit(&c->t))
NUMBER(right_bytes_of, report_bytes_per_right(&c->t))
NUMBER(gen_p50_of, c->t.gen_p50)
NUMBER(gen_p95_of, c->t.gen_p95)
NUMBER(judge_p50_of, c->t.judge_p50)
NUMBER(judge_p95_of, c->t.judge_p95)

/* U as a share of what vanilla reads on the same task, where its group has vanilla. */
static double of_vanilla(const struct report *r, const struct report_cell *c)
{
    for (size_t i = 0; i < r->n_cells; i++) {
        const struct report_cell *v = &r->cells[i];

        if (r->policies[v->policy].group == r->policies[c->policy].group &&
            strcmp(report_cell_row(r, v)->selector, "vanilla") == 0 &&
            strcmp(report_cell_row(r, v)->task, report_cell_row(r, c)->task) == 0 &&
            strcmp(report_cell_row(r, v)->decoder, report_cell_row(r, c)->decoder) == 0 &&
            strcmp(report_cell_row(r, v)->cache, report_cell_row(r, c)->cache) == 0 &&
            report_cell_row(r, v)->block_length == report_cell_row(r, c)->block_length)
            return report_unique(&c->t) / report_unique(&v->t);
    }
    return NAN;
}

/* head NULL: of CSV alone */
static const struct column columns[] = {
    { "model", "model", 0, 1, model_of, NULL },
    { "policy", "policy", 0, 1, policy_of, NULL },
    { "task", "task", 0, 1, task_of, NULL },
    { "score", "right %", 1, 100, NULL, score_of },
    { "score_low", "from", 1, 100, NULL, low_of },
    { "score_high", "to", 1, 100, NULL, high_of },
    { "score_method", NULL, 0, 1, method_of, NULL },
    { "n_items", "items", 0, 1, NULL, items_of },
    { "n_samples", NULL, 0, 1, NULL, samples_of },
    { "n_passed", NULL, 0, 1, NULL, passed_of },
    { "n_internal", NULL, 0, 1, NULL, internal_of },
    { "unique", "U", 2, 1, NULL, unique_of },
    { "unique_share", "U of all %", 1, 100, NULL, share_of },
    { "unique_of_vanilla", "U of vanilla %", 1, 100, NULL, of_vanilla },
    { "tok_per_s", "tok/s", 1, 1, NULL, tok_per_s_of },
    { "tok_per_forward", "tok/forward", 2, 1, NULL, tok_per_forward_of },
    { "forwards_per_answer", "forwards", 2, 1, NULL, forwards_of },
    { "bytes_per_committed", "MB/committed", 3, 1e-6, NULL, bytes_of },
    { "bytes_per_right", "MB/right answer", 1, 1e-6, NULL, right_bytes_of },
    { "gen_p50_s", "p50 s", 3, 1, NULL, gen_p50_of },
    { "gen_p95_s", "p95 s", 3, 1, NULL, gen_p95_of },
    { "judge_p50_s", "judge p50 s", 3, 1, NULL, judge_p50_of },
    { "judge_p95_s", "judge p95 s", 3, 1, NULL, judge_p95_of },
    { "decoder", NULL, 0, 1, decoder_of, NULL },
    { "cache", NULL, 0, 1, cache_of, NULL },
    { "backend", NULL, 0, 1, backend_of, NULL },
    { "run_id", NULL, 0, 1, run_of, NULL },
    { "cell_key", NULL, 0, 1, key_of, NULL },
};
enum { N_COLUMNS = sizeof(columns) / sizeof(columns[0]) };

void report_put_cells(const struct report *r, struct buf *ret_csv)
{
    for (size_t k = 0; k < N_COLUMNS; k++)
        csv_text(ret_csv, columns[k].key);
    csv_end(ret_csv);
    for (size_t i = 0; i < r->n_cells; i++) {
        for (size_t k = 0; k < N_COLUMNS; k++)
            if (columns[k].text)
                csv_text(ret_csv, columns[k].text(r, &r->cells[i]));
            else
                csv_real(ret_csv, columns[k].number(r, &r->cells[i]));
        csv_end(ret_csv);
    }
}

/* Is there a cell that has this? (A model that all have is told above.) */
static bool is_measured(const struct report *r, const struct column *c)
{
    if (c->text == model_of && r->n_groups == 1)
        return false;
    for (size_t i = 0; i < r->n_cells; i++)
        if (c->text || !isnan(c->number(r, &r->cells[i])))
            return true;
    return false;
}

static void put_field(const struct report *r, const struct report_cell *c, const struct column *col,
                      struct buf *b)
{
    double v;

    if (col->text) {
        buf_puts(b, "<td data-v=\"");
        xml_put_text(b, col->text(r, c));
        buf_puts(b, "\">");
        xml_put_text(b, col->text(r, c));
    } else {
        v = col->number(r, c);
        if (isnan(v))
            buf_puts(b, "<td class=\"r\" data-v=\"\">");
        else
            buf_printf(b, "<td class=\"r\" data-v=\"%.12g\">%.*f", v, col->decimals,
                       v * col->scale);
    }
    buf_puts(b, "</td>");
}

static void put_cells(const struct report *r, struct buf *b)
{
    buf_puts(b, "<h2>Cells</h2>\n<p class=\"m\">A row for each policy and task. From, to: 95 % "
                "interval. U: distinct routed experts that a forward reads in a layer, mean over "
                "layers and forwards; of all the layer's experts; of what <i>vanilla</i> reads. "
                "tok/s, tok/forward: tokens before end-of-text. MB/committed: expert bytes read "
                "for each committed position. Seconds are of an answer. An empty field was not "
                "measured. A heading sorts.</p>\n"
                "<div class=\"scroll\"><table class=\"sort\"><thead><tr>");
    for (size_t k = 0; k < N_COLUMNS; k++)
        if (columns[k].head && is_measured(r, &columns[k]))
            buf_printf(b, "<th%s><button type=\"button\">%s</button></th>",
                       columns[k].text ? "" : " class=\"r\"", columns[k].head);
    buf_puts(b, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < r->n_cells; i++) {
        buf_puts(b, "<tr>");
        for (size_t k = 0; k < N_COLUMNS; k++)
            if (columns[k].head && is_measured(r, &columns[k]))
                put_field(r, &r->cells[i], &columns[k], b);
        buf_puts(b, "</tr>\n");
    }
    buf_puts(b, "</tbody></table></div>\n<p class=\"m\"><a href=\"cells.csv\">cells.csv</a></p>\n");
}

/* ---- runs ------------------------------------------------------------------------------- */

void report_put_runs(const struct report *r, struct buf *ret_csv)
{
    buf_puts(ret_csv, "run_id,started,finished,status,validity,n_samples,n_passed,n_internal,"
                      "version,git_commit,git_dirty,build_flags,compiler,sandbox_level,judge_mode,"
                      "python_version,config_sha256,command\n");
    for (size_t i = 0; i < r->runs.n; i++) {
        const struct report_run *x = r->runs.p[i];

        csv_text(ret_csv, x->row.run_id);
        csv_text(ret_csv, x->row.started);
        csv_text(ret_csv, x->summary.finished);
        csv_text(ret_csv, x->summary.status);
        csv_text(ret_csv, x->summary.validity);
        csv_int(ret_csv, x->summary.n_samples);
        csv_int(ret_csv, x->summary.n_passed);
        csv_int(ret_csv, x->summary.n_internal);
        csv_text(ret_csv, x->row.version);
        csv_text(ret_csv, x->row.git_commit);
        csv_int(ret_csv, x->row.git_dirty);
        csv_text(ret_csv, x->row.build_flags);
        csv_text(ret_csv, x->row.compiler);
        csv_text(ret_csv, x->row.sandbox_level);
        csv_text(ret_csv, x->row.judge_mode);
        csv_text(ret_csv, x->row.python_version);
        csv_text(ret_csv, x->row.config_sha256);
        csv_text(ret_csv, x->row.command);
        csv_end(ret_csv);
    }
}

/* A name and what is known of it. */
static void put_fact(struct buf *b, const char *name, const char *text)
{
    if (!text || !*text)
        return;
    buf_printf(b, "<dt>%s</dt><dd>", name);
    xml_put_text(b, text);
    buf_puts(b, "</dd>");
}

static void put_warning(struct buf *b, const char *run_id, const char *what, const char *more)
{
    buf_puts(b, "<p class=\"warn\">Run ");
    xml_put_text(b, run_id);
    buf_printf(b, ": %s", what);
    xml_put_text(b, more);
    buf_puts(b, "</p>\n");
}

/* What a reader must know before the numbers. */
static void put_warnings(const struct report_run *x, struct buf *b)
{
    const char *id = x->row.run_id;
    char count[48];

    if (strcmp(x->summary.validity, "VALID") != 0)
        put_warning(b, id, "", x->summary.validity);
    if (strcmp(x->summary.status, "done") != 0)
        put_warning(b, id, "not complete; its status is ", x->summary.status);
    if (x->summary.n_internal) {
        snprintf(count, sizeof(count), "%lld", (long long)x->summary.n_internal);
        put_warning(b, id, "answers left out of all numbers, as the judge failed on them: ", count);
    }
    if (strcmp(x->cell->load_format, "dummy") == 0)
        put_warning(b, id, "dummy weights: its answers mean nothing, its speed does", "");
    if (x->row.git_dirty)
        put_warning(b, id, "the program was built from a tree with changes that no commit has", "");
}

static void put_run(const struct report_run *x, bool is_open, struct buf *b)
{
    buf_printf(b, "<details class=\"run\"%s><summary><b>Run ", is_open ? " open" : "");
    xml_put_text(b, x->row.run_id);
    buf_puts(b, "</b>: ");
    xml_put_text(b, x->summary.validity);
    buf_puts(b, ", ");
    xml_put_text(b, x->summary.status);
    buf_puts(b, ", ");
    xml_put_text(b, x->summary.model);
    buf_puts(b, "</summary>\n<dl>");
    put_fact(b, "validity", x->summary.validity);
    put_fact(b, "status", x->summary.status);
    put_fact(b, "started", x->row.started);
    put_fact(b, "finished", x->summary.finished);
    put_fact(b, "model", x->summary.model);
    put_fact(b, "architecture", x->cell->architecture);
    put_fact(b, "weights SHA-256", x->cell->weights_sha256);
    put_fact(b, "backend", x->cell->backend);
    put_fact(b, "numeric mode", x->cell->numeric_mode);
    put_fact(b, "tasks", x->summary.tasks);
    put_fact(b, "program", x->row.version);
    put_fact(b, "commit", x->row.git_commit);
    put_fact(b, "build", x->row.build_flags);
    put_fact(b, "compiler", x->row.compiler);
    put_fact(b, "sandbox", x->row.sandbox_level);
    put_fact(b, "judge", x->row.judge_mode);
    put_fact(b, "Python judged", x->row.python_version);
    put_fact(b, "configuration SHA-256", x->row.config_sha256);
    put_fact(b, "command", x->row.command);
    buf_puts(b, "</dl></details>\n");
}

/* ---- the page --------------------------------------------------------------------------- */

static void put_figure(const struct report *r, const struct figure *f, struct buf *b)
{
    buf_puts(b, "<figure><h3>");
    xml_put_text(b, f->title);
    buf_puts(b, "</h3>\n");
    svg_put_inline(b, FIGURE_WIDTH, f->height, f->title, buf_str(&f->body));
    buf_puts(b, "<figcaption>");
    xml_put_text(b, f->note);
    buf_printf(b, " <a href=\"%s.svg\">SVG</a>", f->id);
    if (r->options.has_png)
        buf_printf(b, " <a href=\"%s.png\">PNG</a>", f->id);
    buf_printf(b, " <a href=\"%s.csv\">CSV</a></figcaption></figure>\n", f->id);
}

void report_put_page(const struct report *r, const struct figure *f, size_t n, struct buf *ret)
{
    buf_puts(ret, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                  "<link rel=\"icon\" href=\"data:,\">\n<title>desbench report");
    for (size_t i = 0; i < r->runs.n && i < 3; i++) {
        buf_putc(ret, ' ');
        xml_put_text(ret, r->runs.p[i]->row.run_id);
    }
    buf_printf(ret, "</title>\n<style>%s%s</style></head>\n<body><main>\n", page_style,
               figure_style);
    buf_puts(ret, "<h1>Accuracy and speed against experts</h1>\n");
    for (size_t i = 0; i < r->runs.n; i++)
        put_warnings(r->runs.p[i], ret);
    for (size_t i = 0; i < r->runs.n; i++)
        put_run(r->runs.p[i], r->runs.n == 1, ret);
    buf_puts(ret, "<p class=\"m\"><a href=\"runs.csv\">runs.csv</a></p>\n");
    if (n)
        buf_puts(ret, "<h2>Figures</h2>\n<div class=\"figures\">\n");
    for (size_t i = 0; i < n; i++)
        put_figure(r, &f[i], ret);
    if (n)
        buf_puts(ret, "</div>\n");
    if (r->answers)
        claims_put_html(r->answers, r->claims.n, ret);
    put_cells(r, ret);
    buf_printf(ret,
               "<p class=\"m\">Made by desbench %s; bootstrap: %lld draws, seed %llu. What was "
               "not measured is left out.</p>\n</main>\n<script>\n%s</script>\n</body></html>\n",
               r->options.version, (long long)r->options.n_draws,
               (unsigned long long)r->options.seed, script);
}

/* ---- all files -------------------------------------------------------------------------- */

/* A file with nothing in it yet; NULL: out of memory. */
static struct buf *add_file(struct report *r, const char *stem, const char *end)
{
    struct report_file *f = &r->files[r->n_files];

    f->name = arena_printf(&r->arena, "%s.%s", stem, end);
    if (!f->name)
        return NULL;
    r->n_files++;
    return &f->text;
}

enum status report_make(struct report *r, const struct report_file **ret, size_t *ret_n,
                        struct error *err)
{
    struct figure *f = NULL;
    struct buf *b;
    size_t n = 0;
    bool is_ok = true;
    enum status st = report_compute(r, err);

    if (!st)
        st = report_draw(r, &f, &n, err);
    if (st)
        return st;
    r->files = arena_array(&r->arena, 2 * n + 4, sizeof(*r->files));
    is_ok = r->files != NULL;
    for (size_t i = 0; i < n && is_ok; i++) {
        b = add_file(r, f[i].id, "svg");
        if (b)
            svg_put_file(b, FIGURE_WIDTH, f[i].height, f[i].title, figure_style,
                         buf_str(&f[i].body));
        is_ok = b != NULL;
        b = is_ok ? add_file(r, f[i].id, "csv") : NULL;
        if (b)
            buf_append(b, buf_str(&f[i].csv), f[i].csv.len);
        is_ok = b != NULL;
    }
    b = is_ok ? add_file(r, "cells", "csv") : NULL;
    if (b)
        report_put_cells(r, b);
    b = b ? add_file(r, "runs", "csv") : NULL;
    if (b)
        report_put_runs(r, b);
    if (b && r->answers) {
        b = add_file(r, "claims", "csv");
        if (b)
            claims_put_csv(r->answers, r->claims.n, b);
    }
    b = b ? add_file(r, "report", "html") : NULL; /* last: it points at the others */
    if (b)
        report_put_page(r, f, n, b);
    is_ok = is_ok && b;
    figures_release(f, n);
    for (size_t i = 0; i < r->n_files; i++)
        is_ok &= buf_ok(&r->files[i].text);
    if (!is_ok)
        return error_set(err, ST_NOMEM, "out of memory writing a report");
    *ret = r->files;
    *ret_n = r->n_files;
    return ST_OK;
}
