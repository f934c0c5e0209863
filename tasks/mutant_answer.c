/*
 * Mutants of answers: wrong values that a grader must reject, right spellings that it must accept.
 *
 * Nothing here asks the grader: what is wrong is so by construction, from the text of the gold
 * answer alone. The changes to integers and fractions of MATH500 are those that Math-Verify and
 * PRM800K's grader pass as well.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/mutant.h"

static bool is_integer(const char *s)
{
    s += *s == '-';
    return *s && s[strspn(s, "0123456789")] == '\0' && strlen(s) <= 15;
}

/* One answer: before, its text, after; text is NULL when out of memory. */
static enum status add(struct mutants *m, enum mutant_kind kind, const char *name,
                       const char *before, const char *text, const char *after, bool is_there,
                       struct error *err)
{
    struct buf b = { 0 };

    if (!is_there)
        return ST_OK;
    if (!text)
        return error_set(err, ST_NOMEM, "out of memory for mutant '%s'", name);
    buf_printf(&b, "%s%s%s", before, text, after);
    return mutants_add(m, kind, name, text, &b, err);
}

static const char *put_int(struct mutants *m, int64_t v, const char *after)
{
    return arena_printf(m->arena, "%" PRId64 "%s", v, after);
}

/* 1234567 as 1,234,567; NULL when out of memory. */
static const char *put_groups(struct mutants *m, const char *digits)
{
    size_t n = strlen(digits), k = 0;
    char *s = arena_alloc(m->arena, n + n / 3 + 1);

    if (!s)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        s[k++] = digits[i];
        if (digits[i] != '-' && i + 1 < n && (n - i - 1) % 3 == 0)
            s[k++] = ',';
    }
    return s;
}

enum status mutants_of_number(struct mutants *m, const char *gold, const char *next,
                              struct error *err)
{
    static const char said[] = "The answer is ";
    const int64_t v = is_integer(gold) ? strtoll(gold, NULL, 10) : 0;
    const struct {
        enum mutant_kind kind;
        const char *name, *before, *text, *after;
        bool is_there;
    } answers[] = {
        { MUTANT_REWRITE, "boxed", "So it is \\boxed{", gold, "}.", true },
        { MUTANT_REWRITE, "hashes", "#### ", gold, "", true },
        { MUTANT_REWRITE, "bold", "**The answer is:** **", gold, "**", true },
        { MUTANT_REWRITE, "point-zero", said, put_int(m, v, ".0"), ".", true },
        { MUTANT_REWRITE, "two-places", said, put_int(m, v, ".00"), "", true },
        { MUTANT_REWRITE, "groups", said, put_groups(m, gold), ".", true },
        { MUTANT_WRONG, "plus-one", said, put_int(m, v + 1, ""), "", true },
        { MUTANT_WRONG, "minus-one", said, put_int(m, v - 1, ""), "", true },
        { MUTANT_WRONG, "plus-half", said, put_int(m, v, ".5"), "", true },
        { MUTANT_WRONG, "sign", said, put_int(m, -v, ""), "", v != 0 },
        { MUTANT_WRONG, "times-ten", said, put_int(m, v, "0"), "", v != 0 },
        { MUTANT_WRONG, "next-item", said, next, "", strcmp(next, gold) != 0 },
        { MUTANT_WRONG, "no-number", said, "not known", "", true },
    };
    enum status st = ST_OK;

    if (!is_integer(gold)) /* every gold answer of GSM8K is one */
        return ST_OK;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]) && !st; i++)
        st = add(m, answers[i].kind, answers[i].name, answers[i].before, answers[i].text,
                 answers[i].after, answers[i].is_there, err);
    return st;
}

/* gold with each `\frac` spelled otherwise; NULL when out of memory. */
static const char *put_fraction(struct mutants *m, const char *gold, const char *command)
{
    static const char frac[] = "\\frac";
    struct buf b = { 0 };
    const char *at;
    size_t len;

    for (; (at = strstr(gold, frac)); gold = at + strlen(frac)) {
        buf_append(&b, gold, (size_t)(at - gold));
        buf_puts(&b, command);
    }
    buf_puts(&b, gold);
    return buf_to_arena(&b, m->arena, &len);
}

/* gold with its first digit one higher, 9 becoming 0; NULL when out of memory. The first, as a
 * later one may belong to a unit: inches^2. */
static const char *put_digit(struct mutants *m, const char *gold)
{
    char *s = arena_strdup(m->arena, gold, strlen(gold));
    size_t at = strcspn(gold, "0123456789");

    if (s && s[at])
        s[at] = s[at] == '9' ? '0' : (char)(s[at] + 1);
    return s;
}

/* Letters and digits alone; NULL when out of memory. */
static const char *put_skeleton(struct mutants *m, const char *s)
{
    char *t = arena_alloc(m->arena, strlen(s) + 1);
    size_t n = 0;

    for (; t && *s; s++)
        if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))
            t[n++] = *s;
    return t;
}

enum status mutants_of_latex(struct mutants *m, const char *gold, const char *next,
                             struct error *err)
{
    const bool is_int = is_integer(gold), has_frac = strstr(gold, "\\frac") != NULL;
    const int64_t v = is_int ? strtoll(gold, NULL, 10) : 0;
    const char *a = put_skeleton(m, gold), *b = put_skeleton(m, next);
    /* Two golds may say the same (5 and x=5, 36 and 36^\circ); then they are no test. */
    const bool is_next_other = a && b && !strstr(a, b) && !strstr(b, a);
    const struct {
        enum mutant_kind kind;
        const char *name, *text;
        bool is_there;
    } answers[] = {
        { MUTANT_REWRITE, "boxed", gold, true },
        { MUTANT_REWRITE, "braces", arena_printf(m->arena, "{%s}", gold), true },
        { MUTANT_REWRITE, "dfrac", put_fraction(m, gold, "\\dfrac"), has_frac },
        { MUTANT_REWRITE, "tfrac", put_fraction(m, gold, "\\tfrac"), has_frac },
        { MUTANT_REWRITE, "point-zero", put_int(m, v, ".0"), is_int },
        { MUTANT_WRONG, "plus-one", put_int(m, v + 1, ""), is_int },
        { MUTANT_WRONG, "sign", put_int(m, -v, ""), is_int && v > 0 },
        { MUTANT_WRONG, "one-added", arena_printf(m->arena, "%s+1", gold), true },
        { MUTANT_WRONG, "first-digit", put_digit(m, gold), strpbrk(gold, "0123456789") != NULL },
        { MUTANT_WRONG, "next-item", next, is_next_other },
        { MUTANT_WRONG, "empty", "", true },
    };
    enum status st = ST_OK;

    if (!a || !b)
        return error_set(err, ST_NOMEM, "out of memory for mutants of an answer");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]) && !st; i++)
        st = add(m, answers[i].kind, answers[i].name, "The answer is $\\boxed{", answers[i].text,
                 "}$.", answers[i].is_there, err);
    return st;
}
