/*
 * Answers as tokens and as a tree: what the parts of tasks/math/ share. Private to the folder.
 *
 *   lex.c    text -> tokens: every spelling of one thing gives one token
 *   unit.c   what stands after a number: units, and words that are none
 *   parse.c  tokens -> tree: precedence, implicit products, brackets, units
 *   exact.c  tree -> rational number (GMP)
 *   modp.c   tree with variables -> residue at a point, for identities without rounding
 *   ball.c   tree -> complex number with an error bound, at a point
 *   equal.c  two trees -> equal or not: structure first, then the three values above
 *
 * Everything lives in one arena that math_equal() releases; nothing is freed piecemeal.
 */
#ifndef TASKS_MATH_AST_H
#define TASKS_MATH_AST_H

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "tasks/math/unit.h"

enum {
    MATH_MAX_BYTES = 8192,   /* longer answers are compared as bytes only */
    MATH_MAX_DEPTH = 64,     /* of brackets, fractions, powers within each other */
    MATH_MAX_VARS = 64,      /* different variables in two answers */
    MATH_MAX_ELEMENTS = 256, /* of a list after each "plus or minus" became two */
    MATH_MAX_BITS = 20000,   /* of an exact numerator or denominator */
    MATH_MAX_FACTORIAL = 1500,
    MATH_MAX_EXPONENT = 1000000, /* taken literally in an identity */
    MATH_N_POINTS = 10           /* an identity is tested at */
};

/* ---- tokens ---- */

enum tok_kind {
    T_END,     /* after the last */
    T_NUM,     /* text: digits with at most one point, group marks removed */
    T_VAR,     /* text: one letter or a Greek name, primes appended */
    T_WORD,    /* text: a word of a text group, or a unit */
    T_SYM,     /* arg: enum sym */
    T_PI,      /* the constant */
    T_FUNC,    /* arg: enum func */
    T_LOG,     /* may have a base as subscript */
    T_FRAC,    /* two arguments */
    T_BINOM,   /* two arguments */
    T_OVER,    /* stands between two arguments, of a group each; arg: T_FRAC or T_BINOM */
    T_SQRT,    /* optional [index], one argument */
    T_REPEAT,  /* a bar over one argument: the period of a decimal fraction */
    T_PLUS,    /* + */
    T_MINUS,   /* - */
    T_PM,      /* plus or minus */
    T_MP,      /* minus or plus */
    T_TIMES,   /* * */
    T_DIV,     /* / */
    T_CARET,   /* ^ */
    T_UNDER,   /* _ */
    T_BANG,    /* ! */
    T_PERCENT, /* % */
    T_DEGREE,  /* superscript circle */
    T_MONEY,   /* \$; arg: enum unit_id */
    T_REL,     /* arg: enum rel */
    T_CUP,     /* union */
    T_CAP,     /* intersection */
    T_MINUS_SET,
    T_COMMA, /* , or ; */
    T_AND,   /* the word */
    T_OR,    /* the word */
    T_OPEN,  /* arg: '(' '[' '{' '<' 'f' (floor) 'c' (ceiling) */
    T_CLOSE, /* arg: the same letters as T_OPEN */
    T_GROUP, /* { that only groups */
    T_UNGROUP,
    T_BAR,   /* | */
    T_BEGIN, /* of a matrix; arg: 'm' matrix, 'v' determinant */
    T_FINISH,
    T_CELL, /* & */
    T_ROW,  /* \\ */
    T_OTHER /* anything else: it has no place in the grammar, but equals itself */
};

enum sym {
    SYM_INFINITY,
    SYM_EMPTY,
    SYM_DOTS,
    SYM_REALS,
    SYM_INTEGERS,
    SYM_NATURALS,
    SYM_RATIONALS,
    SYM_COMPLEX
};

enum func {
    FN_SIN,
    FN_COS,
    FN_TAN,
    FN_COT,
    FN_SEC,
    FN_CSC,
    FN_ASIN,
    FN_ACOS,
    FN_ATAN,
    FN_SINH,
    FN_COSH,
    FN_TANH,
    FN_LN,
    FN_EXP
};

enum rel {
    REL_NONE,
    REL_EQ,
    REL_NE,
    REL_LT,
    REL_LE,
    REL_GT,
    REL_GE,
    REL_IN,
    REL_RATIO,
    REL_APPROX /* in tokens only */
};

struct token {
    enum tok_kind kind;
    int arg;
    bool is_spaced; /* white space stood before it */
    const char *text;
    size_t len;
};

struct tokens {
    struct token *v;
    size_t n;        /* v[n] is T_END */
    bool has_groups; /* plain commas can be read as digit groups: 12,345 */
};

/* Cut text into tokens. Fails with ST_NOMEM only; what it does not know becomes T_OTHER. */
MUST_CHECK enum status math_lex(const char *s, size_t len, struct arena *arena, struct tokens *ret,
                                struct error *err);

/* Join the numbers of a 12,345 that has_groups reports into one. False: out of memory. */
MUST_CHECK bool math_lex_join(struct tokens *t, struct arena *arena);

