/*
 * What the two halves of the parser share: parse.c has lists, relations, sums and products,
 * atom.c what these are made of. The grammar stands in parse.c.
 */
#ifndef TASKS_MATH_PARSER_H
#define TASKS_MATH_PARSER_H

#include "tasks/math/ast.h"

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

/* Nodes; NULL when out of memory, which sets is_nomem, or when a child is NULL. */
struct node *parser_make(struct parser *p, enum node_kind kind);
struct node *parser_make1(struct parser *p, enum node_kind kind, struct node *child);
struct node *parser_make2(struct parser *p, enum node_kind kind, struct node *a, struct node *b);

/* A literal, or NULL too if the digits are none: those of another base. */
struct node *parser_number(struct parser *p, const char *digits, size_t len);

/* n with a sign that parse_signs() found. */
struct node *parser_sign(struct parser *p, enum tok_kind sign, struct node *n);

static inline const struct token *parser_peek(const struct parser *p)
{
    return &p->t[p->pos];
}

static inline bool parser_take(struct parser *p, enum tok_kind kind)
{
    if (parser_peek(p)->kind != kind)
        return false;
    p->pos++;
    return true;
}

static inline bool parser_enter(struct parser *p)
{
    return p->depth++ < MATH_MAX_DEPTH;
}

static inline bool parser_is_sign(enum tok_kind kind)
{
    return kind == T_PLUS || kind == T_MINUS || kind == T_PM || kind == T_MP;
}

/* parse.c. parse_elements() puts what commas separate into parent. */
enum tok_kind parse_signs(struct parser *p);
bool parse_elements(struct parser *p, struct node *parent);
struct node *parse_list(struct parser *p);
struct node *parse_relation(struct parser *p);
struct node *parse_sum(struct parser *p);
struct node *parse_factor(struct parser *p);

/* atom.c. parse_argument() takes what TeX takes: a group or one token, and of a number its first
 * digit unless is_number_whole. parse_base() takes the subscript. */
struct node *parse_primary(struct parser *p);
struct node *parse_argument(struct parser *p, bool is_number_whole);
struct node *parse_base(struct parser *p, const char *digits, size_t len);

#endif
