/* Numbers in running text. */
#include "tasks/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer numbers are not divided: as doubles they may be infinite. */
enum { MAX_OPERAND = 150 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* After these a minus is a subtraction and a point ends something. */
static bool is_operand_end(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ')' || c == ']';
}

static size_t count_digits(struct span t, size_t at)
{
    size_t n = 0;

    while (at + n < t.len && is_digit(t.s[at + n]))
        n++;
    return n;
}

/* Length of a separator and exactly three digits at offset `at`, or 0. */
static size_t group_len(struct span t, size_t at)
{
    static const char *const separators[] = { ",", "{,}", "\\," };

    for (size_t i = 0; i < sizeof(separators) / sizeof(separators[0]); i++) {
        size_t n = strlen(separators[i]);

        if (!span_starts(span_sub(t, at, t.len), separators[i]))
            continue;
        for (size_t k = 0; k < 3; k++)
            if (at + n + k >= t.len || !is_digit(t.s[at + n + k]))
                return 0;
        return at + n + 3 < t.len && is_digit(t.s[at + n + 3]) ? 0 : n + 3;
    }
    return 0;
}

/* Length of the literal that ends at offset `at`, the longest first, or 0. */
static size_t ends_with(struct span t, size_t at, const char *const *list)
{
    for (; *list; list++) {
        size_t n = strlen(*list);

        if (at >= n && t.s[at - n] == **list && memcmp(t.s + at - n, *list, n) == 0)
            return n;
    }
    return 0;
}

/* Walk back over a currency sign and a sign from the first digit or point. */
static void find_start(struct span t, struct number *n)
{
    static const char *const currencies[] = {
        "\\$", "$", "\xc2\xa3", "\xc2\xa5", "\xe2\x82\xac", "\xe2\x82\xb9", NULL
    };
    static const char *const signs[] = { "-", "+", "\xe2\x88\x92", NULL };
    size_t len;

    n->start -= ends_with(t, n->start, currencies);
    len = ends_with(t, n->start, signs);
    if (len == 0 || (n->start > len && is_operand_end(t.s[n->start - len - 1])))
        return;
    n->is_negative = t.s[n->start - len] != '+';
    n->start -= len;
}

bool number_find(struct span text, size_t from, struct number *ret)
{
    for (size_t i = from; i < text.len; i++) {
        struct number n = { .start = i };
        bool is_point = text.s[i] == '.' && count_digits(text, i + 1) > 0;
        size_t end = i, group;

        if (is_point && i > 0 && (is_operand_end(text.s[i - 1]) || text.s[i - 1] == '.'))
            continue;
        if (!is_point && !is_digit(text.s[i]))
            continue;
        find_start(text, &n);
        end += count_digits(text, i);
        if (end - i <= 3)
            while ((group = group_len(text, end)) > 0)
                end += group;
        n.whole = span_sub(text, i, end);
        if (end < text.len && text.s[end] == '.' && count_digits(text, end + 1) > 0) {
            n.fraction = span_sub(text, end + 1, end + 1 + count_digits(text, end + 1));
            end += 1 + n.fraction.len;
        } else if (end < text.len && text.s[end] == '/') {
            size_t len = count_digits(text, end + 1), after = end + 1 + len;
            bool is_zero = true;

            for (size_t k = 0; k < len; k++)
                is_zero = is_zero && text.s[end + 1 + k] == '0';
            if (!is_zero && n.whole.len <= MAX_OPERAND && len <= MAX_OPERAND &&
                !(after < text.len && text.s[after] == '.' && count_digits(text, after + 1) > 0)) {
                n.divisor = span_sub(text, end + 1, after);
                end = after;
            }
        }
        n.end = end;
        *ret = n;
        return true;
    }
    return false;
}

/* The decimal of a / b: exact if whole, else with as many digits as a double needs. */
static const char *quotient_text(double q, struct arena *arena)
{
    char s[40];

    if (q == floor(q) && fabs(q) < 1e15)
        return arena_printf(arena, "%.0f", q);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof(s), "%.*g", digits, q);
        if (strtod(s, NULL) == q)
            break;
    }
    return arena_strdup(arena, s, strlen(s));
}

const char *number_text(const struct number *n, struct arena *arena)
{
    char *d = arena_alloc(arena, n->whole.len + n->fraction.len + 4);
    size_t at = 0;

    if (!d)
        return NULL;
    if (n->is_negative)
        d[at++] = '-';
    for (size_t i = 0; i < n->whole.len; i++)
        if (is_digit(n->whole.s[i]))
            d[at++] = n->whole.s[i];
    if (n->whole.len == 0)
        d[at++] = '0';
    if (n->fraction.len) {
        d[at++] = '.';
        memcpy(d + at, n->fraction.s, n->fraction.len);
        at += n->fraction.len;
    }
    d[at] = '\0';
    if (n->divisor.len) {
        char *by = arena_strdup(arena, n->divisor.s, n->divisor.len);

        return by ? quotient_text(strtod(d, NULL) / strtod(by, NULL), arena) : NULL;
    }
    return d;
}

double number_value(const char *decimal)
{
    return strtod(decimal, NULL);
}
