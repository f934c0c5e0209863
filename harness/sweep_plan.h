/*
 * Sweep plan: the runs that a plan file asks for, worked out with the command line and the
 * environment over it, each as options of `run` and a session that shares its model with others.
 *
 * An entry of `runs` (or the whole plan, without that key) is a run for each of its models and
 * seeds. Runs whose model is opened in the same way form a group: it is loaded once.
 */
#ifndef HARNESS_SWEEP_PLAN_H
#define HARNESS_SWEEP_PLAN_H

#include "harness/session.h"

struct sweep_run {
    struct options options; /* of verb `run` */
    struct session session; /* planned, unless there is a reason why not */
    const char *model;      /* as asked for */
    size_t group;
    const char *why_not; /* NULL: it can run; else what is missing here */
};

struct sweep_group {
    struct engine_options options; /* with room for all of its runs */
    struct engine *engine;         /* text only until it is loaded */
};

struct sweep {
    struct arena arena;
    struct sweep_run *runs;
    size_t n_runs;
    struct sweep_group *groups;
    size_t n_groups;
};

/*
 * Read the plan that c names and plan its runs. What this machine lacks (a model, its weights,
 * data, memory) or this program does not have is the run's why_not; a mistake of the plan is
 * ST_INVALID. Released by sweep_release() also after a failure. The runs borrow c.
 */
MUST_CHECK enum status sweep_plan(const struct options *c, struct sweep *ret, struct error *err);
void sweep_release(struct sweep *w);

#endif
