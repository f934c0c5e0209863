/* Pre-tokenizer: Unicode classes from utf8proc, and the scanner. */
#include "engine/pretokenize.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

/*
 * Spellings found for one and the same cut. The second (Qwen2 and others) differs in that it is
 * not possessive, which cannot matter where what follows a repeat is disjoint from it, and in
 * \s*[\r\n]+ for \s*[\r\n], whose greedy \s* has already taken all but the last line break.
 */
static const char *const known_regex[] = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

bool pretokenize_is_known_regex(const char *regex)
{
    for (size_t i = 0; i < sizeof(known_regex) / sizeof(known_regex[0]); i++)
        if (strcmp(regex, known_regex[i]) == 0)
            return true;
    return false;
}

/* ---- Unicode classes -------------------------------------------------------------------- */

struct range {
    uint32_t first, last;
};

/*
 * Letters, numbers and marks that Unicode 15.1 and 16 added. utf8proc 2.8 knows Unicode 15.0;
 * with these, every utf8proc up to 2.10 (Unicode 16) gives the same pieces.
 * Source: what \p{L}, \p{N} and \w match in Hugging Face tokenizers 0.23.3 beyond utf8proc 2.8.
 */
static const struct range new_letters[] = {
    { 0x1c89, 0x1c8a },   { 0xa7cb, 0xa7cd },   { 0xa7da, 0xa7dc },   { 0x105c0, 0x105f3 },
    { 0x10d4a, 0x10d65 }, { 0x10d6f, 0x10d85 }, { 0x10ec2, 0x10ec4 }, { 0x11380, 0x11389 },
    { 0x1138b, 0x1138b }, { 0x1138e, 0x1138e }, { 0x11390, 0x113b5 }, { 0x113b7, 0x113b7 },
    { 0x113d1, 0x113d1 }, { 0x113d3, 0x113d3 }, { 0x11bc0, 0x11be0 }, { 0x13460, 0x143fa },
    { 0x16100, 0x1611d }, { 0x16d40, 0x16d6c }, { 0x18cff, 0x18cff }, { 0x1e5d0, 0x1e5ed },
    { 0x1e5f0, 0x1e5f0 }, { 0x2ebf0, 0x2ee5d },
};
static const struct range new_numbers[] = {
    { 0x10d40, 0x10d49 }, { 0x116d0, 0x116e3 }, { 0x11bf0, 0x11bf9 }, { 0x16130, 0x16139 },
    { 0x16d70, 0x16d79 }, { 0x1ccf0, 0x1ccf9 }, { 0x1e5f1, 0x1e5fa },
};

static const struct range new_marks[] = {
    { 0x897, 0x897 },     { 0x10d69, 0x10d6d }, { 0x10efc, 0x10efc }, { 0x113b8, 0x113c0 },
    { 0x113c2, 0x113c2 }, { 0x113c5, 0x113c5 }, { 0x113c7, 0x113ca }, { 0x113cc, 0x113d0 },
    { 0x113d2, 0x113d2 }, { 0x113e1, 0x113e2 }, { 0x11f5a, 0x11f5a }, { 0x1611e, 0x1612f },
    { 0x1e5ee, 0x1e5ef },
};

static bool in_ranges(const struct range *r, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last)
            return true;
    return false;
}

/* Only what utf8proc calls unassigned needs the tables. */
#define IS_NEW(table, category, c)                                                                 \
    ((category) == UTF8PROC_CATEGORY_CN && in_ranges(table, sizeof(table) / sizeof((table)[0]), c))

bool unicode_is_letter(uint32_t c)
{
    utf8proc_category_t cat;

    if (c < 0x80)
        return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    cat = utf8proc_category((utf8proc_int32_t)c);
    return (cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO) ||
           IS_NEW(new_letters, cat, c);
}

bool unicode_is_number(uint32_t c)
{
    utf8proc_category_t cat;

    if (c < 0x80)
        return c >= '0' && c <= '9';
    cat = utf8proc_category((utf8proc_int32_t)c);
    return (cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO) ||
           IS_NEW(new_numbers, cat, c);
}

