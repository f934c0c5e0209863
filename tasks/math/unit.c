/*
 * The table of units and how their names combine: "square inches", "inches^2", "miles per hour",
 * "km/h". Only names are compared, so there are no conversion factors.
 */
#include "tasks/math/unit.h"

#include <string.h>
#include <strings.h>

#include "tasks/math/ast.h"

static const struct {
    const char *name;
    enum unit_id id;
    bool is_bare; /* needs no \text{}: cannot be mistaken for a product of variables */
} names[] = {
    { "degree", UNIT_DEGREE, true },
    { "degrees", UNIT_DEGREE, true },
    { "percent", UNIT_PERCENT, true },
    { "dollar", UNIT_DOLLAR, true },
    { "dollars", UNIT_DOLLAR, true },
    { "usd", UNIT_DOLLAR, false },
    { "cent", UNIT_CENT, true },
    { "cents", UNIT_CENT, true },
    { "euro", UNIT_EURO, true },
    { "euros", UNIT_EURO, true },
    { "mm", UNIT_MILLIMETRE, false },
    { "millimeter", UNIT_MILLIMETRE, true },
    { "millimeters", UNIT_MILLIMETRE, true },
    { "millimetre", UNIT_MILLIMETRE, true },
    { "millimetres", UNIT_MILLIMETRE, true },
    { "cm", UNIT_CENTIMETRE, true },
    { "centimeter", UNIT_CENTIMETRE, true },
    { "centimeters", UNIT_CENTIMETRE, true },
    { "centimetre", UNIT_CENTIMETRE, true },
    { "centimetres", UNIT_CENTIMETRE, true },
    { "m", UNIT_METRE, false },
    { "meter", UNIT_METRE, true },
    { "meters", UNIT_METRE, true },
    { "metre", UNIT_METRE, true },
    { "metres", UNIT_METRE, true },
    { "km", UNIT_KILOMETRE, true },
    { "kilometer", UNIT_KILOMETRE, true },
    { "kilometers", UNIT_KILOMETRE, true },
    { "kilometre", UNIT_KILOMETRE, true },
    { "kilometres", UNIT_KILOMETRE, true },
    { "in", UNIT_INCH, false },
    { "inch", UNIT_INCH, true },
    { "inches", UNIT_INCH, true },
    { "ft", UNIT_FOOT, false },
    { "foot", UNIT_FOOT, true },
    { "feet", UNIT_FOOT, true },
    { "yd", UNIT_YARD, false },
    { "yard", UNIT_YARD, true },
    { "yards", UNIT_YARD, true },
    { "mi", UNIT_MILE, false },
    { "mile", UNIT_MILE, true },
    { "miles", UNIT_MILE, true },
    { "mg", UNIT_MILLIGRAM, false },
    { "milligram", UNIT_MILLIGRAM, true },
    { "milligrams", UNIT_MILLIGRAM, true },
    { "g", UNIT_GRAM, false },
    { "gram", UNIT_GRAM, true },
    { "grams", UNIT_GRAM, true },
    { "kg", UNIT_KILOGRAM, true },
    { "kilogram", UNIT_KILOGRAM, true },
    { "kilograms", UNIT_KILOGRAM, true },
    { "oz", UNIT_OUNCE, false },
    { "ounce", UNIT_OUNCE, true },
    { "ounces", UNIT_OUNCE, true },
    { "lb", UNIT_POUND, false },
    { "lbs", UNIT_POUND, false },
    { "pound", UNIT_POUND, true },
    { "pounds", UNIT_POUND, true },
    { "ton", UNIT_TON, true },
    { "tons", UNIT_TON, true },
    { "ml", UNIT_MILLILITRE, false },
    { "milliliter", UNIT_MILLILITRE, true },
    { "milliliters", UNIT_MILLILITRE, true },
    { "l", UNIT_LITRE, false },
    { "liter", UNIT_LITRE, true },
    { "liters", UNIT_LITRE, true },
    { "litre", UNIT_LITRE, true },
    { "litres", UNIT_LITRE, true },
    { "gallon", UNIT_GALLON, true },
    { "gallons", UNIT_GALLON, true },
    { "quart", UNIT_QUART, true },
    { "quarts", UNIT_QUART, true },
    { "pint", UNIT_PINT, true },
    { "pints", UNIT_PINT, true },
    { "cup", UNIT_CUP, true },
    { "cups", UNIT_CUP, true },
    { "s", UNIT_SECOND, false },
    { "sec", UNIT_SECOND, false },
    { "second", UNIT_SECOND, true },
    { "seconds", UNIT_SECOND, true },
    { "min", UNIT_MINUTE, false },
    { "minute", UNIT_MINUTE, true },
    { "minutes", UNIT_MINUTE, true },
    { "h", UNIT_HOUR, false },
    { "hr", UNIT_HOUR, false },
    { "hrs", UNIT_HOUR, false },
    { "hour", UNIT_HOUR, true },
    { "hours", UNIT_HOUR, true },
    { "day", UNIT_DAY, true },
    { "days", UNIT_DAY, true },
    { "week", UNIT_WEEK, true },
    { "weeks", UNIT_WEEK, true },
    { "month", UNIT_MONTH, true },
    { "months", UNIT_MONTH, true },
    { "year", UNIT_YEAR, true },
    { "years", UNIT_YEAR, true },
    { "rad", UNIT_RADIAN, false },
    { "radian", UNIT_RADIAN, true },
    { "radians", UNIT_RADIAN, true },
    { "am", UNIT_AM, false },
    { "pm", UNIT_PM, false },
};

