/* Python source as far as extraction needs it. */
#include "tasks/python.h"

#include <string.h>

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_name_start(c) || (c >= '0' && c <= '9');
}

static size_t name_len(struct span t)
{
    size_t n = 0;

    if (t.len == 0 || !is_name_start(t.s[0]))
        return 0;
    while (n < t.len && is_name_char(t.s[n]))
        n++;
    return n;
}

static bool is_in(struct span t, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_equal(t, list[i]))
            return true;
    return false;
}

static bool starts_with_any(struct span t, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_starts(t, list[i]))
            return true;
    return false;
}

static bool is_keyword(struct span t)
{
    static const char *const keywords[] = {
        "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
        "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
        "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
        "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield",
    };

    return is_in(t, keywords, N_OF(keywords));
}

bool python_is_name(struct span t)
{
    return t.len > 0 && name_len(t) == t.len && !is_keyword(t);
}

static struct span skip_blanks(struct span t)
{
    return span_sub(t, span_indent(t), t.len);
}

/* The name a line at column 0 defines as a function; false if it defines none. */
static bool def_name(struct span line, struct span *ret)
{
    struct span t = line, name;

    if (span_starts(t, "async") && span_indent(span_sub(t, 5, t.len)) > 0)
        t = skip_blanks(span_sub(t, 5, t.len));
    if (!span_starts(t, "def") || span_indent(span_sub(t, 3, t.len)) == 0)
        return false;
    t = skip_blanks(span_sub(t, 3, t.len));
    name = span_sub(t, 0, name_len(t));
    t = skip_blanks(span_sub(t, name.len, t.len));
    if (name.len == 0 || !span_starts(t, "("))
        return false;
    *ret = name;
    return true;
}

bool python_defines(struct span code, const char *name)
{
    struct span line, found;

    while (span_next_line(&code, &line))
        if (def_name(line, &found) && span_equal(found, name))
            return true;
    return false;
}

bool python_last_def(struct span code, struct span *ret)
{
    struct span line, found;
    bool is_found = false;

    while (span_next_line(&code, &line))
        if (def_name(line, &found)) {
            *ret = found;
            is_found = true;
        }
    return is_found;
}

bool python_first_call(struct span test, struct span *ret)
{
    static const char *const wrappers[] = {
        "set",   "sorted", "len",  "list", "tuple", "str", "abs",
        "round", "type",   "dict", "int",  "float", "all", "any",
    };

    for (size_t i = 0; i < test.len;) {
        struct span name = span_sub(test, i, test.len);
        bool is_attribute = i > 0 && test.s[i - 1] == '.';

        name.len = name_len(name);
        if (name.len == 0) {
            /* digits and letters glued to them are no names */
            do
                i++;
            while (i < test.len && is_name_char(test.s[i - 1]) && is_name_char(test.s[i]));
            continue;
        }
        i += name.len;
        if (is_attribute || !span_starts(skip_blanks(span_sub(test, i, test.len)), "("))
            continue;
        if (is_keyword(name) || is_in(name, wrappers, N_OF(wrappers)))
            continue;
        *ret = name;
        return true;
    }
    return false;
}

static bool is_definition(struct span line)
{
    static const char *const starts[] = { "def ", "class ", "async def " };

    return starts_with_any(line, starts, N_OF(starts));
}

bool python_first_code_line(struct span text, size_t *ret)
{
    static const char *const starts[] = { "import ", "from ", "@" };
    struct span rest = text, line;

    while (span_next_line(&rest, &line))
        if (is_definition(line) || starts_with_any(line, starts, N_OF(starts))) {
            *ret = (size_t)(line.s - text.s);
            return true;
        }
    return false;
}

/* Where a line leaves off: within which string and how many brackets. */
struct lex_state {
    char triple;       /* quote character of an open triple-quoted string, or 0 */
    bool is_continued; /* the line ended in a backslash */
    size_t n_open;     /* brackets */
};

static bool is_triple(struct span line, size_t i)
{
    return line.len - i >= 3 && line.s[i + 1] == line.s[i] && line.s[i + 2] == line.s[i];
}

static void lex_line(struct lex_state *st, struct span line)
{
    size_t i = 0;

    st->is_continued = false;
    while (i < line.len) {
        char c = line.s[i];

        if (c == '\\') {
            st->is_continued = i + 1 == line.len;
            i += 2; /* what is escaped is no quote, in raw strings either */
        } else if (st->triple) {
            bool is_end = c == st->triple && is_triple(line, i);

            if (is_end)
                st->triple = 0;
            i += is_end ? 3 : 1;
        } else if (c == '#') {
            return;
        } else if (c == '"' || c == '\'') {
            if (is_triple(line, i)) {
                st->triple = c;
                i += 3;
                continue;
            }
            for (i++; i < line.len && line.s[i] != c; i++)
                if (line.s[i] == '\\') {
                    i++;
                    st->is_continued = i == line.len;
                }
            i++;
        } else {
            if (c == '(' || c == '[' || c == '{')
                st->n_open++;
            else if ((c == ')' || c == ']' || c == '}') && st->n_open > 0)
                st->n_open--;
            i++;
        }
    }
}

/* May a line at column 0 follow a definition as code? */
static bool is_code_line(struct span line)
{
    static const char *const starts[] = {
        "@",      "import ", "from ", "if ",  "for ",   "while ", "try:",
        "except", "finally", "with ", "else", "elif",   "return", "assert ",
        "print(", ")",       "]",     "}",    "\"\"\"", "'''",
    };
    struct span rest;

    if (span_is_blank(line) || span_indent(line) > 0 || line.s[0] == '#' || is_definition(line) ||
        starts_with_any(line, starts, N_OF(starts)))
        return true;
    /* NAME =, NAME( and NAME.NAME; `Done.` is a sentence */
    rest = span_sub(line, name_len(line), line.len);
    if (rest.len == line.len)
        return false;
    return span_starts(rest, "(") || span_starts(skip_blanks(rest), "=") ||
           (span_starts(rest, ".") && name_len(span_sub(rest, 1, rest.len)) > 0);
}

size_t python_code_len(struct span text)
{
    struct span rest = text, line;
    struct lex_state state = { 0 };
    bool is_defined = false;

    while (span_next_line(&rest, &line)) {
        if (!state.triple && !state.is_continued && state.n_open == 0) {
            if (is_defined && !is_code_line(line))
                return (size_t)(line.s - text.s);
            is_defined = is_defined || is_definition(line);
        }
        lex_line(&state, line);
    }
    return text.len;
}
