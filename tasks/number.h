/*
 * Numbers in running text.
 *
 *   number   = [sign] [currency] (grouped | plain) [fraction] ["/" digits]
 *            | [sign] [currency] fraction
 *   grouped  = 1-3 digits, then groups of a separator and exactly three digits;
 *              the separator is "," or LaTeX's "{,}" or "\,"
 *   fraction = "." digits
 *   sign     = "-", "+" or U+2212, unless a digit, letter, ")" or "]" stands before
 *   currency = "$" "\$" U+00A3 U+00A5 U+20AC U+20B9
 *
 * A quotient needs two integers of at most 150 digits and a divisor that is not 0. A point with no
 * digit behind is not part of a number. A point with no digit before counts only where a sign
 * would.
 */
#ifndef TASKS_NUMBER_H
#define TASKS_NUMBER_H

#include "tasks/text.h"

struct number {
    size_t start, end; /* from the sign or currency sign to behind the last digit */
    bool is_negative;
    struct span whole;    /* integer part, separators included; may be empty */
    struct span fraction; /* digits behind the point; may be empty */
    struct span divisor;  /* digits; empty: no quotient */
};

/* Find the first number that starts at or after `from`; false if there is none. */
bool number_find(struct span text, size_t from, struct number *ret);

/* The number as a plain decimal ("-1234.50": no separators, no currency, a quotient evaluated) in
 * the arena; NULL when out of memory. */
const char *number_text(const struct number *n, struct arena *arena);

/* Value of such a decimal. */
double number_value(const char *decimal);

#endif
