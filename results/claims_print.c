/* Claims and what was found, for people and for programs. */
#include <math.h>
#include <string.h>

#include "results/claims.h"
#include "results/csv_out.h"
#include "results/xml.h"

/* "above 1 for some subject" */
static void put_expectation(struct buf *b, const struct claim *c)
{
    switch (c->expect) {
    case CLAIM_ABOVE: buf_printf(b, "above %.6g", c->x); break;
    case CLAIM_BELOW: buf_printf(b, "below %.6g", c->x); break;
    case CLAIM_ABOUT: buf_printf(b, "%.6g, within %.6g", c->x, c->within); break;
    case CLAIM_EXACTLY: buf_printf(b, "%.6g, in every row", c->x); break;
    }
    buf_puts(b, c->is_some ? "; of some subject" : "; of every subject");
}

/* "0.987 (0.951 to 1.02)" */
static void put_value(struct buf *b, const struct claim_case *x)
{
    if (isnan(x->value)) {
        buf_puts(b, "not defined");
        return;
    }
    buf_printf(b, "%.4g", x->value);
    if (!isnan(x->low) && !isnan(x->high))
        buf_printf(b, " (%.4g to %.4g)", x->low, x->high);
}

/* "": the claim's verdict does not rest on its subjects. */
static const char *case_verdict(const struct claim *c, const struct claim_case *x)
{
    return c->ill_posed || c->not_testable    ? ""
           : x->verdict == CLAIM_NOT_TESTABLE ? "open"
                                              : claim_verdict_name(x->verdict);
}

/* ---- text ------------------------------------------------------------------------------- */

enum { LABEL = 10, INDENT = 4, WIDTH = 100 };

/* A paragraph behind a label, broken between words. */
static void put_paragraph(struct buf *b, const char *name, const char *text)
{
    int column = INDENT + LABEL;

    buf_printf(b, "%*s%-*s", INDENT, "", LABEL, name);
    while (*text) {
        size_t blanks = strspn(text, " \n"), len = strcspn(text + blanks, " \n");

        if (!len)
            break;
        if (column > INDENT + LABEL && column + 1 + (int)len > WIDTH) {
            buf_printf(b, "\n%*s", INDENT + LABEL, "");
            column = INDENT + LABEL;
        }
        if (column > INDENT + LABEL) {
            buf_putc(b, ' ');
            column++;
        }
        buf_append(b, text + blanks, len);
        column += (int)len;
        text += blanks + len;
    }
    buf_putc(b, '\n');
}

static void put_case(struct buf *b, const struct claim *c, const struct claim_case *x, int width)
{
    const char *verdict = case_verdict(c, x);

    buf_printf(b, "%*s%-*s  ", INDENT, "", width, x->subject);
    put_value(b, x);
    if (!isnan(x->resolution))
        buf_printf(b, ", resolves %.2g", x->resolution);
    buf_printf(b, ", %zu rows%s%s\n", x->n_items, *verdict ? ": " : "", verdict);
}

void claims_put_text(const struct claim_answer *a, size_t n, struct buf *ret)
{
    for (size_t i = 0; i < n; i++) {
        const struct claim *c = a[i].claim;
        struct buf expected = { 0 };
        int width = 0;

        put_expectation(&expected, c);
        buf_printf(ret, "%s%2lld  %s\n", i ? "\n" : "", (long long)c->id,
                   claim_verdict_name(a[i].verdict));
        put_paragraph(ret, "claim", c->text);
        put_paragraph(ret, "why", a[i].why);
        put_paragraph(ret, "metric", c->metric);
        put_paragraph(ret, "expected", buf_str(&expected));
        if (c->note)
            put_paragraph(ret, "note", c->note);
        if (!a[i].n)
            put_paragraph(ret, "resolves", "nothing: no rows");
        for (size_t k = 0; k < a[i].n; k++) {
            int len = (int)strlen(a[i].cases[k].subject);

            width = len > width ? len : width;
        }
        for (size_t k = 0; k < a[i].n; k++)
            put_case(ret, c, &a[i].cases[k], width);
        ret->is_failed |= !buf_ok(&expected);
        buf_release(&expected);
    }
}

/* ---- CSV -------------------------------------------------------------------------------- */

