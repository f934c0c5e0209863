/*
 * Tokens to a tree, by recursive descent:
 *
 *   list     = relation { ("," | "and" | "or") relation }
 *   relation = sets { ("=" | "<" | "in" | ":" | ...) sets }
 *   sets     = side { ("union" | "intersection" | "without") side }
 *   side     = words | sum [unit]
 *   sum      = [sign] term { sign term }
 *   term     = factor { ["*" | "/"] factor }     a product needs no sign: 2x, 3\sqrt{2}
 *   factor   = primary { "^" exponent | "!" | "%" | "degree" }
 *
 * A function of the grammar returns NULL where the tokens do not fit, or memory is out
 * (is_nomem). Sums and products of any length are one node, so depth is bounded by that of
 * brackets, which enter() counts.
 */
#include <math.h>
#include <string.h>

#include "tasks/math/ast.h"

enum { MAX_POSTFIX = 8, MAX_NAME = 40 };

struct parser {
    struct token *t;
    size_t pos;
    struct arena *arena;
    int depth;
    int n_func; /* within so many function arguments: degrees are angles there */
    int n_bars; /* within so many | of this bracket */
    int money;  /* unit_id of a currency sign in this side */
    bool is_nomem;
};

static struct node *parse_list(struct parser *p);
static struct node *parse_relation(struct parser *p);
static struct node *parse_sum(struct parser *p);
static struct node *parse_factor(struct parser *p);
static struct node *parse_primary(struct parser *p);
static struct node *parse_argument(struct parser *p, bool is_number_whole);

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

static struct node *make(struct parser *p, enum node_kind kind)
{
    struct node *n = node_new(p->arena, kind);

    p->is_nomem |= !n;
    return n;
}

static struct node *number(struct parser *p, const char *digits, size_t len)
{
    struct node *n;

    for (size_t i = 0; i < len; i++)
        if (digits[i] != '.' && (digits[i] < '0' || digits[i] > '9'))
            return NULL; /* of a base, without it */
    n = node_number(p->arena, digits, len);

    p->is_nomem |= !n;
    return n;
}

/* A node of one child; NULL stays NULL, here and in make2(). */
static struct node *make1(struct parser *p, enum node_kind kind, struct node *child)
{
    struct node *n = child ? make(p, kind) : NULL;

    if (n)
        node_add(n, child);
    return n;
}

static struct node *make2(struct parser *p, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *n = a && b ? make(p, kind) : NULL;

    if (n) {
        node_add(n, a);
        node_add(n, b);
    }
    return n;
}

static const struct token *peek(const struct parser *p)
{
    return &p->t[p->pos];
}

static bool take(struct parser *p, enum tok_kind kind)
{
    if (peek(p)->kind != kind)
        return false;
    p->pos++;
    return true;
}

static bool enter(struct parser *p)
{
    return p->depth++ < MATH_MAX_DEPTH;
}

static bool is_side_end(enum tok_kind kind)
{
    switch (kind) {
    case T_END:
    case T_REL:
    case T_CUP:
    case T_CAP:
    case T_MINUS_SET:
    case T_COMMA:
    case T_AND:
    case T_OR:
    case T_CLOSE:
    case T_UNGROUP:
    case T_CELL:
    case T_ROW:
    case T_FINISH: return true;
    default: return false;
    }
}

/* Number of tokens from here to the end of the side if all of them spell a unit, else 0. */
static size_t unit_ahead(const struct parser *p)
{
    const struct token *t = peek(p);
    size_t n = 0, depth = 0;

    if (p->n_func ||
        (t->kind != T_WORD && t->kind != T_PERCENT && t->kind != T_DEGREE && t->kind != T_MONEY))
        return 0;
    for (; !is_side_end(t[n].kind) || (t[n].kind == T_UNGROUP && depth); n++) {
        switch (t[n].kind) {
        case T_WORD:
        case T_PERCENT:
        case T_DEGREE:
        case T_MONEY:
        case T_CARET: break;
        case T_DIV:
            if (t[n + 1].kind != T_WORD)
                return 0;
            break;
        case T_NUM:
            if (t[n - 1].kind != T_CARET && t[n - 1].kind != T_GROUP)
                return 0;
            break;
        case T_GROUP:
            if (t[n - 1].kind != T_CARET)
                return 0;
            depth++;
            break;
        case T_UNGROUP: depth--; break;
        default: return 0;
        }
    }
    return depth ? 0 : n;
}

