/*
 * Where mutants come from: what mutant.c (lists), mutant_python.c (programs) and mutant_answer.c
 * share. The mutants themselves are documented in tasks/task.h.
 */
#ifndef TASKS_MUTANT_H
#define TASKS_MUTANT_H

#include "tasks/internal.h"

/* A list that grows in an arena. */
struct mutants {
    struct arena *arena;
    struct task_mutant *v;
    size_t n, cap;
};

/* Append one; out takes over the text of b, which is released. details may be "". */
MUST_CHECK enum status mutants_add(struct mutants *m, enum mutant_kind kind, const char *name,
                                   const char *details, struct buf *b, struct error *err);

/*
 * At most n_max programs that differ from a reference in one place behind offset `from`, those
 * within the function `entry` first and among them one of each kind of change first; otherwise in
 * an order that `seed` decides. The first of a longer list are a shorter one.
 */
MUST_CHECK enum status mutants_of_python(struct mutants *m, struct span source, size_t from,
                                         const char *entry, uint64_t seed, size_t n_max,
                                         struct error *err);

/* The wrong answers and right spellings of an answer. next: gold of the item after it. */
MUST_CHECK enum status mutants_of_number(struct mutants *m, const char *gold, const char *next,
                                         struct error *err); /* GSM8K */
MUST_CHECK enum status mutants_of_latex(struct mutants *m, const char *gold, const char *next,
                                        struct error *err); /* MATH */

#endif
