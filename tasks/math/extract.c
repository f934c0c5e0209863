/* Find the answer in a model's text: the rules and their order stand in math.h. */
#include "tasks/math/math.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* A piece of text. */
struct span {
    const char *s;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool starts_with(struct span t, size_t pos, const char *s)
{
    size_t n = strlen(s);

    return pos <= t.len && t.len - pos >= n && t.s[pos] == s[0] && memcmp(t.s + pos, s, n) == 0;
}

/* The same in any case. */
static bool starts_like(struct span t, size_t pos, const char *s)
{
    size_t n = strlen(s);

    /* bit 5 is the case of a letter: all but a few places end here */
    return pos <= t.len && t.len - pos >= n && (t.s[pos] | 32) == (s[0] | 32) &&
           strncasecmp(t.s + pos, s, n) == 0;
}

static struct span cut(struct span t, size_t start, size_t end)
{
    return (struct span){ .s = t.s + start, .len = end - start };
}

/* Is the byte at pos escaped: an odd number of backslashes before it? */
static bool is_escaped(struct span t, size_t pos)
{
    size_t n = 0;

    while (n < pos && t.s[pos - n - 1] == '\\')
        n++;
    return n % 2 == 1;
}

static struct span trim_blanks(struct span t)
{
    while (t.len && is_blank(t.s[0]))
        t = cut(t, 1, t.len);
    while (t.len && is_blank(t.s[t.len - 1]) &&
           (t.s[t.len - 1] != ' ' || !is_escaped(t, t.len - 1)))
        t.len--;
    return t;
}

/* Does the brace at the start close at the very end? */
static bool is_wrapped(struct span t)
{
    int depth = 0;

    if (t.len < 2 || t.s[0] != '{')
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.s[i] == '\\')
            i++;
        else if (t.s[i] == '{')
            depth++;
        else if (t.s[i] == '}' && --depth == 0)
            return i == t.len - 1;
    }
    return false;
}

/* Without white space, math delimiters and markdown stars around it. */
static struct span trim_marks(struct span t)
{
    size_t before;

    do {
        t = trim_blanks(t);
        before = t.len;
        while (t.len && t.s[0] == '$')
            t = cut(t, 1, t.len);
        while (t.len && t.s[t.len - 1] == '$' && !is_escaped(t, t.len - 1))
            t.len--;
        if (starts_with(t, 0, "\\(") || starts_with(t, 0, "\\[") || starts_with(t, 0, "**"))
            t = cut(t, 2, t.len);
        if (t.len >= 2 && (starts_with(t, t.len - 2, "\\)") || starts_with(t, t.len - 2, "\\]")) &&
            !is_escaped(t, t.len - 2))
            t.len -= 2;
        if (t.len >= 2 && starts_with(t, t.len - 2, "**"))
            t.len -= 2;
    } while (t.len != before);
    return t;
}

/* Take off what is around an answer and not of it. */
static struct span trim(struct span t)
{
    t = trim_marks(t);
    if (t.len && t.s[t.len - 1] == '.') {
        t.len--;
        t = trim_marks(t);
    }
    if (is_wrapped(t))
        t = trim_marks(cut(t, 1, t.len - 1));
    return t;
}

/* Accept what was found unless nothing is left of it. */
static bool accept(struct span found, struct span *ret)
{
    found = trim(found);
    if (!found.len)
        return false;
    *ret = found;
    return true;
}

/* End of a braced group that opens at pos and is known to close. */
static size_t group_end(struct span t, size_t pos)
{
    size_t depth = 0;

    for (; pos < t.len; pos++) {
        if (t.s[pos] == '\\')
            pos++;
        else if (t.s[pos] == '{')
            depth++;
        else if (t.s[pos] == '}' && --depth == 0)
            break;
    }
    return pos;
}

/* From the right, counting closing braces that have no partner yet: an opening brace balances if
 * there is one. One pass, whatever the text. */
static bool find_boxed(struct span t, struct span *ret)
{
    size_t n_open = 0, brace = t.len, p, end, n;
    bool is_balanced = false;

    for (size_t i = t.len; i-- > 0;) {
        if (t.s[i] == '}' && !is_escaped(t, i)) {
            n_open++;
        } else if (t.s[i] == '{' && !is_escaped(t, i)) {
            brace = i;
            is_balanced = n_open > 0;
            n_open -= is_balanced;
        } else if (t.s[i] == '\\') {
            n = starts_with(t, i, "\\boxed") ? 6 : starts_with(t, i, "\\fbox") ? 5 : 0;
            p = i + n;
            if (!n || (p < t.len && is_letter(t.s[p])))
                continue;
            while (p < t.len && is_blank(t.s[p]))
                p++;
            if (p < t.len && t.s[p] == '{') {
                if (p == brace && is_balanced && accept(cut(t, p + 1, group_end(t, p)), ret))
                    return true;
                continue;
            }
            for (end = p; end < t.len && !is_blank(t.s[end]) && t.s[end] != '$'; end++)
                ;
            if (accept(cut(t, p, end), ret))
                return true;
        }
    }
    return false;
}

/* Last place where s stands, in any case, before end; or SIZE_MAX. */
static size_t find_last(struct span t, const char *s, size_t end)
{
    for (size_t i = end; i-- > 0;)
        if (starts_like(t, i, s))
            return i;
    return SIZE_MAX;
}