bool unicode_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Alphabetic, marks, decimal digits, connector punctuation and the two joiners. Alphabetic is L
 * and Nl, some of the marks, and the circled and squared Latin letters. */
bool unicode_is_word(uint32_t c)
{
    utf8proc_category_t cat = utf8proc_category((utf8proc_int32_t)c);

    return unicode_is_letter(c) || (cat >= UTF8PROC_CATEGORY_MN && cat <= UTF8PROC_CATEGORY_ME) ||
           cat == UTF8PROC_CATEGORY_ND || cat == UTF8PROC_CATEGORY_NL ||
           cat == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) ||
           IS_NEW(new_numbers, cat, c) || IS_NEW(new_marks, cat, c); /* the new numbers are Nd */
}

/* ---- scanner ---------------------------------------------------------------------------- */

/* A character and the bytes it takes; 0 bytes at the end of the text, where c is 0. */
struct chr {
    uint32_t c;
    size_t n;
};

static struct chr chr_at(const char *s, size_t len, size_t at)
{
    struct chr ch = { 0, 0 };

    if (at < len) {
        ch.n = (size_t)utf8_decode(s + at, len - at, &ch.c);
        assert(ch.n > 0); /* the caller promises UTF-8 */
    }
    return ch;
}

static bool is_break(uint32_t c)
{
    return c == '\r' || c == '\n';
}

/* Neither space, letter nor number: what [^\s\p{L}\p{N}] takes. */
static bool is_symbol(uint32_t c)
{
    return !unicode_is_space(c) && !unicode_is_letter(c) && !unicode_is_number(c);
}

/* End of the run of letters at `at`. */
static size_t letters_end(const char *s, size_t len, size_t at)
{
    struct chr ch;

    while ((ch = chr_at(s, len, at)).n && unicode_is_letter(ch.c))
        at += ch.n;
    return at;
}

/* Bytes after an apostrophe that make a contraction with it, or 0. The long s (U+017F) folds to
 * s, and no other character outside ASCII folds to one of these letters. */
static size_t contraction(const char *s, size_t len)
{
    uint32_t c;
    int n;

    if (!len)
        return 0;
    n = utf8_decode(s, len, &c);
    if (n == 2 && c == 0x17f)
        return 2;
    if (n != 1)
        return 0;
    if (strchr("sdmtSDMT", s[0]) && s[0])
        return 1;
    if (len >= 2) {
        char a = (char)(s[0] | 0x20), b = (char)(s[1] | 0x20);

        if ((unsigned char)s[1] < 0x80 &&
            ((a == 'l' && b == 'l') || (b == 'e' && (a == 'v' || a == 'r'))))
            return 2;
    }
    return 0;
}

/* First piece of a text that starts with white space which does not belong to a word or symbols
 * behind it. */
static size_t space_piece(const char *s, size_t len)
{
    size_t at = 0, last = 0, after_break = 0;
    struct chr ch;

    while ((ch = chr_at(s, len, at)).n && unicode_is_space(ch.c)) {
        last = at;
        at += ch.n;
        if (is_break(ch.c))
            after_break = at;
    }
    if (after_break) /* \s*[\r\n] */
        return after_break;
    if (at < len && last) /* \s+(?!\S): the last one stays with what follows */
        return last;
    return at;
}

size_t pretokenize_next(const char *s, size_t len)
{
    struct chr first = chr_at(s, len, 0), ch;
    size_t at, n;

    if (first.c == '\'') {
        n = contraction(s + 1, len - 1);
        if (n)
            return 1 + n;
    }
    if (unicode_is_letter(first.c))
        return letters_end(s, len, first.n);
    if (unicode_is_number(first.c))
        return first.n;
    if (!is_break(first.c)) {
        at = letters_end(s, len, first.n);
        if (at > first.n)
            return at;
    }
    at = first.c == ' ' ? 1 : 0;
    ch = chr_at(s, len, at);
    if (ch.n && is_symbol(ch.c)) {
        do {
            at += ch.n;
            ch = chr_at(s, len, at);
        } while (ch.n && is_symbol(ch.c));
        while (at < len && is_break((unsigned char)s[at]))
            at++;
        return at;
    }
    return space_piece(s, len);
}
