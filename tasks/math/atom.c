/* Numbers, variables, functions, fractions, brackets, matrices: see parse.c. */
#include "tasks/math/parser.h"

#include <string.h>

enum { MAX_NAME = 40 };

/* "x |" or "x \in R :" of a set that a condition on x describes; consumed, as the condition says
 * it all. */
static bool take_set_builder(struct parser *p)
{
    const struct token *t = parser_peek(p);
    size_t n = 1;

    if (t[0].kind != T_VAR)
        return false;
    if (t[1].kind == T_REL && t[1].arg == REL_IN && t[2].kind == T_SYM && t[2].arg == SYM_REALS)
        n = 3;
    if (t[n].kind != T_BAR && (t[n].kind != T_REL || t[n].arg != REL_RATIO))
        return false;
    p->pos += n + 1;
    return true;
}

/* Brackets: a group, a tuple, an interval, a set, a rounding. */
static struct node *parse_bracket(struct parser *p)
{
    int open = p->t[p->pos++].arg, close, n_bars = p->n_bars, money = p->money;
    struct node *n = parser_make(p, open == '{' ? N_SET : N_TUPLE), *in;

    if (!n)
        return NULL;
    if (open == '{' && parser_peek(p)->kind == T_CLOSE && parser_peek(p)->arg == '{') {
        p->pos++;
        n->kind = N_SYM;
        n->arg = SYM_EMPTY;
        return n;
    }
    p->n_bars = 0;
    in = NULL;
    if (open == '{' && take_set_builder(p)) {
        in = parse_list(p);
        if (!in)
            return NULL;
    } else if (!parse_elements(p, n)) {
        return NULL;
    }
    p->n_bars = n_bars;
    p->money = money;
    close = parser_peek(p)->arg;
    if (!parser_take(p, T_CLOSE))
        return NULL;
    n->arg = open;
    n->arg2 = close;
    if (in)
        return close == '{' ? in : NULL;
    if (open == '{')
        return close == '{' ? n : NULL;
    if (open == 'f' || open == 'c') {
        n->kind = open == 'f' ? N_FLOOR : N_CEIL;
        return close == open && n->n_children == 1 ? n : NULL;
    }
    if (n->n_children > 1)
        return ((open == '<') == (close == '<') && strchr("([<", close)) ? n : NULL;
    if (open != close || open == '<')
        return NULL;
    in = n->child;
    in->is_bracket = true;
    return in;
}

static struct node *parse_abs(struct parser *p)
{
    struct node *n;

    p->pos++;
    p->n_bars++;
    n = parser_make1(p, N_ABS, parse_sum(p));
    p->n_bars--;
    return parser_take(p, T_BAR) ? n : NULL;
}

static struct node *parse_matrix(struct parser *p)
{
    int kind = p->t[p->pos++].arg, n_bars = p->n_bars;
    struct node *n = parser_make(p, N_MATRIX), *cell;
    size_t n_cols = 0, col = 0;

    if (!n)
        return NULL;
    n->arg2 = kind;
    p->n_bars = 0;
    for (;;) {
        cell = parse_relation(p);
        if (!cell)
            return NULL;
        node_add(n, cell);
        col++;
        if (parser_take(p, T_CELL))
            continue;
        if (n_cols && col != n_cols)
            return NULL;
        n_cols = col;
        col = 0;
        if (parser_take(p, T_ROW) && parser_peek(p)->kind != T_FINISH)
            continue;
        if (parser_peek(p)->kind != T_FINISH || parser_peek(p)->arg != kind)
            return NULL;
        p->pos++;
        n->arg = (int)n_cols;
        p->n_bars = n_bars;
        return n;
    }
}