static void put_csv_row(struct buf *b, const struct claim_answer *a, const struct claim_case *x)
{
    struct buf expected = { 0 };

    put_expectation(&expected, a->claim);
    csv_int(b, a->claim->id);
    csv_text(b, a->claim->text);
    csv_text(b, claim_verdict_name(a->verdict));
    csv_text(b, a->why);
    csv_text(b, a->claim->metric);
    csv_text(b, buf_str(&expected));
    csv_text(b, x ? x->subject : "");
    csv_int(b, x ? (int64_t)x->n_items : 0);
    csv_real(b, x ? x->value : NAN);
    csv_real(b, x ? x->low : NAN);
    csv_real(b, x ? x->high : NAN);
    csv_real(b, x ? x->resolution : NAN);
    csv_text(b, x ? case_verdict(a->claim, x) : "");
    csv_text(b, a->claim->query);
    csv_end(b);
    b->is_failed |= !buf_ok(&expected);
    buf_release(&expected);
}

void claims_put_csv(const struct claim_answer *a, size_t n, struct buf *ret)
{
    buf_puts(ret, "id,claim,verdict,why,metric,expected,subject,n_rows,value,low,high,resolution,"
                  "subject_verdict,query\n");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < a[i].n; k++)
            put_csv_row(ret, &a[i], &a[i].cases[k]);
        if (!a[i].n)
            put_csv_row(ret, &a[i], NULL);
    }
}

/* ---- HTML ------------------------------------------------------------------------------- */

static void put_fact(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, "<dt>%s</dt><dd>", name);
    xml_put_text(b, text);
    buf_puts(b, "</dd>");
}

static void put_cases(struct buf *b, const struct claim_answer *a)
{
    buf_puts(b, "<div class=\"scroll\"><table><thead><tr><th>subject</th><th>value</th>"
                "<th class=\"r\">resolves</th><th class=\"r\">rows</th><th>says</th></tr></thead>"
                "<tbody>\n");
    for (size_t k = 0; k < a->n; k++) {
        const struct claim_case *x = &a->cases[k];

        buf_puts(b, "<tr><td>");
        xml_put_text(b, x->subject);
        buf_puts(b, "</td><td>");
        put_value(b, x);
        buf_puts(b, "</td><td class=\"r\">");
        if (!isnan(x->resolution))
            buf_printf(b, "%.2g", x->resolution);
        buf_printf(b, "</td><td class=\"r\">%zu</td><td>%s</td></tr>\n", x->n_items,
                   case_verdict(a->claim, x));
    }
    buf_puts(b, "</tbody></table></div>\n");
}

void claims_put_html(const struct claim_answer *a, size_t n, struct buf *ret)
{
    static const char *const classes[] = { [CLAIM_SUPPORTED] = "yes",
                                           [CLAIM_REFUTED] = "no",
                                           [CLAIM_NOT_TESTABLE] = "open",
                                           [CLAIM_ILL_POSED] = "open" };

    buf_puts(ret, "<h2 id=\"claims\">Claims</h2>\n<p class=\"m\">Each opens to its metric, the "
                  "query that answers it, and what each model or policy shows. Intervals: 95 % for "
                  "all subjects of a claim together. Resolves: the difference from what the claim "
                  "expects that four of five samples of this size would show.</p>\n");
    for (size_t i = 0; i < n; i++) {
        const struct claim *c = a[i].claim;
        struct buf expected = { 0 };

        put_expectation(&expected, c);
        buf_printf(ret, "<details class=\"claim\"><summary><b class=\"%s\">%s</b> %lld. ",
                   classes[a[i].verdict], claim_verdict_name(a[i].verdict), (long long)c->id);
        xml_put_text(ret, c->text);
        buf_puts(ret, "<br><span class=\"m\">");
        xml_put_text(ret, a[i].why);
        buf_puts(ret, "</span></summary>\n<dl>");
        put_fact(ret, "metric", c->metric);
        put_fact(ret, "expected", buf_str(&expected));
        if (c->note)
            put_fact(ret, "note", c->note);
        put_fact(ret, "needs", c->needs);
        buf_puts(ret, "</dl>\n");
        if (a[i].n)
            put_cases(ret, &a[i]);
        buf_puts(ret, "<pre>");
        xml_put_lines(ret, c->query);
        buf_puts(ret, "</pre></details>\n");
        ret->is_failed |= !buf_ok(&expected);
        buf_release(&expected);
    }
    buf_puts(ret, "<p class=\"m\"><a href=\"claims.csv\">claims.csv</a></p>\n");
}
