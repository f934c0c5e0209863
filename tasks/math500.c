/*
 * MATH500: competition problems with a closed form as answer. Hendrycks et al.,
 * arXiv:2103.03874; the 500 of Lightman et al., openai/prm800k@7ecc7947. Rules:
 * tasks/math/math.h.
 */
#include <string.h>

#include "base/json.h"
#include "tasks/internal.h"
#include "tasks/math/math.h"
#include "tasks/mutant.h"

static enum status read(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err)
{
    int64_t level;
    enum status st = json_get_int(it->record, where, "level", 1, 5, &level, err);

    (void)t;
    (void)number;
    if (st)
        return st;
    it->id = item_str(it, "unique_id").s;
    it->gold = item_str(it, "answer").s;
    it->subject = item_str(it, "subject").s;
    it->level = (int)level;
    return ST_OK;
}

static enum status extract(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err)
{
    struct extraction x = { 0 };
    enum status st = math_extract(output.s, output.len, arena, &x.text, &x.len, &x.method, err);

    (void)compat;
    (void)it;
    if (st)
        return st;
    if (!x.text)
        x = (struct extraction){ .method = "none" };
    *ret = x;
    return ST_OK;
}

static enum status equal(struct span pred, struct span gold, bool *ret, struct error *err)
{
    return math_equal(pred.s, pred.len, gold.s, gold.len, ret, err);
}

static enum status grade(const struct item *it, const struct extraction *x, struct span output,
                         struct arena *arena, struct task_grade *ret, struct error *err)
{
    struct task_grade g = { 0 };
    enum status st = ST_OK;

    (void)output;
    (void)arena;
    if (x->text)
        st = equal((struct span){ x->text, x->len }, span_of(it->gold), &g.is_right, err);
    if (!st)
        *ret = g;
    return st;
}

static void put_answer(const struct item *it, struct buf *b)
{
    buf_puts(b, item_str(it, "solution").s);
}

static const struct field fields[] = {
    { "problem", FIELD_STR }, { "solution", FIELD_STR }, { "answer", FIELD_STR },
    { "subject", FIELD_STR }, { "level", FIELD_INT },    { "unique_id", FIELD_STR },
    { NULL, FIELD_STR },
};

const struct format format_math = {
    .is_lines = true,
    .fields = fields,
    .read = read,
    .extract = extract,
    .grade = grade,
    .equal = equal,
    .put_answer = put_answer,
    .make_mutants = mutants_of_latex,
};
