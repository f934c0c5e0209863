/* Comparisons as JUnit XML. */
#include <inttypes.h>

#include "results/compare.h"
#include "results/xml.h"

static void put_case(struct buf *b, const struct compare_pair *p, bool is_failed)
{
    bool is_lost = p->base->is_passed && !p->cand->is_passed;

    buf_puts(b, "  <testcase classname=\"");
    xml_put_text(b, p->cand->task);
    buf_puts(b, "\" name=\"");
    xml_put_text(b, p->cand->task_id);
    if (p->cand->sample_idx)
        buf_printf(b, " answer %d", p->cand->sample_idx);
    buf_puts(b, "\"");
    if (p->cand->total_ns)
        buf_printf(b, " time=\"%.3f\"", (double)p->cand->total_ns * 1e-9);
    if (p->base->is_passed == p->cand->is_passed) {
        buf_puts(b, "/>\n");
        return;
    }
    buf_puts(b, is_lost && is_failed ? "><failure message=\"" : "><system-out>");
    xml_put_text(b, is_lost ? "lost: was " : "gained: was ");
    xml_put_text(b, p->base->verdict);
    xml_put_text(b, ", is ");
    xml_put_text(b, p->cand->verdict);
    buf_puts(b, is_lost && is_failed ? "\"/></testcase>\n" : "</system-out></testcase>\n");
}

static void put_task(struct buf *b, const struct comparison *c, size_t task, bool is_failed)
{
    const struct compare_task *t = &c->tasks[task];

    buf_puts(b, " <testsuite name=\"");
    xml_put_text(b, t->task);
    buf_puts(b, " (");
    xml_put_text(b, c->cand->label);
    buf_printf(b, ")\" tests=\"%" PRId64 "\" failures=\"%" PRId64 "\" errors=\"0\">\n", t->n,
               is_failed ? t->b : 0);
    for (size_t i = 0; i < c->n_pairs; i++)
        if (c->pairs[i].task == task)
            put_case(b, &c->pairs[i], is_failed);
    buf_puts(b, " </testsuite>\n");
}

void compare_put_junit(const struct comparison *const *c, size_t n, const bool *is_failed,
                       struct buf *ret)
{
    size_t n_failed = 0;

    for (size_t i = 0; i < n; i++)
        n_failed += is_failed[i];
    buf_puts(ret, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    buf_printf(ret, " <testsuite name=\"gate\" tests=\"%zu\" failures=\"%zu\" errors=\"0\">\n", n,
               n_failed);
    for (size_t i = 0; i < n; i++) {
        const struct compare_task *t = &c[i]->all;

        buf_puts(ret, "  <testcase classname=\"gate\" name=\"");
        xml_put_text(ret, c[i]->cand->label);
        buf_puts(ret, is_failed[i] ? "\"><failure message=\"" : "\"><system-out>");
        buf_printf(ret,
                   "%s: loss %.2f points, bounds %.2f to %.2f, margin %.2f; %" PRId64
                   " items, %" PRId64 " lost, %" PRId64 " gained",
                   stats_outcome_name(c[i]->outcome), 100 * t->gate.loss, 100 * t->gate.low,
                   100 * t->gate.high, 100 * c[i]->margin, t->n, t->b, t->c);
        buf_puts(ret, is_failed[i] ? "\"/></testcase>\n" : "</system-out></testcase>\n");
    }
    buf_puts(ret, " </testsuite>\n");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c[i]->n_tasks; k++)
            put_task(ret, c[i], k, is_failed[i]);
    buf_puts(ret, "</testsuites>\n");
}
