/*
 * Tokens of Python source, as far as changing one of them needs: names, numbers, strings and
 * operators with their places. Comments and white space are no tokens.
 *
 * Source: docs.python.org/3.11/reference/lexical_analysis.html; an f-string is one token, as it
 * is up to that version.
 */
#ifndef TASKS_PYTHON_TOKEN_H
#define TASKS_PYTHON_TOKEN_H

#include "tasks/text.h"

enum python_kind {
    PYTHON_END,     /* after the last */
    PYTHON_NEWLINE, /* end of a logical line; none for blank ones */
    PYTHON_NAME,    /* keywords too */
    PYTHON_NUMBER,
    PYTHON_STRING, /* prefix and quotes included */
    PYTHON_OP      /* operators and brackets; a byte that starts no token is one too */
};

struct python_token {
    enum python_kind kind;
    size_t at, len; /* within the source */
    int line;       /* from 1 */
    size_t depth;   /* brackets around it; the same for an opening bracket and its closing one */
    bool is_first;  /* of a statement: begins a logical line or follows a semicolon */
};

/* All tokens, PYTHON_END last (ret_n does not count it), in the arena. ST_NOMEM is the only
 * failure: broken source gives some tokens or other. */
MUST_CHECK enum status python_tokenize(struct span source, struct arena *arena,
                                       struct python_token **ret, size_t *ret_n, struct error *err);

#endif
