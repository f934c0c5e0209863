/*
 * GSM8K: word problems with an integer as answer. Cobbe et al., arXiv:2110.14168;
 * openai/grade-school-math@3101c7d5. Rules: docs/grading.md, "GSM8K".
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "tasks/boxed.h"
#include "tasks/gsm8k_rivals.h"
#include "tasks/internal.h"
#include "tasks/mutant.h"
#include "tasks/number.h"

static const char mark[] = "####";

/* The gold number: what follows the mark, without commas and spaces; an integer. */
static enum status read(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err)
{
    struct span answer = item_str(it, "answer");
    size_t at, n = 0, digits = 0;
    char *gold;

    if (!span_find(answer, mark, &at))
        return error_set(err, ST_INVALID, "%s: field 'answer' has no '%s': '%.80s'", where, mark,
                         answer.s);
    answer = span_trim(span_sub(answer, at + strlen(mark), answer.len));
    gold = arena_alloc(&t->arena, answer.len + 1);
    it->id = arena_printf(&t->arena, "%zu", number);
    if (!gold || !it->id)
        return error_set(err, ST_NOMEM, "out of memory reading %s", where);
    for (size_t i = 0; i < answer.len; i++)
        if (answer.s[i] != ',' && answer.s[i] != ' ') {
            digits += answer.s[i] >= '0' && answer.s[i] <= '9';
            gold[n++] = answer.s[i];
        }
    if (digits == 0 || digits + (gold[0] == '-') != n)
        return error_set(err, ST_INVALID,
                         "%s: field 'answer' must end in '%s' and an integer, found '%.*s'", where,
                         mark, (int)(answer.len < 80 ? answer.len : 80), answer.s);
    it->gold = gold;
    return ST_OK;
}

/*
 * Offset behind the last phrase that announces an answer: `answer is`, `answer:` or `answer =` in
 * any case, with stars, dollars, colons and spaces between. False if there is none.
 */
static bool find_announcement(struct span t, size_t *ret)
{
    static const char word[] = "answer";
    const size_t n = sizeof(word) - 1;
    bool is_found = false;

    for (size_t i = 0; t.len >= n && i <= t.len - n;) {
        bool has_colon = false;
        size_t at = i + n;

        if (strncasecmp(t.s + i, word, n) != 0) {
            i++;
            continue;
        }
        while (at < t.len && t.s[at] && strchr("*$: \t", t.s[at]))
            has_colon = t.s[at++] == ':' || has_colon;
        if (at + 2 <= t.len && strncasecmp(t.s + at, "is", 2) == 0)
            at += 2;
        else if (at < t.len && t.s[at] == '=')
            at++;
        else if (!has_colon) {
            i = at;
            continue;
        }
        *ret = at;
        is_found = true;
        i = at;
    }
    return is_found;
}

/* First number of a statement: of its first line, behind the last `=` there if it has one. */
static bool find_in_statement(struct span t, struct number *ret)
{
    size_t at;

    if (span_find(t, "\n", &at))
        t = span_sub(t, 0, at);
    if (span_find_last(t, "=", &at))
        t = span_sub(t, at + 1, t.len);
    return number_find(t, 0, ret);
}

/* Does text go on behind the number of a heading, "1. Count the eggs"? */
static bool is_heading(struct span t)
{
    if (t.len == 0 || (t.s[0] != '.' && t.s[0] != ')' && t.s[0] != ':'))
        return false;
    for (size_t i = 1; i < t.len; i++)
        if ((t.s[i] >= 'a' && t.s[i] <= 'z') || (t.s[i] >= 'A' && t.s[i] <= 'Z'))
            return true;
    return false;
}

/*
 * The number of a line in the reference form, "#### 18": behind the last mark that a number
 * follows at once. Markdown spells headings with the same mark, so "#### Step 2: add" and
 * "#### 2. Add" are none. What was searched behind one mark is not searched again for those
 * before it.
 */
