/*
 * LaTeX answers to tokens.
 *
 * Spelling ends here: \dfrac is \frac, spaces and sizes of brackets are gone, \cdot and \times
 * are one token, a unit sign is a unit, 10{,}080 is a number. Inside \text{..} and its kin
 * letters make words, outside they are variables, but for a few names that occur bare (sin, pi,
 * and, or, cm).
 */
#include "tasks/math/lex_table.h"

#include <string.h>

enum { MAX_BRACES = 256, MAX_NAME = 16, MAX_BASE_DIGITS = 64 };

/* Names that need no backslash: a whole run of letters must be one. */
static const char *const bare_commands[] = { "sin", "cos",    "tan",    "cot",    "sec",
                                             "csc", "arcsin", "arccos", "arctan", "ln",
                                             "log", "exp",    "sqrt",   "pi",     "infty" };

/* One-byte signs outside of words. */
static const struct {
    char c;
    enum tok_kind kind;
    int arg;
} signs[] = {
    { '+', T_PLUS, 0 },        { '-', T_MINUS, 0 },    { '*', T_TIMES, 0 },
    { '/', T_DIV, 0 },         { '_', T_UNDER, 0 },    { '!', T_BANG, 0 },
    { '%', T_PERCENT, 0 },     { '=', T_REL, REL_EQ }, { '<', T_REL, REL_LT },
    { '>', T_REL, REL_GT },    { ',', T_COMMA, 0 },    { ';', T_COMMA, 0 },
    { ':', T_REL, REL_RATIO }, { '(', T_OPEN, '(' },   { ')', T_CLOSE, '(' },
    { '[', T_OPEN, '[' },      { ']', T_CLOSE, '[' },  { '|', T_BAR, 0 },
    { '&', T_CELL, 0 },
};

/* Characters beyond ASCII that stand for a command. */
static const struct {
    const char *utf8, *command;
} characters[] = {
    { "\u2212", "-" },     { "\u2013", "-" },        { "\u00d7", "times" },
    { "\u00f7", "div" },   { "\u00b7", "cdot" },     { "\u22c5", "cdot" },
    { "\u00b1", "pm" },    { "\u2213", "mp" },       { "\u00b0", "degree" },
    { "\u221e", "infty" }, { "\u2205", "emptyset" }, { "\u2026", "ldots" },
    { "\u2260", "ne" },    { "\u2264", "le" },       { "\u2265", "ge" },
    { "\u2208", "in" },    { "\u2248", "approx" },   { "\u222a", "cup" },
    { "\u2229", "cap" },   { "\u2216", "setminus" }, { "\u221a", "sqrt" },
    { "\u03c0", "pi" },    { "\u03b1", "alpha" },    { "\u03b2", "beta" },
    { "\u03b3", "gamma" }, { "\u03b8", "theta" },    { "\u03bb", "lambda" },
    { "\u20ac", "euro" },  { "\u00a3", "pounds" },   { "\u00a0", "quad" },
    { "\u2009", "quad" },  { "\u202f", "quad" },
};

struct lexer {
    const char *s;
    size_t len, pos;
    struct arena *arena;
    struct tokens *out;
    size_t cap;
    char *pool;     /* cleaned numbers and words: never longer in all than the source */
    bool is_text;   /* letters make words here */
    bool is_spaced; /* white space was seen since the last token */
    bool is_nomem;
    int n_braces;
    bool is_text_brace[MAX_BRACES]; /* the brace belongs to a text command */
    bool was_text[MAX_BRACES];      /* is_text outside of it */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~';
}

static char at(const struct lexer *x, size_t pos)
{
    return pos < x->len ? x->s[pos] : '\0';
}

static bool is_name(const char *name, const char *s, size_t n)
{
    return n && name[0] == s[0] && strlen(name) == n && memcmp(name, s, n) == 0;
}

static void emit(struct lexer *x, enum tok_kind kind, int arg, const char *text, size_t len)
{
    struct tokens *out = x->out;
    struct token *t;

    if (out->n + 1 >= x->cap) { /* cannot happen: a token takes a byte at least */
        x->pos = x->len;
        return;
    }
    t = &out->v[out->n++];
    t->kind = kind;
    t->arg = arg;
    t->text = text;
    t->len = len;
    t->is_spaced = x->is_spaced;
    x->is_spaced = false;
}

