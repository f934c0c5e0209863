/* What `validate` found, as text and as JSON. */
#include "harness/validate.h"

#include <string.h>

#include "base/json.h"
#include "harness/verb.h"

static const char *const kind_names[N_MUTANT_KINDS] = {
    [MUTANT_STUB] = "stub",
    [MUTANT_OPERATOR] = "operator",
    [MUTANT_WRONG] = "wrong",
    [MUTANT_REWRITE] = "rewrite",
};

static const char *item_id(const struct plan_task *t, size_t k)
{
    struct task_item facts;

    task_get_item(t->task, t->items[k], &facts);
    return facts.id; /* lives as long as the task */
}

bool validation_is_ok(const struct validation *v)
{
    for (size_t i = 0; i < v->plan.n_tasks; i++) {
        const struct outcome *o = &v->outcomes[i];

        if (o->n_ok != o->n_items)
            return false;
        for (int k = 0; k < N_MUTANT_KINDS; k++)
            if (k != MUTANT_OPERATOR &&
                o->mutants[k].n_good + o->mutants[k].n_known != o->mutants[k].n)
                return false;
    }
    return true;
}

static void put_string(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, "\"%s\":", name);
    json_put_str(b, text, strlen(text));
}

static void put_json(struct buf *b, const struct plan_task *t, const struct outcome *o)
{
    const char *sep = "";

    buf_printf(b,
               "{\"task\":\"%s\",\"n_items\":%zu,\"n_ok\":%zu,\"sha256\":\"%s\","
               "\"cpu_s\":%.3f,\"slowest_s\":%.3f,\"mutants\":{",
               t->def->name, o->n_items, o->n_ok, task_sha256(t->task), (double)o->cpu_ns * 1e-9,
               o->slowest_s);
    for (int k = 0; k < N_MUTANT_KINDS; k++) {
        size_t n = o->mutants[k].n, n_good = o->mutants[k].n_good;

        if (n == 0)
            continue;
        buf_printf(b, "%s\"%s\":{\"n\":%zu,\"%s\":%zu", sep, kind_names[k], n,
                   k == MUTANT_REWRITE ? "accepted"
                   : k == MUTANT_WRONG ? "rejected"
                                       : "killed",
                   n_good);
        if (k == MUTANT_STUB || k == MUTANT_OPERATOR)
            buf_printf(b, ",\"timeout\":%zu", o->mutants[k].n_timeout);
        if (k == MUTANT_OPERATOR)
            buf_printf(b, ",\"broken\":%zu", o->n_broken);
        if (k == MUTANT_STUB)
            buf_printf(b, ",\"let_through\":%zu", o->mutants[k].n_known);
        buf_putc(b, '}');
        sep = ",";
    }
    buf_printf(b, "},\"mutants_cpu_s\":%.3f,\"too_weak\":[", (double)o->mutants_cpu_ns * 1e-9);
    sep = "";
    for (size_t k = 0; k < o->n_items; k++)
        if (validation_is_weak(&o->items[k])) {
            buf_puts(b, sep);
            json_put_str(b, item_id(t, k), strlen(item_id(t, k)));
            sep = ",";
        }
    buf_puts(b, "],\"survivors\":[");
    for (const struct survivor *s = o->survivors; s; s = s->next) {
        buf_putc(b, '{');
        put_string(b, "item", item_id(t, s->item));
        buf_putc(b, ',');
        put_string(b, "kind", kind_names[s->kind]);
        buf_putc(b, ',');
        put_string(b, "mutant", s->name);
        buf_putc(b, ',');
        put_string(b, "details", s->details);
        buf_puts(b, s->next ? "}," : "}");
    }
    buf_puts(b, "]}");
}

static void put_text(struct buf *b, const struct plan_task *t, const struct outcome *o)
{
    const char *sep = "; tests too weak: ";

    buf_printf(b, "%-15s %4zu/%zu %s", t->def->name, o->n_ok, o->n_items,
               t->def->kind == TASK_CODE ? "references pass" : "gold answers recovered");
    if (t->def->kind == TASK_CODE)
        buf_printf(b, "  (%.1f s of CPU time, slowest %.2f s)", (double)o->cpu_ns * 1e-9,
                   o->slowest_s);
    if (o->mutants[MUTANT_STUB].n > 0) {
        buf_printf(b, "\n%16s%zu/%zu stubs fail", "", o->mutants[MUTANT_STUB].n_good,
                   o->mutants[MUTANT_STUB].n);
        if (o->mutants[MUTANT_STUB].n_known > 0)
            buf_printf(b, " (%zu known to pass)", o->mutants[MUTANT_STUB].n_known);
        if (o->mutants[MUTANT_OPERATOR].n > 0)
            buf_printf(b, ", %zu/%zu mutants killed", o->mutants[MUTANT_OPERATOR].n_good,
                       o->mutants[MUTANT_OPERATOR].n);
        buf_printf(b, "  (%.1f s)", (double)o->mutants_cpu_ns * 1e-9);
        for (size_t k = 0; k < o->n_items; k++)
            if (validation_is_weak(&o->items[k])) {
                buf_printf(b, "%s%s", sep, item_id(t, k));
                sep = ", ";
            }
    }
    if (o->mutants[MUTANT_WRONG].n > 0)
        buf_printf(b, "\n%16s%zu/%zu wrong answers rejected, %zu/%zu rewritten ones accepted", "",
                   o->mutants[MUTANT_WRONG].n_good, o->mutants[MUTANT_WRONG].n,
                   o->mutants[MUTANT_REWRITE].n_good, o->mutants[MUTANT_REWRITE].n);
    buf_putc(b, '\n');
}

enum status validation_print(const struct validation *v, struct error *err)
{
    bool is_json = verb_wants_json(v->c);
    struct buf b = { 0 };
    enum status st;

    if (is_json)
        buf_puts(&b, "[");
    for (size_t i = 0; i < v->plan.n_tasks; i++) {
        if (is_json && i)
            buf_puts(&b, ",\n");
        (is_json ? put_json : put_text)(&b, &v->plan.tasks[i], &v->outcomes[i]);
    }
    if (is_json)
        buf_puts(&b, "]\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}
