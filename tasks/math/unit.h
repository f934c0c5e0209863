/*
 * Units of measure after a number. Private to tasks/math/.
 */
#ifndef TASKS_MATH_UNIT_H
#define TASKS_MATH_UNIT_H

#include <stdbool.h>
#include <stddef.h>

struct token;

enum unit_id {
    UNIT_NONE,
    UNIT_DEGREE,
    UNIT_PERCENT,
    UNIT_DOLLAR,
    UNIT_CENT,
    UNIT_EURO,
    UNIT_STERLING,
    UNIT_MILLIMETRE,
    UNIT_CENTIMETRE,
    UNIT_METRE,
    UNIT_KILOMETRE,
    UNIT_INCH,
    UNIT_FOOT,
    UNIT_YARD,
    UNIT_MILE,
    UNIT_MILLIGRAM,
    UNIT_GRAM,
    UNIT_KILOGRAM,
    UNIT_OUNCE,
    UNIT_POUND,
    UNIT_TON,
    UNIT_MILLILITRE,
    UNIT_LITRE,
    UNIT_GALLON,
    UNIT_QUART,
    UNIT_PINT,
    UNIT_CUP,
    UNIT_SECOND,
    UNIT_MINUTE,
    UNIT_HOUR,
    UNIT_DAY,
    UNIT_WEEK,
    UNIT_MONTH,
    UNIT_YEAR,
    UNIT_RADIAN,
    UNIT_AM,
    UNIT_PM
};

enum { UNIT_MAX = 4 };

/* A product of powers of units. is_known is false where a word is not in the table (students,
 * square units): such a unit agrees with any other. */
struct unit {
    int n;
    bool is_known;
    int id[UNIT_MAX], power[UNIT_MAX]; /* sorted by id */
};

/* Is this run of letters a unit even outside a text group: cm, inches, dollars? */
bool unit_is_bare_name(const char *s, size_t len);

/* Is this word of a text group in the table of units? */
bool unit_is_name(const char *s, size_t len);

/* The digits of a word like "million", or NULL. */
const char *unit_scale(const char *s, size_t len);

/* The unit that n tokens spell: words, signs, powers, quotients. */
void unit_read(const struct token *t, size_t n, struct unit *ret);

/* Both are known and they differ. */
bool unit_is_conflict(const struct unit *a, const struct unit *b);

#endif