static size_t skip_blanks(const struct lexer *x, size_t pos)
{
    while (is_blank(at(x, pos)))
        pos++;
    return pos;
}

static size_t letters_end(const struct lexer *x, size_t pos)
{
    while (is_letter(at(x, pos)))
        pos++;
    return pos;
}

static size_t digits_end(const struct lexer *x, size_t pos)
{
    while (is_digit(at(x, pos)))
        pos++;
    return pos;
}

/* Three digits and no more at pos. */
static bool is_digit_group(const struct lexer *x, size_t pos)
{
    return digits_end(x, pos) == pos + 3;
}

/* Where the next group of three digits begins, after a mark that only groups digits, or 0. */
static size_t next_group(const struct lexer *x, size_t pos)
{
    size_t p = skip_blanks(x, pos);

    if (at(x, p) == '{' && at(x, p + 1) == ',' && at(x, p + 2) == '}')
        p += 3;
    else if (at(x, p) == ',' && at(x, p + 1) == '\\' && at(x, p + 2) == '!')
        p += 3;
    else if (at(x, p) == '\\' && (at(x, p + 1) == ',' || at(x, p + 1) == ' '))
        p += 2;
    p = skip_blanks(x, p);
    return p > pos && is_digit_group(x, p) ? p : 0;
}

static void lex_number(struct lexer *x)
{
    char *out = x->pool;
    size_t n = 0, end = digits_end(x, x->pos), p;

    memcpy(out, x->s + x->pos, end - x->pos);
    n = end - x->pos;
    if (n >= 1 && n <= 3 && x->s[x->pos] != '0') {
        while ((p = next_group(x, end)) != 0) {
            memcpy(out + n, x->s + p, 3);
            n += 3;
            end = p + 3;
        }
    }
    if (at(x, end) == '.') {
        p = digits_end(x, end + 1);
        if (p > end + 1 || at(x, p) == '\\') { /* .5 or the 0. of 0.\overline{3} */
            memcpy(out + n, x->s + end, p - end);
            n += p - end;
        }
        end = p;
    }
    emit(x, T_NUM, 0, out, n);
    x->pool += n;
    x->pos = end;
}

/* Digits of a number in a base above ten, A0F_{16}: they must be told from a product. */
static bool lex_base_digits(struct lexer *x)
{
    size_t end = x->pos, p;
    bool has_letter = false, has_digit = false;
    int base = 0;

    while (is_digit(at(x, end)) || (at(x, end) >= 'A' && at(x, end) <= 'Z')) {
        if (end - x->pos == MAX_BASE_DIGITS)
            return false;
        has_letter |= is_letter(x->s[end]);
        has_digit |= is_digit(x->s[end]);
        end++;
    }
    p = skip_blanks(x, end);
    if (!has_letter || at(x, p) != '_')
        return false;
    p = skip_blanks(x, p + 1);
    if (at(x, p) == '{')
        p = skip_blanks(x, p + 1);
    for (; is_digit(at(x, p)) && base < 100; p++)
        base = base * 10 + (x->s[p] - '0');
    if (base < 11 || base > 36 || (!has_digit && end - x->pos == 1))
        return false;
    for (p = x->pos; p < end; p++)
        if (is_letter(x->s[p]) && x->s[p] - 'A' + 10 >= base)
            return false;
    emit(x, T_NUM, 0, x->s + x->pos, end - x->pos);
    x->pos = end;
    return true;
}

/* Can a unit follow the last token? */
static bool is_after_value(const struct lexer *x)
{
    const struct token *t;

    if (!x->out->n)
        return false;
    t = &x->out->v[x->out->n - 1];
    return t->kind == T_NUM || t->kind == T_UNGROUP || t->kind == T_CLOSE || t->kind == T_WORD;
}

static void give(struct lexer *x, const struct lex_command *c);

/* A run of letters outside text: a name that needs no backslash, or one variable a letter. */
static void lex_letters(struct lexer *x)
{
    size_t end = letters_end(x, x->pos), n = end - x->pos;
    const char *s = x->s + x->pos;

    x->pos = end;
    if (is_name("and", s, n) || is_name("or", s, n)) {
        emit(x, n == 2 ? T_OR : T_AND, 0, NULL, 0);
        return;
    }
    if (is_after_value(x) && unit_is_bare_name(s, n)) {
        emit(x, T_WORD, 0, s, n);
        return;
    }
    for (size_t i = 0; i < sizeof(bare_commands) / sizeof(bare_commands[0]); i++)
        if (is_name(bare_commands[i], s, n)) {
            give(x, lex_find_command(s, n));
            return;
        }
    for (size_t i = 0; i < n; i++)
        emit(x, T_VAR, 0, s + i, 1);
}

