/*
 * Tokens to a tree, by recursive descent:
 *
 *   list     = relation { ("," | "and" | "or") relation }
 *   relation = ["approx"] sets { ("=" | "<" | "in" | ":" | ...) sets } { "approx" sets }
 *   sets     = side { ("union" | "intersection" | "without") side }
 *   side     = words | sum [unit]
 *   sum      = terms [ ("\over" | "\choose") terms ]
 *   terms    = [sign] term { sign term }
 *   term     = factor { ["*" | "/"] factor }     a product needs no sign: 2x, 3\sqrt{2}
 *   factor   = primary { "^" exponent | "!" | "%" | "degree" }
 *
 * A function of the grammar returns NULL where the tokens do not fit, or memory is out
 * (is_nomem). Sums and products of any length are one node, so depth is bounded by that of
 * brackets, which enter() counts.
 */
#include "tasks/math/parser.h"

#include <string.h>

#include "tasks/math/compare.h"

enum { MAX_POSTFIX = 8 };

struct node *parser_make(struct parser *p, enum node_kind kind)
{
    struct node *n = node_new(p->arena, kind);

    p->is_nomem |= !n;
    return n;
}

struct node *parser_number(struct parser *p, const char *digits, size_t len)
{
    struct node *n;

    for (size_t i = 0; i < len; i++)
        if (digits[i] != '.' && (digits[i] < '0' || digits[i] > '9'))
            return NULL; /* of a base, without it */
    n = node_number(p->arena, digits, len);

    p->is_nomem |= !n;
    return n;
}

/* A node of one child; NULL stays NULL, here and in parser_make2(). */
struct node *parser_make1(struct parser *p, enum node_kind kind, struct node *child)
{
    struct node *n = child ? parser_make(p, kind) : NULL;

    if (n)
        node_add(n, child);
    return n;
}

struct node *parser_make2(struct parser *p, enum node_kind kind, struct node *a, struct node *b)
{
    struct node *n = a && b ? parser_make(p, kind) : NULL;

    if (n) {
        node_add(n, a);
        node_add(n, b);
    }
    return n;
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
    const struct token *t = parser_peek(p);
    size_t n = 0, depth = 0;