/* Number of tokens to the end of the side if all of them are words, else 0. */
static size_t words_ahead(const struct parser *p)
{
    const struct token *t = peek(p);
    size_t n = 0;

    if (t->kind != T_WORD)
        return 0;
    while (t[n].kind == T_WORD || t[n].kind == T_VAR || t[n].kind == T_NUM)
        n++;
    return is_side_end(t[n].kind) ? n : 0;
}

static bool is_sign(enum tok_kind kind)
{
    return kind == T_PLUS || kind == T_MINUS || kind == T_PM || kind == T_MP;
}

/* One or more signs as one of them. */
static enum tok_kind take_signs(struct parser *p)
{
    enum tok_kind sign = T_PLUS;

    while (is_sign(peek(p)->kind)) {
        enum tok_kind k = p->t[p->pos++].kind;

        if (k == T_MINUS)
            sign = sign == T_PLUS ? T_MINUS : sign == T_MINUS ? T_PLUS : sign == T_PM ? T_MP : T_PM;
        else if (k != T_PLUS)
            sign = (sign == T_MINUS) == (k == T_PM) ? T_MP : T_PM;
    }
    return sign;
}

static struct node *with_sign(struct parser *p, enum tok_kind sign, struct node *n)
{
    switch (sign) {
    case T_MINUS: return make1(p, N_NEG, n);
    case T_PM: return make1(p, N_PM, n);
    case T_MP: return make1(p, N_MP, n);
    default: return n;
    }
}

static bool starts_factor(const struct parser *p, enum tok_kind kind)
{
    switch (kind) {
    case T_NUM:
    case T_VAR:
    case T_WORD:
    case T_SYM:
    case T_PI:
    case T_FUNC:
    case T_LOG:
    case T_FRAC:
    case T_BINOM:
    case T_SQRT:
    case T_OPEN:
    case T_GROUP:
    case T_BEGIN:
    case T_MONEY: return true;
    case T_BAR: return p->n_bars == 0;
    default: return false;
    }
}

static bool is_integer_literal(const struct node *n)
{
    return n->kind == N_NUM && !n->is_bracket && !memchr(n->text, '.', n->len);
}

/* A fraction of two literals, between 0 and 1: what may follow the integer of a mixed number. */
static bool is_proper_fraction(const struct node *n)
{
    return n->is_frac && is_integer_literal(n->child) && n->last->kind == N_INV &&
           is_integer_literal(n->last->child) && n->child->value > 0 &&
           n->child->value < n->last->child->value;
}

/* The a/b of a mixed number written 1 1/2: consumed if it is one. */
static struct node *take_plain_fraction(struct parser *p)
{
    const struct token *t = peek(p);
    struct node *a, *b, *f;

    if (t[0].kind != T_NUM || t[1].kind != T_DIV || t[2].kind != T_NUM)
        return NULL;
    a = number(p, t[0].text, t[0].len);
    b = number(p, t[2].text, t[2].len);
    f = make2(p, N_MUL, a, make1(p, N_INV, b));
    if (!f)
        return NULL;
    f->is_frac = true;
    if (!is_proper_fraction(f))
        return NULL;
    p->pos += 3;
    return f;
}

/* Put a factor that no sign separates from the product before it; false where two numbers
 * stand side by side and are no mixed number. */
static bool add_implicit(struct parser *p, struct node *mul)
{
    struct node *last = mul->last, *f, *whole;
    bool is_after_integer = is_integer_literal(last);

    if (peek(p)->kind == T_NUM && (last->kind == N_NUM || last->kind == N_INV) &&
        !last->is_bracket && (last->kind == N_NUM || last->child->kind == N_NUM)) {
        f = is_after_integer ? take_plain_fraction(p) : NULL;
        if (!f)
            return false;
    } else {
        f = parse_factor(p);
        if (!f)
            return false;
    }
    if (!is_after_integer || f->kind != N_MUL || !is_proper_fraction(f)) {
        node_add(mul, f);
        return true;
    }
    whole = number(p, last->text, last->len);
    if (!whole)
        return false;
    *last = (struct node){ .kind = N_ADD, .next = NULL }; /* in its place: a sum */
    node_add(last, whole);
    node_add(last, f);
    return true;
}

