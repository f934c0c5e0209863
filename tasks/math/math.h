/*
 * MATH answers: find the answer in a model's text, and tell whether two answers are equal.
 *
 * Pure functions on untrusted text: bounded in time and memory for any bytes, no state, safe to
 * call from several threads. They fail for want of memory only.
 */
#ifndef TASKS_MATH_MATH_H
#define TASKS_MATH_MATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

/*
 * The answer in a generation that was already cut at its end token. First that applies:
 *
 *   "boxed"         the last \boxed{..} or \fbox{..} whose braces balance and that is not blank
 *                   (models echo the instruction's empty box); \boxed X without braces reaches
 *                   to the next space or $
 *   "final-answer"  between "final answer is" and ". I hope it is correct"
 *   "answer-is"     what follows the last "answer is" or "answer:", to the end of the sentence
 *                   or line; just the formula if that is what it begins with
 *   "math"          the last $..$, $$..$$, \(..\) or \[..\]
 *   "number"        the last number, or quotient of two
 *
 * Then math delimiters, white space, markdown stars, one final full stop and one redundant pair
 * of braces around it go. Text from "\nProblem:" on, an invented next problem, is not looked at.
 *
 *   ret         NUL-terminated, in the arena; NULL if there is no answer
 *   ret_len     its length; may hold NULs that output held
 *   ret_method  one of the names above, static; NULL if there is no answer
 *
 * Returns ST_OK or ST_NOMEM. Time is linear in len.
 */
MUST_CHECK enum status math_extract(const char *output, size_t len, struct arena *arena,
                                    const char **ret, size_t *ret_len, const char **ret_method,
                                    struct error *err);

/*
 * Are two LaTeX answers equal? Symmetric in pred and gold.
 *
 * Both become trees, compared by structure (lists and sets as multisets, tuples and intervals by
 * brackets and order, unions, matrices, relations, bases, words) down to expressions, which are
 * compared by value: rational numbers exactly; rational functions of variables, pi, e and i as
 * identities modulo a prime; roots, logarithms and the like as complex numbers that carry an
 * error bound. What a point of the procedure leaves open is settled like this:
 *
 *   - A decimal equals a value that has no finite decimal of six places when both round to the
 *     same six places, the literal shows at least six, and the value is 0.001 or more. Two
 *     finite decimals are equal only if they are the same number: 7.0000001 is not 7.
 *   - Units are dropped, as are $ and %; but two different known units are a difference
 *     (5 cm, 5 m), never a conversion. A percentage equals the plain number and its hundredth:
 *     20\% equals 20, as most graders have it, and 0.2, as it is.
 *   - Degrees are pi/180 inside a trigonometric function, a unit elsewhere.
 *   - A bare list is not a tuple: 1,2 equals \{2,1\} but not (1,2). {5} as a set equals 5.
 *   - What only says what something is equal to stands for that: x = 5, AB = 5, f(2) = 5,
 *     2 + 3 = 5. What is said "approximately" beside it is dropped: x = \frac13 \approx 0.33.
 *     "x = 3, y = 4" equals (3, 4).
 *   - x \ne 3 equals (-\infty, 3) \cup (3, \infty), and 42_{10} equals 42.
 *   - \log has base 10. a/bc is (a/b)c. \frac12, \sqrt2 take one digit, 2^10 the whole number.
 *   - Case matters in variables, not in words. Nothing equals an empty answer.
 *   - Undefined values (1/0, overflow) are equal only if written alike.
 *
 * An answer beyond 8192 bytes, or not in the grammar, equals only its own spelling.
 * Returns ST_OK or ST_NOMEM.
 */
MUST_CHECK enum status math_equal(const char *pred, size_t pred_len, const char *gold,
                                  size_t gold_len, bool *ret, struct error *err);

#endif
