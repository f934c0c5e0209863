/*
 * What the two halves of `validate` share: validate.c tries references and mutants,
 * validate_print.c says what came of it.
 */
#ifndef HARNESS_VALIDATE_H
#define HARNESS_VALIDATE_H

#include "harness/judge/judge.h"
#include "harness/options.h"
#include "harness/plan.h"
#include "harness/progress.h"

enum { N_MUTANT_KINDS = MUTANT_REWRITE + 1 };

/* A mutant that did not end as it should: of MUTANT_OPERATOR no fault, as it may be equivalent. */
struct survivor {
    struct survivor *next;
    size_t item; /* position in the plan */
    enum mutant_kind kind;
    const char *name, *details;
};

/* An item on its way. */
struct validation_item {
    bool is_ok;         /* the reference passed */
    size_t n_pending;   /* programs submitted, not yet judged */
    int64_t cpu_ns;     /* of the reference */
    size_t n_mutants;   /* that there are */
    size_t n_next;      /* the first not yet submitted */
    size_t n_operators; /* MUTANT_OPERATOR that ran */
    size_t n_killed;    /* of these */
};

/* What came of a task. */
struct outcome {
    size_t n_items, n_ok;
    double slowest_s; /* of the references */
    int64_t cpu_ns;   /* of the references */
    int64_t mutants_cpu_ns;
    struct {
        size_t n, n_good; /* tried; ended as they should */
        size_t n_timeout; /* of n_good: by running out of time */
        size_t n_known;   /* not of n_good: is_let_through */
    } mutants[N_MUTANT_KINDS];
    size_t n_broken;               /* MUTANT_OPERATOR that are no Python; not among the others */
    struct validation_item *items; /* (n_items) */
    struct survivor *survivors, **last_survivor;
};

struct validation {
    const struct options *c;
    struct plan plan;
    struct judge *judge;
    struct outcome *outcomes; /* (n_tasks) */
    struct progress progress;
    struct arena kept;    /* survivors */
    struct arena scratch; /* of one item */
    size_t n_done, n_internal;
    int n_operators; /* tried of each item; < 0: no mutants at all */
};

/* No operator mutant was killed though some ran: the tests hardly look at what is computed. */
static inline bool validation_is_weak(const struct validation_item *it)
{
    return it->n_operators > 0 && it->n_killed == 0;
}

/* Everything is as it should be. */
bool validation_is_ok(const struct validation *v);

MUST_CHECK enum status validation_print(const struct validation *v, struct error *err);

#endif