static struct node *parse_term(struct parser *p)
{
    struct node *mul = make(p, N_MUL), *f;

    if (!mul)
        return NULL;
    f = parse_factor(p);
    if (!f)
        return NULL;
    node_add(mul, f);
    for (;;) {
        enum tok_kind k = peek(p)->kind;

        if (k == T_TIMES || k == T_DIV) {
            enum tok_kind sign;

            p->pos++;
            sign = take_signs(p);
            f = with_sign(p, sign, parse_factor(p));
            if (k == T_DIV)
                f = make1(p, N_INV, f);
            if (!f)
                return NULL;
            node_add(mul, f);
        } else if (k == T_GROUP && peek(p)[1].kind == T_UNGROUP) {
            p->pos += 2;
        } else if (starts_factor(p, k) && !unit_ahead(p)) {
            if (!add_implicit(p, mul))
                return NULL;
        } else {
            break;
        }
    }
    return mul->n_children == 1 ? mul->child : mul;
}

static struct node *parse_sum(struct parser *p)
{
    struct node *add = make(p, N_ADD), *n;

    if (!add)
        return NULL;
    do {
        enum tok_kind sign = take_signs(p);

        n = with_sign(p, sign, parse_term(p));
        if (!n)
            return NULL;
        node_add(add, n);
    } while (is_sign(peek(p)->kind));
    return add->n_children == 1 ? add->child : add;
}

/* The unit after a sum. Words like "million" multiply. */
static struct node *parse_unit(struct parser *p, struct node *n)
{
    size_t n_unit = unit_ahead(p);
    const char *scale;

    while (n_unit && peek(p)->kind == T_WORD &&
           (scale = unit_scale(peek(p)->text, peek(p)->len)) != NULL) {
        n = make2(p, N_MUL, n, number(p, scale, strlen(scale)));
        if (!n)
            return NULL;
        p->pos++;
        n_unit--;
    }
    if (n_unit) {
        unit_read(peek(p), n_unit, &n->unit);
        p->pos += n_unit;
    } else if (p->money) {
        n->unit = (struct unit){ .n = 1, .is_known = true, .id = { p->money }, .power = { 1 } };
    }
    return n;
}

static struct node *parse_side(struct parser *p)
{
    size_t start, n_words;
    int money = p->money;
    struct node *n;

    while (peek(p)[0].kind == T_GROUP && peek(p)[1].kind == T_UNGROUP)
        p->pos += 2;
    start = p->pos;
    n_words = words_ahead(p);
    if (n_words) {
        n = make(p, N_TEXT);
        p->pos += n_words;
    } else {
        p->money = 0;
        n = parse_sum(p);
    }
    if (n) {
        n->tok = &p->t[start];
        n->n_tok = p->pos - start;
        if (!n_words)
            n = parse_unit(p, n);
    }
    p->money = money;
    return n;
}

static struct node *parse_sets(struct parser *p)
{
    struct node *n = parse_side(p), *part, *op;
    int n_changes = 0;

    while (n &&
           (peek(p)->kind == T_CUP || peek(p)->kind == T_CAP || peek(p)->kind == T_MINUS_SET)) {
        enum node_kind kind = peek(p)->kind == T_CUP   ? N_UNION
                              : peek(p)->kind == T_CAP ? N_CAP
                                                       : N_MINUS_SET;

        if (n->kind != kind || kind == N_MINUS_SET || n->is_bracket) {
            op = ++n_changes <= MAX_POSTFIX ? make1(p, kind, n) : NULL;
            if (!op)
                return NULL;
            n = op;
        }
        p->pos++;
        part = parse_side(p);
        if (!part)
            return NULL;
        node_add(n, part);
    }
    return n;
}