/* A word of a text group: letters, with the full stops of abbreviations left out. */
static void lex_word(struct lexer *x)
{
    char *out = x->pool;
    size_t n = 0, p = x->pos;

    for (; is_letter(at(x, p)) || (at(x, p) & 0x80) || (at(x, p) == '.' && is_letter(at(x, p + 1)));
         p++)
        if (x->s[p] != '.')
            out[n++] = x->s[p];
    x->pos = p;
    x->pool += n;
    if (is_name("and", out, n) || is_name("or", out, n))
        emit(x, n == 2 ? T_OR : T_AND, 0, NULL, 0);
    else
        emit(x, T_WORD, 0, out, n);
}

/* The brace group at pos, past blanks: its content, and where it ends. */
static bool find_group(const struct lexer *x, size_t pos, size_t *ret_start, size_t *ret_end)
{
    int depth = 0;

    pos = skip_blanks(x, pos);
    if (at(x, pos) != '{')
        return false;
    *ret_start = pos + 1;
    for (; pos < x->len; pos++) {
        if (x->s[pos] == '\\')
            pos++;
        else if (x->s[pos] == '{')
            depth++;
        else if (x->s[pos] == '}' && --depth == 0) {
            *ret_end = pos;
            return true;
        }
    }
    return false;
}

static void open_brace(struct lexer *x, bool is_text)
{
    if (x->n_braces == MAX_BRACES) {
        emit(x, T_OTHER, 0, x->s + x->pos, 1);
        return;
    }
    x->is_text_brace[x->n_braces] = is_text;
    x->was_text[x->n_braces] = x->is_text;
    x->n_braces++;
    if (is_text)
        x->is_text = true;
    else
        emit(x, T_GROUP, 0, NULL, 0);
}

static void close_brace(struct lexer *x)
{
    if (!x->n_braces) {
        emit(x, T_OTHER, 0, "}", 1);
        return;
    }
    x->n_braces--;
    x->is_text = x->was_text[x->n_braces];
    if (x->is_text_brace[x->n_braces])
        x->is_spaced = true;
    else
        emit(x, T_UNGROUP, 0, NULL, 0);
}

/* Text commands: enter the group if words are in it. \mathrm{sin} is a function, \mathbf{v} a
 * variable, \mathbf{2x} braces around an expression. */
static void lex_text_command(struct lexer *x, enum lex_act act)
{
    size_t start, end, p;
    const struct lex_command *c;

    if (at(x, x->pos) == '*') /* \operatorname* */
        x->pos++;
    p = skip_blanks(x, x->pos);
    if (at(x, p) != '{')
        return;
    if (act == A_LETTER && find_group(x, x->pos, &start, &end)) {
        size_t s = skip_blanks(x, start), e = letters_end(x, s), q = skip_blanks(x, e);

        bool is_unit = e - s == 1 && unit_is_name(x->s + s, 1) && is_after_value(x) &&
                       (s > start || x->is_spaced); /* 5 \mathrm{~m}, but not 5\mathrm{m} */

        if (e == s || (q == end && e - s == 1 && !is_unit) ||
            (q != end && x->s[q] != '/' && (x->s[q] != '^' || (e - s == 1 && !is_unit))))
            return; /* ordinary math in braces; but cm^2 and m/s are units */
        c = lex_find_command(x->s + s, e - s);
        if (c && (c->kind == T_FUNC || c->kind == T_LOG) && c->act == A_TOKEN) {
            x->pos = end + 1;
            give(x, c);
            return;
        }
    }
    x->pos = p;
    open_brace(x, true);
    x->pos = p + 1;
}

static void lex_board(struct lexer *x)
{
    static const char names[] = "RZNQC";
    static const enum sym syms[] = { SYM_REALS, SYM_INTEGERS, SYM_NATURALS, SYM_RATIONALS,
                                     SYM_COMPLEX };
    size_t start, end, p = skip_blanks(x, x->pos);
    const char *hit;

    if (find_group(x, x->pos, &start, &end))
        x->pos = end + 1;
    else {
        start = p;
        end = p + (p < x->len);
        x->pos = end;
    }
    hit = end == start + 1 ? memchr(names, x->s[start], sizeof(names) - 1) : NULL;
    if (hit)
        emit(x, T_SYM, (int)syms[hit - names], NULL, 0);
    else
        emit(x, T_OTHER, 0, x->s + start, end - start);
}