static bool is_word(const char *word, const char *s, size_t len)
{
    return len && (word[0] | 32) == (s[0] | 32) && strlen(word) == len &&
           strncasecmp(word, s, len) == 0;
}

static enum unit_id find(const char *s, size_t len, bool is_bare)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if ((names[i].is_bare || !is_bare) && is_word(names[i].name, s, len))
            return names[i].id;
    return UNIT_NONE;
}

bool unit_is_bare_name(const char *s, size_t len)
{
    return find(s, len, true) != UNIT_NONE || unit_scale(s, len) != NULL;
}

bool unit_is_name(const char *s, size_t len)
{
    return find(s, len, false) != UNIT_NONE;
}

const char *unit_scale(const char *s, size_t len)
{
    static const struct {
        const char *word, *digits;
    } scales[] = { { "dozen", "12" },           { "hundred", "100" },
                   { "thousand", "1000" },      { "million", "1000000" },
                   { "billion", "1000000000" }, { "trillion", "1000000000000" } };

    for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++)
        if (is_word(scales[i].word, s, len))
            return scales[i].digits;
    return NULL;
}

/* Multiply by a power of one unit. */
static void multiply(struct unit *u, int id, int power)
{
    int i = 0;

    while (i < u->n && u->id[i] < id)
        i++;
    if (i < u->n && u->id[i] == id) {
        u->power[i] += power;
        return;
    }
    if (u->n == UNIT_MAX) {
        u->is_known = false;
        return;
    }
    for (int k = u->n; k > i; k--) {
        u->id[k] = u->id[k - 1];
        u->power[k] = u->power[k - 1];
    }
    u->id[i] = id;
    u->power[i] = power;
    u->n++;
}

/* A superscript after a unit: its number, and how many tokens it takes. */
static int read_power(const struct token *t, size_t n, size_t *ret_used)
{
    size_t i = 1;

    *ret_used = 0;
    if (!n || t[0].kind != T_CARET)
        return 1;
    if (i < n && t[i].kind == T_GROUP)
        i++;
    if (i >= n || t[i].kind != T_NUM || t[i].len != 1)
        return 1;
    *ret_used = i + 1 + (i > 1 && i + 1 < n && t[i + 1].kind == T_UNGROUP);
    return t[i].text[0] - '0';
}

void unit_read(const struct token *t, size_t n, struct unit *ret)
{
    int sign = 1, next_power = 1, power;
    size_t used;

    *ret = (struct unit){ .is_known = true };
    for (size_t i = 0; i < n; i += used) {
        int id = UNIT_NONE;

        used = 1;
        switch (t[i].kind) {
        case T_PERCENT: id = UNIT_PERCENT; break;
        case T_DEGREE: id = UNIT_DEGREE; break;
        case T_MONEY: id = t[i].arg; break;
        case T_DIV: sign = -1; continue;
        case T_GROUP:
        case T_UNGROUP: continue;
        case T_WORD:
            if (is_word("per", t[i].text, t[i].len) && i + 1 < n && t[i + 1].kind == T_WORD &&
                is_word("cent", t[i + 1].text, t[i + 1].len)) {
                id = UNIT_PERCENT;
                i++;
                break;
            }
            if (is_word("per", t[i].text, t[i].len)) {
                sign = -1;
                continue;
            }
            if (is_word("square", t[i].text, t[i].len) || is_word("sq", t[i].text, t[i].len)) {
                next_power = 2;
                continue;
            }
            if (is_word("cubic", t[i].text, t[i].len)) {
                next_power = 3;
                continue;
            }
            id = (int)find(t[i].text, t[i].len, false);
            break;
        default: break;
        }
        power = read_power(t + i + 1, n - i - 1, &used);
        used++;
        if (id == UNIT_NONE)
            ret->is_known = false;
        else
            multiply(ret, id, sign * next_power * power);
        next_power = 1;
    }
}

bool unit_is_conflict(const struct unit *a, const struct unit *b)
{
    if (!a->n || !b->n || !a->is_known || !b->is_known)
        return false;
    return a->n != b->n || memcmp(a->id, b->id, (size_t)a->n * sizeof(*a->id)) != 0 ||
           memcmp(a->power, b->power, (size_t)a->n * sizeof(*a->power)) != 0;
}