static struct node *parse_relation(struct parser *p)
{
    struct node *n, *rel, *side;

    if (!enter(p))
        return NULL;
    n = parse_sets(p);
    if (n && peek(p)->kind == T_REL) {
        rel = make1(p, N_REL, n);
        while (rel && peek(p)->kind == T_REL) {
            int op = p->t[p->pos++].arg;

            side = parse_sets(p);
            if (!side)
                return NULL;
            side->rel = op;
            node_add(rel, side);
        }
        n = rel;
    }
    p->depth--;
    return n;
}

/* Elements of a list into parent, up to something that separates none. */
static bool parse_elements(struct parser *p, struct node *parent)
{
    for (;;) {
        struct node *n = parse_relation(p);
        bool is_more = false;

        if (!n)
            return false;
        node_add(parent, n);
        while (peek(p)->kind == T_COMMA || peek(p)->kind == T_AND || peek(p)->kind == T_OR) {
            if (is_more && peek(p)->kind == T_COMMA)
                return false; /* 1,,2; but ", and" is fine */
            if (!is_more || peek(p)->kind != T_COMMA)
                parent->arg = (int)peek(p)->kind;
            is_more = true;
            p->pos++;
        }
        if (!is_more)
            return true;
    }
}

static struct node *parse_list(struct parser *p)
{
    struct node *list = make(p, N_LIST);

    if (!list || !parse_elements(p, list))
        return NULL;
    return list->n_children == 1 ? list->child : list;
}

/* Brackets: a group, a tuple, an interval, a set, a rounding. */
static struct node *parse_bracket(struct parser *p)
{
    int open = p->t[p->pos++].arg, close, n_bars = p->n_bars, money = p->money;
    struct node *n = make(p, open == '{' ? N_SET : N_TUPLE), *in;

    if (!n)
        return NULL;
    if (open == '{' && peek(p)->kind == T_CLOSE && peek(p)->arg == '{') {
        p->pos++;
        n->kind = N_SYM;
        n->arg = SYM_EMPTY;
        return n;
    }
    p->n_bars = 0;
    if (!parse_elements(p, n))
        return NULL;
    p->n_bars = n_bars;
    p->money = money;
    close = peek(p)->arg;
    if (!take(p, T_CLOSE))
        return NULL;
    n->arg = open;
    n->arg2 = close;
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
    n = make1(p, N_ABS, parse_sum(p));
    p->n_bars--;
    return take(p, T_BAR) ? n : NULL;
}

static struct node *parse_matrix(struct parser *p)
{
    int kind = p->t[p->pos++].arg, n_bars = p->n_bars;
    struct node *n = make(p, N_MATRIX), *cell;
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
        if (take(p, T_CELL))
            continue;
        if (n_cols && col != n_cols)
            return NULL;
        n_cols = col;
        col = 0;
        if (take(p, T_ROW) && peek(p)->kind != T_FINISH)
            continue;
        if (peek(p)->kind != T_FINISH || peek(p)->arg != kind)
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
    has_group = take(p, T_GROUP);
    has_bracket = take(p, T_OPEN);
    if (peek(p)->kind == T_NUM && peek(p)->len <= 2) {
        for (size_t i = 0; i < peek(p)->len; i++)
            base = base * 10 + (peek(p)->text[i] - '0');
    } else if (peek(p)->kind == T_WORD) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            if (words[i] && strlen(words[i]) == peek(p)->len &&
                memcmp(words[i], peek(p)->text, peek(p)->len) == 0)
                base = (int)i + 2;
    }
    p->pos++;
    if (base < 2 || base > 36 || (has_bracket && !take(p, T_CLOSE)) ||
        (has_group && !take(p, T_UNGROUP))) {
        p->pos = start;
        return 0;
    }
    return base;
}