static void lex_environment(struct lexer *x, enum tok_kind kind)
{
    static const char *const names[] = { "pmatrix", "bmatrix", "matrix", "smallmatrix",
                                         "array",   "Bmatrix", "vmatrix" };
    size_t start, end;

    if (!find_group(x, x->pos, &start, &end)) {
        emit(x, T_OTHER, 0, "env", 3);
        return;
    }
    x->pos = end + 1;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!is_name(names[i], x->s + start, end - start))
            continue;
        emit(x, kind, i == 6 ? 'v' : 'm', NULL, 0);
        if (kind == T_BEGIN && i == 4 && find_group(x, x->pos, &start, &end))
            x->pos = end + 1; /* the columns of an array */
        return;
    }
    emit(x, T_OTHER, 0, x->s + start, end - start);
}

static void give(struct lexer *x, const struct lex_command *c)
{
    size_t start, end;

    switch (c->act) {
    case A_TOKEN: emit(x, c->kind, c->arg, NULL, 0); break;
    case A_NAME: emit(x, T_VAR, 0, c->name, strlen(c->name)); break;
    case A_SKIP: x->is_spaced = true; break;
    case A_SIZE:
        x->pos = skip_blanks(x, x->pos);
        if (at(x, x->pos) == '.')
            x->pos++;
        break;
    case A_SKIP1:
        if (find_group(x, x->pos, &start, &end))
            x->pos = end + 1;
        break;
    case A_TEXT:
    case A_LETTER: lex_text_command(x, c->act); break;
    case A_BOARD: lex_board(x); break;
    case A_BEGIN: lex_environment(x, T_BEGIN); break;
    case A_END: lex_environment(x, T_FINISH); break;
    }
}

/* A backslash and what follows. */
static void lex_command(struct lexer *x)
{
    size_t start = x->pos + 1, end = letters_end(x, start);
    const struct lex_command *c;
    char sign = at(x, start);

    if (end > start) {
        x->pos = end;
        c = lex_find_command(x->s + start, end - start);
        if (c)
            give(x, c);
        else
            emit(x, T_OTHER, 0, x->s + start, end - start);
        return;
    }
    x->pos = start + (start < x->len);
    switch (sign) {
    case '\\': emit(x, T_ROW, 0, NULL, 0); break;
    case '$': emit(x, T_MONEY, UNIT_DOLLAR, NULL, 0); break;
    case '%': emit(x, T_PERCENT, 0, NULL, 0); break;
    case '{': emit(x, T_OPEN, '{', NULL, 0); break;
    case '}': emit(x, T_CLOSE, '{', NULL, 0); break;
    case '(':
    case ')':
    case '[':
    case ']':
    case '!':
    case ',':
    case ';':
    case ':':
    case '>':
    case ' ':
    case '\n':
    case '\t': x->is_spaced = true; break;
    default: emit(x, T_OTHER, 0, x->s + start, start < x->len); break;
    }
}

/* A prime belongs to the variable before it. */
static void lex_prime(struct lexer *x)
{
    struct token *t = x->out->n ? &x->out->v[x->out->n - 1] : NULL;
    char *name;

    if (!t || t->kind != T_VAR || t->len > MAX_NAME) {
        if (!x->is_text)
            emit(x, T_OTHER, 0, "'", 1);
        return;
    }
    name = arena_printf(x->arena, "%.*s'", (int)t->len, t->text);
    if (!name) {
        x->is_nomem = true;
        return;
    }
    t->text = name;
    t->len++;
}

/* The end of a superscript like \text{th} after a number, or 0. */
static size_t ordinal_end(const struct lexer *x, size_t pos)
{
    static const char *const marks[] = { "st", "nd", "rd", "th" };
    size_t p = skip_blanks(x, pos), e;
    int n_open = 0;

    if (!x->out->n || x->out->v[x->out->n - 1].kind != T_NUM)
        return 0;
    while (at(x, p) == '{' || at(x, p) == '\\') {
        n_open += at(x, p) == '{';
        e = letters_end(x, p + 1);
        if (at(x, p) == '\\') {
            const struct lex_command *c = lex_find_command(x->s + p + 1, e - p - 1);

            if (!c || (c->act != A_TEXT && c->act != A_LETTER && c->act != A_SKIP))
                return 0;
        }
        p = skip_blanks(x, at(x, p) == '{' ? p + 1 : e);
    }
    e = letters_end(x, p);
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (is_name(marks[i], x->s + p, e - p)) {
            for (; n_open > 0 && at(x, e = skip_blanks(x, e)) == '}'; n_open--)
                e++;
            return n_open ? 0 : e;
        }
    return 0;
}

