/* The LaTeX commands that answers use. */
#ifndef TASKS_MATH_LEX_TABLE_H
#define TASKS_MATH_LEX_TABLE_H

#include "tasks/math/ast.h"

/* What a command does, beyond giving a token. */
enum lex_act {
    A_TOKEN,  /* give the token */
    A_NAME,   /* give T_VAR with the command's own name */
    A_SKIP,   /* nothing */
    A_SIZE,   /* nothing, nor does a full stop after it: \left. */
    A_SKIP1,  /* nothing, nor does its argument */
    A_TEXT,   /* the group after it holds words */
    A_LETTER, /* the same, unless it is one letter or no word at all */
    A_BOARD,  /* \mathbb */
    A_BEGIN,
    A_END
};

struct lex_command {
    const char *name; /* without the backslash */
    enum lex_act act;
    enum tok_kind kind; /* of A_TOKEN */
    int arg;
};

/* By name, or NULL. */
const struct lex_command *lex_find_command(const char *name, size_t len);

#endif
