/* Plan files: settings that are read are in range and can be laid under options. */
#include <string.h>

#include "harness/options.h"
#include "harness/plan_file.h"
#include "tests/fuzz/fuzz.h"

static void check_settings(const struct plan_file *p)
{
    unsigned char seen[N_OPTIONS] = { 0 };

    REQUIRE(p->common.n > 0 && p->common.n <= N_OPTIONS);
    for (size_t i = 0; i < p->common.n; i++) {
        const struct plan_setting *s = &p->common.items[i];

        REQUIRE(s->id < N_OPTIONS && !seen[s->id] && s->n > 0 && s->line > 0 && s->column > 0);
        seen[s->id] = 1;
        for (size_t k = 0; k < s->n; k++) {
            REQUIRE(s->values[k].line >= s->line && s->values[k].column > 0);
            REQUIRE(options_check(s->id, s->values[k].text, NULL) == ST_OK);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct options c = { 0 };
    struct plan_file p = { 0 };
    struct error err = { 0 };
    enum status st = plan_file_parse((const char *)data, len, "p.yaml", VERB_RUN, &p, &err);

    clearenv(); /* DESBENCH_DATA and the like would win */
    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "p.yaml"));
        return 0;
    }
    check_settings(&p);
    REQUIRE(options_parse(VERB_RUN, 0, NULL, &c, &err) == ST_OK);
    REQUIRE(plan_file_apply(&p, &p.common, &c, &err) == ST_OK);
    for (size_t i = 0; i < p.common.n; i++) {
        const struct option_value *v = &c.values[p.common.items[i].id];

        REQUIRE(v->source == SOURCE_PLAN && strncmp(v->origin, "p.yaml:", 7) == 0);
    }
    options_release(&c);
    plan_file_release(&p);
    return 0;
}