/* The number in a subscript: of a base. Words are what textbooks print: 43_{\text{five}}. */
static int take_base(struct parser *p)
{
    static const char *const words[] = { "two",    "three", "four", "five", "six",
                                         "seven",  "eight", "nine", "ten",  "eleven",
                                         "twelve", NULL,    NULL,   NULL,   "sixteen" };
    size_t start = p->pos;
    bool has_group, has_bracket;
    int base = 0;

    p->pos++;
    has_group = parser_take(p, T_GROUP);
    has_bracket = parser_take(p, T_OPEN);
    if (parser_peek(p)->kind == T_NUM && parser_peek(p)->len <= 2) {
        for (size_t i = 0; i < parser_peek(p)->len; i++)
            base = base * 10 + (parser_peek(p)->text[i] - '0');
    } else if (parser_peek(p)->kind == T_WORD) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (words[i] && strlen(words[i]) == parser_peek(p)->len &&
                memcmp(words[i], parser_peek(p)->text, parser_peek(p)->len) == 0)
                base = (int)i + 2;
    }
    p->pos++;
    if (base < 2 || base > 36 || (has_bracket && !parser_take(p, T_CLOSE)) ||
        (has_group && !parser_take(p, T_UNGROUP))) {
        p->pos = start;
        return 0;
    }
    return base;
}

struct node *parse_base(struct parser *p, const char *digits, size_t len)
{
    int base = take_base(p);
    struct node *n = base ? parser_make(p, N_BASE) : NULL;

    if (!n)
        return NULL;
    while (len > 1 && digits[0] == '0') {
        digits++;
        len--;
    }
    n->text = arena_strdup(p->arena, digits, len);
    n->len = len;
    n->arg = base;
    p->is_nomem |= !n->text;
    return n->text ? n : NULL;
}

/* 0.1\overline{6} = 0.1 + 6/90. */
static struct node *parse_repeating(struct parser *p, const struct token *t)
{
    const char *point = memchr(t->text, '.', t->len);
    const struct token *period;
    struct node *sum;
    size_t n_fixed;
    char *den;

    p->pos++;
    if (!point || parser_peek(p)[0].kind != T_GROUP || parser_peek(p)[1].kind != T_NUM ||
        parser_peek(p)[2].kind != T_UNGROUP)
        return NULL;
    period = parser_peek(p) + 1;
    p->pos += 3;
    n_fixed = t->len - (size_t)(point - t->text) - 1;
    den = arena_alloc(p->arena, period->len + n_fixed + 1);
    p->is_nomem |= !den;
    if (!den || memchr(period->text, '.', period->len))
        return NULL;
    memset(den, '9', period->len);
    memset(den + period->len, '0', n_fixed);
    sum = parser_make2(
        p, N_ADD, parser_number(p, t->text, t->len),
        parser_make2(p, N_MUL, parser_number(p, period->text, period->len),
                     parser_make1(p, N_INV, parser_number(p, den, period->len + n_fixed))));
    return sum;
}

static struct node *parse_number(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];

    if (parser_peek(p)->kind == T_UNDER)
        return parse_base(p, t->text, t->len);
    if (parser_peek(p)->kind == T_REPEAT)
        return parse_repeating(p, t);
    return parser_number(p, t->text, t->len);
}

/* Append what a subscript says to a variable's name; false if it is not plain. */
static bool take_subscript(struct parser *p, struct node *var)
{
    bool has_group;
    char name[MAX_NAME + 1];
    size_t n = var->len;

    p->pos++;
    has_group = parser_take(p, T_GROUP);
    if (n + 1 > MAX_NAME)
        return false;
    memcpy(name, var->text, n);
    name[n++] = '_';
    do {
        const struct token *t = parser_peek(p);

        bool is_comma = has_group && t->kind == T_COMMA; /* x_{1,2} */
        size_t len = is_comma ? 1 : t->len;

        if ((t->kind != T_NUM && t->kind != T_VAR && t->kind != T_WORD && !is_comma) ||
            n + len > MAX_NAME)
            return false;
        memcpy(name + n, is_comma ? "," : t->text, len);
        n += len;
        p->pos++;
    } while (has_group && parser_peek(p)->kind != T_UNGROUP);
    p->pos += has_group;
    var->text = arena_strdup(p->arena, name, n);
    var->len = n;
    p->is_nomem |= !var->text;
    return var->text != NULL;
}