/* Same tokens, white space aside. */
bool math_tokens_equal(const struct tokens *a, const struct tokens *b);

/* ---- the tree ---- */

enum node_kind {
    N_NUM,       /* text: digits with at most one point */
    N_VAR,       /* text: its name */
    N_PI,        /* constants */
    N_E,         /* ... */
    N_I,         /* ... */
    N_SYM,       /* arg: enum sym */
    N_ADD,       /* sum of all children */
    N_NEG,       /* - child */
    N_PM,        /* child with either sign */
    N_MP,        /* the same, with the sign opposite to N_PM's */
    N_MUL,       /* product of all children, in order */
    N_INV,       /* 1 / child */
    N_POW,       /* base, exponent */
    N_ROOT,      /* radicand, index */
    N_FUNC,      /* arg: enum func; argument */
    N_LOG,       /* argument, base */
    N_ABS,       /* one child */
    N_FLOOR,     /* one child */
    N_CEIL,      /* one child */
    N_FACTORIAL, /* one child; arg: 1 is n!, 2 is n!! */
    N_BINOM,     /* n, k */
    N_DEGREE,    /* one child, in degrees */
    N_PERCENT,   /* one child, in hundredths */
    N_BASE,      /* text: digits; arg: base */
    N_TEXT,      /* words: compared as letters */
    N_LIST,      /* children without brackets; arg: the T_COMMA, T_AND or T_OR between them */
    N_SET,       /* children in braces */
    N_TUPLE,     /* children in brackets; arg, arg2: enum as in T_OPEN */
    N_MATRIX,    /* children row by row; arg: columns; arg2: 'm' or 'v' */
    N_REL,       /* children; each but the first has the relation before it in rel */
    N_UNION,     /* children */
    N_CAP,       /* children */
    N_MINUS_SET  /* two children */
};

struct node {
    enum node_kind kind;
    int arg, arg2;
    int rel;         /* enum rel, within N_REL */
    bool is_bracket; /* stood in round brackets */
    bool is_frac;    /* N_MUL made by \frac */
    bool has_pm;     /* an N_PM or N_MP is in it */
    struct node *child, *last, *next;
    size_t n_children;
    const char *text; /* NUL-terminated */
    size_t len;
    long double value; /* of N_NUM, rounded */
    bool is_value_exact;
    const struct token *tok; /* what it was made of, for word answers */
    size_t n_tok;
    struct unit unit;
};

/* Tree of all tokens; *ret is NULL where they are no answer that the grammar knows. Fails with
 * ST_NOMEM only. It may shorten T_NUM tokens (\frac12). */
MUST_CHECK enum status math_parse(struct tokens *t, struct arena *arena, struct node **ret,
                                  struct error *err);

struct node *node_new(struct arena *arena, enum node_kind kind);
void node_add(struct node *parent, struct node *child);

/* A number of n digits and at most one point. NULL: out of memory. */
struct node *node_number(struct arena *arena, const char *digits, size_t n);

/* ---- values ---- */

enum value {
    VALUE_OK,
    VALUE_NONE,      /* this kind of arithmetic does not reach it */
    VALUE_UNDEFINED, /* division by zero, overflow: equal to nothing */
};

/* What one comparison may spend and what it knows. */
struct eval {
    struct arena *arena;
    long work; /* steps left; below 0 nothing is equal any more */
    bool is_nomem;
    const char *var[MATH_MAX_VARS]; /* names */
    int n_vars;
    long double point[MATH_MAX_VARS][2]; /* values of the variables for ball_eval() */
    uint64_t residue[MATH_MAX_VARS];     /* ... for modp_eval() */
    uint64_t pi, e;                      /* indeterminates in modp_eval() */
    int n_trig;                          /* within so many trigonometric functions */
};

/* Pay for n steps; false when nothing is left. */
static inline bool eval_spend(struct eval *ev, long n)
{
    ev->work -= n;
    return ev->work >= 0;
}

/* Index of a variable, entering it, or -1 when there are too many. */
int eval_var(struct eval *ev, const char *name);

/* Rational value. ret is initialised by the caller, and undefined unless VALUE_OK. */
enum value exact_eval(struct eval *ev, const struct node *n, mpq_t ret);

/* Value of a rational function modulo MODP at ev->residue. */
#define MODP                                                                                       \
    UINT64_C(2305843009213693921) /* 2^61 - 31, prime, 1 mod 4: it has a square root of -1 */
enum value modp_eval(struct eval *ev, const struct node *n, uint64_t *ret);
uint64_t modp_mul(uint64_t a, uint64_t b);

/* A complex number and a bound of its absolute error. */
struct ball {
    long double re, im, err;
};

/* Value at ev->point. */
enum value ball_eval(struct eval *ev, const struct node *n, struct ball *ret);

struct ball ball_add(struct ball a, struct ball b);
struct ball ball_mul(struct ball a, struct ball b);

/* Do two values agree within their errors, these being small enough to tell (1e-9 of the
 * value; 1e-12 for two zeros)? */
bool ball_is_same(struct ball a, struct ball b);

/* May the value be zero? */
bool ball_is_zero(struct ball a);

#endif
