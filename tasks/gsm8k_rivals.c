/* GSM8K as other harnesses grade it. Their regular expressions are small enough to be walked by
 * hand, which keeps them linear on any text. */
#include "tasks/gsm8k_rivals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Length of the run of characters from `set`, or of digits, at offset i. */
static size_t run_len(struct span t, size_t i, const char *set)
{
    size_t n = 0;

    while (i + n < t.len && (is_digit(t.s[i + n]) || (t.s[i + n] && strchr(set, t.s[i + n]))))
        n++;
    return n;
}

static struct span cut(struct span output)
{
    size_t at;

    output = text_cut_at_end_token(output);
    return span_find(output, "Question:", &at) ? span_sub(output, 0, at) : output;
}

/*
 * lm-eval's exact_match with regexes_to_ignore `,`, `\$`, `(?s).*#### ` and `\.$`, applied in this
 * order. The third never applies to what the patterns match; a gold of digits is not changed.
 */
static bool is_exact_match(struct span match, const char *gold)
{
    size_t len = match.len, n_gold = strlen(gold), at = 0;
    size_t end = 0, n = 0;

    for (size_t i = 0; i < len; i++) /* length without `,` and `$`, to find the final point */
        if (match.s[i] != ',' && match.s[i] != '$') {
            end = i;
            n++;
        }
    if (n > 0 && match.s[end] == '.')
        len = end;
    for (size_t i = 0; i < len; i++) {
        if (match.s[i] == ',' || match.s[i] == '$')
            continue;
        if (at >= n_gold || match.s[i] != gold[at])
            return false;
        at++;
    }
    return at == n_gold;
}

bool gsm8k_lm_eval_strict(struct span output, const char *gold)
{
    static const char mark[] = "#### ";
    struct span t = cut(output);
    size_t at;

    while (span_find(t, mark, &at)) {
        size_t from = at + strlen(mark);
        size_t sign = from < t.len && t.s[from] == '-' ? 1 : 0;
        size_t n = run_len(t, from + sign, ".,");

        if (n > 0)
            return is_exact_match(span_sub(t, from, from + sign + n), gold);
        t = span_sub(t, at + 1, t.len);
    }
    return false;
}

bool gsm8k_lm_eval_flexible(struct span output, const char *gold)
{
    struct span t = cut(output), last = { NULL, 0 };

    for (size_t i = 0; i < t.len;) {
        size_t sign = t.s[i] == '-' ? 1 : 0;
        size_t n = run_len(t, i + sign, "$.,");

        if (n < 2 && run_len(t, i + sign, "") == 0) { /* neither branch */
            i++;
            continue;
        }
        last = span_sub(t, i, i + sign + n); /* one digit alone is the second branch */
        i += sign + n;
    }
    return last.s && is_exact_match(last, gold);
}

/* Value of `-?digits[.digits]` of any length. What is dropped is far below the tolerance. */
static double decimal_value(struct span t)
{
    char s[64];
    size_t i = 0, n = 0, whole;

    if (t.s[0] == '-')
        s[n++] = t.s[i++];
    while (i < t.len && t.s[i] == '0')
        i++;
    whole = run_len(t, i, "");
    if (whole > 30)
        return INFINITY; /* no gold has so many digits */
    t = span_sub(t, i, t.len - (i + whole) > 20 ? i + whole + 20 : t.len);
    memcpy(s + n, t.s, t.len);
    s[n + t.len] = '\0';
    return strtod(s, NULL); /* "" and "-" are 0 */
}

bool gsm8k_opencompass(struct span output, const char *gold)
{
    struct span t = cut(output), last = { NULL, 0 };

    for (size_t i = 0; i < t.len;) {
        size_t sign = t.s[i] == '-' ? 1 : 0;
        size_t n = run_len(t, i + sign, ""), fraction;

        if (n == 0) {
            i++;
            continue;
        }
        n += sign;
        if (i + n < t.len && t.s[i + n] == '.' && (fraction = run_len(t, i + n + 1, "")) > 0)
            n += 1 + fraction;
        last = span_sub(t, i, i + n);
        i += n;
    }
    return last.s &&
           (span_equal(last, gold) || fabs(decimal_value(last) - strtod(gold, NULL)) < 1e-6);
}