static struct node *parse_variable(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];
    struct node *n = parser_make(p, N_VAR);

    if (!n)
        return NULL;
    n->text = arena_strdup(p->arena, t->text, t->len);
    n->len = t->len;
    p->is_nomem |= !n->text;
    if (!n->text)
        return NULL;
    if (t->kind == T_WORD && t->len > 1) /* a word is the same in any case */
        for (char *c = (char *)n->text; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c - 'A' + 'a');
    if (parser_peek(p)->kind == T_UNDER)
        return take_subscript(p, n) ? n : NULL;
    if (n->len == 1 && (*n->text == 'e' || *n->text == 'i'))
        n->kind = *n->text == 'e' ? N_E : N_I;
    return n;
}

/* What an inverse like \sin^{-1} is made of. */
static struct node *make_inverse(struct parser *p, int func, struct node *arg)
{
    static const struct {
        enum func func, inverse;
        bool is_of_reciprocal;
    } inverses[] = { { FN_SIN, FN_ASIN, false }, { FN_COS, FN_ACOS, false },
                     { FN_TAN, FN_ATAN, false }, { FN_CSC, FN_ASIN, true },
                     { FN_SEC, FN_ACOS, true },  { FN_COT, FN_ATAN, true } };

    for (size_t i = 0; i < sizeof(inverses) / sizeof(inverses[0]); i++)
        if ((int)inverses[i].func == func) {
            struct node *n;

            if (inverses[i].is_of_reciprocal)
                arg = parser_make1(p, N_INV, arg);
            n = parser_make1(p, N_FUNC, arg);
            if (n)
                n->arg = (int)inverses[i].inverse;
            return n;
        }
    return NULL;
}

/* The argument of a function: a bracket, or the factors up to a sign, bracket or function. */
static struct node *parse_func_argument(struct parser *p)
{
    struct node *mul, *n;
    enum tok_kind sign;

    if (parser_peek(p)->kind == T_OPEN)
        return parse_primary(p);
    sign = parse_signs(p);
    mul = parser_make(p, N_MUL);
    if (!mul)
        return NULL;
    do {
        n = parse_factor(p);
        if (!n)
            return NULL;
        node_add(mul, n);
    } while (parser_peek(p)->kind == T_VAR || parser_peek(p)->kind == T_PI ||
             parser_peek(p)->kind == T_FRAC || parser_peek(p)->kind == T_SQRT);
    return parser_sign(p, sign, mul->n_children == 1 ? mul->child : mul);
}

static struct node *parse_func(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];
    struct node *power = NULL, *base = NULL, *arg, *n;

    while ((parser_peek(p)->kind == T_CARET && !power) ||
           (parser_peek(p)->kind == T_UNDER && !base && t->kind == T_LOG)) {
        bool is_power = p->t[p->pos++].kind == T_CARET;
        enum tok_kind sign = parse_signs(p);
        struct node *a = parser_sign(p, sign, parse_argument(p, true));

        if (!a)
            return NULL;
        if (is_power)
            power = a;
        else
            base = a;
    }
    p->n_func++;
    arg = parse_func_argument(p);
    p->n_func--;
    if (t->kind == T_LOG) {
        n = parser_make2(p, N_LOG, arg, base ? base : parser_number(p, "10", 2));
    } else if (arg && power && power->kind == N_NEG && power->child->kind == N_NUM &&
               power->child->value == 1) {
        return make_inverse(p, t->arg, arg);
    } else {
        n = parser_make1(p, N_FUNC, arg);
        if (n)
            n->arg = t->arg;
    }
    return power ? parser_make2(p, N_POW, n, power) : n;
}