/* A superscript that is a degree sign or a prime, with or without braces, or just ^. */
static void lex_caret(struct lexer *x)
{
    static const struct {
        const char *name;
        bool is_prime;
    } marks[] = {
        { "\\circ", false }, { "\\degree", false }, { "\u00b0", false }, { "\\prime", true }
    };
    size_t p = skip_blanks(x, x->pos + 1), n = ordinal_end(x, p);
    bool has_brace = at(x, p) == '{';

    if (n) {
        x->pos = n;
        return;
    }
    if (has_brace)
        p = skip_blanks(x, p + 1);
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        n = strlen(marks[i].name);
        if (x->len - p < n || memcmp(x->s + p, marks[i].name, n) != 0 || is_letter(at(x, p + n)))
            continue;
        n = p + n;
        if (has_brace) {
            n = skip_blanks(x, n);
            if (at(x, n) != '}')
                break;
            n++;
        }
        x->pos = n;
        if (marks[i].is_prime)
            lex_prime(x);
        else
            emit(x, T_DEGREE, 0, NULL, 0);
        return;
    }
    x->pos++;
    emit(x, T_CARET, 0, NULL, 0);
}

/* A byte that begins no ASCII token. */
static void lex_other(struct lexer *x)
{
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
        size_t n;

        if (characters[i].utf8[0] != x->s[x->pos]) /* which most are */
            continue;
        n = strlen(characters[i].utf8);
        if (x->len - x->pos < n || memcmp(x->s + x->pos, characters[i].utf8, n) != 0)
            continue;
        x->pos += n;
        if (characters[i].command[0] == '-')
            emit(x, T_MINUS, 0, NULL, 0);
        else
            give(x, lex_find_command(characters[i].command, strlen(characters[i].command)));
        return;
    }
    if (x->len - x->pos >= 2 && memcmp(x->s + x->pos, "\u00b2", 2) == 0) {
        emit(x, T_CARET, 0, NULL, 0);
        emit(x, T_NUM, 0, "2", 1);
        x->pos += 2;
    } else if (x->len - x->pos >= 2 && memcmp(x->s + x->pos, "\u00b3", 2) == 0) {
        emit(x, T_CARET, 0, NULL, 0);
        emit(x, T_NUM, 0, "3", 1);
        x->pos += 2;
    } else if (x->is_text && (x->s[x->pos] & 0x80))
        lex_word(x);
    else {
        emit(x, T_OTHER, 0, x->s + x->pos, 1);
        x->pos++;
    }
}

static void lex_one(struct lexer *x)
{
    char c = x->s[x->pos];

    if (is_blank(c) || c == '$') {
        x->is_spaced = true;
        x->pos++;
    } else if (!x->is_text && lex_base_digits(x))
        return;
    else if (is_digit(c) || (c == '.' && is_digit(at(x, x->pos + 1))))
        lex_number(x);
    else if (is_letter(c) && x->is_text)
        lex_word(x);
    else if (is_letter(c))
        lex_letters(x);
    else if (c == '\\')
        lex_command(x);
    else if (c == '^')
        lex_caret(x);
    else if (c == '{' && (at(x, x->pos + 1) == ':' || at(x, x->pos + 1) == '=') &&
             at(x, x->pos + 2) == '}') { /* braces that only take the space off a sign */
        emit(x, T_REL, at(x, x->pos + 1) == ':' ? REL_RATIO : REL_EQ, NULL, 0);
        x->pos += 3;
    } else if (c == '{') {
        open_brace(x, false);
        x->pos++;
    } else if (c == '}') {
        close_brace(x);
        x->pos++;
    } else if (c == '\'') {
        lex_prime(x);
        x->pos++;
    } else if (c == '.' && (x->is_text || skip_blanks(x, x->pos + 1) == x->len))
        x->pos++; /* the end of a sentence */
    else {
        for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
            if (signs[i].c == c) {
                x->pos++;
                if (c == '*' && at(x, x->pos) == '*') { /* 2**3 */
                    x->pos++;
                    emit(x, T_CARET, 0, NULL, 0);
                } else if ((c == '<' || c == '>') && at(x, x->pos) == '=') {
                    x->pos++;
                    emit(x, T_REL, c == '<' ? REL_LE : REL_GE, NULL, 0);
                } else
                    emit(x, signs[i].kind, signs[i].arg, NULL, 0);
                return;
            }
        lex_other(x);
    }
}