static bool find_marked(struct span t, struct number *ret)
{
    struct number n;
    size_t at;

    for (; span_find_last(t, mark, &at); t = span_sub(t, 0, at)) {
        struct span rest = span_sub(t, at + strlen(mark), t.len), line;
        size_t skip = 0;

        if (!span_next_line(&rest, &line))
            continue;
        while (skip < line.len && (line.s[skip] == ' ' || line.s[skip] == '*'))
            skip++;
        line = span_sub(line, skip, line.len);
        if (number_find(line, 0, &n) && n.start == 0 &&
            !is_heading(span_sub(line, n.end, line.len)) && find_in_statement(line, ret))
            return true;
    }
    return false;
}

static bool find_last(struct span t, struct number *ret)
{
    struct number n;
    bool is_found = false;

    for (size_t from = 0; number_find(t, from, &n); from = n.end) {
        *ret = n;
        is_found = true;
    }
    return is_found;
}

/* A next question that the model invented, and all behind it. */
static struct span cut_next_question(struct span t)
{
    size_t at;

    if (span_find(t, "Question:", &at))
        t = span_sub(t, 0, at);
    if (span_find(t, "\nQ:", &at) && !span_is_blank(span_sub(t, 0, at)))
        t = span_sub(t, 0, at);
    return t;
}

static enum status extract(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err)
{
    struct span t = cut_next_question(output), box;
    const char *method = NULL, *text;
    struct number n;
    bool is_boxed;
    size_t at;
    enum status st;

    (void)compat;
    (void)it;
    if (find_marked(t, &n))
        method = "hashes";
    if (!method) {
        st = boxed_find_last(t, arena, &is_boxed, &box, err);
        if (st)
            return st;
        if (is_boxed && find_in_statement(box, &n))
            method = "boxed";
    }
    if (!method && find_announcement(t, &at) && find_in_statement(span_sub(t, at, t.len), &n))
        method = "answer-is";
    if (!method && find_last(t, &n))
        method = "last-number";
    if (!method)
        return extraction_set(ret, span_sub(t, 0, 0), "none", arena, err);
    text = number_text(&n, arena);
    if (!text)
        return error_set(err, ST_NOMEM, "out of memory for a number");
    *ret = (struct extraction){ .text = text, .len = strlen(text), .method = method };
    return ST_OK;
}

static bool is_same_number(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || /* infinite as doubles, maybe */
           fabs(number_value(a) - number_value(b)) < 1e-6;
}

static enum status grade(const struct item *it, const struct extraction *x, struct span output,
                         struct arena *arena, struct task_grade *ret, struct error *err)
{
    (void)arena;
    (void)err;
    *ret = (struct task_grade){
        .is_right = x->text && is_same_number(x->text, it->gold),
        .also = { { "strict", gsm8k_lm_eval_strict(output, it->gold) },
                  { "flexible", gsm8k_lm_eval_flexible(output, it->gold) },
                  { "oc", gsm8k_opencompass(output, it->gold) } },
        .n_also = 3,
    };
    return ST_OK;
}

/* Two answers as a person or a file states them: "18", "$1,080.00", "x = 3", "#### 7". */
static bool find_stated(struct span t, struct number *ret)
{
    size_t at;

    t = span_trim(t);
    if (span_find_last(t, mark, &at))
        t = span_trim(span_sub(t, at + strlen(mark), t.len));
    return find_in_statement(t, ret);
}

static enum status equal(struct span pred, struct span gold, bool *ret, struct error *err)
{
    struct arena arena = { 0 };
    struct number a, b;
    const char *s, *t;
    enum status st = ST_OK;

    *ret = false;
    if (!find_stated(pred, &a) || !find_stated(gold, &b))
        return ST_OK;
    s = number_text(&a, &arena);
    t = number_text(&b, &arena);
    if (s && t)
        *ret = is_same_number(s, t);
    else
        st = error_set(err, ST_NOMEM, "out of memory comparing numbers");
    arena_release(&arena);
    return st;
}

static void put_answer(const struct item *it, struct buf *b)
{
    buf_printf(b, "The answer is %s", it->gold);
}

static const struct field fields[] = {
    { "question", FIELD_STR },
    { "answer", FIELD_STR },
    { NULL, FIELD_STR },
};

const struct format format_gsm8k = {
    .is_lines = true,
    .fields = fields,
    .read = read,
    .extract = extract,
    .grade = grade,
    .equal = equal,
    .put_answer = put_answer,
    .make_mutants = mutants_of_number,
};
