/* Nodes of an answer's tree. */
#include "tasks/math/ast.h"

#include <math.h>

struct node *node_new(struct arena *arena, enum node_kind kind)
{
    struct node *n = arena_alloc(arena, sizeof(*n));

    if (n) {
        n->kind = kind;
        n->has_pm = kind == N_PM || kind == N_MP;
    }
    return n;
}

void node_add(struct node *parent, struct node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->child = child;
    parent->last = child;
    child->next = NULL;
    parent->n_children++;
    parent->has_pm |= child->has_pm;
}

/* Nearest value of a literal; not finite where its exponent leaves the range that ball.c uses. */
static void set_value(struct node *n)
{
    const uint64_t full = UINT64_C(100000000000000000);
    uint64_t mantissa = 0;
    int exponent = 0;
    bool is_exact = true, has_point = false;

    for (size_t i = 0; i < n->len; i++) {
        if (n->text[i] == '.') {
            has_point = true;
        } else if (mantissa < full) {
            mantissa = mantissa * 10 + (uint64_t)(n->text[i] - '0');
            exponent -= has_point;
        } else {
            is_exact &= n->text[i] == '0';
            exponent += !has_point;
        }
    }
    n->is_value_exact = !mantissa || (is_exact && exponent == 0);
    if (!mantissa)
        n->value = 0;
    else if (exponent > 3900 || exponent < -3900)
        n->value = NAN;
    else if (exponent >= 0)
        n->value = (long double)mantissa * powl(10, exponent);
    else
        n->value = (long double)mantissa / powl(10, -exponent);
}

struct node *node_number(struct arena *arena, const char *digits, size_t n)
{
    struct node *ret = node_new(arena, N_NUM);

    if (!ret)
        return NULL;
    ret->text = arena_strdup(arena, digits, n);
    if (!ret->text)
        return NULL;
    ret->len = n;
    set_value(ret);
    return ret;
}