static struct node *parse_fraction(struct parser *p)
{
    bool is_frac = p->t[p->pos++].kind == T_FRAC;
    struct node *a = parse_argument(p, false), *b, *n;

    if (!a)
        return NULL;
    b = parse_argument(p, false);
    if (!is_frac)
        return parser_make2(p, N_BINOM, a, b);
    n = parser_make2(p, N_MUL, a, parser_make1(p, N_INV, b));
    if (n)
        n->is_frac = true;
    return n;
}

static struct node *parse_root(struct parser *p)
{
    struct node *index = NULL, *n;

    p->pos++;
    if (parser_peek(p)->kind == T_OPEN && parser_peek(p)->arg == '[') {
        p->pos++;
        index = parse_sum(p);
        if (!index || parser_peek(p)->arg != '[' || !parser_take(p, T_CLOSE))
            return NULL;
    }
    n = parse_argument(p, false);
    return parser_make2(p, N_ROOT, n, index ? index : parser_number(p, "2", 1));
}

static struct node *parse_group(struct parser *p);

/* \overline{AB}, a line between points, is AB. */
static struct node *parse_line(struct parser *p)
{
    size_t n = 1;

    p->pos++;
    while (parser_peek(p)[n].kind == T_VAR && parser_peek(p)[n].text[0] >= 'A' &&
           parser_peek(p)[n].text[0] <= 'Z')
        n++;
    if (parser_peek(p)->kind != T_GROUP || n < 3 || parser_peek(p)[n].kind != T_UNGROUP)
        return NULL;
    return parse_group(p);
}

static struct node *parse_group(struct parser *p)
{
    int n_bars = p->n_bars;
    struct node *n;

    p->pos++;
    p->n_bars = 0;
    n = parse_list(p);
    p->n_bars = n_bars;
    return parser_take(p, T_UNGROUP) ? n : NULL;
}

/* An argument as TeX takes it: a group or one token, of a number one digit. */
struct node *parse_argument(struct parser *p, bool is_number_whole)
{
    struct token *t = &p->t[p->pos];
    struct node *n;

    if (t->kind != T_NUM || is_number_whole || t->len == 1 || t->text[0] == '.')
        return t->kind == T_NUM ? (p->pos++, parser_number(p, t->text, t->len)) : parse_primary(p);
    n = parser_number(p, t->text, 1);
    t->text++;
    t->len--;
    return n;
}

struct node *parse_primary(struct parser *p)
{
    struct node *n = NULL;

    if (!parser_enter(p))
        return NULL;
    if (parser_peek(p)->kind == T_MONEY) {
        p->money = p->t[p->pos++].arg;
        if (parser_is_sign(parser_peek(p)->kind)) { /* $-5 */
            enum tok_kind sign = parse_signs(p);

            n = parser_sign(p, sign, parse_primary(p));
            p->depth--;
            return n;
        }
    }
    switch (parser_peek(p)->kind) {
    case T_NUM: n = parse_number(p); break;
    case T_VAR:
    case T_WORD: n = parse_variable(p); break;
    case T_PI:
        p->pos++;
        n = parser_make(p, N_PI);
        break;
    case T_SYM:
        n = parser_make(p, N_SYM);
        if (n)
            n->arg = p->t[p->pos++].arg;
        break;
    case T_FUNC:
    case T_LOG: n = parse_func(p); break;
    case T_FRAC:
    case T_BINOM: n = parse_fraction(p); break;
    case T_SQRT: n = parse_root(p); break;
    case T_OPEN: n = parse_bracket(p); break;
    case T_GROUP: n = parse_group(p); break;
    case T_BAR: n = parse_abs(p); break;
    case T_BEGIN: n = parse_matrix(p); break;
    case T_REPEAT: n = parse_line(p); break;
    default: break;
    }
    p->depth--;
    return n;
}
