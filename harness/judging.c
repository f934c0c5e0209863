/* Opening the judge from options. */
#include "harness/judging.h"

#include <string.h>

enum status judging_options(const struct options *c, struct judge_options *ret, struct error *err)
{
    double cpu = options_real(c, OPT_TIMEOUT), wall = 2 * cpu;

    if (options_has(c, OPT_WALL_TIMEOUT))
        wall = options_real(c, OPT_WALL_TIMEOUT);
    if (wall < cpu)
        return error_set(err, ST_INVALID,
                         "option '--wall-timeout' %g is less than '--timeout' %g: processor time "
                         "would never decide",
                         wall, cpu);
    judge_default_options(ret);
    ret->n_workers = options_has(c, OPT_JOBS) ? (int)options_int(c, OPT_JOBS) : 0;
    ret->cpu_limit_ns = (int64_t)(cpu * 1e9);
    ret->wall_limit_ns = (int64_t)(wall * 1e9);
    ret->memory_bytes = options_int(c, OPT_MEMORY) << 20;
    if (options_has(c, OPT_SANDBOX_LEVEL)) {
        ret->is_level_auto = false;
        if (!sandbox_level_parse(options_text(c, OPT_SANDBOX_LEVEL), &ret->level))
            return error_set(err, ST_INVALID, "option '--sandbox-level': unknown level '%s'",
                             options_text(c, OPT_SANDBOX_LEVEL));
    }
    return ST_OK;
}

enum status judging_open(const struct options *c, struct judge **ret, struct error *err)
{
    struct judge_options o;
    enum status st = judging_options(c, &o, err);

    if (!st)
        st = judge_open(&o, ret, err);
    if (st == ST_UNSUPPORTED) /* the machine lacks it: an environment fault, not a usage one */
        st = error_prefix(err, ST_NOT_FOUND,
                          "cannot judge safely here; `desbench doctor` says more");
    return st;
}