static bool find_final_answer(struct span t, struct span *ret)
{
    static const char phrase[] = "final answer is", tail[] = ". I hope it is correct";
    size_t end = find_last(t, tail, t.len), start;

    start = end == SIZE_MAX ? SIZE_MAX : find_last(t, phrase, end);
    if (start == SIZE_MAX || start + sizeof(phrase) - 1 > end)
        return false;
    start += sizeof(phrase) - 1;
    if (start < end && t.s[start] == ':')
        start++;
    return accept(cut(t, start, end), ret);
}

/* If t begins with a formula in delimiters: its end, else 0. */
static size_t formula_end(struct span t)
{
    const char *close = starts_with(t, 0, "$$")    ? "$$"
                        : starts_with(t, 0, "$")   ? "$"
                        : starts_with(t, 0, "\\(") ? "\\)"
                        : starts_with(t, 0, "\\[") ? "\\]"
                                                   : NULL;

    if (!close)
        return 0;
    for (size_t i = strlen(close); i < t.len; i++)
        if (starts_with(t, i, close) && !is_escaped(t, i))
            return i + strlen(close);
    return 0;
}

/* Does text after a formula say more of the answer: another formula, a number? */
static bool is_answer_continued(struct span t)
{
    for (size_t i = 0; i < t.len; i++)
        if (is_digit(t.s[i]) || t.s[i] == '$' || starts_with(t, i, "\\(") ||
            starts_with(t, i, "\\["))
            return true;
    return false;
}

static bool find_answer_is(struct span t, struct span *ret)
{
    size_t is = find_last(t, "answer is", t.len), colon = find_last(t, "answer:", t.len);
    size_t start, end, n;
    struct span found;

    if (is == SIZE_MAX && colon == SIZE_MAX)
        return false;
    if (colon == SIZE_MAX || (is != SIZE_MAX && is > colon))
        start = is + strlen("answer is");
    else
        start = colon + strlen("answer:");
    while (start < t.len && (is_blank(t.s[start]) || t.s[start] == ':' || t.s[start] == '*'))
        start++; /* the answer may stand on the next line */
    n = formula_end(cut(t, start, t.len));
    for (end = start + n; end < t.len && t.s[end] != '\n'; end++)
        if (t.s[end] == '.' && !(end + 1 < t.len && is_digit(t.s[end + 1])))
            break;
    found = cut(t, start, end);
    if (n && !is_answer_continued(cut(found, n, found.len)))
        found.len = n;
    return accept(found, ret);
}

static bool find_math(struct span t, struct span *ret)
{
    struct span last = { 0 }, found;
    bool is_open[3] = { false }; /* a formula in $, \( or \[ that never ends was met */
    size_t i = 0, n;
    int kind;

    while (i < t.len) {
        kind = t.s[i] == '$' ? 0 : starts_with(t, i, "\\(") ? 1 : starts_with(t, i, "\\[") ? 2 : 3;
        if (kind == 3 || is_open[kind]) {
            i += t.s[i] == '\\' ? 2 : 1;
            continue;
        }
        n = formula_end(cut(t, i, t.len));
        if (n && accept(cut(t, i, i + n), &found))
            last = found;
        is_open[kind] = n == 0;
        i += n ? n : 1;
    }
    *ret = last;
    return last.len > 0;
}

/* Start of the number that ends before end: digits, group commas, a point. */
static size_t number_start(struct span t, size_t end)
{
    size_t i = end;

    while (i > 0 && (is_digit(t.s[i - 1]) ||
                     ((t.s[i - 1] == ',' || t.s[i - 1] == '.') && i < end && is_digit(t.s[i]))))
        i--;
    while (i < end && t.s[i] == ',')
        i++;
    return i;
}

static bool find_number(struct span t, struct span *ret)
{
    size_t end = t.len, start, k;

    while (end > 0 && !is_digit(t.s[end - 1]))
        end--;
    if (!end)
        return false;
    start = number_start(t, end);
    if (start >= 2 && t.s[start - 1] == '/' && is_digit(t.s[start - 2])) {
        k = number_start(t, start - 1);
        if (k < start - 1)
            start = k;
    }
    if (start > 0 && t.s[start - 1] == '-' &&
        (start < 2 || !(is_digit(t.s[start - 2]) || is_letter(t.s[start - 2]))))
        start--;
    return accept(cut(t, start, end), ret);
}

/* Leave out an invented next problem. */
static struct span cut_next_problem(struct span t)
{
    bool has_text = false;

    for (size_t i = 0; i < t.len; i++) {
        if (has_text && t.s[i] == '\n' && starts_with(t, i, "\nProblem:"))
            return cut(t, 0, i);
        has_text |= !is_blank(t.s[i]);
    }
    return t;
}

enum status math_extract(const char *output, size_t len, struct arena *arena, const char **ret,
                         size_t *ret_len, const char **ret_method, struct error *err)
{
    static const struct {
        const char *method;
        bool (*find)(struct span, struct span *);
    } rules[] = { { "boxed", find_boxed },
                  { "final-answer", find_final_answer },
                  { "answer-is", find_answer_is },
                  { "math", find_math },
                  { "number", find_number } };
    struct span t = cut_next_problem((struct span){ .s = output, .len = len }), found;

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        char *text;

        if (!rules[i].find(t, &found))
            continue;
        text = arena_strdup(arena, found.s, found.len);
        if (!text)
            return error_set(err, ST_NOMEM, "out of memory copying an answer of %zu bytes",
                             found.len);
        *ret = text;
        *ret_len = found.len;
        *ret_method = rules[i].method;
        return ST_OK;
    }
    *ret = NULL;
    *ret_len = 0;
    *ret_method = NULL;
    return ST_OK;
}