/*
 * Is this one number written 12,345,678? True if, outside brackets, all commas lie tightly
 * between a number of one to three digits and numbers of exactly three.
 */
static bool has_comma_groups(const struct tokens *t, size_t *ret_first, size_t *ret_last)
{
    size_t first = 0, last = 0;
    int depth = 0;

    for (size_t i = 0; i < t->n; i++) {
        const struct token *a = i ? &t->v[i - 1] : NULL, *b = &t->v[i + 1];

        depth += t->v[i].kind == T_OPEN;
        depth -= t->v[i].kind == T_CLOSE;
        if (t->v[i].kind == T_AND || t->v[i].kind == T_OR)
            return false;
        if (t->v[i].kind != T_COMMA || depth)
            continue;
        if (!a || a->kind != T_NUM || b->kind != T_NUM || t->v[i].is_spaced || b->is_spaced)
            return false;
        if (!last) {
            if (a->len > 3 || a->text[0] == '0' || memchr(a->text, '.', a->len))
                return false;
            first = i - 1;
        } else if (last != i - 1 || a->len != 3)
            return false;
        if (b->len < 3 || (b->len > 3 && b->text[3] != '.') || memchr(b->text, '.', 3))
            return false;
        last = i + 1;
    }
    *ret_first = first;
    *ret_last = last;
    return last != 0;
}

bool math_lex_join(struct tokens *t, struct arena *arena)
{
    size_t first, last, n = 0;
    char *digits;

    if (!has_comma_groups(t, &first, &last))
        return true;
    for (size_t i = first; i <= last; i++)
        n += t->v[i].kind == T_NUM ? t->v[i].len : 0;
    digits = arena_alloc(arena, n + 1);
    if (!digits)
        return false;
    n = 0;
    for (size_t i = first; i <= last; i++)
        if (t->v[i].kind == T_NUM) {
            memcpy(digits + n, t->v[i].text, t->v[i].len);
            n += t->v[i].len;
        }
    t->v[first].text = digits;
    t->v[first].len = n;
    memmove(&t->v[first + 1], &t->v[last + 1], (t->n - last) * sizeof(*t->v)); /* T_END too */
    t->n -= last - first;
    return true;
}

bool math_tokens_equal(const struct tokens *a, const struct tokens *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct token *x = &a->v[i], *y = &b->v[i];

        if (x->kind != y->kind || x->arg != y->arg || x->len != y->len ||
            (x->len && memcmp(x->text, y->text, x->len) != 0))
            return false;
    }
    return true;
}

/* Line ends behind an answer, and the stars of **5**, are no part of it. */
static void trim(struct tokens *t)
{
    while (t->n > 1 && t->v[t->n - 1].kind == T_ROW)
        t->n--;
    if (t->n > 2 && t->v[0].kind == T_CARET && t->v[t->n - 1].kind == T_CARET) {
        t->n -= 2;
        memmove(t->v, t->v + 1, t->n * sizeof(*t->v));
    }
}

enum status math_lex(const char *s, size_t len, struct arena *arena, struct tokens *ret,
                     struct error *err)
{
    struct lexer x = { .s = s, .len = len, .arena = arena, .out = ret, .cap = len + 2 };
    size_t first, last;

    *ret = (struct tokens){ 0 };
    ret->v = arena_array(arena, x.cap, sizeof(*ret->v));
    x.pool = arena_alloc(arena, len);
    if (!ret->v || !x.pool)
        return error_set(err, ST_NOMEM, "out of memory reading an answer of %zu bytes", len);
    while (x.pos < len && !x.is_nomem)
        lex_one(&x);
    if (x.is_nomem)
        return error_set(err, ST_NOMEM, "out of memory reading an answer of %zu bytes", len);
    trim(ret);
    ret->v[ret->n].kind = T_END;
    ret->has_groups = has_comma_groups(ret, &first, &last);
    return ST_OK;
}
