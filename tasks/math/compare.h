/*
 * What the parts of the comparison share: values.c compares by value, relation.c equations,
 * inequalities and intervals, equal.c everything else. Each may call nodes_equal() on parts.
 */
#ifndef TASKS_MATH_COMPARE_H
#define TASKS_MATH_COMPARE_H

#include "tasks/math/ast.h"

/* Two answers, or parts of them that stand alone (elements, sides, bounds). */
bool nodes_equal(struct eval *ev, const struct node *a, const struct node *b);

/* Children pairwise equal, and the relations between them the same. */
bool children_equal(struct eval *ev, const struct node *a, const struct node *b);

/*
 * Two expressions by value. VALUE_OK sets *ret; VALUE_NONE says that one has no value, such as
 * an infinity; VALUE_UNDEFINED that one is equal to nothing.
 */
enum value values_compare(struct eval *ev, const struct node *a, const struct node *b, bool *ret);

/* Two expressions as functions of their variables; is_scaled: up to a constant factor that is
 * not zero. */
enum value values_compare_functions(struct eval *ev, const struct node *a, const struct node *b,
                                    bool is_scaled, bool *ret);

/* Set the bits of a tree's variables. */
void values_find_vars(struct eval *ev, const struct node *n, uint64_t *vars);
bool values_has_vars(struct eval *ev, const struct node *n);

/* May n stand left of = as the name of an answer: x, Area, f(2), (x, y), AB, \sin A? */
bool relation_is_name(const struct node *n);

/* Does n name its answer: x = 5, f(x) = 2x, x in S? */
bool relation_is_naming(const struct node *n);

/* Does n only say what something is equal to, named or not: x = 5, 2 + 3 = 5? */
bool relation_is_chain(const struct node *n);

/* An answer of either kind against one without a relation: all sides but the name equal it. */
bool relation_sides_equal(struct eval *ev, const struct node *rel, const struct node *other);

/* Two N_REL. */
bool relations_equal(struct eval *ev, const struct node *a, const struct node *b);

/* A side of an inequality, or an interval. */
struct interval {
    const struct node *low, *high;
    bool has_low, has_high; /* closed there */
    const char *var;        /* of an inequality, else NULL */
};

/* The interval that a node says: (a, b], a < x <= b, x > a, x in (a, b], all reals. */
bool interval_get(struct eval *ev, const struct node *n, struct interval *ret);
bool intervals_equal(struct eval *ev, const struct interval *a, const struct interval *b);

/* The open interval between two bounds, NULL for an infinite one; NULL when out of memory. */
const struct node *interval_make(struct eval *ev, const struct node *low, const struct node *high);

/* May a node say an interval otherwise than by brackets? */
bool interval_is_said(const struct node *n);

#endif