static struct node *parse_base(struct parser *p, const char *digits, size_t len)
{
    int base = take_base(p);
    struct node *n = base ? make(p, N_BASE) : NULL;

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
    if (!point || peek(p)[0].kind != T_GROUP || peek(p)[1].kind != T_NUM ||
        peek(p)[2].kind != T_UNGROUP)
        return NULL;
    period = peek(p) + 1;
    p->pos += 3;
    n_fixed = t->len - (size_t)(point - t->text) - 1;
    den = arena_alloc(p->arena, period->len + n_fixed + 1);
    p->is_nomem |= !den;
    if (!den || memchr(period->text, '.', period->len))
        return NULL;
    memset(den, '9', period->len);
    memset(den + period->len, '0', n_fixed);
    sum = make2(p, N_ADD, number(p, t->text, t->len),
                make2(p, N_MUL, number(p, period->text, period->len),
                      make1(p, N_INV, number(p, den, period->len + n_fixed))));
    return sum;
}

static struct node *parse_number(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];

    if (peek(p)->kind == T_UNDER)
        return parse_base(p, t->text, t->len);
    if (peek(p)->kind == T_REPEAT)
        return parse_repeating(p, t);
    return number(p, t->text, t->len);
}

/* Append what a subscript says to a variable's name; false if it is not plain. */
static bool take_subscript(struct parser *p, struct node *var)
{
    bool has_group;
    char name[MAX_NAME + 1];
    size_t n = var->len;

    p->pos++;
    has_group = take(p, T_GROUP);
    if (n + 1 > MAX_NAME)
        return false;
    memcpy(name, var->text, n);
    name[n++] = '_';
    do {
        const struct token *t = peek(p);

        if ((t->kind != T_NUM && t->kind != T_VAR && t->kind != T_WORD) || n + t->len > MAX_NAME)
            return false;
        memcpy(name + n, t->text, t->len);
        n += t->len;
        p->pos++;
    } while (has_group && peek(p)->kind != T_UNGROUP);
    p->pos += has_group;
    var->text = arena_strdup(p->arena, name, n);
    var->len = n;
    p->is_nomem |= !var->text;
    return var->text != NULL;
}

static struct node *parse_variable(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];
    struct node *n = make(p, N_VAR);

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
    if (peek(p)->kind == T_UNDER)
        return take_subscript(p, n) ? n : NULL;
    if (t->kind == T_VAR && n->len == 1 && (*n->text == 'e' || *n->text == 'i'))
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
                arg = make1(p, N_INV, arg);
            n = make1(p, N_FUNC, arg);
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

    if (peek(p)->kind == T_OPEN)
        return parse_primary(p);
    sign = take_signs(p);
    mul = make(p, N_MUL);
    if (!mul)
        return NULL;
    do {
        n = parse_factor(p);
        if (!n)
            return NULL;
        node_add(mul, n);
    } while (peek(p)->kind == T_VAR || peek(p)->kind == T_PI || peek(p)->kind == T_FRAC ||
             peek(p)->kind == T_SQRT);
    return with_sign(p, sign, mul->n_children == 1 ? mul->child : mul);
}

static struct node *parse_func(struct parser *p)
{
    const struct token *t = &p->t[p->pos++];
    struct node *power = NULL, *base = NULL, *arg, *n;

    while ((peek(p)->kind == T_CARET && !power) ||
           (peek(p)->kind == T_UNDER && !base && t->kind == T_LOG)) {
        bool is_power = p->t[p->pos++].kind == T_CARET;
        enum tok_kind sign = take_signs(p);
        struct node *a = with_sign(p, sign, parse_argument(p, true));

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
        n = make2(p, N_LOG, arg, base ? base : number(p, "10", 2));
    } else if (arg && power && power->kind == N_NEG && power->child->kind == N_NUM &&
               power->child->value == 1) {
        return make_inverse(p, t->arg, arg);
    } else {
        n = make1(p, N_FUNC, arg);
        if (n)
            n->arg = t->arg;
    }
    return power ? make2(p, N_POW, n, power) : n;
}

static struct node *parse_fraction(struct parser *p)
{
    bool is_frac = p->t[p->pos++].kind == T_FRAC;
    struct node *a = parse_argument(p, false), *b, *n;

