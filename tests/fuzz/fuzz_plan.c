/* Plan files of a run and of a sweep: settings that are read are in range and can be laid under
 * options. */
#include <string.h>

#include "harness/options.h"
#include "harness/plan_file.h"
#include "tests/fuzz/fuzz.h"

static void check_settings(const struct plan_settings *x)
{
    unsigned char seen[N_OPTIONS] = { 0 };

    REQUIRE(x->n <= N_OPTIONS);
    for (size_t i = 0; i < x->n; i++) {
        const struct plan_setting *s = &x->items[i];

        REQUIRE(s->id < N_OPTIONS && !seen[s->id] && s->n > 0 && s->line > 0 && s->column > 0);
        seen[s->id] = 1;
        for (size_t k = 0; k < s->n; k++) {
            REQUIRE(s->values[k].line >= s->line && s->values[k].column > 0);
            REQUIRE(options_check(s->id, s->values[k].text, NULL) == ST_OK);
        }
    }
}

/* The settings of one run, entry NULL: those of all; what the entry says wins. */
static void check_applied(const struct plan_file *p, const struct plan_settings *entry)
{
    const struct plan_settings *last = entry ? entry : &p->common;
    struct options c = { 0 };
    struct error err = { 0 };

    REQUIRE(options_parse(VERB_RUN, 0, NULL, &c, &err) == ST_OK);
    REQUIRE(plan_file_apply(p, &p->common, &c, &err) == ST_OK);
    if (entry)
        REQUIRE(plan_file_apply(p, entry, &c, &err) == ST_OK);
    for (size_t i = 0; i < last->n; i++) {
        const struct plan_setting *s = &last->items[i];
        const struct option_value *v = &c.values[s->id];
        char origin[64];

        snprintf(origin, sizeof(origin), "p.yaml:%d", s->line);
        REQUIRE(v->source == SOURCE_PLAN && strcmp(v->origin, origin) == 0);
    }
    options_release(&c);
}

static void check(const uint8_t *data, size_t len, unsigned verb)
{
    struct plan_file p = { 0 };
    struct error err = { 0 };
    enum status st = plan_file_parse((const char *)data, len, "p.yaml", verb, &p, &err);

    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "p.yaml"));
        return;
    }
    REQUIRE(p.n_runs <= PLAN_FILE_MAX_RUNS && (p.common.n || p.n_runs));
    REQUIRE(verb == VERB_SWEEP || !p.n_runs);
    check_settings(&p.common);
    check_applied(&p, NULL);
    for (size_t i = 0; i < p.n_runs; i++) {
        check_settings(&p.runs[i]);
        check_applied(&p, &p.runs[i]);
    }
    plan_file_release(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    clearenv(); /* DESBENCH_DATA and the like would win */
    check(data, len, VERB_RUN);
    check(data, len, VERB_SWEEP);
    return 0;
}