    if (p->n_func ||
        (t->kind != T_WORD && t->kind != T_PERCENT && t->kind != T_DEGREE && t->kind != T_MONEY))
        return 0;
    for (; !is_side_end(t[n].kind) || (t[n].kind == T_UNGROUP && depth); n++) {
        switch (t[n].kind) {
        case T_WORD:
            if (t[n].len == 1 && !unit_is_name(t[n].text, 1))
                return 0; /* 2+3\text{x} has a variable */
            break;
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
    const struct token *t = parser_peek(p);
    size_t n = 0;

    if (t->kind != T_WORD)
        return 0;
    while (t[n].kind == T_WORD || t[n].kind == T_VAR || t[n].kind == T_NUM)
        n++;
    return is_side_end(t[n].kind) ? n : 0;
}

/* One or more signs as one of them. */
enum tok_kind parse_signs(struct parser *p)
{
    enum tok_kind sign = T_PLUS;

    while (parser_is_sign(parser_peek(p)->kind)) {
        enum tok_kind k = p->t[p->pos++].kind;

        if (k == T_MINUS)
            sign = sign == T_PLUS ? T_MINUS : sign == T_MINUS ? T_PLUS : sign == T_PM ? T_MP : T_PM;
        else if (k != T_PLUS)
            sign = (sign == T_MINUS) == (k == T_PM) ? T_MP : T_PM;
    }
    return sign;
}

struct node *parser_sign(struct parser *p, enum tok_kind sign, struct node *n)
{
    switch (sign) {
    case T_MINUS: return parser_make1(p, N_NEG, n);
    case T_PM: return parser_make1(p, N_PM, n);
    case T_MP: return parser_make1(p, N_MP, n);
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
    const struct token *t = parser_peek(p);
    struct node *a, *b, *f;

    if (t[0].kind != T_NUM || t[1].kind != T_DIV || t[2].kind != T_NUM)
        return NULL;
    a = parser_number(p, t[0].text, t[0].len);
    b = parser_number(p, t[2].text, t[2].len);
    f = parser_make2(p, N_MUL, a, parser_make1(p, N_INV, b));
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

    if (parser_peek(p)->kind == T_NUM && (last->kind == N_NUM || last->kind == N_INV) &&
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
    whole = parser_number(p, last->text, last->len);
    if (!whole)
        return false;
    *last = (struct node){ .kind = N_ADD, .next = NULL }; /* in its place: a sum */
    node_add(last, whole);
    node_add(last, f);
    return true;
}

static struct node *parse_term(struct parser *p)
{
    struct node *mul = parser_make(p, N_MUL), *f;

    if (!mul)
        return NULL;
    f = parse_factor(p);
    if (!f)
        return NULL;
    node_add(mul, f);
    for (;;) {
        enum tok_kind k = parser_peek(p)->kind;

        if (k == T_TIMES || k == T_DIV) {
            enum tok_kind sign;

            p->pos++;
            sign = parse_signs(p);
            f = parser_sign(p, sign, parse_factor(p));
            if (k == T_DIV)
                f = parser_make1(p, N_INV, f);
            if (!f)
                return NULL;
            node_add(mul, f);
        } else if (k == T_GROUP && parser_peek(p)[1].kind == T_UNGROUP) {
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

static struct node *parse_terms(struct parser *p)
{
    struct node *add = parser_make(p, N_ADD), *n;

    if (!add)
        return NULL;
    do {
        enum tok_kind sign = parse_signs(p);

        n = parser_sign(p, sign, parse_term(p));
        if (!n)
            return NULL;
        node_add(add, n);
    } while (parser_is_sign(parser_peek(p)->kind));
    return add->n_children == 1 ? add->child : add;
}

struct node *parse_sum(struct parser *p)
{
    struct node *n = parse_terms(p);
    int kind = parser_peek(p)->arg;

    if (!n || !parser_take(p, T_OVER))
        return n;
    if (kind == T_BINOM)
        return parser_make2(p, N_BINOM, n, parse_terms(p));
    n = parser_make2(p, N_MUL, n, parser_make1(p, N_INV, parse_terms(p)));
    if (n)
        n->is_frac = true;
    return n;
}

/* The unit after a sum. Words like "million" multiply. */
static struct node *parse_unit(struct parser *p, struct node *n)
{
    size_t n_unit = unit_ahead(p);
    const char *scale;

    while (n_unit && parser_peek(p)->kind == T_WORD &&
           (scale = unit_scale(parser_peek(p)->text, parser_peek(p)->len)) != NULL) {
        n = parser_make2(p, N_MUL, n, parser_number(p, scale, strlen(scale)));
        if (!n)
            return NULL;
        p->pos++;
        n_unit--;
    }
    if (n_unit) {
        unit_read(parser_peek(p), n_unit, &n->unit);
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

    while (parser_peek(p)[0].kind == T_GROUP && parser_peek(p)[1].kind == T_UNGROUP)
        p->pos += 2;
    start = p->pos;
    n_words = words_ahead(p);
    if (n_words) {
        n = parser_make(p, N_TEXT);
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

    while (n && (parser_peek(p)->kind == T_CUP || parser_peek(p)->kind == T_CAP ||
                 parser_peek(p)->kind == T_MINUS_SET)) {
        enum node_kind kind = parser_peek(p)->kind == T_CUP   ? N_UNION
                              : parser_peek(p)->kind == T_CAP ? N_CAP
                                                              : N_MINUS_SET;

        if (n->kind != kind || kind == N_MINUS_SET || n->is_bracket) {
            op = ++n_changes <= MAX_POSTFIX ? parser_make1(p, kind, n) : NULL;
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

/* What something is about is not what it is: "a = b \approx c" is a = b, but "x \approx c" says
 * as much as x = c, and so does "\approx c" alone as c. */
struct node *parse_relation(struct parser *p)
{
    struct node *n, *rel, *side;

    if (!parser_enter(p))
        return NULL;
    if (parser_peek(p)->kind == T_REL && parser_peek(p)->arg == REL_APPROX)
        p->pos++;
    n = parse_sets(p);
    if (n && parser_peek(p)->kind == T_REL) {
        rel = parser_make1(p, N_REL, n);
        while (rel && parser_peek(p)->kind == T_REL) {
            int op = p->t[p->pos++].arg;

            side = parse_sets(p);
            if (!side)
                return NULL;
            if (op == REL_APPROX && (rel->n_children > 1 || !relation_is_name(rel->child)))
                continue;
            side->rel = op == REL_APPROX ? REL_EQ : op;
            node_add(rel, side);
        }
        n = rel && rel->n_children == 1 ? rel->child : rel;
    }
    p->depth--;
    return n;
}

/* Elements of a list into parent, up to something that separates none. */
bool parse_elements(struct parser *p, struct node *parent)
{
    for (;;) {
        struct node *n = parse_relation(p);
        bool is_more = false;

        if (!n)
            return false;
        node_add(parent, n);
        while (parser_peek(p)->kind == T_COMMA || parser_peek(p)->kind == T_AND ||
               parser_peek(p)->kind == T_OR) {
            if (is_more && parser_peek(p)->kind == T_COMMA)
                return false; /* 1,,2; but ", and" is fine */
            if (!is_more || parser_peek(p)->kind != T_COMMA)
                parent->arg = (int)parser_peek(p)->kind;
            is_more = true;
            p->pos++;
        }
        if (!is_more)
            return true;
    }
}

struct node *parse_list(struct parser *p)
{
    struct node *list = parser_make(p, N_LIST);

    if (!list || !parse_elements(p, list))
        return NULL;
    return list->n_children == 1 ? list->child : list;
}

/* What stands after ^; powers of powers are grouped from the right. */
static struct node *parse_exponent(struct parser *p)
{
    enum tok_kind sign;
    struct node *n;

    if (!parser_enter(p))
        return NULL;
    sign = parse_signs(p);
    n = parser_sign(p, sign, parse_argument(p, true));
    if (n && parser_take(p, T_CARET))
        n = parser_make2(p, N_POW, n, parse_exponent(p));
    p->depth--;
    return n;
}

struct node *parse_factor(struct parser *p)
{
    struct node *n = parse_primary(p);

    for (int i = 0; n; i++) {
        enum tok_kind k = parser_peek(p)->kind;

        if (i == MAX_POSTFIX)
            return NULL;
        if (k == T_CARET) {
            p->pos++;
            n = parser_make2(p, N_POW, n, parse_exponent(p));
        } else if (k == T_BANG) {
            int count = 0;

            while (parser_take(p, T_BANG))
                count++;
            n = count <= 2 ? parser_make1(p, N_FACTORIAL, n) : NULL;
            if (n)
                n->arg = count;
        } else if ((k == T_PERCENT || k == T_DEGREE) && !unit_ahead(p)) {
            p->pos++;
            n = parser_make1(p, k == T_PERCENT ? N_PERCENT : N_DEGREE, n);
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
    *ret = n && parser_peek(&p)->kind == T_END ? n : NULL;
    return ST_OK;
}