    if (!a)
        return NULL;
    b = parse_argument(p, false);
    if (!is_frac)
        return make2(p, N_BINOM, a, b);
    n = make2(p, N_MUL, a, make1(p, N_INV, b));
    if (n)
        n->is_frac = true;
    return n;
}

static struct node *parse_root(struct parser *p)
{
    struct node *index = NULL, *n;

    p->pos++;
    if (peek(p)->kind == T_OPEN && peek(p)->arg == '[') {
        p->pos++;
        index = parse_sum(p);
        if (!index || peek(p)->arg != '[' || !take(p, T_CLOSE))
            return NULL;
    }
    n = parse_argument(p, false);
    return make2(p, N_ROOT, n, index ? index : number(p, "2", 1));
}

static struct node *parse_group(struct parser *p)
{
    int n_bars = p->n_bars;
    struct node *n;

    p->pos++;
    p->n_bars = 0;
    n = parse_list(p);
    p->n_bars = n_bars;
    return take(p, T_UNGROUP) ? n : NULL;
}

/* An argument as TeX takes it: a group or one token, of a number one digit. */
static struct node *parse_argument(struct parser *p, bool is_number_whole)
{
    struct token *t = &p->t[p->pos];
    struct node *n;

    if (t->kind != T_NUM || is_number_whole || t->len == 1 || t->text[0] == '.')
        return t->kind == T_NUM ? (p->pos++, number(p, t->text, t->len)) : parse_primary(p);
    n = number(p, t->text, 1);
    t->text++;
    t->len--;
    return n;
}

static struct node *parse_primary(struct parser *p)
{
    struct node *n = NULL;

    if (!enter(p))
        return NULL;
    if (peek(p)->kind == T_MONEY) {
        p->money = p->t[p->pos++].arg;
        if (is_sign(peek(p)->kind)) { /* $-5 */
            enum tok_kind sign = take_signs(p);

            n = with_sign(p, sign, parse_primary(p));
            p->depth--;
            return n;
        }
    }
    switch (peek(p)->kind) {
    case T_NUM: n = parse_number(p); break;
    case T_VAR:
    case T_WORD: n = parse_variable(p); break;
    case T_PI:
        p->pos++;
        n = make(p, N_PI);
        break;
    case T_SYM:
        n = make(p, N_SYM);
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
    default: break;
    }
    p->depth--;
    return n;
}

/* What stands after ^; powers of powers are grouped from the right. */
static struct node *parse_exponent(struct parser *p)
{
    enum tok_kind sign;
    struct node *n;

    if (!enter(p))
        return NULL;
    sign = take_signs(p);
    n = with_sign(p, sign, parse_argument(p, true));
    if (n && take(p, T_CARET))
        n = make2(p, N_POW, n, parse_exponent(p));
    p->depth--;
    return n;
}

static struct node *parse_factor(struct parser *p)
{
    struct node *n = parse_primary(p);

    for (int i = 0; n; i++) {
        enum tok_kind k = peek(p)->kind;

        if (i == MAX_POSTFIX)
            return NULL;
        if (k == T_CARET) {
            p->pos++;
            n = make2(p, N_POW, n, parse_exponent(p));
        } else if (k == T_BANG) {
            int count = 0;

            while (take(p, T_BANG))
                count++;
            n = count <= 2 ? make1(p, N_FACTORIAL, n) : NULL;
            if (n)
                n->arg = count;
        } else if ((k == T_PERCENT || k == T_DEGREE) && !unit_ahead(p)) {
            p->pos++;
            n = make1(p, k == T_PERCENT ? N_PERCENT : N_DEGREE, n);
        } else if (k == T_UNDER && n->kind == N_NUM && n->is_bracket) {
            n = parse_base(p, n->text, n->len);
        } else {
            break;
        }
    }
    return n;
}

enum status math_parse(struct tokens *t, struct arena *arena, struct node **ret, struct error *err)
{
    struct parser p = { .t = t->v, .arena = arena };
    struct node *n = parse_list(&p);

    if (p.is_nomem)
        return error_set(err, ST_NOMEM, "out of memory parsing an answer of %zu tokens", t->n);
    *ret = n && peek(&p)->kind == T_END ? n : NULL;
    return ST_OK;
}
