/* Python source to tokens. */
#include "tasks/python_token.h"

#include <string.h>

struct lexer {
    struct span source;
    size_t at;
    int line;
    size_t depth;
    bool is_start; /* of a statement */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A byte of a name; those beyond ASCII belong to one wherever valid source has them outside
 * strings and comments. */
static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) ||
           (unsigned char)c >= 0x80;
}

static char peek(const struct lexer *l, size_t ahead)
{
    return l->source.len - l->at > ahead ? l->source.s[l->at + ahead] : '\0';
}

/* Length of a string's prefix and, in *ret_quote, of its quote; 0 quotes: no string starts. */
static size_t string_start(const struct lexer *l, size_t *ret_quotes)
{
    size_t n = 0;
    char q;

    while (n < 3 && peek(l, n) && strchr("rRbBfFuU", peek(l, n)))
        n++;
    q = peek(l, n);
    *ret_quotes = 0;
    if (n < 3 && (q == '"' || q == '\''))
        *ret_quotes = peek(l, n + 1) == q && peek(l, n + 2) == q ? 3 : 1;
    return n;
}

/* Move behind a string's end; an unfinished one reaches to the end of its line, a triple-quoted
 * one to the end of the source. */
static void skip_string(struct lexer *l, size_t prefix, size_t n_quotes)
{
    char q = peek(l, prefix);

    l->at += prefix + n_quotes;
    while (l->at < l->source.len) {
        char c = peek(l, 0);

        if (c == '\n' && n_quotes == 1)
            return;
        if (c == q && (n_quotes == 1 || (peek(l, 1) == q && peek(l, 2) == q))) {
            l->at += n_quotes;
            return;
        }
        l->line += c == '\n';
        l->at++;
        if (c == '\\' && l->at < l->source.len) { /* raw strings too keep a quote behind it */
            l->line += peek(l, 0) == '\n';
            l->at++;
        }
    }
}

/* `1.5e-3`, `0xff`, `1_000`, `2j`: what starts with a digit and goes on as a name does, and signs
 * of an exponent. */
static void skip_number(struct lexer *l)
{
    bool is_hex = peek(l, 0) == '0' && (peek(l, 1) == 'x' || peek(l, 1) == 'X');

    for (char before = 0, c; (c = peek(l, 0)); before = c, l->at++) {
        bool is_exponent_sign = (c == '+' || c == '-') && (before == 'e' || before == 'E') &&
                                !is_hex && is_digit(peek(l, 1));

        if (!is_name_char(c) && c != '.' && !is_exponent_sign)
            return;
    }
}

static size_t operator_len(const struct lexer *l)
{
    static const char *const long_ones[] = {
        "**=", "//=", "<<=", ">>=", "...", "**", "//", "<<", ">>", "<=", ">=", "==",
        "!=",  "->",  ":=",  "+=",  "-=",  "*=", "/=", "%=", "&=", "|=", "^=", "@=",
    };
    struct span rest = span_sub(l->source, l->at, l->source.len);

    for (size_t i = 0; i < sizeof(long_ones) / sizeof(long_ones[0]); i++)
        if (span_starts(rest, long_ones[i]))
            return strlen(long_ones[i]);
    return 1;
}

/* White space, comments and joined lines; stops at a newline that ends a logical line. */
static void skip_blanks(struct lexer *l)
{
    for (char c; l->at < l->source.len; l->at++) {
        c = peek(l, 0);
        if (c == '#') {
            while (l->at < l->source.len && peek(l, 0) != '\n')
                l->at++;
            l->at--; /* the loop steps on to the newline; a comment has one byte at least */
        } else if (c == '\n') {
            if (l->depth == 0 && !l->is_start)
                return;
            l->line++;
        } else if (c == '\\' && peek(l, 1) == '\n') {
            l->line++;
            l->at++;
        } else if (c != ' ' && c != '\t' && c != '\r' && c != '\f') {
            return;
        }
    }
}

static struct python_token next_token(struct lexer *l)
{
    struct python_token t = { .kind = PYTHON_END };
    size_t n_quotes, prefix;
    char c;

    skip_blanks(l);
    t.at = l->at;
    t.line = l->line;
    t.depth = l->depth;
    t.is_first = l->is_start;
    if (l->at == l->source.len)
        return t;
    c = peek(l, 0);
    l->is_start = false;
    prefix = string_start(l, &n_quotes);
    if (c == '\n') {
        t.kind = PYTHON_NEWLINE;
        l->line++;
        l->at++;
        l->is_start = true;
    } else if (n_quotes > 0) {
        t.kind = PYTHON_STRING;
        skip_string(l, prefix, n_quotes);
    } else if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) {
        t.kind = PYTHON_NUMBER;
        skip_number(l);
    } else if (is_name_char(c)) {
        t.kind = PYTHON_NAME;
        while (is_name_char(peek(l, 0)))
            l->at++;
    } else {
        t.kind = PYTHON_OP;
        l->at += operator_len(l);
        if (c == '(' || c == '[' || c == '{') {
            l->depth++;
        } else if (c == ')' || c == ']' || c == '}') {
            l->depth -= l->depth > 0;
            t.depth = l->depth;
        }
        l->is_start = c == ';' && l->depth == 0;
    }
    t.len = l->at - t.at;
    return t;
}

enum status python_tokenize(struct span source, struct arena *arena, struct python_token **ret,
                            size_t *ret_n, struct error *err)
{
    struct lexer counting = { .source = source, .line = 1, .is_start = true }, l = counting;
    struct python_token *v;
    size_t n = 0;

    while (next_token(&counting).kind != PYTHON_END)
        n++;
    v = arena_array(arena, n + 1, sizeof(*v));
    if (!v)
        return error_set(err, ST_NOMEM, "out of memory for %zu tokens", n);
    for (size_t i = 0; i <= n; i++)
        v[i] = next_token(&l);
    *ret = v;
    *ret_n = n;
    return ST_OK;
}
