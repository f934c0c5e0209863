/* Credit of a block's positions for the tokens that they propose. */
#include "engine/credit.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"

bool credit_init(struct credit *c, struct arena *a, int n_rows)
{
    size_t n;

    if (!size_mul((size_t)n_rows, (size_t)n_rows, &n))
        return false;
    c->n_rows = n_rows;
    c->n = arena_array(a, (size_t)n_rows, sizeof(*c->n));
    c->entries = arena_array(a, n, sizeof(*c->entries));
    if (!c->n || !c->entries)
        return false;
    credit_clear(c);
    return true;
}

void credit_clear(struct credit *c)
{
    memset(c->n, 0, (size_t)c->n_rows * sizeof(*c->n));
}

void credit_copy(struct credit *to, const struct credit *from)
{
    size_t n = (size_t)from->n_rows;

    assert(to->n_rows == from->n_rows);
    memcpy(to->n, from->n, n * sizeof(*to->n));
    for (size_t r = 0; r < n; r++)
        memcpy(to->entries + r * n, from->entries + r * n,
               (size_t)from->n[r] * sizeof(*to->entries));
}

/* Raise the value of a token of a row by some. */
static void give(struct credit *c, int row, int32_t id, float some)
{
    struct credit_entry *list = c->entries + (size_t)row * (size_t)c->n_rows;
    int i = 0;

    while (i < c->n[row] && list[i].id != id)
        i++;
    if (i == c->n[row]) {
        assert(i < c->n_rows);
        list[c->n[row]++] = (struct credit_entry){ id, 0 };
    }
    list[i].value += some;
}

void credit_next(const struct credit *now, const struct decode_rule *rule, const struct pick *picks,
                 const bool *is_masked, struct credit *ret)
{
    credit_copy(ret, now);
    for (int r = 0; r < now->n_rows; r++) {
        struct credit_entry *list = ret->entries + (size_t)r * (size_t)now->n_rows;

        for (int i = 0; i < ret->n[r]; i++)
            list[i].value = (float)(list[i].value * rule->credit_decay);
        if (is_masked[r])
            give(ret, r, picks[r].id, (float)pow((double)picks[r].prob, rule->credit_boost));
    }
}

int credit_biases(const struct credit *c, const struct decode_rule *rule, const bool *is_masked,
                  int first, struct logit_bias *ret)
{
    int n = 0;

    for (int r = 0; r < c->n_rows; r++) {
        const struct credit_entry *list = c->entries + (size_t)r * (size_t)c->n_rows;

        for (int i = 0; is_masked[r] && i < c->n[r]; i++)
            ret[n++] = (struct logit_bias){
                .row = r - first,
                .id = list[i].id,
                .value = (float)(rule->credit_alpha * log1p((double)list[i].value)),
            };
    }
    return n;
}
